//! What may stand in the API server: anything that somebody with the right to write a status
//! put there, or that another version of the operator left.

use fabric_job_operator::api::FabricJobCancellation;
use fabric_job_operator::cancellation::{Cancellation, Step};
use fabric_job_operator::controller::fuzzing::{begin, document};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::memory::{JOB, now};

/// JSON: a whole object when it has a `spec`, else a status. Whatever it is, an end stays an
/// end, a question has one answer, and a write leaves no other behind it.
pub fn resource(input: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(input) else {
        return;
    };
    let object = if value.get("spec").is_some() {
        value
    } else {
        json!({
            "apiVersion": "fabricjobs.dev/v1alpha1",
            "kind": "FabricJobCancellation",
            "metadata": {"name": "stop", "namespace": "team-a", "uid": "1", "generation": 1,
                         "creationTimestamp": "2026-02-06T08:00:00Z"},
            "spec": {"workspaceId": JOB.workspace_id, "itemId": JOB.item_id,
                     "jobInstanceId": JOB.job_instance_id},
            "status": value,
        })
    };
    let Ok(resource) = serde_json::from_value::<FabricJobCancellation>(object) else {
        return;
    };
    for after in [0, 3, 30, 90, 3600, 4000, 700_000] {
        let now = now()
            .checked_add(SignedDuration::from_secs(after))
            .expect("within this century");
        if let Ok(core) = begin(&resource, now) {
            check(&resource, &core, now);
        }
    }
}

fn check(resource: &FabricJobCancellation, core: &Cancellation, now: Timestamp) {
    let step = core.next_step(now);
    assert_eq!(step, core.next_step(now), "same question, same step");
    if core.stored().completion_time.is_some() {
        assert_eq!(step, Step::Finished, "an end causes no step");
    }
    if core.wish().suspend {
        assert_ne!(step, Step::Request, "sent while suspended");
    }
    if let Step::Wait { until: Some(until) } = step {
        assert!(until > now, "a wait that is over: {until}");
    }
    if let (Step::Request | Step::Look, Some(not_before)) = (step, core.stored().not_before) {
        assert!(now >= not_before, "{step:?} before {not_before}");
    }
    let Some(facts) = core.due_write(now) else {
        return;
    };
    assert!(
        facts.attempts >= core.stored().attempts,
        "an attempt was forgotten"
    );
    if let Some(end) = core.stored().completion_time {
        assert_eq!(facts.completion_time, Some(end), "an end changed");
    }
    // As the API server would show it: through JSON, with times of whole seconds.
    let status = document(&facts, resource, now);
    let stored = serde_json::to_value(&status).expect("a status is valid JSON");
    let mut written = resource.clone();
    written.status = Some(serde_json::from_value(stored).expect("what we write we can read"));
    let read = begin(&written, now).expect("the spec is the same");
    let after = core
        .clone()
        .written(core.wish().clone(), read.stored().clone());
    assert_eq!(after.due_write(now), None, "one write leaves another");
    let restarted = read.due_write(now);
    assert_eq!(restarted, None, "a restart writes what was just written");
}
