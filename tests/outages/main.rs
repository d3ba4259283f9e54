//! Journeys that kill, pause or strip the cluster itself, so each has it alone. The parts are
//! those of the other journeys.

mod apiserver;
mod replicas;
mod start;

use std::process::ExitCode;
use std::time::Duration;

use bench::Setup;
use control_plane::{ControlPlane, Suite};

const CRD: &str = include_str!("../../crds/fabricjobcancellations.yaml");

/// The longest that a journey waits for one request.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let mut suite = Suite::new().one_at_a_time();
    for journeys in [start::journeys, apiserver::journeys, replicas::journeys] {
        suite = journeys(suite);
    }
    suite.run()
}

/// A scene's setup with the operator under test.
fn setup() -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_fabric-job-operator"))
}

/// The state in which a journey finds the cluster, whatever the one before it left behind.
async fn install_crd(plane: &ControlPlane) {
    if plane.pids().len() < 2 {
        plane.restart_apiserver().await.expect("it comes back");
    }
    plane
        .install_crd(CRD)
        .await
        .expect("the CRD can be installed");
}
