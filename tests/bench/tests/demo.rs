//! The demo as people run it: what it shows, how it ends, and that nothing of it is left.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Output, Stdio};

use control_plane::{ControlPlane, Suite};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

fn main() -> ExitCode {
    Suite::new()
        .test(
            "the_demo_ends_in_cancelled_and_leaves_nothing",
            the_demo_ends_in_cancelled_and_leaves_nothing,
        )
        .test(
            "a_demo_that_does_not_end_in_cancelled_fails_and_says_why",
            a_demo_that_does_not_end_in_cancelled_fails_and_says_why,
        )
        .test(
            "an_operator_that_ends_by_itself_is_told_with_its_log",
            an_operator_that_ends_by_itself_is_told_with_its_log,
        )
        .test(
            "a_kept_demo_can_be_used_until_ctrl_c",
            a_kept_demo_can_be_used_until_ctrl_c,
        )
        .test(
            "ctrl_c_in_the_middle_leaves_nothing",
            ctrl_c_in_the_middle_leaves_nothing,
        )
        .run()
}

async fn the_demo_ends_in_cancelled_and_leaves_nothing(plane: &ControlPlane) {
    let demo = Demo::new(plane);
    let (code, out, err) = demo.run(&[]);
    assert_eq!(code, Some(0), "{out}\n{err}");
    // Who said what to whom, in this order.
    let told = [
        "kubectl apply -f",
        "fabricjobcancellation.fabricjobs.dev/stop-nightly-load created",
        "a token for client 2e9b6d14-85c7-4f0a-b3d1-6a7c5e8f9024",
        "stop-nightly-load  Unknown  RequestingCancellation  -",
        "/cancel  202, Retry-After: 2",
        "stop-nightly-load  Unknown  WaitingForCancellation  -",
        "200, Retry-After: 2",
        "stop-nightly-load  Unknown  WaitingForCancellation  InProgress",
        "stop-nightly-load  True  JobCancelled  Cancelled",
        "kind: FabricJobCancellation",
        "completionTime: ",
        "accepted   202 at ",
        "Location   http://127.0.0.1:",
        "identity   Secret fabric-credentials: client 2e9b6d14",
        "recorded   JobCancelled at ",
        "requests   1 cancel, ",
        "CancelAccepted ",
        "JobCancelled ",
        "Ended and removed: ",
    ];
    let mut rest = unpadded(&out);
    for line in told.map(unpadded) {
        // kubectl's own lines come when kubectl flushes them.
        if line.contains("created") {
            assert!(rest.contains(&line), "{line:?} is missing in\n{out}");
            continue;
        }
        let at = rest.find(&line);
        let at = at.unwrap_or_else(|| panic!("{line:?} is not told, or too early, in\n{out}"));
        rest.drain(..at);
    }
    assert!(!out.contains("managedFields"), "{out}");
    demo.left_nothing();
}

async fn a_demo_that_does_not_end_in_cancelled_fails_and_says_why(plane: &ControlPlane) {
    let demo = Demo::new(plane);
    let manifests = demo.folder.path().with_extension("manifests");
    std::fs::create_dir(&manifests).expect("a folder");
    for file in ["1-namespace.yaml", "3-cancellation.yaml"] {
        let sample = Path::new(bench::demo::SAMPLE).join(file);
        std::fs::copy(sample, manifests.join(file)).expect("a copy of the sample");
    }
    let folder = manifests.to_str().expect("a readable path");
    let arguments = ["--manifests", folder, "--timeout", "8"];
    let (code, out, err) = demo.run(&arguments);
    std::fs::remove_dir_all(&manifests).expect("the folder can be removed");
    assert_eq!(code, Some(1), "{out}\n{err}");
    assert!(out.contains("Unknown  CredentialsNotFound"), "{out}");
    let why = "after 8 s this has not ended: stop-nightly-load (Unknown, CredentialsNotFound";
    assert!(err.contains(why), "{err}");
    assert!(err.contains("watching FabricJobCancellations"), "{err}");
    demo.left_nothing();
}

