//! Fabric's view of a job is a minute old, or says one thing here and another there.

use std::time::Duration;

use bench::{Scene, assert_not_before, condition, journeys, reason};
use control_plane::{ControlPlane, Suite};
use fabric_simulator::{Answer, JobStatus, Route, Rule};
use serde_json::json;

use crate::setup;

pub fn journeys(suite: Suite) -> Suite {
    journeys![suite;
        a_view_that_is_a_minute_old_costs_looks_and_nothing_else,
        already_completed_beside_a_stale_view_of_a_finished_job_costs_no_second_post,
        already_completed_beside_a_stale_view_of_a_cancelled_job_costs_no_second_post,
        already_completed_and_then_not_found_ends_without_a_claim,
    ]
}

async fn a_view_that_is_a_minute_old_costs_looks_and_nothing_else(plane: &ControlPlane) {
    let setup = setup().faster(20).fabric(|settings| {
        settings.view_refresh = Duration::from_secs(60);
    });
    let scene = Scene::start(plane, setup).await;
    let job = scene.another_job();
    scene.cancel_job("job", &job, json!({})).await;
    let seen = |value: &serde_json::Value| value["status"]["job"]["status"] == "InProgress";
    let stale = scene.wait("job", "a stale look", seen).await;
    assert_eq!(reason(&stale, "Ready"), "WaitingForCancellation");
    assert_eq!(condition(&stale, "Cancelled")["status"], "Unknown");

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(ended["status"]["attempts"], 1);
    assert_eq!(scene.requests(Route::Cancel, &job).len(), 1);
    let looks = scene.requests(Route::Job, &job);
    assert!((2..=3).contains(&looks.len()), "{looks:#?}");
    for pair in looks.windows(2) {
        let told = pair[0].retry_after.as_ref().expect("a countdown");
        let told: i64 = told.parse().expect("whole seconds");
        assert_not_before(&pair[1], &pair[0], told);
    }
    let writes = scene
        .audit(plane)
        .await
        .count(|entry| entry.verb == "patch");
    assert_eq!(writes, 4, "intent, acceptance, InProgress, end");
    scene.assert_nothing_leaked().await;
}

async fn already_completed_beside_a_stale_view_of_a_finished_job_costs_no_second_post(
    plane: &ControlPlane,
) {
    let ended = already_completed(plane, JobStatus::Completed, "JobAlreadyFinished").await;
    assert_eq!(condition(&ended, "Cancelled")["status"], "False");
}

async fn already_completed_beside_a_stale_view_of_a_cancelled_job_costs_no_second_post(
    plane: &ControlPlane,
) {
    let ended = already_completed(plane, JobStatus::Cancelled, "JobAlreadyCancelled").await;
    assert_eq!(condition(&ended, "Cancelled")["status"], "True");
}

async fn already_completed(
    plane: &ControlPlane,
    truth: JobStatus,
    expected: &str,
) -> serde_json::Value {
    let setup = setup().faster(20).fabric(|settings| {
        settings.view_refresh = Duration::from_secs(120);
    });
    let scene = Scene::start(plane, setup).await;
    let job = scene.another_job();
    scene.fabric.set_job_status(job.job_instance_id, truth);
    scene.cancel_job("job", &job, json!({})).await;
    let waiting = scene
        .wait("job", "NotNeeded", |resource| {
            reason(resource, "Accepted") == "NotNeeded"
        })
        .await;
    assert_eq!(condition(&waiting, "Accepted")["status"], "False");
    assert_eq!(condition(&waiting, "Cancelled")["status"], "Unknown");
    assert_eq!(reason(&waiting, "Ready"), "WaitingForCancellation");
    assert_eq!(waiting["status"]["job"]["status"], "InProgress");
    assert!(waiting["status"]["completionTime"].is_null(), "{waiting:#}");

    let ended = scene.wait_for_end("job", expected).await;
    assert_eq!(condition(&ended, "Ready")["status"], "True");
    assert_eq!(reason(&ended, "Accepted"), "NotNeeded");
    assert_eq!(ended["status"]["attempts"], 1);
    let cancels = scene.requests(Route::Cancel, &job);
    assert_eq!(cancels.len(), 1, "from there on only looks");
    assert_eq!(
        cancels[0].error_code.as_deref(),
        Some("JobAlreadyCompleted")
    );
    scene.assert_nothing_leaked().await;
    ended
}

async fn already_completed_and_then_not_found_ends_without_a_claim(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    scene
        .fabric
        .script(Rule::on(Route::Cancel).answer(Answer::job_already_completed()));
    scene.fabric.remove_job(scene.seed.job.job_instance_id);
    scene.cancel("job", json!({})).await;

    let ended = scene.wait_for_end("job", "JobAlreadyFinished").await;
    assert_eq!(condition(&ended, "Cancelled")["status"], "Unknown");
    assert_eq!(reason(&ended, "Accepted"), "NotNeeded");
    assert!(ended["status"]["job"].is_null(), "{ended:#}");
    assert_eq!((scene.cancels().len(), scene.looks().len()), (1, 1));
    scene.assert_nothing_leaked().await;
}
