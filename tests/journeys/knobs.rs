//! What happens when somebody turns a knob: suspend, deadline, TTL.

use std::time::Duration;

use bench::{Scene, condition, reason};
use control_plane::{ControlPlane, Suite};
use fabric_simulator::{Access, Answer, CancelEffect, HoldPoint, Route, Rule};
use serde_json::json;

use crate::ends::{calls_for, job_that, says, seconds};
use crate::history::History;
use crate::{operator_of, patched, setup};

/// For what a test waits on besides the resource.
const SOON: Duration = Duration::from_secs(30);

pub fn journeys(suite: Suite) -> Suite {
    suite
        .test(
            "suspended_from_the_start_it_shows_the_job_and_sends_nothing",
            suspended_from_the_start_it_shows_the_job_and_sends_nothing,
        )
        .test(
            "a_suspended_look_that_fails_says_what_stands_in_the_way",
            a_suspended_look_that_fails_says_what_stands_in_the_way,
        )
        .test(
            "suspended_with_an_open_attempt_it_looks_and_asks_no_more",
            suspended_with_an_open_attempt_it_looks_and_asks_no_more,
        )
        .test(
            "suspended_after_acceptance_it_goes_on",
            suspended_after_acceptance_it_goes_on,
        )
        .test(
            "resumed_while_the_identity_is_throttled_it_is_pending",
            resumed_while_the_identity_is_throttled_it_is_pending,
        )
        .test(
            "a_deadline_may_be_moved_while_it_runs",
            a_deadline_may_be_moved_while_it_runs,
        )
        .test(
            "a_knob_edited_after_the_end_is_seen_and_revives_nothing",
            a_knob_edited_after_the_end_is_seen_and_revives_nothing,
        )
        .test(
            "a_finished_resource_is_deleted_after_its_time_and_not_before",
            a_finished_resource_is_deleted_after_its_time_and_not_before,
        )
}

async fn suspended_from_the_start_it_shows_the_job_and_sends_nothing(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup()).await;
    let history = History::of(&scene).await;
    scene.cancel("job", json!({ "suspend": true })).await;
    let held = scene.wait_for_reason("job", "Suspended").await;
    let held = match held["status"]["job"]["status"].as_str() {
        Some(_) => held,
        None => {
            let shown = |it: &serde_json::Value| it["status"]["job"]["status"].is_string();
            scene.wait("job", "the preflight's job status", shown).await
        }
    };
    assert_eq!(held["status"]["job"]["status"], "InProgress");
    assert!(held["status"]["startTime"].is_null(), "no clock: {held:#}");
    assert_eq!(held["status"]["attempts"], 0);
    assert_eq!(condition(&held, "Ready")["status"], "Unknown");
    says(
        &held,
        "Ready",
        &["nothing has been sent", "`spec.suspend` to false"],
    );
    assert!(scene.fabric.requests(Route::Cancel).is_empty());
    assert_eq!(scene.fabric.requests(Route::Job).len(), 1);

    scene
        .edit("job", json!({ "spec": { "suspend": false } }))
        .await;
    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert!(ended["status"]["startTime"].is_string());
    assert_eq!(scene.processed(), 1);
    let ready = history.reasons(&ended, "Ready").await;
    assert_eq!(ready[0], "Suspended");
}

async fn a_suspended_look_that_fails_says_what_stands_in_the_way(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    let history = History::of(&scene).await;
    let workspace = scene.seed.job.workspace_id;
    scene.fabric.set_default_access(workspace, Access::Denied);
    scene.cancel("job", json!({ "suspend": true })).await;
    let held = scene.wait_for_reason("job", "Suspended").await;
    says(
        &held,
        "Ready",
        &["no cancel request is sent", "Contributor"],
    );
    assert_eq!(
        held["status"]["lastError"]["code"],
        "InsufficientPrivileges"
    );

    scene.fabric.set_default_access(workspace, Access::Execute);
    let healed = |it: &serde_json::Value| it["status"]["job"]["status"] == "InProgress";
    let held = scene.wait("job", "a look that works", healed).await;
    says(&held, "Ready", &["nothing has been sent"]);
    assert!(scene.fabric.requests(Route::Cancel).is_empty());
    let ready = history.reasons(&held, "Ready").await;
    assert_eq!(ready, ["Suspended"], "a held-back resource never stalls");
}

