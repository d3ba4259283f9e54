//! The custom resource on one side, the core's values on the other.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use uuid::Uuid;

use crate::api::conditions::{self, Status};
use crate::api::{
    self, FabricJobCancellation, FabricJobCancellationStatus, FinishedJobPolicy, IdentitySource,
    MissingJobPolicy,
};
use crate::cancellation::{
    Conditions, Facts, Identity, Job, JobFailure, JobInstance, JobStatus, LastError, Reason,
    ServiceError, Value, Verdict, Wish,
};

/// Why a resource cannot be acted on: finishes the sentence "the spec cannot be used: ...".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct InvalidSpec(pub String);

/// Reads the wish. What the schema promises is checked again: an object may have been stored
/// under an older schema.
fn wish(resource: &FabricJobCancellation) -> Result<Wish, InvalidSpec> {
    let spec = &resource.spec;
    let id = |field: &str, raw: &str| {
        Uuid::parse_str(raw)
            .ok()
            .filter(|id| id.as_hyphenated().to_string() == raw)
            .ok_or_else(|| {
                InvalidSpec(format!(
                    "`spec.{field}` must be a lower-case UUID with dashes"
                ))
            })
    };
    let job = JobInstance {
        workspace_id: id("workspaceId", &spec.workspace_id)?,
        item_id: id("itemId", &spec.item_id)?,
        job_instance_id: id("jobInstanceId", &spec.job_instance_id)?,
    };
    Ok(wish_for(resource, job))
}

/// As [`wish`]; for a resource that has ended its ids no longer matter, but its other knobs do.
pub(super) fn wish_or_end(resource: &FabricJobCancellation) -> Result<Wish, InvalidSpec> {
    let status = resource.status.as_ref();
    if status.is_some_and(|status| status.completion_time.is_some()) {
        let nobody = JobInstance {
            workspace_id: Uuid::nil(),
            item_id: Uuid::nil(),
            job_instance_id: Uuid::nil(),
        };
        return Ok(wish(resource).unwrap_or_else(|_| wish_for(resource, nobody)));
    }
    wish(resource)
}

fn wish_for(resource: &FabricJobCancellation, job: JobInstance) -> Wish {
    let spec = &resource.spec;
    let metadata = &resource.metadata;
    Wish {
        job,
        generation: metadata.generation.unwrap_or_default(),
        created: metadata
            .creation_timestamp
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        deleting: metadata.deletion_timestamp.is_some(),
        suspend: spec.suspend,
        active_deadline: seconds(spec.active_deadline_seconds),
        finished_is_success: spec.finished_job_policy == FinishedJobPolicy::Succeed,
        missing_is_success: spec.missing_job_policy == MissingJobPolicy::Succeed,
        ttl: spec.ttl_seconds_after_finished.map(seconds),
    }
}

/// Reads the facts.
pub(super) fn facts(resource: &FabricJobCancellation) -> Facts {
    let Some(status) = &resource.status else {
        return Facts::default();
    };
    Facts {
        observed_generation: status.observed_generation.filter(|seen| *seen >= 0),
        start_time: time(&status.start_time),
        request_time: time(&status.request_time),
        accepted_time: time(&status.accepted_time),
        completion_time: time(&status.completion_time),
        not_before: time(&status.not_before_time),
        attempts: u32::try_from(status.attempts).unwrap_or_default(),
        location: status.location.clone(),
        request_id: status.request_id.clone(),
        job: status.job.as_ref().map(job),
        identity: status.identity.as_ref().map(|identity| Identity {
            source: identity
                .source
                .as_ref()
                .map_or_else(String::new, |source| source.as_str().to_owned()),
            name: identity.name.clone().unwrap_or_default(),
            tenant_id: identity.tenant_id.clone().unwrap_or_default(),
            client_id: identity.client_id.clone().unwrap_or_default(),
        }),
        last_error: status.last_error.as_ref().and_then(|error| {
            Some(LastError {
                error: ServiceError {
                    code: error.code.clone().unwrap_or_default(),
                    message: error.message.clone().unwrap_or_default(),
                    http_status: error
                        .http_status
                        .and_then(|status| u16::try_from(status).ok()),
                    request_id: error.request_id.clone(),
                },
                time: time(&error.time)?,
            })
        }),
        conditions: conditions_of(status),
    }
}

/// The status document for these facts. Conditions that do not flip keep their transition time
/// from `previous`.
pub(super) fn document(
    facts: &Facts,
    previous: &FabricJobCancellation,
    now: Timestamp,
) -> FabricJobCancellationStatus {
    let generation = facts.observed_generation;
    let before = previous.status.as_ref();
    if let Some(ended) = before.filter(|status| status.completion_time.is_some()) {
        // A stored end is evidence: only the generation that was seen may change.
        let mut ended = ended.clone();
        ended.observed_generation = generation;
        for condition in &mut ended.conditions {
            condition.observed_generation = generation;
        }
        return ended;
    }
    let mut conditions = before.map_or_else(Vec::new, |status| status.conditions.clone());
    if let Some(wanted) = &facts.conditions {
        upsert(&mut conditions, wanted, generation, now);
    }
    FabricJobCancellationStatus {
        observed_generation: generation,
        start_time: facts.start_time.map(Time),
        request_time: facts.request_time.map(Time),
        accepted_time: facts.accepted_time.map(Time),
        completion_time: facts.completion_time.map(Time),
        not_before_time: facts.not_before.map(Time),
        attempts: i32::try_from(facts.attempts).unwrap_or(i32::MAX),
        location: facts.location.clone(),
        request_id: facts.request_id.clone(),
        job: facts.job.as_ref().map(summary),
        identity: facts.identity.as_ref().map(|identity| api::Identity {
            source: Some(IdentitySource::from(identity.source.clone())),
            name: text(&identity.name),
            tenant_id: text(&identity.tenant_id),
            client_id: text(&identity.client_id),
        }),
        last_error: facts.last_error.as_ref().map(|last| api::LastError {
            code: text(&last.error.code),
            message: text(&last.error.message),
            http_status: last.error.http_status.map(i32::from),
            request_id: last.error.request_id.clone(),
            time: Some(Time(last.time)),
        }),
        conditions,
    }
}