async fn an_operator_that_ends_by_itself_is_told_with_its_log(plane: &ControlPlane) {
    let demo = Demo::new(plane);
    // A program that refuses the operator's flags, says so and ends.
    let (code, out, err) = demo.run(&["--operator", env!("CARGO_BIN_EXE_demo")]);
    assert_eq!(code, Some(1), "{out}\n{err}");
    assert!(err.contains("the operator ended by itself"), "{err}");
    assert!(err.contains("unexpected argument"), "its log: {err}");
    demo.left_nothing();
}

async fn a_kept_demo_can_be_used_until_ctrl_c(plane: &ControlPlane) {
    let demo = Demo::new(plane);
    let mut running = demo.start(&[], &[("KEEP", "1")]);
    let line = running.read_until("export KUBECONFIG=");
    let (_, kubeconfig) = line.split_once('=').expect("an assignment");
    let mut kubectl = plane.kubectl_as(Path::new(kubeconfig));
    kubectl.args(["get", "fjc", "-A", "--no-headers"]);
    let listed = plane.run(kubectl, None).await.expect("kubectl runs");
    assert!(listed.stdout.contains("JobCancelled"), "{listed:?}");
    let (code, out, err) = running.interrupt();
    assert_eq!(code, Some(0), "{out}\n{err}");
    demo.left_nothing();
}

async fn ctrl_c_in_the_middle_leaves_nothing(plane: &ControlPlane) {
    let demo = Demo::new(plane);
    let mut running = demo.start(&[], &[]);
    running.read_until("/cancel");
    let (code, out, err) = running.interrupt();
    assert_eq!(code, Some(130), "{out}\n{err}");
    assert!(out.contains("Ended and removed: "), "{out}");
    demo.left_nothing();
}

/// Where a demo runs: a folder of its own for everything temporary.
struct Demo {
    folder: TempDir,
    tools: PathBuf,
}

impl Demo {
    fn new(plane: &ControlPlane) -> Self {
        // Short: sockets below it have 107 characters at most.
        let folder = tempfile::Builder::new().prefix("demo-").tempdir();
        Self {
            folder: folder.expect("a temporary folder"),
            tools: plane.tools().folder().to_path_buf(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
        command
            .args(arguments)
            .env("TMPDIR", self.folder.path())
            .env("KUBEBUILDER_ASSETS", &self.tools)
            .env_remove("CONTROL_PLANE_KEEP")
            .env_remove("KEEP")
            // What a developer's machine may have must not disturb it.
            .env("KUBECONFIG", "/nonexistent/kubeconfig")
            .env("FABRIC_ENDPOINT", "https://nowhere.invalid");
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env(proxy, "http://127.0.0.1:9");
            command.env(proxy.to_lowercase(), "http://127.0.0.1:9");
        }
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        ended(self.command(arguments).output().expect("the demo runs"))
    }

    fn start(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the demo runs");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        Running { child, out }
    }

    /// Neither a file nor a process that knows of this demo's folder.
    fn left_nothing(&self) {
        let folder = self.folder.path();
        let left: Vec<_> = std::fs::read_dir(folder).expect("the folder").collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        let needle = folder.to_str().expect("a readable path").as_bytes();
        // Where there is no /proc the demo's own check has to do.
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let read = |file: &str| std::fs::read(process.path().join(file)).unwrap_or_default();
            let known = [read("environ"), read("cmdline")].concat();
            let is_ours = known.windows(needle.len()).any(|window| window == needle);
            let name = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            assert!(!is_ours, "still runs: {:?} {name}", process.file_name());
        }
    }
}

/// A demo whose output is read as it comes.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    /// Reads to the first line that holds `text`, and gives it.
    fn read_until(&mut self, text: &str) -> String {
        let mut before = String::new();
        loop {
            let mut line = String::new();
            let read = self.out.read_line(&mut line).expect("its output");
            assert!(read > 0, "it ended without {text:?}:\n{before}");
            if line.contains(text) {
                return line.trim().to_owned();
            }
            before.push_str(&line);
        }
    }

    /// Ctrl-C, and the end.
    fn interrupt(mut self) -> (Option<i32>, String, String) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it can be signalled");
        let mut out = String::new();
        self.out.read_to_string(&mut out).expect("its output");
        let (code, _, err) = ended(self.child.wait_with_output().expect("it ends"));
        (code, out, err)
    }
}

/// Columns are padded; how wide they are is no matter.
fn unpadded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn ended(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}
