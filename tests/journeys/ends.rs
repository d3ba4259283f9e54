//! Every way in which a cancellation ends.

use std::time::Duration;

use bench::{Scene, condition, reason};
use control_plane::{ControlPlane, Suite};
use fabric_simulator::{
    Access, Answer, CancelEffect, Entry, JobRef, JobSpec, JobStatus, Route, Rule,
};
use serde_json::{Value, json};

use crate::history::{History, event};
use crate::{patched, setup};

pub fn journeys(suite: Suite) -> Suite {
    suite
        .test(
            "a_job_that_somebody_else_cancelled_was_already_cancelled",
            a_job_that_somebody_else_cancelled_was_already_cancelled,
        )
        .test(
            "a_job_that_was_over_before_counts_as_the_policy_says",
            a_job_that_was_over_before_counts_as_the_policy_says,
        )
        .test(
            "an_accepted_job_that_ends_otherwise_counts_as_the_policy_says",
            an_accepted_job_that_ends_otherwise_counts_as_the_policy_says,
        )
        .test(
            "an_unknown_job_is_believed_after_a_second_look_a_minute_later",
            an_unknown_job_is_believed_after_a_second_look_a_minute_later,
        )
        .test(
            "a_request_that_fabric_rejects_for_good_ends_at_once",
            a_request_that_fabric_rejects_for_good_ends_at_once,
        )
        .test(
            "the_deadline_ends_what_fabric_does_not",
            the_deadline_ends_what_fabric_does_not,
        )
}

async fn a_job_that_somebody_else_cancelled_was_already_cancelled(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup()).await;
    let history = History::of(&scene).await;
    let job = scene.seed.job.job_instance_id;
    scene.fabric.set_job_status(job, JobStatus::Cancelled);
    scene.cancel("job", json!({})).await;
    let ended = scene.wait_for_end("job", "JobAlreadyCancelled").await;

    assert_eq!(condition(&ended, "Ready")["status"], "True");
    assert_eq!(condition(&ended, "Accepted")["status"], "False");
    assert_eq!(reason(&ended, "Accepted"), "NotNeeded");
    assert_eq!(condition(&ended, "Cancelled")["status"], "True");
    assert_eq!(ended["status"]["attempts"], 1);
    assert_eq!(scene.processed(), 0);
    let ready = history.reasons(&ended, "Ready").await;
    assert_eq!(ready, ["RequestingCancellation", "JobAlreadyCancelled"]);
    assert_eq!(patched(plane, &scene, "job").await, 2, "intent and end");
    assert_eq!(
        event(&scene, "job", "JobAlreadyCancelled").await.0,
        "Normal"
    );
}

async fn a_job_that_was_over_before_counts_as_the_policy_says(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup()).await;
    let history = History::of(&scene).await;
    for (policy, status, ready) in [
        ("Succeed", JobStatus::Completed, "True"),
        ("Fail", JobStatus::Failed, "False"),
    ] {
        let name = policy.to_lowercase();
        let job = job_that(&scene, |job| job.status = status.clone());
        scene
            .cancel_job(&name, &job, json!({ "finishedJobPolicy": policy }))
            .await;
        let ended = scene.wait_for_end(&name, "JobAlreadyFinished").await;
        assert_eq!(condition(&ended, "Ready")["status"], ready);
        assert_eq!(reason(&ended, "Accepted"), "NotNeeded");
        assert_eq!(condition(&ended, "Cancelled")["status"], "False");
        says(
            &ended,
            "Ready",
            &["finishedJobPolicy", policy, text(&status)],
        );
        assert_eq!(scene.fabric.processed_cancels(job.job_instance_id), 0);
        history.up_to(&ended).await;
        let kind = event(&scene, &name, "JobAlreadyFinished").await.0;
        assert_eq!(kind == "Warning", ready == "False");
    }
}

async fn an_accepted_job_that_ends_otherwise_counts_as_the_policy_says(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup()).await;
    let history = History::of(&scene).await;
    let statuses = [JobStatus::Completed, JobStatus::Failed, JobStatus::Deduped];
    let mut rows = Vec::new();
    for status in statuses {
        for (policy, ready) in [("Succeed", "True"), ("Fail", "False")] {
            let name = format!("{}-{policy}", text(&status)).to_lowercase();
            let job = job_that(&scene, |job| {
                job.cancel_effect = CancelEffect::Ends(status.clone());
            });
            let more = json!({ "finishedJobPolicy": policy });
            scene.cancel_job(&name, &job, more).await;
            rows.push((name, status.clone(), ready, job));
        }
    }
    for (name, status, ready, job) in rows {
        let ended = scene.wait_for_end(&name, "JobEndedOtherwise").await;
        assert_eq!(condition(&ended, "Ready")["status"], ready, "{name}");
        assert_eq!(reason(&ended, "Accepted"), "CancelAccepted");
        assert_eq!(condition(&ended, "Cancelled")["status"], "False");
        assert_eq!(ended["status"]["job"]["status"], text(&status));
        let failed = status == JobStatus::Failed;
        assert_eq!(ended["status"]["job"]["failureReason"].is_object(), failed);
        says(&ended, "Ready", &["finishedJobPolicy", text(&status)]);
        assert_eq!(scene.fabric.processed_cancels(job.job_instance_id), 1);
        history.up_to(&ended).await;
    }
}

