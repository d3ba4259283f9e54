//! The main job, and what it costs.

use bench::{Scene, condition, reason};
use control_plane::{ControlPlane, Suite};
use fabric_simulator::Route;
use serde_json::json;

use crate::setup;

pub fn journeys(suite: Suite) -> Suite {
    suite.test(
        "a_cancellation_ends_in_cancelled_within_its_budget",
        a_cancellation_ends_in_cancelled_within_its_budget,
    )
}

async fn a_cancellation_ends_in_cancelled_within_its_budget(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup()).await;
    scene.cancel("job", json!({})).await;
    let ended = scene.wait_for_end("job", "JobCancelled").await;

    let log = scene.log();
    let told = log.lines().any(|line| {
        line.contains(r#""message":"Fabric accepted the cancel request""#)
            && line.contains(r#""name":"job""#)
    });
    assert!(told, "{log}");
    assert_eq!(condition(&ended, "Ready")["status"], "True", "{ended:#}");
    assert_eq!(reason(&ended, "Accepted"), "CancelAccepted");
    assert_eq!(condition(&ended, "Cancelled")["status"], "True");
    let status = &ended["status"];
    assert_eq!(status["attempts"], 1);
    assert_eq!(status["job"]["status"], "Cancelled");
    assert_eq!(status["identity"]["source"], "Secret");
    assert_eq!(
        status["identity"]["clientId"],
        scene.seed.client_id.as_str()
    );
    assert!(status["location"].is_string() && status["requestId"].is_string());
    assert_eq!(scene.processed(), 1);
    assert_eq!(scene.fabric.requests(Route::Job).len(), 1);

    let operator = format!(
        "system:serviceaccount:{}:fabric-job-operator",
        scene.namespace
    );
    let audit = plane
        .audit()
        .await
        .expect("the audit log")
        .by_user(&operator);
    let ours = |verb: &str| {
        audit.count(|entry| entry.resource == "fabricjobcancellations" && entry.verb == verb)
    };
    assert_eq!(ours("patch"), 3, "intent, acceptance, end");
    assert_eq!(ours("get"), 0, "no read of the resource");
    let events = audit.count(|entry| entry.resource == "events");
    assert!(events <= 2, "{events} Events");
}
