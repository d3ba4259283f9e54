//! Job instances as tests describe and see them.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::settings::optional_seconds;

/// The status of a job instance. Open on the wire: \[SPEC\] "Additional statuses may be added over
/// time". There is no *cancelling* status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobStatus {
    /// Not started, also: queued.
    NotStarted,
    /// Running.
    #[default]
    InProgress,
    /// Ended by itself, well.
    Completed,
    /// Ended by itself, badly.
    Failed,
    /// Ended by a cancel.
    Cancelled,
    /// Skipped, because another instance of the same type was running.
    Deduped,
    /// Anything else that a service may say one day, for example `Dehydrated`.
    #[serde(untagged)]
    Other(String),
}

impl JobStatus {
    /// Whether a cancel answers `JobAlreadyCompleted`.
    ///
    /// Recorded in the field for `Completed` and `Failed`; that `Cancelled` and `Deduped` answer
    /// the same is inferred.
    pub fn is_ended(&self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::Cancelled | Self::Deduped
        )
    }
}

/// What an accepted cancel does to the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CancelEffect {
    /// The job ends with this status after `cancel_takes`.
    Ends(JobStatus),
    /// Accepted, and the job runs on (stuck in `InProgress`).
    Nothing,
}

impl Default for CancelEffect {
    fn default() -> Self {
        Self::Ends(JobStatus::Cancelled)
    }
}

/// Why a job failed, as it stands in `failureReason`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailureReason {
    /// For example `JobInstanceStatusFailed`.
    pub error_code: String,
    /// For people.
    pub message: String,
}

impl FailureReason {
    /// The one recorded failure (\[REC\]).
    pub fn without_detail() -> Self {
        Self {
            error_code: "JobInstanceStatusFailed".into(),
            message: "Job instance failed without detail error".into(),
        }
    }
}

/// A job instance to be created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobSpec {
    /// The workspace; created with all rights open when it does not exist.
    pub workspace_id: Uuid,
    /// The item; created when it does not exist.
    pub item_id: Uuid,
    /// The instance's id; a random one when left out.
    #[serde(default)]
    pub id: Option<Uuid>,
    /// Free text on the wire; `Pipeline` by default.
    #[serde(default = "default_job_type")]
    pub job_type: String,
    /// `Manual` by default.
    #[serde(default = "default_invoke_type")]
    pub invoke_type: String,
    /// The status now; `InProgress` by default.
    #[serde(default)]
    pub status: JobStatus,
    /// Shown when the job has failed; [`FailureReason::without_detail`] when left out.
    #[serde(default)]
    pub failure_reason: Option<FailureReason>,
    /// When a `NotStarted` job begins to run.
    #[serde(default, rename = "startsAfterSeconds", with = "optional_seconds")]
    pub starts_after: Option<Duration>,
    /// When the job ends by itself; never when left out.
    #[serde(default, rename = "endsAfterSeconds", with = "optional_seconds")]
    pub ends_after: Option<Duration>,
    /// How the job ends by itself; `Completed` by default.
    #[serde(default = "default_end")]
    pub ends_as: JobStatus,
    /// From an accepted cancel to the end; the settings' `cancel_takes` when left out.
    #[serde(default, rename = "cancelTakesSeconds", with = "optional_seconds")]
    pub cancel_takes: Option<Duration>,
    /// What a cancel does.
    #[serde(default)]
    pub cancel_effect: CancelEffect,
    /// Show `endTimeUtc: null` after the end (\[REC\] on `Cancelled`).
    #[serde(default)]
    pub null_end_time: bool,
    /// `startTimeUtc` moves a little after the first look (\[REC\] `...50.8733333`, then
    /// `...51.0539716`).
    #[serde(default)]
    pub unsteady_start_time: bool,
    /// Fields laid over the JSON of the instance, last: a value replaces, `null` stays `null`.
    #[serde(default)]
    pub overlay: Map<String, Value>,
}

impl JobSpec {
    /// A job that runs until it is cancelled.
    pub fn running(workspace_id: Uuid, item_id: Uuid) -> Self {
        Self {
            workspace_id,
            item_id,
            id: None,
            job_type: default_job_type(),
            invoke_type: default_invoke_type(),
            status: JobStatus::InProgress,
            failure_reason: None,
            starts_after: None,
            ends_after: None,
            ends_as: default_end(),
            cancel_takes: None,
            cancel_effect: CancelEffect::default(),
            null_end_time: false,
            unsteady_start_time: false,
            overlay: Map::new(),
        }
    }

    /// A job that has this status now, for example one that has already ended.
    pub fn with_status(workspace_id: Uuid, item_id: Uuid, status: JobStatus) -> Self {
        Self {
            status,
            ..Self::running(workspace_id, item_id)
        }
    }
}

/// What to change about a job now; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JobChange {
    /// The true status from now on; what was planned for later is forgotten. The service shows it
    /// at its next refresh.
    pub status: Option<JobStatus>,
    /// Why it failed.
    pub failure_reason: Option<FailureReason>,
    /// What a cancel does from now on.
    pub cancel_effect: Option<CancelEffect>,
    /// How long a cancel takes from now on.
    #[serde(rename = "cancelTakesSeconds", with = "optional_seconds")]
    pub cancel_takes: Option<Duration>,
    /// Show `endTimeUtc: null` after the end.
    pub null_end_time: Option<bool>,
    /// Fields laid over the JSON of the instance.
    pub overlay: Option<Map<String, Value>>,
}

/// Where a job instance lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobRef {
    /// The workspace's id.
    pub workspace_id: Uuid,
    /// The item's id.
    pub item_id: Uuid,
    /// The job instance's id.
    pub job_instance_id: Uuid,
}

/// A job instance as it truly is and as the service shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    /// Where it lives.
    #[serde(flatten)]
    pub job: JobRef,
    /// The true status.
    pub status: JobStatus,
    /// The status that a look shows now; older while the service's view is stale.
    pub shown_status: JobStatus,
    /// When the first cancel was processed.
    pub cancel_requested_time: Option<Timestamp>,
    /// Cancels answered with 202 in the normal course of things.
    pub cancels_accepted: u32,
    /// When the true end came.
    pub end_time: Option<Timestamp>,
}

fn default_job_type() -> String {
    "Pipeline".into()
}

fn default_invoke_type() -> String {
    "Manual".into()
}

fn default_end() -> JobStatus {
    JobStatus::Completed
}