async fn an_unknown_job_is_believed_after_a_second_look_a_minute_later(plane: &ControlPlane) {
    let scene = Scene::start(
        plane,
        setup()
            .faster(20)
            .fabric(|fabric| fabric.accepted_retry_after = Some(Duration::from_secs(30))),
    )
    .await;
    let history = History::of(&scene).await;
    let forgotten = scene.another_job();
    let slow = json!({ "missingJobPolicy": "Fail" });
    scene.fabric.change_job(forgotten.job_instance_id, stuck());
    scene.cancel_job("forgotten", &forgotten, slow).await;
    scene
        .wait_for_reason("forgotten", "WaitingForCancellation")
        .await;
    scene.fabric.remove_job(forgotten.job_instance_id);

    let mut rows = vec![("forgotten", forgotten, "False", "True", 3)];
    for (name, policy, ready) in [("fail", "Fail", "False"), ("succeed", "Succeed", "True")] {
        let job = scene.another_job();
        scene.fabric.remove_job(job.job_instance_id);
        let more = json!({ "missingJobPolicy": policy });
        scene.cancel_job(name, &job, more).await;
        rows.push((name, job, ready, "False", 2));
    }
    for (name, job, ready, accepted, requests) in rows {
        let once = scene.wait_for_reason(name, "JobNotFound").await;
        if once["status"]["completionTime"].is_null() {
            assert_eq!(condition(&once, "Ready")["status"], "Unknown");
        }
        let ended = scene.wait_for_end(name, "JobNotFound").await;
        assert_eq!(condition(&ended, "Ready")["status"], ready, "{name}");
        assert_eq!(condition(&ended, "Accepted")["status"], accepted);
        assert_eq!(condition(&ended, "Cancelled")["status"], "Unknown");
        says(
            &ended,
            "Ready",
            &["missingJobPolicy", "Check the three ids"],
        );
        assert_eq!(ended["status"]["lastError"]["code"], "JobInstanceNotFound");
        let editions = history.up_to(&ended).await;
        let between = |edition: &&Value| {
            reason(edition, "Ready") == "JobNotFound"
                && condition(edition, "Ready")["status"] == "Unknown"
        };
        assert_eq!(editions.iter().filter(between).count(), 1, "{name}");

        let calls = calls_for(&scene, &job);
        assert_eq!(calls.len(), requests, "{calls:#?}");
        assert_eq!(calls[0].route, Route::Cancel);
        assert!(calls[1..].iter().all(|call| call.route == Route::Job));
        let missing: Vec<_> = calls
            .iter()
            .filter(|call| call.error_code.as_deref() == Some("JobInstanceNotFound"))
            .collect();
        assert_eq!(missing.len(), 2);
        let apart = missing[1].time.duration_since(missing[0].time);
        assert!(apart.as_secs() >= 59, "{name}: {apart} apart");
    }
    assert!(
        scene.get("forgotten").await["status"]["conditions"]
            .to_string()
            .contains("had accepted the cancel request before")
    );
}

async fn a_request_that_fabric_rejects_for_good_ends_at_once(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup()).await;
    let history = History::of(&scene).await;
    for (name, code) in [
        ("unsupported", "OperationNotSupportedForItem"),
        ("input", "InvalidInput"),
    ] {
        let job = scene.another_job();
        scene.fabric.script(
            Rule::on(Route::Cancel)
                .job(job.job_instance_id)
                .until_removed()
                .answer(Answer::error(400, code)),
        );
        scene.cancel_job(name, &job, json!({})).await;
        let ended = scene.wait_for_end(name, "RequestRejected").await;
        assert_eq!(condition(&ended, "Ready")["status"], "False");
        assert_eq!(condition(&ended, "Accepted")["status"], "False");
        assert_eq!(condition(&ended, "Cancelled")["status"], "Unknown");
        says(&ended, "Ready", &[code, "status.lastError", "Create a new"]);
        let error = &ended["status"]["lastError"];
        assert_eq!(error["code"], code);
        assert_eq!(error["httpStatus"], 400);
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| text.contains(code))
        );
        let calls = calls_for(&scene, &job);
        assert_eq!(error["requestId"], calls[0].request_id.to_string());
        assert_eq!(calls.len(), 1, "nothing is asked after the end");
        history.up_to(&ended).await;
        assert_eq!(event(&scene, name, "RequestRejected").await.0, "Warning");
    }
}

