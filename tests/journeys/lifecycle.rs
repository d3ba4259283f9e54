//! Deleted, created again, copied, restored, applied twice, relabelled: nothing is lost, nothing
//! is asked twice, nothing is written for nothing.

use std::time::Duration;

use bench::{Scene, condition, reason};
use control_plane::{ControlPlane, Suite};
use fabric_simulator::{CancelEffect, FailureReason, HoldPoint, JobChange, JobStatus, Route, Rule};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::ends::{calls_for, job_that, stuck};
use crate::history::History;
use crate::{operator_of, patched, setup};

const SOON: Duration = Duration::from_secs(30);

pub fn journeys(suite: Suite) -> Suite {
    suite
        .test(
            "deleted_before_the_request_nothing_is_cancelled",
            deleted_before_the_request_nothing_is_cancelled,
        )
        .test(
            "deleted_after_the_request_the_operator_stops_watching",
            deleted_after_the_request_the_operator_stops_watching,
        )
        .test(
            "created_again_or_copied_it_finds_the_job_already_cancelled",
            created_again_or_copied_it_finds_the_job_already_cancelled,
        )
        .test(
            "a_restored_end_stays_and_a_restored_beginning_goes_on",
            a_restored_end_stays_and_a_restored_beginning_goes_on,
        )
        .test(
            "two_resources_for_one_job_reach_the_same_truth",
            two_resources_for_one_job_reach_the_same_truth,
        )
        .test(
            "applied_again_and_relabelled_it_costs_nothing",
            applied_again_and_relabelled_it_costs_nothing,
        )
        .test(
            "an_unknown_status_is_shown_as_it_is_and_costs_looks_alone",
            an_unknown_status_is_shown_as_it_is_and_costs_looks_alone,
        )
        .test(
            "a_suspicious_failure_is_looked_at_again",
            a_suspicious_failure_is_looked_at_again,
        )
}

async fn deleted_before_the_request_nothing_is_cancelled(plane: &ControlPlane) {
    let mut scene = Scene::start(plane, setup()).await;
    let held = scene
        .fabric
        .script(Rule::on(Route::Token).hold(HoldPoint::BeforeProcessing));
    scene.cancel("job", json!({})).await;
    held.wait_for_arrivals(1, SOON)
        .await
        .expect("a token request");
    delete(&scene, "job").await;
    held.release();
    scene
        .fabric
        .wait_for(SOON, |call| call.route == Route::Token && call.processed)
        .await
        .expect("the token is given out");
    // Another one that goes all the way shows that the first one's visit had time to go on.
    let other = scene.another_job();
    scene.cancel_job("other", &other, json!({})).await;
    scene.wait_for_end("other", "JobCancelled").await;
    let ended = scene.operator().terminate().await;
    assert!(ended.success(), "what was begun is finished first");
    assert!(calls_for(&scene, &scene.seed.job).is_empty(), "no request");
    no_complaints(&mut scene);
}

async fn deleted_after_the_request_the_operator_stops_watching(plane: &ControlPlane) {
    let slow = |fabric: &mut fabric_simulator::Settings| {
        fabric.accepted_retry_after = Some(Duration::from_secs(20));
        fabric.cancel_takes = Duration::from_secs(15);
    };
    let mut scene = Scene::start(plane, setup().faster(20).fabric(slow)).await;
    scene.cancel("job", json!({})).await;
    scene.wait_for_reason("job", "WaitingForCancellation").await;
    delete(&scene, "job").await;
    // A later one that goes all the way shows that the time for the first one's look is over.
    let other = scene.another_job();
    scene.cancel_job("other", &other, json!({})).await;
    scene.wait_for_end("other", "JobCancelled").await;
    assert_eq!(calls_for(&scene, &scene.seed.job).len(), 1, "no look");
    assert_eq!(scene.processed(), 1);
    let job = scene.seed.job.job_instance_id;
    let job = scene.fabric.job(job).expect("the job");
    assert_eq!(job.status, JobStatus::Cancelled, "Fabric goes on");
    no_complaints(&mut scene);
}