fn upsert(
    conditions: &mut Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>,
    wanted: &Conditions,
    generation: Option<i64>,
    now: Timestamp,
) {
    let ready = &wanted.ready;
    let mut set = |type_: &str, status: Status, verdict: &Verdict| {
        conditions::upsert(
            conditions,
            type_,
            status,
            verdict.reason.as_str(),
            &verdict.message,
            generation,
            Time(now),
        );
    };
    set(conditions::READY, status(ready.value), ready);
    set(
        conditions::ACCEPTED,
        status(wanted.accepted.value),
        &wanted.accepted,
    );
    set(
        conditions::CANCELLED,
        status(wanted.cancelled.value),
        &wanted.cancelled,
    );
    // Present only when True, and never both: kstatus walks the list in order.
    let (present, absent) = match (ready.value, wanted.stalled) {
        (_, true) => (Some(conditions::STALLED), Some(conditions::RECONCILING)),
        (Value::Unknown, false) => (Some(conditions::RECONCILING), Some(conditions::STALLED)),
        _ => (None, Some(conditions::STALLED)),
    };
    if let Some(type_) = present {
        set(type_, Status::True, ready);
    }
    if let Some(type_) = absent {
        conditions::remove(conditions, type_);
    }
    if present.is_none() {
        conditions::remove(conditions, conditions::RECONCILING);
    }
}

fn conditions_of(status: &FabricJobCancellationStatus) -> Option<Conditions> {
    let verdict = |type_: &str| {
        let condition = conditions::find(&status.conditions, type_)?;
        Some(Verdict {
            value: match condition.status.as_str() {
                "True" => Value::True,
                "False" => Value::False,
                _ => Value::Unknown,
            },
            // A reason that only another version of the operator knows says nothing here, but
            // must not take away what the other conditions prove.
            reason: Reason::parse(&condition.reason).unwrap_or(Reason::Pending),
            message: condition.message.clone(),
        })
    };
    Some(Conditions {
        ready: verdict(conditions::READY)?,
        stalled: conditions::find(&status.conditions, conditions::STALLED).is_some(),
        accepted: verdict(conditions::ACCEPTED)?,
        cancelled: verdict(conditions::CANCELLED)?,
    })
}

fn job(summary: &api::JobSummary) -> Job {
    Job {
        status: JobStatus::parse(summary.status.as_deref().unwrap_or_default()),
        job_type: summary.job_type.clone(),
        invoke_type: summary.invoke_type.clone(),
        start_time: time(&summary.start_time),
        end_time: time(&summary.end_time),
        root_activity_id: summary.root_activity_id.clone(),
        failure: summary.failure_reason.as_ref().map(|failure| JobFailure {
            code: failure.code.clone().unwrap_or_default(),
            message: failure.message.clone(),
            request_id: failure.request_id.clone(),
        }),
    }
}

fn summary(job: &Job) -> api::JobSummary {
    api::JobSummary {
        status: Some(job.status.as_str().to_owned()),
        job_type: job.job_type.clone(),
        invoke_type: job.invoke_type.clone(),
        start_time: job.start_time.map(Time),
        end_time: job.end_time.map(Time),
        root_activity_id: job.root_activity_id.clone(),
        failure_reason: job.failure.as_ref().map(|failure| api::FailureReason {
            code: text(&failure.code),
            message: failure.message.clone(),
            request_id: failure.request_id.clone(),
        }),
    }
}

fn status(value: Value) -> Status {
    match value {
        Value::True => Status::True,
        Value::False => Status::False,
        Value::Unknown => Status::Unknown,
    }
}

fn seconds(value: i32) -> Duration {
    Duration::from_secs(u64::try_from(value).unwrap_or_default())
}

fn time(value: &Option<Time>) -> Option<Timestamp> {
    value.as_ref().map(|time| time.0)
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reason_of_another_version_does_not_hide_what_the_other_conditions_prove() {
        let condition = |type_: &str, status: &str, reason: &str| {
            json!({ "type": type_, "status": status, "reason": reason, "message": "Said.",
                "lastTransitionTime": "2026-01-01T00:00:00Z" })
        };
        let resource: FabricJobCancellation = serde_json::from_value(json!({
            "apiVersion": "fabricjobs.dev/v1alpha1",
            "kind": "FabricJobCancellation",
            "metadata": { "name": "a" },
            "spec": { "workspaceId": "", "itemId": "", "jobInstanceId": "" },
            "status": { "conditions": [
                condition("Ready", "Unknown", "ReasonOfTheNextVersion"),
                condition("Accepted", "False", "NotNeeded"),
                condition("Cancelled", "Unknown", "WaitingForCancellation"),
            ]},
        }))
        .expect("a resource");
        let conditions = facts(&resource).conditions.expect("they can be read");
        assert_eq!(conditions.ready.reason, Reason::Pending);
        assert_eq!(conditions.accepted.reason, Reason::NotNeeded);
        assert_eq!(conditions.cancelled.reason, Reason::WaitingForCancellation);
    }
}
