//! Journeys on the real bench: etcd and kube-apiserver, the simulated Fabric over a socket, the
//! operator as a process under its own ClusterRole. Each journey is named as a sentence.

mod answers;
mod clocks;
mod crashes;
mod ends;
mod happy;
mod history;
mod invalid;
mod knobs;
mod large;
mod lifecycle;
mod pressure;
mod reasons;
mod recipes;
mod refusals;
mod rights;
mod stale;
mod throttling;
mod tokens;

use std::process::ExitCode;
use std::time::Duration;

use bench::{Scene, Setup};
use control_plane::{ControlPlane, Suite};

/// The longest that a journey waits for one request.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    // Journeys mostly wait.
    let mut suite = Suite::new()
        .at_once(6)
        .before_all(async |plane: &ControlPlane| {
            plane
                .install_crd(CRD)
                .await
                .expect("the CRD can be installed");
        });
    for journeys in [
        happy::journeys,
        ends::journeys,
        knobs::journeys,
        refusals::journeys,
        lifecycle::journeys,
        invalid::journeys,
        crashes::journeys,
        throttling::journeys,
        stale::journeys,
        tokens::journeys,
        answers::journeys,
        clocks::journeys,
        pressure::journeys,
        recipes::journeys,
        reasons::journeys,
        rights::journeys,
        // These need the machine most, so they run when little else does.
        large::journeys,
    ] {
        suite = journeys(suite);
    }
    suite.run()
}

/// The CRD as it is installed.
const CRD: &str = include_str!("../../crds/fabricjobcancellations.yaml");

/// A scene's setup with the operator under test.
fn setup() -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_fabric-job-operator"))
}

/// Who the scene's operator is for the API server.
fn operator_of(scene: &Scene) -> String {
    format!(
        "system:serviceaccount:{}:fabric-job-operator",
        scene.namespace
    )
}

/// How often the scene's operator has written to one cancellation.
async fn patched(plane: &ControlPlane, scene: &Scene, name: &str) -> usize {
    let audit = plane.audit().await.expect("the audit log");
    audit.by_user(&operator_of(scene)).count(|entry| {
        entry.resource == "fabricjobcancellations" && entry.verb == "patch" && entry.name == name
    })
}
