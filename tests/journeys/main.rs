//! Journeys on the real bench: etcd and kube-apiserver, the simulated Fabric over a socket, the
//! operator as a process under its own ClusterRole. Each journey is named as a sentence.

mod ends;
mod happy;
mod history;
mod invalid;
mod knobs;
mod lifecycle;
mod reasons;
mod recipes;
mod refusals;
mod rights;

use std::process::ExitCode;

use bench::{Scene, Setup};
use control_plane::{ControlPlane, Suite};

fn main() -> ExitCode {
    let suite = Suite::new().before_all(async |plane: &ControlPlane| {
        plane
            .install_crd(CRD)
            .await
            .expect("the CRD can be installed");
    });
    let suite = happy::journeys(suite);
    let suite = ends::journeys(suite);
    let suite = knobs::journeys(suite);
    let suite = refusals::journeys(suite);
    let suite = lifecycle::journeys(suite);
    let suite = invalid::journeys(suite);
    let suite = recipes::journeys(suite);
    let suite = reasons::journeys(suite);
    let suite = rights::journeys(suite);
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
