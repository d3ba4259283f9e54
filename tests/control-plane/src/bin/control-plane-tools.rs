//! Finds or builds etcd, kube-apiserver and kubectl, and prints the folder that they are in.

use std::process::ExitCode;

use control_plane::ControlPlane;

fn main() -> ExitCode {
    match ControlPlane::available() {
        Ok(tools) => {
            println!("{}", tools.folder().display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