async fn created_again_or_copied_it_finds_the_job_already_cancelled(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup()).await;
    let history = History::of(&scene).await;
    scene.cancel("job", json!({ "comment": "first" })).await;
    let first = scene.wait_for_end("job", "JobCancelled").await;
    let read = plane
        .run_kubectl(&["get", "fjc", "job", "-n", &scene.namespace, "-o", "json"])
        .await
        .expect("kubectl runs");
    delete(&scene, "job").await;
    scene.cancel("job", json!({})).await;
    let again = scene.wait_for_end("job", "JobAlreadyCancelled").await;
    assert_ne!(first["metadata"]["uid"], again["metadata"]["uid"]);
    assert_eq!(again["status"]["attempts"], 1);
    assert!(again["status"]["acceptedTime"].is_null());
    assert_eq!(history.up_to(&again).await[0]["status"]["attempts"], 0);

    let mut copy: Value = serde_json::from_str(&read.stdout).expect("JSON");
    assert!(copy["status"]["completionTime"].is_string());
    copy["metadata"] = json!({ "name": "copy", "namespace": scene.namespace });
    plane
        .apply(&copy.to_string())
        .await
        .expect("it can be copied");
    let copied = scene.wait_for_end("copy", "JobAlreadyCancelled").await;
    assert_eq!(copied["spec"]["comment"], "first");
    history.up_to(&copied).await;
    assert_eq!(scene.processed(), 1);
    let audit = plane.audit().await.expect("the audit log");
    let writes = audit.by_user(&operator_of(&scene));
    let refused = writes.only(|entry| entry.verb == "patch" && entry.code != Some(200));
    assert!(
        refused.iter().all(|entry| entry.resource == "events"),
        "{refused}"
    );
}

