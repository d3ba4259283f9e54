//! Journeys on the real bench: etcd and kube-apiserver, the simulated Fabric over a socket, the
//! operator as a process under its own ClusterRole. Each journey is named as a sentence.

mod answers;
mod clocks;
mod crashes;
mod happy;
mod stale;
mod throttling;
mod tokens;

use std::process::ExitCode;
use std::time::Duration;

use bench::Setup;
use control_plane::{ControlPlane, Suite};

/// The longest that a journey waits for one request.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    // Journeys mostly wait.
    let mut suite = Suite::new()
        .at_once(6)
        .before_all(async |plane: &ControlPlane| {
            plane
                .install_crd(include_str!("../../crds/fabricjobcancellations.yaml"))
                .await
                .expect("the CRD can be installed");
        });
    for journeys in [
        happy::journeys,
        crashes::journeys,
        throttling::journeys,
        stale::journeys,
        tokens::journeys,
        answers::journeys,
        clocks::journeys,
    ] {
        suite = journeys(suite);
    }
    suite.run()
}

/// A scene's setup with the operator under test.
fn setup() -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_fabric-job-operator"))
}
