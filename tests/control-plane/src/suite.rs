//! A test binary whose tests share one control plane.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::{Builder, Runtime};

use crate::error::Error;
use crate::plane::ControlPlane;

/// Tests that share one control plane: started by the first test that runs, ended before the process ends.
///
/// For a test target with `harness = false`. It understands what `cargo test` and nextest pass
/// (filters, `--list`, `--exact`, `--test-threads`). When no control plane can be had, the tests are
/// reported as ignored and the reason is told loudly; with `REQUIRE_CONTROL_PLANE=1` they fail.
///
/// ```no_run
/// use control_plane::{ControlPlane, Suite};
///
/// fn main() -> std::process::ExitCode {
///     Suite::new().test("the_default_namespace_exists", the_default_namespace_exists).run()
/// }
///
/// async fn the_default_namespace_exists(plane: &ControlPlane) {
///     assert!(plane.run_kubectl(&["get", "namespace", "default"]).await.unwrap().is_success());
/// }
/// ```
#[derive(Default)]
#[must_use = "a suite does nothing until it is run"]
pub struct Suite {
    plane: Arc<Plane>,
    trials: Vec<Trial>,
    threads: Option<usize>,
}

#[derive(Default)]
struct Plane {
    started: OnceLock<Result<ControlPlane, Error>>,
    setup: OnceLock<Setup>,
}

type Setup = Box<dyn Fn(&Runtime, &ControlPlane) + Send + Sync>;

impl Suite {
    /// A suite without tests.
    pub fn new() -> Self {
        Self::default()
    }

    /// For suites whose tests kill or pause what the others need.
    pub fn one_at_a_time(mut self) -> Self {
        self.threads = Some(1);
        self
    }

    /// For suites whose tests mostly wait: so many at once, unless the command line says otherwise.
    pub fn at_once(mut self, tests: usize) -> Self {
        self.threads = Some(tests);
        self
    }

    /// What is done once, after the start and before the first test, for example to install a CRD. It
    /// fails by a panic.
    ///
    /// # Panics
    /// When there is one already.
    pub fn before_all(
        self,
        setup: impl for<'a> AsyncFn(&'a ControlPlane) + Send + Sync + 'static,
    ) -> Self {
        let setup: Setup = Box::new(move |runtime, plane| runtime.block_on(setup(plane)));
        assert!(self.plane.setup.set(setup).is_ok(), "a suite has one setup");
        self
    }

    /// Adds a test, which fails by a panic. It has a tokio runtime of its own.
    pub fn test(
        mut self,
        name: &str,
        test: impl for<'a> AsyncFn(&'a ControlPlane) + Send + 'static,
    ) -> Self {
        let plane = Arc::clone(&self.plane);
        self.trials.push(Trial::ignorable_test(name, move || {
            let runtime = runtime();
            match plane.started(&runtime) {
                Ok(plane) => {
                    runtime.block_on(test(plane));
                    Ok(Completion::Completed)
                }
                Err(Error::Unavailable(_)) if !is_required() => {
                    Ok(Completion::ignored_with("no control plane"))
                }
                Err(error) => Err(Failed::from(format!("{error:?}"))),
            }
        }));
        self
    }

    /// Runs the tests that the command line asks for, ends the control plane, and returns the exit code.
    pub fn run(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        // Tests that may not meet must not be made to by the command line.
        if self.threads == Some(1) || arguments.test_threads.is_none() {
            arguments.test_threads = self.threads;
        }
        let conclusion = libtest_mimic::run(&arguments, self.trials);
        if let Some(Err(Error::Unavailable(reason))) = self.plane.started.get()
            && !is_required()
        {
            eprintln!(
                "\n!!! SKIPPED {} tests, there is no control plane: {reason}\n!!! {REQUIRE}=1 makes this a failure.\n",
                conclusion.num_ignored
            );
        }
        conclusion.exit_code()
    }
}

impl Plane {
    /// Started and set up by the first test that asks; the others wait for it.
    fn started(&self, runtime: &Runtime) -> &Result<ControlPlane, Error> {
        self.started.get_or_init(|| {
            let plane = runtime.block_on(ControlPlane::start())?;
            if let Some(setup) = self.setup.get() {
                setup(runtime, &plane);
            }
            Ok(plane)
        })
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built")
}

/// CI sets it: a run that tested nothing must not look like a success.
fn is_required() -> bool {
    std::env::var_os(REQUIRE).is_some_and(|value| value == "1")
}

const REQUIRE: &str = "REQUIRE_CONTROL_PLANE";