async fn suspended_with_an_open_attempt_it_looks_and_asks_no_more(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    let history = History::of(&scene).await;
    let lost = scene.fabric.script(
        Rule::on(Route::Cancel)
            .hold(HoldPoint::BeforeProcessing)
            .drop_before_processing(),
    );
    scene.cancel("job", json!({})).await;
    lost.wait_for_arrivals(1, SOON).await.expect("a request");
    scene
        .edit("job", json!({ "spec": { "suspend": true } }))
        .await;
    lost.release();
    let looked = |it: &serde_json::Value| {
        reason(it, "Ready") == "Suspended" && it["status"]["job"]["status"] == "InProgress"
    };
    let held = scene
        .wait("job", "a look at the open attempt", looked)
        .await;
    says(&held, "Ready", &["an earlier one may still take effect"]);
    assert_eq!(reason(&held, "Accepted"), "AnswerLost");
    assert_eq!(condition(&held, "Accepted")["status"], "Unknown");
    assert!(held["status"]["startTime"].is_string(), "its clock goes on");
    assert_eq!(held["status"]["attempts"], 1);
    let calls = calls_for(&scene, &scene.seed.job);
    let posts = |calls: &[fabric_simulator::Entry]| {
        calls
            .iter()
            .filter(|call| call.route == Route::Cancel)
            .count()
    };
    assert_eq!(posts(&calls), 1);
    // Another one that takes a minute shows that the time of the next attempt is over.
    let other = job_that(&scene, |job| {
        job.cancel_takes = Some(Duration::from_secs(60));
    });
    scene.cancel_job("other", &other, json!({})).await;
    scene.wait_for_end("other", "JobCancelled").await;
    let held = scene.get("job").await;
    assert_eq!(held["status"]["attempts"], 1, "no intent either");
    assert_eq!(posts(&calls_for(&scene, &scene.seed.job)), 1);

    scene
        .edit("job", json!({ "spec": { "suspend": false } }))
        .await;
    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(ended["status"]["attempts"], 2);
    assert_eq!(posts(&calls_for(&scene, &scene.seed.job)), 2);
    assert_eq!(scene.processed(), 1);
    history.up_to(&ended).await;
}

async fn suspended_after_acceptance_it_goes_on(plane: &ControlPlane) {
    let slow = |fabric: &mut fabric_simulator::Settings| {
        fabric.cancel_takes = Duration::from_secs(40);
    };
    let scene = Scene::start(plane, setup().faster(20).fabric(slow)).await;
    let history = History::of(&scene).await;
    scene.cancel("job", json!({})).await;
    scene.wait_for_reason("job", "WaitingForCancellation").await;
    scene
        .edit("job", json!({ "spec": { "suspend": true } }))
        .await;
    let ended = scene.wait_for_end("job", "JobCancelled").await;
    let ready = history.reasons(&ended, "Ready").await;
    assert_eq!(
        ready,
        [
            "RequestingCancellation",
            "WaitingForCancellation",
            "JobCancelled"
        ]
    );
    assert_eq!(scene.processed(), 1);
}

async fn resumed_while_the_identity_is_throttled_it_is_pending(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    let history = History::of(&scene).await;
    let other = scene.another_job();
    scene.cancel("job", json!({ "suspend": true })).await;
    let looked = |it: &serde_json::Value| it["status"]["job"]["status"].is_string();
    scene.wait("job", "its preflight", looked).await;
    scene.fabric.script(
        Rule::on(Route::Cancel)
            .job(other.job_instance_id)
            .answer(Answer::throttled(Some(60))),
    );
    scene.cancel_job("other", &other, json!({})).await;
    scene.wait_for_reason("other", "Throttled").await;

    scene
        .edit("job", json!({ "spec": { "suspend": false } }))
        .await;
    let pending = scene.wait_for_reason("job", "Pending").await;
    assert_eq!(condition(&pending, "Ready")["status"], "Unknown");
    assert_eq!(pending["status"]["attempts"], 0);
    assert!(pending["status"]["startTime"].is_string());
    let ended = scene.wait_for_end("job", "JobCancelled").await;
    let ready = history.reasons(&ended, "Ready").await;
    assert_eq!(ready[..3], ["Suspended", "Pending", "Throttled"]);
    scene.wait_for_end("other", "JobCancelled").await;
    let calls = calls_for(&scene, &other);
    let gap = calls[1].time.duration_since(calls[0].time).as_secs();
    assert!(gap >= 60, "asked again after {gap} s");
}

async fn a_deadline_may_be_moved_while_it_runs(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    let history = History::of(&scene).await;
    let sooner = job_that(&scene, |job| job.cancel_effect = CancelEffect::Nothing);
    let later = job_that(&scene, |job| {
        job.cancel_takes = Some(Duration::from_secs(100))
    });
    scene.cancel_job("sooner", &sooner, json!({})).await;
    scene
        .cancel_job("later", &later, json!({ "activeDeadlineSeconds": 60 }))
        .await;
    scene
        .wait_for_reason("sooner", "WaitingForCancellation")
        .await;
    scene
        .wait_for_reason("later", "WaitingForCancellation")
        .await;
    let to = |seconds: u32| json!({ "spec": { "activeDeadlineSeconds": seconds } });
    scene.edit("sooner", to(60)).await;
    scene.edit("later", to(600)).await;

    let ended = scene.wait_for_end("sooner", "DeadlineExceeded").await;
    let took = seconds(&ended, "completionTime") - seconds(&ended, "startTime");
    assert!(
        (60..400).contains(&took),
        "the new deadline, not the old: {took} s"
    );
    history.up_to(&ended).await;
    let ended = scene.wait_for_end("later", "JobCancelled").await;
    let took = seconds(&ended, "completionTime") - seconds(&ended, "startTime");
    assert!(took >= 100, "beyond the old deadline: {took} s");
    history.up_to(&ended).await;
}