async fn the_deadline_ends_what_fabric_does_not(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    let history = History::of(&scene).await;
    let short = || json!({ "activeDeadlineSeconds": 60 });
    let denied = scene
        .fabric
        .add_job(JobSpec::running(uuid::Uuid::new_v4(), uuid::Uuid::new_v4()));
    scene
        .fabric
        .set_default_access(denied.workspace_id, Access::Denied);
    let runs_on = job_that(&scene, |job| job.cancel_effect = CancelEffect::Nothing);
    let kept_away = job_that(&scene, |job| job.cancel_effect = CancelEffect::Nothing);
    scene.fabric.script(
        Rule::on(Route::Cancel)
            .job(kept_away.job_instance_id)
            .answer_after_processing(Answer::accepted(None, Some("86400"))),
    );
    scene.cancel_job("denied", &denied, short()).await;
    scene.cancel_job("runs-on", &runs_on, short()).await;
    scene.cancel_job("kept-away", &kept_away, short()).await;

    let ended = scene.wait_for_end("denied", "DeadlineExceeded").await;
    says(
        &ended,
        "Ready",
        &[
            "nothing was cancelled by this resource",
            "PermissionDenied: ",
            "Contributor",
        ],
    );
    assert_eq!(condition(&ended, "Accepted")["status"], "False");
    assert_eq!(reason(&ended, "Accepted"), "DeadlineExceeded");
    history.up_to(&ended).await;

    let ended = scene.wait_for_end("runs-on", "DeadlineExceeded").await;
    says(
        &ended,
        "Ready",
        &[
            "accepted the cancel request",
            "may still end",
            "Monitor hub",
        ],
    );
    assert_eq!(condition(&ended, "Ready")["status"], "False");
    assert_eq!(condition(&ended, "Accepted")["status"], "True");
    assert_eq!(condition(&ended, "Cancelled")["status"], "Unknown");
    let deadline = seconds(&ended, "startTime") + 60;
    let last = calls_for(&scene, &runs_on).pop().expect("a look");
    assert_eq!(last.route, Route::Job);
    assert!(
        last.time.as_second() >= deadline,
        "a look after the deadline"
    );
    history.up_to(&ended).await;

    let ended = scene.wait_for_end("kept-away", "DeadlineExceeded").await;
    says(&ended, "Ready", &["asked for a longer wait"]);
    assert_eq!(
        calls_for(&scene, &kept_away).len(),
        1,
        "no look before its time"
    );
    assert!(seconds(&ended, "completionTime") >= seconds(&ended, "startTime") + 60);
    history.up_to(&ended).await;
}

/// A further job of the seed's item, changed by `change`.
pub fn job_that(scene: &Scene, change: impl FnOnce(&mut JobSpec)) -> JobRef {
    let JobRef {
        workspace_id,
        item_id,
        ..
    } = scene.seed.job;
    let mut spec = JobSpec::running(workspace_id, item_id);
    change(&mut spec);
    scene.fabric.add_job(spec)
}

/// A job that a cancel does not end.
pub fn stuck() -> fabric_simulator::JobChange {
    fabric_simulator::JobChange {
        cancel_effect: Some(CancelEffect::Nothing),
        ..Default::default()
    }
}

/// The calls to Fabric for one job, in order.
pub fn calls_for(scene: &Scene, job: &JobRef) -> Vec<Entry> {
    let id = job.job_instance_id.to_string();
    let ours = |call: &Entry| call.job_instance_id.as_deref() == Some(&id);
    scene.fabric.ledger().into_iter().filter(ours).collect()
}

/// Checks that a condition's message says all of this.
pub fn says(resource: &Value, type_: &str, parts: &[&str]) {
    let message = condition(resource, type_)["message"].as_str().unwrap_or("");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

/// A time of the status, in seconds.
pub fn seconds(resource: &Value, field: &str) -> i64 {
    let time = resource["status"][field].as_str().expect("a time");
    let time: jiff::Timestamp = time.parse().expect("a valid time");
    time.as_second()
}

fn text(status: &JobStatus) -> &'static str {
    match status {
        JobStatus::Completed => "Completed",
        JobStatus::Failed => "Failed",
        JobStatus::Deduped => "Deduped",
        other => panic!("{other:?} is no end of these journeys"),
    }
}
