//! The Fabric job instance: its ids, and what Fabric says of it.

use jiff::Timestamp;
use uuid::Uuid;

/// The three ids that name one run of one Fabric item for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobInstance {
    /// The workspace that holds the item.
    pub workspace_id: Uuid,
    /// The item (pipeline, notebook, ...) whose run is meant.
    pub item_id: Uuid,
    /// The run itself. An id is never used for a second run, which is what makes a
    /// repeated cancel request harmless.
    pub job_instance_id: Uuid,
}

/// Where a job stands, in Fabric's words. The list is open: Fabric may add values at any time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JobStatus {
    /// Not started, or queued.
    NotStarted,
    /// Running. Fabric shows no "cancelling" state: a job being cancelled looks like this.
    InProgress,
    /// Ended by itself.
    Completed,
    /// Ended with a failure.
    Failed,
    /// Ended by a cancellation, ours or another.
    Cancelled,
    /// Never ran: another instance of the same job type was already running.
    Deduped,
    /// A value this version does not know, as Fabric spelled it (empty when it sent none).
    Other(String),
}

impl JobStatus {
    /// Reads Fabric's spelling, whatever its case.
    #[must_use]
    pub fn parse(raw: &str) -> Self {
        for known in [
            Self::NotStarted,
            Self::InProgress,
            Self::Completed,
            Self::Failed,
            Self::Cancelled,
            Self::Deduped,
        ] {
            if raw.eq_ignore_ascii_case(known.as_str()) {
                return known;
            }
        }
        Self::Other(raw.to_owned())
    }

    /// Fabric's own spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::NotStarted => "NotStarted",
            Self::InProgress => "InProgress",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Deduped => "Deduped",
            Self::Other(raw) => raw,
        }
    }

    /// Whether the job is over. An unknown value is not: it costs looks, never a wrong verdict.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Cancelled | Self::Deduped => true,
            Self::NotStarted | Self::InProgress | Self::Other(_) => false,
        }
    }
}

/// What one readable look at a job instance showed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Job {
    /// Where it stands.
    pub status: JobStatus,
    /// Fabric's name of the kind of job (`Pipeline`, `RunNotebook`, ...).
    pub job_type: Option<String>,
    /// How it was started (`Manual`, `Scheduled`, ...).
    pub invoke_type: Option<String>,
    /// When it started, UTC. Fabric may correct it between two looks.
    pub start_time: Option<Timestamp>,
    /// When it ended, UTC. Absent while it runs, and sometimes on a cancelled job too.
    pub end_time: Option<Timestamp>,
    /// Fabric's id of the request that started the run: what Microsoft support asks for.
    pub root_activity_id: Option<String>,
    /// Why it failed, when Fabric says so.
    pub failure: Option<JobFailure>,
}

/// Why a job failed, in Fabric's words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobFailure {
    /// Fabric's stable error code; empty when it sent none.
    pub code: String,
    /// Fabric's text, cut and cleaned of control characters.
    pub message: Option<String>,
    /// Fabric's id of the request that failed.
    pub request_id: Option<String>,
}

/// Failure codes that Fabric was seen to report for a second or two on a healthy, fresh
/// instance. Reported on Microsoft's own Airflow plugin; compared without regard to case.
const SUSPICIOUS_FAILURES: [&str; 3] = [
    "NotFound",
    "RequestExecutionFailed",
    "JobInstanceStatusNotFound",
];

impl Job {
    /// Whether this `Failed` deserves a second look: one of the codes that Fabric also reports
    /// for an instance it has not yet caught up with, and no end time.
    #[must_use]
    pub fn is_suspicious(&self) -> bool {
        self.status == JobStatus::Failed
            && self.end_time.is_none()
            && self.failure.as_ref().is_some_and(|failure| {
                SUSPICIOUS_FAILURES
                    .iter()
                    .any(|code| failure.code.eq_ignore_ascii_case(code))
            })
    }
}
