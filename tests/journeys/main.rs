//! Journeys on the real bench: etcd and kube-apiserver, the simulated Fabric over a socket, the
//! operator as a process under its own ClusterRole. Each journey is named as a sentence.

mod happy;

use std::process::ExitCode;

use bench::Setup;
use control_plane::{ControlPlane, Suite};

fn main() -> ExitCode {
    let suite = Suite::new().before_all(async |plane: &ControlPlane| {
        plane
            .install_crd(include_str!("../../crds/fabricjobcancellations.yaml"))
            .await
            .expect("the CRD can be installed");
    });
    happy::journeys(suite).run()
}

/// A scene's setup with the operator under test.
fn setup() -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_fabric-job-operator"))
}