async fn a_knob_edited_after_the_end_is_seen_and_revives_nothing(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    let history = History::of(&scene).await;
    let stuck = job_that(&scene, |job| job.cancel_effect = CancelEffect::Nothing);
    scene
        .cancel_job("stuck", &stuck, json!({ "activeDeadlineSeconds": 60 }))
        .await;
    scene.cancel("job", json!({})).await;
    scene.wait_for_end("job", "JobCancelled").await;
    scene.wait_for_end("stuck", "DeadlineExceeded").await;

    for name in ["job", "stuck"] {
        let before = patched(plane, &scene, name).await;
        let calls = scene.fabric.ledger().len();
        let spec = json!({ "suspend": true, "activeDeadlineSeconds": 7200 });
        let edited = scene.edit(name, json!({ "spec": spec })).await;
        let generation = edited.metadata.generation.expect("a generation");
        let seen = scene
            .wait(name, "the new generation", move |it| {
                it["status"]["observedGeneration"] == generation
            })
            .await;
        assert_eq!(condition(&seen, "Ready")["observedGeneration"], generation);
        history.up_to(&seen).await;
        let waited = plane
            .run_kubectl(&[
                "wait",
                "fjc",
                name,
                "-n",
                &scene.namespace,
                "--timeout=10s",
                if name == "job" {
                    "--for=condition=Ready"
                } else {
                    "--for=condition=Stalled"
                },
            ])
            .await
            .expect("kubectl runs");
        assert!(waited.is_success(), "{waited:?}");
        assert_eq!(patched(plane, &scene, name).await, before + 1, "{name}");
        assert_eq!(scene.fabric.ledger().len(), calls, "nothing is asked");
    }
}

async fn a_finished_resource_is_deleted_after_its_time_and_not_before(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    let ttl = |seconds: u32| json!({ "ttlSecondsAfterFinished": seconds });
    for (name, more) in [
        ("kept", json!({})),
        ("edited", ttl(60)),
        ("hour", ttl(3_600)),
        ("minute", ttl(60)),
        ("at-once", ttl(0)),
    ] {
        let job = scene.another_job();
        scene.cancel_job(name, &job, more).await;
    }
    let edited = scene.wait_for_end("edited", "JobCancelled").await;
    let hour = scene.wait_for_end("hour", "JobCancelled").await;
    let ended = scene.wait_for_end("minute", "JobCancelled").await;
    gone(&scene, "at-once").await;
    scene.edit("edited", json!({ "spec": ttl(3_600) })).await;
    // Its deletion shows that the time that was first given to `edited` is over.
    let apart = seconds(&edited, "completionTime") - seconds(&hour, "completionTime");
    let beyond = u32::try_from(apart.max(0) + 62).expect("a short time");
    scene.edit("hour", json!({ "spec": ttl(beyond) })).await;
    gone(&scene, "minute").await;
    let now = scene.fabric.clock().now().as_second();
    assert!(now >= seconds(&ended, "completionTime") + 60);
    gone(&scene, "hour").await;
    let now = scene.fabric.clock().now().as_second();
    assert!(now > seconds(&edited, "completionTime") + 60);
    for name in ["kept", "edited"] {
        let kept = scene.get(name).await;
        assert!(kept["metadata"]["deletionTimestamp"].is_null(), "{name}");
    }

    let audit = plane.audit().await.expect("the audit log");
    let deletions = audit
        .by_user(&operator_of(&scene))
        .only(|entry| entry.verb == "delete");
    assert_eq!(deletions.len(), 3, "{deletions}");
    for deletion in deletions.iter() {
        let options = deletion.request_object.as_ref().expect("its options");
        let preconditions = &options["preconditions"];
        assert!(preconditions["uid"].is_string(), "{options}");
        assert!(preconditions["resourceVersion"].is_string(), "{options}");
        assert_eq!(deletion.code, Some(200));
    }
}

/// Waits until the resource no longer exists.
pub async fn gone(scene: &Scene, name: &str) {
    let api = scene.cancellations();
    let uid = match api.get_opt(name).await.expect("the API server answers") {
        Some(object) => object.metadata.uid.expect("a uid"),
        None => return,
    };
    let deleted = kube::runtime::wait::conditions::is_deleted(&uid);
    let deleted = kube::runtime::wait::await_condition(api, name, deleted);
    tokio::time::timeout(SOON, deleted)
        .await
        .unwrap_or_else(|_| panic!("{name} was not deleted"))
        .expect("the watch goes on");
}