async fn a_restored_end_stays_and_a_restored_beginning_goes_on(plane: &ControlPlane) {
    let mut scene = Scene::prepare(plane, setup().faster(20)).await;
    let history = History::of(&scene).await;
    let now = scene.fabric.clock().now();
    let ago = |minutes: i64| {
        let time = now - jiff::SignedDuration::from_mins(minutes);
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let conditions = |ready: [&str; 2], accepted: [&str; 2]| {
        let one = |type_: &str, [status, reason]: [&str; 2]| {
            json!({ "type": type_, "status": status, "reason": reason, "message": "Restored.",
                "observedGeneration": 1, "lastTransitionTime": ago(30) })
        };
        let mut all = vec![one("Ready", ready)];
        if ready[0] == "Unknown" {
            all.push(one("Reconciling", ["True", ready[1]]));
        }
        all.push(one("Accepted", accepted));
        let cancelled = if accepted[0] == "True" {
            "WaitingForCancellation"
        } else {
            "Pending"
        };
        all.push(match ready[0] {
            "True" => one("Cancelled", ["True", "JobCancelled"]),
            _ => one("Cancelled", ["Unknown", cancelled]),
        });
        all
    };
    let long = || json!({ "activeDeadlineSeconds": 86_400 });
    // Its job runs, whatever the status says: what is stored as ended is evidence, not a wish.
    scene.cancel("ended", json!({})).await;
    restore(
        &scene,
        "ended",
        json!({
            "observedGeneration": 1, "attempts": 1, "startTime": ago(31), "requestTime": ago(31),
            "acceptedTime": ago(31), "completionTime": ago(30), "job": { "status": "Cancelled" },
            "conditions": conditions(["True", "JobCancelled"], ["True", "CancelAccepted"]),
        }),
    )
    .await;
    let open = scene.another_job();
    scene.cancel_job("open", &open, long()).await;
    restore(
        &scene,
        "open",
        json!({
            "observedGeneration": 1, "attempts": 1, "startTime": ago(30), "requestTime": ago(30),
            "conditions": conditions(["Unknown", "RequestingCancellation"], ["Unknown", "Pending"]),
        }),
    )
    .await;
    let over = scene.another_job();
    scene
        .fabric
        .set_job_status(over.job_instance_id, JobStatus::Cancelled);
    let lost = scene.another_job();
    for (name, job) in [("over", over), ("lost", lost)] {
        scene.cancel_job(name, &job, long()).await;
        restore(&scene, name, json!({
            "observedGeneration": 1, "attempts": 1, "startTime": ago(30), "requestTime": ago(30),
            "acceptedTime": ago(30),
            "conditions": conditions(
                ["Unknown", "WaitingForCancellation"], ["True", "CancelAccepted"]),
        })).await;
    }
    scene.start_operator().await;

    let went_on = scene.wait_for_end("open", "JobCancelled").await;
    assert_eq!(went_on["status"]["attempts"], 2);
    let calls = calls_for(&scene, &open);
    assert_eq!(
        calls[0].route,
        Route::Job,
        "the open attempt is looked at first"
    );
    history.up_to(&went_on).await;

    let looked = scene.wait_for_end("over", "JobCancelled").await;
    assert_eq!(looked["status"]["attempts"], 1);
    assert_eq!(scene.fabric.processed_cancels(over.job_instance_id), 0);
    history.up_to(&looked).await;

    let repeated = scene.wait_for_end("lost", "JobCancelled").await;
    assert_eq!(
        repeated["status"]["attempts"], 2,
        "a lost request is repeated"
    );
    let calls = calls_for(&scene, &lost);
    assert_eq!(
        calls
            .iter()
            .filter(|call| call.route == Route::Cancel)
            .count(),
        1
    );
    assert!(calls[..2].iter().all(|call| call.route == Route::Job));
    history.up_to(&repeated).await;

    assert!(
        calls_for(&scene, &scene.seed.job).is_empty(),
        "nothing is asked"
    );
    assert_eq!(
        patched(plane, &scene, "ended").await,
        0,
        "nothing is written"
    );
}

async fn two_resources_for_one_job_reach_the_same_truth(plane: &ControlPlane) {
    let slow = |fabric: &mut fabric_simulator::Settings| {
        fabric.cancel_takes = Duration::from_secs(20);
    };
    let scene = Scene::start(plane, setup().faster(20).fabric(slow)).await;
    let history = History::of(&scene).await;
    let (one, two) = tokio::join!(
        scene.cancel("one", json!({})),
        scene.cancel("two", json!({}))
    );
    assert_ne!(one.metadata.uid, two.metadata.uid);
    for name in ["one", "two"] {
        let ended = scene.wait_for_end(name, "JobCancelled").await;
        assert_eq!(condition(&ended, "Cancelled")["status"], "True");
        assert_eq!(ended["status"]["job"]["status"], "Cancelled");
        history.up_to(&ended).await;
    }
    // A third one comes late: the same truth, seen as what it is.
    scene.cancel("three", json!({})).await;
    let late = scene.wait_for_end("three", "JobAlreadyCancelled").await;
    assert_eq!(condition(&late, "Cancelled")["status"], "True");
}

async fn applied_again_and_relabelled_it_costs_nothing(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    let running = job_that(&scene, |job| job.cancel_effect = CancelEffect::Nothing);
    let manifest = json!({
        "apiVersion": "fabricjobs.dev/v1alpha1", "kind": "FabricJobCancellation",
        "metadata": { "name": "running", "namespace": scene.namespace },
        "spec": { "workspaceId": running.workspace_id, "itemId": running.item_id,
            "jobInstanceId": running.job_instance_id },
    })
    .to_string();
    scene.fabric.script(
        Rule::on(Route::Cancel)
            .job(running.job_instance_id)
            .answer_after_processing(fabric_simulator::Answer::accepted(None, Some("3000"))),
    );
    plane.apply(&manifest).await.expect("it can be applied");
    scene.cancel("ended", json!({})).await;
    scene
        .wait_for_reason("running", "WaitingForCancellation")
        .await;
    scene.wait_for_end("ended", "JobCancelled").await;

    let calls = scene.fabric.ledger().len();
    let ours = |name| patched(plane, &scene, name);
    let writes = [ours("running").await, ours("ended").await];
    let mut last = Value::Null;
    for edit in 1..=20 {
        let labels = json!({ "metadata": { "labels": { "edit": edit.to_string() } } });
        let edited = scene.edit("running", labels.clone()).await;
        scene.edit("ended", labels).await;
        last = json!(edited.metadata.labels);
    }
    for _ in 0..3 {
        plane
            .apply(&manifest)
            .await
            .expect("it can be applied again");
    }
    assert_eq!(last["edit"], "20");
    // One more cancellation that goes all the way: by then all earlier events were worked on.
    let other = scene.another_job();
    scene.cancel_job("other", &other, json!({})).await;
    scene.wait_for_end("other", "JobCancelled").await;
    assert_eq!(
        scene.fabric.ledger().len(),
        calls + 2,
        "a request and a look"
    );
    assert_eq!([ours("running").await, ours("ended").await], writes);
    let audit = plane.audit().await.expect("the audit log");
    let reads = audit
        .by_user(&operator_of(&scene))
        .only(|entry| entry.resource == "fabricjobcancellations" && entry.verb == "get");
    assert!(reads.is_empty(), "{reads}");
}

async fn an_unknown_status_is_shown_as_it_is_and_costs_looks_alone(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    let history = History::of(&scene).await;
    let job = scene.seed.job.job_instance_id;
    scene.fabric.change_job(job, stuck());
    scene
        .fabric
        .set_job_status(job, JobStatus::Other("Dehydrated".into()));
    scene.cancel("job", json!({})).await;
    let shown = |it: &Value| it["status"]["job"]["status"] == "Dehydrated";
    let seen = scene.wait("job", "the raw status", shown).await;
    assert_eq!(reason(&seen, "Ready"), "WaitingForCancellation");
    scene
        .fabric
        .wait_until(SOON, |calls| {
            let looks = calls.iter().filter(|call| call.route == Route::Job).count();
            (looks >= 3).then_some(())
        })
        .await
        .expect("it goes on looking");
    assert_eq!(scene.get("job").await, seen, "nothing is written meanwhile");
    scene.fabric.set_job_status(job, JobStatus::Cancelled);
    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(ended["status"]["attempts"], 1);
    assert_eq!(scene.fabric.requests(Route::Cancel).len(), 1);
    history.up_to(&ended).await;
}

async fn a_suspicious_failure_is_looked_at_again(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    let history = History::of(&scene).await;
    let fails = |code: &str| JobChange {
        status: Some(JobStatus::Failed),
        failure_reason: Some(FailureReason {
            error_code: code.into(),
            message: "Not there yet".into(),
        }),
        null_end_time: Some(true),
        ..JobChange::default()
    };
    let believed = scene.another_job();
    let passing = scene.another_job();
    for job in [believed, passing] {
        scene.fabric.change_job(job.job_instance_id, stuck());
    }
    scene.cancel_job("believed", &believed, json!({})).await;
    scene.cancel_job("passing", &passing, json!({})).await;
    for (name, job) in [("believed", believed), ("passing", passing)] {
        scene.wait_for_reason(name, "WaitingForCancellation").await;
        let code = "JobInstanceStatusNotFound";
        scene.fabric.change_job(job.job_instance_id, fails(code));
    }
    let failed = |it: &Value| it["status"]["job"]["status"] == "Failed";
    let seen = scene
        .wait("passing", "the suspicious failure", failed)
        .await;
    assert!(seen["status"]["completionTime"].is_null(), "{seen:#}");
    scene
        .fabric
        .set_job_status(passing.job_instance_id, JobStatus::Cancelled);
    let ended = scene.wait_for_end("passing", "JobCancelled").await;
    history.up_to(&ended).await;
    let ended = scene.wait_for_end("believed", "JobEndedOtherwise").await;
    assert_eq!(
        ended["status"]["job"]["failureReason"]["code"],
        "JobInstanceStatusNotFound"
    );
    history.up_to(&ended).await;
    let failed = calls_for(&scene, &believed)
        .iter()
        .filter(|call| call.route == Route::Job)
        .count();
    assert!(failed >= 3, "seen {failed} times before it was believed");
}

/// Deletes a cancellation as a user would.
async fn delete(scene: &Scene, name: &str) {
    scene
        .cancellations()
        .delete(name, &DeleteParams::default())
        .await
        .expect("the cancellation can be deleted");
}

/// Writes a status as a restore from a backup does.
async fn restore(scene: &Scene, name: &str, status: Value) -> DynamicObject {
    let patch = json!({ "status": status });
    scene
        .cancellations()
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .expect("the status can be restored")
}

/// Nothing that the operator logged is a warning or an error.
fn no_complaints(scene: &mut Scene) {
    let log = scene.operator().log();
    let complaints: Vec<_> = log
        .lines()
        .filter(|line| line.contains(r#""level":"WARN""#) || line.contains(r#""level":"ERROR""#))
        .filter(|line| !line.contains("not ready"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}
