//! What the operator answers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{lenient, schema};

/// What the operator did and what Fabric said. Written by the operator alone.
///
/// `completionTime` is set on every end, whatever the result, so one
/// `kubectl wait --for=jsonpath='{.status.completionTime}'` serves all; the condition Ready tells
/// the result. Times are written in whole seconds.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
// A fresh object has an observedGeneration that no generation has, or tools that follow kstatus
// (Flux, Helm, kpt) would call it finished before the operator saw it.
#[schemars(extend("default" = serde_json::json!({"observedGeneration": -1})))]
pub struct FabricJobCancellationStatus {
    /// The metadata.generation that this status speaks of. -1 until the operator has seen the
    /// resource.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "i64")]
    pub observed_generation: Option<i64>,

    /// When the operator began to work on it; `spec.activeDeadlineSeconds` counts from here.
    /// Absent while it is queued behind the operator's own request quota or suspended before the
    /// first request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub start_time: Option<Time>,

    /// When the intent to send the latest cancel request was stored. It is stored before the
    /// request is sent, so a crash in between cannot lose a request that Fabric may have seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub request_time: Option<Time>,

    /// When Fabric accepted the cancel request (HTTP 202). Acceptance is not the end: the job runs
    /// on until Fabric says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub accepted_time: Option<Time>,

    /// When this cancellation ended, in whatever way; it never changes afterwards, and nothing is
    /// sent any more. `spec.ttlSecondsAfterFinished` counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub completion_time: Option<Time>,

    /// No request for this resource is sent before this time, because Fabric asked for the wait
    /// (`Retry-After`). As far as it was worth storing; short waits are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub not_before_time: Option<Time>,

    /// How many cancel requests may have been sent at most: each is counted before it is sent. 0
    /// means that nothing was sent.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub attempts: i32,

    /// The address that Fabric's acceptance named (`Location`), for the record. The operator never
    /// follows it: it looks at the job under the address that the three ids give.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub location: Option<String>,

    /// Fabric's id of the accepted cancel request, for Microsoft support.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_id: Option<String>,

    /// What Fabric last said about the job.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "JobSummary")]
    pub job: Option<JobSummary>,

    /// Which identity asks, or asked, Fabric. Stored before the request is sent with it.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Identity")]
    pub identity: Option<Identity>,

    /// The latest trouble, kept after it is over and after the end: what Microsoft support asks
    /// for. Written when a trouble begins, not each time it repeats.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "LastError")]
    pub last_error: Option<LastError>,

    /// Where the cancellation stands, in the order Ready, Reconciling, Stalled, Accepted,
    /// Cancelled. See the fields `type` and `reason` for what each means and what to do.
    #[serde(
        default,
        deserialize_with = "lenient::elements",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// What Fabric last said about the job. Fabric may say anything here and add values at any time,
/// so nothing of it is restricted.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct JobSummary {
    /// Fabric's word for the job's state, as it was received: NotStarted, InProgress, Completed,
    /// Failed, Cancelled, Deduped, or a newer one.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub status: Option<String>,

    /// The kind of job, for example Pipeline, RunNotebook or sparkjob.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub job_type: Option<String>,

    /// How the job was started, for example Manual or Scheduled.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub invoke_type: Option<String>,

    /// When the job started (UTC), as Fabric says.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>")]
    pub start_time: Option<Time>,

    /// When the job ended (UTC), as Fabric says. Fabric may call a job cancelled before it knows
    /// when it ended.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>")]
    pub end_time: Option<Time>,

    /// The id that traces the run through Fabric's own logs.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub root_activity_id: Option<String>,

    /// Why the job failed, as Fabric says. About the job, not about the cancellation.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub failure_reason: Option<FailureReason>,
}

/// Why a job failed, as Fabric says.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FailureReason {
    /// Fabric's error code.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub code: Option<String>,

    /// Fabric's explanation.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub message: Option<String>,

    /// Fabric's id of the request that failed, for Microsoft support.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_id: Option<String>,
}

/// Which identity acts. The ids are those of an Entra application; no secret is ever shown.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Where the identity comes from: Secret, ServiceAccount, or Operator (the operator's own).
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "String")]
    pub source: Option<IdentitySource>,

    /// Name of the Secret or ServiceAccount. Absent for the operator's own identity.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "String")]
    pub name: Option<String>,

    /// The Entra tenant.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "String")]
    pub tenant_id: Option<String>,

    /// The client id of the Entra application. This is whom Fabric must have granted the right to
    /// run and cancel the item's jobs.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "String")]
    pub client_id: Option<String>,
}

