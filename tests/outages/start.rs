//! The operator starts in a cluster that is not ready for it: it says so, waits, and goes on.

use bench::{Scene, journeys};
use control_plane::{ControlPlane, Suite};
use serde_json::json;

use crate::{CRD, install_crd, setup};

const FIX: &str = "fabric-job-operator crd | kubectl apply --server-side -f -";
const HEALTH: &str = "--health-probe-bind-address";

pub fn journeys(suite: Suite) -> Suite {
    journeys![suite;
        without_crd_and_credential_it_lives_names_the_command_and_gets_ready,
        an_older_crd_is_named_as_older_until_it_is_updated,
        with_the_api_server_unreachable_at_the_start_it_keeps_trying,
    ]
}

async fn without_crd_and_credential_it_lives_names_the_command_and_gets_ready(
    plane: &ControlPlane,
) {
    remove_crd(plane).await;
    let mut scene = Scene::prepare(plane, setup().without_secret()).await;
    scene.launch_operator();
    let reason = not_ready(&mut scene, "CustomResourceDefinition is missing").await;
    assert!(reason.contains(FIX), "{reason}");

    install_crd(plane).await;
    is_ready(&mut scene).await;
    scene.cancel("job", json!({})).await;
    scene.wait_for_reason("job", "CredentialsNotFound").await;
    let (status, _) = scene.operator().get(HEALTH, "/readyz").await;
    assert_eq!(status, 200, "credentials are the resource's business");
    scene.assert_nothing_leaked().await;
}

async fn an_older_crd_is_named_as_older_until_it_is_updated(plane: &ControlPlane) {
    remove_crd(plane).await;
    plane
        .install_crd(&without_request_id(CRD))
        .await
        .expect("an older CRD can be installed");
    let mut scene = Scene::prepare(plane, setup()).await;
    scene.launch_operator();
    let reason = not_ready(&mut scene, "older than this operator").await;
    assert!(reason.contains(".status.requestId"), "{reason}");
    assert!(reason.contains(FIX), "{reason}");
    scene.cancel("job", json!({})).await;
    assert!(
        scene.fabric.ledger().is_empty(),
        "nothing is done meanwhile"
    );

    install_crd(plane).await;
    is_ready(&mut scene).await;
    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert!(ended["status"]["requestId"].is_string(), "{ended:#}");
    scene.assert_nothing_leaked().await;
}

async fn with_the_api_server_unreachable_at_the_start_it_keeps_trying(plane: &ControlPlane) {
    install_crd(plane).await;
    let mut scene = Scene::prepare(plane, setup()).await;
    scene.cancel("job", json!({})).await;
    plane.kill_apiserver().expect("it can be killed");
    scene.launch_operator();
    let reason = not_ready(&mut scene, "the Kubernetes API cannot be reached").await;
    assert!(reason.contains("refused"), "{reason}");

    plane.restart_apiserver().await.expect("it comes back");
    is_ready(&mut scene).await;
    scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(scene.processed(), 1);
    scene.assert_nothing_leaked().await;
}

/// Waits until the log says that it is not ready because of `cause`; checks the probes, and
/// gives what `/readyz` says.
async fn not_ready(scene: &mut Scene, cause: &str) -> String {
    let operator = scene.operator();
    operator
        .wait_for_log(cause, |log| log.contains(cause))
        .await;
    let (alive, _) = operator.get(HEALTH, "/livez").await;
    let (ready, reason) = operator.get(HEALTH, "/readyz").await;
    assert_eq!((alive, ready), (200, 503), "{reason}");
    assert!(reason.contains(cause), "{reason}");
    reason
}

async fn is_ready(scene: &mut Scene) {
    let operator = scene.operator();
    operator.ready().await;
    let (ready, reason) = operator.get(HEALTH, "/readyz").await;
    assert_eq!(ready, 200, "{reason}");
}

async fn remove_crd(plane: &ControlPlane) {
    let name = "fabricjobcancellations.fabricjobs.dev";
    let delete = ["delete", "crd", name, "--ignore-not-found", "--wait"];
    let deleted = plane.run_kubectl(&delete).await.expect("kubectl runs");
    assert!(deleted.is_success(), "{deleted:?}");
}

/// The CRD as it was before `status.requestId` existed.
fn without_request_id(crd: &str) -> String {
    let mut crd: serde_json::Value = serde_saphyr::from_str(crd).expect("the CRD is YAML");
    let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let status = schema["properties"]["status"]["properties"].as_object_mut();
    let removed = status.expect("a status").remove("requestId");
    assert!(removed.is_some(), "there is no such field to remove");
    crd.to_string()
}
