//! What is built before the curtain rises.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use control_plane::{ControlPlane, Tools};
use serde_json::Value;

use super::Failure;
use super::timeline::say;

/// Builds the operator and says where it is. Cargo shows its own progress.
pub(super) async fn operator() -> Result<PathBuf, Failure> {
    say("Building the operator (some minutes the first time) ...");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = tokio::process::Command::new(cargo)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .args(["build", "--package", "fabric-job-operator", "--bins"])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| Failure::to("run cargo build")(error.into()))?;
    if !output.status.success() {
        return Err(Failure(
            "cargo build failed; its messages are above".to_owned(),
        ));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| {
            let is_it = message["target"]["name"] == "fabric-job-operator";
            message["executable"]
                .as_str()
                .filter(|_| is_it)
                .map(PathBuf::from)
        })
        .ok_or_else(|| Failure("cargo build named no program fabric-job-operator".to_owned()))
}

/// Finds or builds etcd, kube-apiserver and kubectl; a build shows its own progress.
pub(super) async fn tools() -> Result<Tools, Failure> {
    tokio::task::spawn_blocking(ControlPlane::available)
        .await
        .expect("looking for the tools does not panic")
        .map_err(|error| Failure::to("get a control plane")(error.into()))
}
