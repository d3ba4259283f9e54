//! The real kubectl, heard while it speaks.

use std::path::Path;
use std::process::Stdio;

use control_plane::ControlPlane;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use super::Failure;

/// A running `kubectl apply`, line by line.
pub(super) struct Apply {
    child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Apply {
    pub(super) fn start(plane: &ControlPlane, folder: &Path) -> Result<Self, Failure> {
        let mut command = tokio::process::Command::from(plane.kubectl());
        command.args(["apply", "-f"]).arg(folder);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.kill_on_drop(true).spawn();
        let mut child = child.map_err(|error| Failure::to("start kubectl")(error.into()))?;
        let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        Ok(Self { child, lines })
    }

    /// Whether it may say more.
    pub(super) fn is_running(&self) -> bool {
        self.lines.is_some()
    }

    /// What it says next; `None` once it has ended well.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Failure> {
        let failed = |error: std::io::Error| Failure::to("run kubectl apply")(error.into());
        if let Some(lines) = &mut self.lines
            && let Some(line) = lines.next_line().await.map_err(failed)?
        {
            return Ok(Some(line));
        }
        self.lines = None;
        let mut complaint = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr
                .read_to_string(&mut complaint)
                .await
                .map_err(failed)?;
        }
        let status = self.child.wait().await.map_err(failed)?;
        if status.success() {
            return Ok(None);
        }
        let complaint = complaint.trim_end();
        Err(Failure(format!(
            "kubectl apply failed ({status}):\n{complaint}"
        )))
    }
}
