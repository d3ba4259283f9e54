//! The operator dies, is told to end, or loses an answer, at the worst moments.

use std::time::Duration;

use bench::{Scene, Signal, condition, journeys, reason};
use control_plane::{ControlPlane, Suite};
use fabric_simulator::{CancelEffect, HoldPoint, JobChange, JobStatus, Route, Rule};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{PATIENCE, setup};

/// An intent of unknown outcome is not looked at sooner.
const GRACE: SignedDuration = SignedDuration::from_secs(25);

pub fn journeys(suite: Suite) -> Suite {
    journeys![suite;
        killed_between_post_and_record_it_looks_after_the_grace_and_posts_no_more,
        killed_between_post_and_record_while_the_job_runs_on_it_asks_once_more,
        killed_between_intent_and_post_it_looks_first_and_then_asks,
        a_lost_answer_costs_a_look_and_no_second_post,
        a_label_edited_between_post_and_record_loses_nothing,
        told_to_end_while_an_answer_is_outstanding_it_records_it_and_ends_well,
        told_to_end_twice_it_ends_at_once_and_nothing_is_lost,
        told_to_end_while_idle_it_ends_quickly,
    ]
}

async fn killed_between_post_and_record_it_looks_after_the_grace_and_posts_no_more(
    plane: &ControlPlane,
) {
    let mut scene = Scene::start(plane, setup().faster(20)).await;
    let held = scene
        .fabric
        .script(Rule::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    scene.cancel("job", json!({})).await;
    held.wait_for_arrivals(1, PATIENCE).await.expect("a POST");
    scene.operator().kill();
    scene.start_operator().await;

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(ended["status"]["attempts"], 1);
    assert_eq!(reason(&ended, "Accepted"), "AnswerLost");
    assert_eq!(condition(&ended, "Cancelled")["status"], "True");
    assert_eq!(scene.cancels().len(), 1, "one POST in all");
    let looks = scene.looks();
    assert_eq!(looks.len(), 1);
    assert!(looks[0].time >= request_time(&ended) + GRACE, "{ended:#}");
    scene.assert_nothing_leaked().await;
}

async fn killed_between_post_and_record_while_the_job_runs_on_it_asks_once_more(
    plane: &ControlPlane,
) {
    let mut scene = Scene::start(plane, setup().faster(20)).await;
    let job = scene.seed.job.job_instance_id;
    let without_effect = JobChange {
        cancel_effect: Some(CancelEffect::Nothing),
        ..JobChange::default()
    };
    scene.fabric.change_job(job, without_effect);
    let held = scene
        .fabric
        .script(Rule::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    scene.cancel("job", json!({})).await;
    held.wait_for_arrivals(1, PATIENCE).await.expect("a POST");
    scene.operator().kill();

    let second = scene
        .fabric
        .script(Rule::on(Route::Cancel).hold(HoldPoint::BeforeProcessing));
    scene.start_operator().await;
    second
        .wait_for_arrivals(1, PATIENCE)
        .await
        .expect("a second POST");
    let asking = scene.get("job").await;
    assert_eq!(asking["status"]["attempts"], 2, "the intent comes first");
    assert_eq!(condition(&asking, "Accepted")["status"], "Unknown");
    assert_eq!(reason(&asking, "Accepted"), "AnswerLost", "{asking:#}");
    scene.fabric.set_job_status(job, JobStatus::InProgress);
    second.release();
    scene
        .wait("job", "the acceptance", |resource| {
            reason(resource, "Accepted") == "CancelAccepted"
        })
        .await;
    scene.fabric.set_job_status(job, JobStatus::Cancelled);

    scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(scene.processed(), 2, "one, and one for the crash");
    let order: Vec<_> = scene.fabric.ledger().into_iter().map(|e| e.route).collect();
    let fabric: Vec<_> = order.into_iter().filter(|r| *r != Route::Token).collect();
    assert_eq!(
        fabric[..3],
        [Route::Cancel, Route::Job, Route::Cancel],
        "looked at before it asks again"
    );
    scene.assert_nothing_leaked().await;
}

async fn killed_between_intent_and_post_it_looks_first_and_then_asks(plane: &ControlPlane) {
    let mut scene = Scene::start(plane, setup().faster(20)).await;
    let held = scene
        .fabric
        .script(Rule::on(Route::Cancel).hold(HoldPoint::BeforeProcessing));
    scene.cancel("job", json!({})).await;
    held.wait_for_arrivals(1, PATIENCE).await.expect("a POST");
    let first_intent = request_time(&scene.get("job").await);
    scene.operator().kill();
    held.drop_connections();
    scene.start_operator().await;

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(ended["status"]["attempts"], 2);
    assert_eq!(reason(&ended, "Accepted"), "CancelAccepted");
    assert_eq!(scene.processed(), 1, "the first never came as far");
    let (cancels, looks) = (scene.cancels(), scene.looks());
    assert_eq!(cancels.len(), 2);
    assert!(looks[0].time >= first_intent + GRACE);
    assert!(looks[0].sequence < cancels[1].sequence, "it looks first");
    scene.assert_nothing_leaked().await;
}

async fn a_lost_answer_costs_a_look_and_no_second_post(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    scene
        .fabric
        .script(Rule::on(Route::Cancel).drop_after_processing());
    scene.cancel("job", json!({})).await;

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(ended["status"]["attempts"], 1);
    assert_eq!(reason(&ended, "Accepted"), "AnswerLost");
    assert_eq!(condition(&ended, "Accepted")["status"], "Unknown");
    assert!(
        ended["status"]["lastError"]["code"].is_string(),
        "{ended:#}"
    );
    assert_eq!((scene.cancels().len(), scene.looks().len()), (1, 1));
    scene.assert_nothing_leaked().await;
}

async fn a_label_edited_between_post_and_record_loses_nothing(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup()).await;
    let held = scene
        .fabric
        .script(Rule::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    scene.cancel("job", json!({})).await;
    held.wait_for_arrivals(1, PATIENCE).await.expect("a POST");
    let label = json!({ "metadata": { "labels": { "team": "b" } } });
    scene.edit("job", label).await;
    held.release();

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(ended["metadata"]["labels"]["team"], "b");
    assert_eq!(ended["status"]["attempts"], 1);
    assert!(ended["status"]["acceptedTime"].is_string(), "{ended:#}");
    assert!(ended["status"]["location"].is_string(), "{ended:#}");
    assert_eq!(scene.cancels().len(), 1);
    let audit = scene.audit(plane).await;
    let conflicts = audit.count(|entry| entry.verb == "patch" && entry.code == Some(409));
    let stored = audit.count(|entry| entry.verb == "patch" && entry.code == Some(200));
    let reads = audit.count(|entry| entry.verb == "get");
    assert_eq!((conflicts, stored, reads), (1, 3, 1), "{audit}");
    scene.assert_nothing_leaked().await;
}

async fn told_to_end_while_an_answer_is_outstanding_it_records_it_and_ends_well(
    plane: &ControlPlane,
) {
    let mut scene = Scene::start(plane, setup()).await;
    let held = scene
        .fabric
        .script(Rule::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    scene.cancel("job", json!({})).await;
    held.wait_for_arrivals(1, PATIENCE).await.expect("a POST");
    scene
        .cancel_job("later", &scene.another_job(), json!({"suspend": true}))
        .await;
    scene.operator().signal(Signal::TERM);
    is_shutting_down(&mut scene).await;
    let (status, text) = probe(&mut scene, "/readyz").await;
    assert_eq!(
        (status, text.contains("shutting down")),
        (503, true),
        "{text}"
    );
    held.release();

    let status = scene.operator().ended().await;
    assert_eq!(status.code(), Some(0), "{}", scene.log());
    let recorded = scene.get("job").await;
    assert!(
        recorded["status"]["acceptedTime"].is_string(),
        "{recorded:#}"
    );
    assert!(
        recorded["status"]["completionTime"].is_null(),
        "{recorded:#}"
    );

    scene.start_operator().await;
    scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(scene.cancels().len(), 1);
    scene.assert_nothing_leaked().await;
}

async fn told_to_end_twice_it_ends_at_once_and_nothing_is_lost(plane: &ControlPlane) {
    let mut scene = Scene::start(plane, setup().faster(20)).await;
    let held = scene
        .fabric
        .script(Rule::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    scene.cancel("job", json!({})).await;
    held.wait_for_arrivals(1, PATIENCE).await.expect("a POST");
    scene.operator().signal(Signal::TERM);
    is_shutting_down(&mut scene).await;

    // The answer is still held: it ends nevertheless.
    let status = scene.operator().terminate().await;
    assert_eq!(status.code(), Some(1), "{}", scene.log());
    assert!(scene.log().contains("a second signal (SIGTERM)"));

    scene.start_operator().await;
    scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(scene.cancels().len(), 1);
    scene.assert_nothing_leaked().await;
}

async fn told_to_end_while_idle_it_ends_quickly(plane: &ControlPlane) {
    let mut scene = Scene::start(plane, setup()).await;
    // One that waits for long, and an end: neither holds it up.
    scene.cancel("suspended", json!({ "suspend": true })).await;
    let ended = tokio::time::timeout(Duration::from_secs(5), scene.operator().terminate()).await;
    let status = ended.expect("it ends within 5 s");
    assert_eq!(status.code(), Some(0), "{}", scene.log());
    assert!(scene.cancels().is_empty());
    scene.assert_nothing_leaked().await;
}

async fn is_shutting_down(scene: &mut Scene) {
    scene
        .operator()
        .wait_for_log("that it shuts down", |log| log.contains("shutting down"))
        .await;
}

async fn probe(scene: &mut Scene, path: &str) -> (u16, String) {
    let flag = "--health-probe-bind-address";
    scene.operator().get(flag, path).await
}

fn request_time(resource: &Value) -> Timestamp {
    let time = resource["status"]["requestTime"].as_str();
    time.expect("an intent was stored")
        .parse()
        .expect("a time of RFC 3339")
}
