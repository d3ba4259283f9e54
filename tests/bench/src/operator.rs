//! The operator as a process.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How to start the operator.
#[derive(Clone, Debug)]
pub struct OperatorOptions {
    /// The program.
    pub program: PathBuf,
    /// Its kubeconfig.
    pub kubeconfig: PathBuf,
    /// Flags beside those that the bench needs.
    pub arguments: Vec<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
}

/// A running operator; ends when it is dropped, or when the test process does.
pub struct Operator {
    child: Child,
    log: PathBuf,
    _folder: TempDir,
}

impl Operator {
    /// Starts the program. Its log is JSON, in a file of its own; its servers pick free ports.
    ///
    /// # Panics
    /// When it cannot be started: the test cannot go on.
    #[must_use]
    pub fn start(options: &OperatorOptions) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("operator.log");
        let file = File::create(&log).expect("the log can be created");
        let mut command = Command::new(&options.program);
        command
            .args(["run", "--log-format", "json"])
            .args(["--metrics-bind-address", "127.0.0.1:0"])
            .args(["--health-probe-bind-address", "127.0.0.1:0"])
            .args(&options.arguments)
            .env_clear()
            .env("KUBECONFIG", &options.kubeconfig)
            .env("RUST_LOG", "info,fabric_job_operator=debug")
            .env("RUST_BACKTRACE", "1")
            .envs(options.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the log can be shared"))
            .stderr(file);
        let child = control_plane::spawn_tethered(command).unwrap_or_else(|error| {
            panic!("failed to start {}: {error}", options.program.display())
        });
        Self {
            child,
            log,
            _folder: folder,
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .expect("the operator can be waited for")
    }

    /// Everything it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        let mut text = String::new();
        File::open(&self.log)
            .and_then(|mut file| file.read_to_string(&mut text))
            .expect("the log can be read");
        text
    }

    /// Where the log is.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Waits until the log satisfies `enough`.
    ///
    /// # Panics
    /// When it does not within 30 s, with the log.
    pub async fn wait_for_log(&self, what: &str, enough: impl Fn(&str) -> bool) {
        within(Duration::from_secs(30), || enough(&self.log())).await;
        let log = self.log();
        assert!(enough(&log), "the operator did not log {what}:\n{log}");
    }

    /// Where the server of `flag` listens, as it logged.
    ///
    /// # Panics
    /// When it does not say so within 30 s.
    pub async fn address(&self, flag: &str) -> SocketAddr {
        let find = |log: &str| {
            log.lines().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                let named = line["flag"] == flag;
                line["listens_on"].as_str().filter(|_| named)?.parse().ok()
            })
        };
        self.wait_for_log(flag, |log| find(log).is_some()).await;
        find(&self.log()).expect("it was just found")
    }

    /// `GET path` from the server of `flag`: status and body.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn get(&self, flag: &str, path: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let address = self.address(flag).await;
        let mut stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("the operator's server answers");
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the request can be sent");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .await
            .expect("the answer can be read");
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.expect("an HTTP status"), body.to_owned())
    }

    /// Waits until `/readyz` says so.
    ///
    /// # Panics
    /// When it does not within 30 s, with the log.
    pub async fn ready(&self) {
        self.wait_for_log("that it is ready", |log| {
            log.contains("watching FabricJobCancellations")
        })
        .await;
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn kill(&mut self) {
        self.child.kill().expect("the operator can be killed");
        self.child.wait().expect("the operator can be waited for");
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the operator can be signalled");
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Panics
    /// When it has not ended within 40 s.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it has not ended within 40 s.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        within(Duration::from_secs(40), || {
            status = self.exit_status();
            status.is_some()
        })
        .await;
        status.unwrap_or_else(|| panic!("the operator did not end:\n{}", self.log()))
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            eprintln!("--- the operator's log, its end ---");
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// Waits until `done`, or until `limit` is over: a file and a process cannot be awaited.
async fn within(limit: Duration, mut done: impl FnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        while !done() {
            tick.tick().await;
        }
    };
    let _ = tokio::time::timeout(limit, waiting).await;
}