/// Where an identity comes from.
///
/// A value of a newer operator is kept as it is: this is evidence, and writing the status again
/// must not change it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(from = "String", into = "String")]
pub enum IdentitySource {
    /// A Secret of the resource's namespace.
    Secret,
    /// A ServiceAccount of the resource's namespace.
    ServiceAccount,
    /// The operator's own identity.
    Operator,
    /// A source that this version does not know.
    Other(String),
}

impl IdentitySource {
    /// The word that the status shows.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Secret => "Secret",
            Self::ServiceAccount => "ServiceAccount",
            Self::Operator => "Operator",
            Self::Other(source) => source,
        }
    }
}

impl From<String> for IdentitySource {
    fn from(source: String) -> Self {
        match source.as_str() {
            "Secret" => Self::Secret,
            "ServiceAccount" => Self::ServiceAccount,
            "Operator" => Self::Operator,
            _ => Self::Other(source),
        }
    }
}

impl From<IdentitySource> for String {
    fn from(source: IdentitySource) -> Self {
        source.as_str().to_owned()
    }
}

/// A trouble with Fabric, Entra or the credentials.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// The error code of Fabric or Entra, or the operator's own word where there was none.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub code: Option<String>,

    /// The explanation, at most 256 characters, without trace ids.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub message: Option<String>,

    /// The HTTP status of the answer. Absent when there was no answer.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub http_status: Option<i32>,

    /// Fabric's or Entra's id of the request, for Microsoft support.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_id: Option<String>,

    /// When this trouble began.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Time")]
    pub time: Option<Time>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: serde_json::Value) -> FabricJobCancellationStatus {
        serde_json::from_value(value).expect("a status can always be read")
    }

    #[test]
    fn the_default_of_the_schema_reads_as_a_status_in_which_nothing_happened() {
        assert_eq!(
            read(json!({"observedGeneration": -1})),
            FabricJobCancellationStatus {
                observed_generation: Some(-1),
                ..Default::default()
            }
        );
    }

    #[test]
    fn a_status_of_nulls_reads_as_an_empty_one() {
        let nulls = json!({
            "observedGeneration": null, "startTime": null, "requestTime": null,
            "acceptedTime": null, "completionTime": null, "notBeforeTime": null,
            "location": null, "requestId": null, "job": null, "identity": null,
            "lastError": null, "conditions": null,
        });
        assert_eq!(read(nulls), FabricJobCancellationStatus::default());
    }

    #[test]
    fn an_odd_value_that_only_informs_costs_that_value_alone() {
        let odd = json!({
            "attempts": 1,
            "fieldOfANewerOperator": {"a": [1]},
            "location": 7,
            "job": {"status": "Whatever😀", "jobType": ["x"], "startTime": "yesterday",
                    "endTime": "2026-11-23T10:00:00Z", "failureReason": "no object"},
            "identity": {"source": "Certificate", "name": 5},
            "lastError": {"code": "X", "httpStatus": "many", "time": "soon"},
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "JobCancelled", "message": "",
                 "lastTransitionTime": "2026-11-23T10:00:00Z"},
                {"type": "NoTime"}, 3
            ],
        });
        let end: Time = serde_json::from_value(json!("2026-11-23T10:00:00Z")).unwrap();
        let expected = FabricJobCancellationStatus {
            attempts: 1,
            job: Some(JobSummary {
                status: Some("Whatever😀".into()),
                end_time: Some(end.clone()),
                ..Default::default()
            }),
            identity: Some(Identity {
                source: Some(IdentitySource::Other("Certificate".into())),
                ..Default::default()
            }),
            last_error: Some(LastError {
                code: Some("X".into()),
                ..Default::default()
            }),
            conditions: vec![Condition {
                type_: "Ready".into(),
                status: "True".into(),
                reason: "JobCancelled".into(),
                message: String::new(),
                observed_generation: None,
                last_transition_time: end,
            }],
            ..Default::default()
        };
        assert_eq!(read(odd), expected);
    }

    #[test]
    fn an_end_that_cannot_be_read_is_an_error_and_not_a_cancellation_that_goes_on() {
        for field in [
            "completionTime",
            "acceptedTime",
            "requestTime",
            "startTime",
            "notBeforeTime",
        ] {
            let status = json!({field: "the day before yesterday"});
            let result = serde_json::from_value::<FabricJobCancellationStatus>(status);
            assert!(result.is_err(), "{field} was dropped in silence");
        }
    }

    #[test]
    fn what_is_written_shows_that_nothing_was_sent() {
        let written = serde_json::to_value(FabricJobCancellationStatus::default()).unwrap();
        assert_eq!(written, json!({"attempts": 0}));
    }

    #[test]
    fn a_source_of_a_newer_operator_is_written_back_as_it_was_read() {
        for source in ["Secret", "ServiceAccount", "Operator", "Certificate", ""] {
            let read: IdentitySource = serde_json::from_value(json!(source)).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), json!(source));
        }
    }
}
