//! The demo: one cancellation from `kubectl apply` to Cancelled, told as it happens.

mod kubectl;
mod report;
mod stage;
mod timeline;
mod traces;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use control_plane::{ControlPlane, Tools};
use tokio::signal::unix::{SignalKind, signal};

use crate::Manifests;
use stage::Stage;
use timeline::{Timeline, say};
use traces::Traces;

/// The sample that is applied, as a folder in the repository.
pub const SAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/examples/first-cancellation"
);

/// Ended by Ctrl-C, as a shell says it.
const INTERRUPTED: u8 = 130;

/// What the demo is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Keep everything running until Ctrl-C.
    pub keep: bool,
    /// The folder whose YAML files are applied.
    pub manifests: PathBuf,
    /// The operator's program; the one beside this program when `None`.
    pub operator: Option<PathBuf>,
    /// How long the cancellation may take.
    pub timeout: Duration,
}

/// Why there is no happy end. The text is for people: what happened, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failure(String);

impl Failure {
    /// Failed to do this, because of that.
    fn to(what: impl std::fmt::Display) -> impl FnOnce(Box<dyn std::error::Error>) -> Self {
        move |error| {
            let mut text = format!("failed to {what}: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                text.push_str(&format!("\n  because: {error}"));
                cause = error.source();
            }
            Self(text)
        }
    }
}

/// Runs the demo, and clears everything away however it ends.
pub async fn run(options: Options) -> ExitCode {
    let traces = Traces::default();
    let played = tokio::select! {
        played = play(&options, &traces) => played,
        () = interrupted() => {
            say("\nInterrupted.");
            Ok((None, ExitCode::from(INTERRUPTED)))
        }
    };
    let code = match played {
        Ok((stage, code)) => {
            if let Some(stage) = stage {
                close(stage, options.keep).await;
            }
            code
        }
        Err(failure) => {
            eprintln!("\nThe demo failed: {failure}");
            ExitCode::FAILURE
        }
    };
    // Whatever was started has been dropped by now.
    match traces.left() {
        Ok(Some(gone)) => say(&gone),
        Ok(None) => {}
        Err(left) => {
            eprintln!("demo: {left}");
            return ExitCode::FAILURE;
        }
    }
    code
}

/// Sets the stage and performs. The stage stays, also when the play did not end well.
async fn play(options: &Options, traces: &Traces) -> Result<(Option<Stage>, ExitCode), Failure> {
    let manifests = read(&options.manifests)?;
    let cancellations = manifests.cancellations();
    if cancellations.is_empty() {
        let folder = options.manifests.display();
        return Err(Failure(format!(
            "the YAML files of {folder} hold no FabricJobCancellation; add one"
        )));
    }
    let operator = operator(options)?;
    let tools = tools().await?;
    let mut stage = Stage::set(tools, &manifests, &operator, traces).await?;

    let timeline = Timeline::begin();
    let mut ended = stage.perform(options, &cancellations, &timeline).await;
    if ended.is_ok() {
        ended = stage.report(&cancellations).await;
    }
    let code = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nThe demo failed: {failure}\n\n{}", stage.log_tail());
            ExitCode::FAILURE
        }
    };
    Ok((Some(stage), code))
}

/// Ends what runs: at once, or when Ctrl-C says so.
async fn close(stage: Stage, keep: bool) {
    if keep {
        stage.invite();
        interrupted().await;
        say("");
    }
    // A second Ctrl-C does not wait for the operator.
    tokio::select! {
        () = stage.leave() => {}
        () = interrupted() => {}
    }
}

/// The operator's program.
fn operator(options: &Options) -> Result<PathBuf, Failure> {
    let program = match &options.operator {
        Some(program) => program.clone(),
        None => std::env::current_exe()
            .map_err(|error| Failure::to("find this program")(error.into()))?
            .with_file_name("fabric-job-operator"),
    };
    if program.is_file() {
        return Ok(program);
    }
    Err(Failure(format!(
        "there is no operator at {}; build it with `cargo build`, or use `make demo`",
        program.display()
    )))
}

/// Finds or builds etcd, kube-apiserver and kubectl; a build tells its own progress.
async fn tools() -> Result<Tools, Failure> {
    tokio::task::spawn_blocking(ControlPlane::available)
        .await
        .expect("looking for the tools does not panic")
        .map_err(|error| Failure::to("get a control plane")(error.into()))
}

/// All YAML files of a folder, in kubectl's order.
fn read(folder: &Path) -> Result<Manifests, Failure> {
    let failed = || Failure::to(format!("read the YAML files of {}", folder.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| failed()(error.into()))? {
        files.push(entry.map_err(|error| failed()(error.into()))?.path());
    }
    files.retain(|file| file.extension().is_some_and(|e| e == "yaml" || e == "yml"));
    files.sort();
    let mut yaml = String::new();
    for file in files {
        yaml.push_str("---\n");
        yaml.push_str(&std::fs::read_to_string(&file).map_err(|error| failed()(error.into()))?);
        yaml.push('\n');
    }
    Manifests::read(&yaml).map_err(|error| failed()(error.into()))
}

/// Resolves on Ctrl-C and SIGTERM.
async fn interrupted() {
    let next = |kind| async move {
        match signal(kind) {
            Ok(mut signals) => {
                signals.recv().await;
            }
            // Without a handler the signal ends the process, and the kernel ends its children.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = next(SignalKind::interrupt()) => {}
        () = next(SignalKind::terminate()) => {}
    }
}
