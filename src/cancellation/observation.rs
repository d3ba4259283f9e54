//! What the outside was seen to say: the only way news enters the core.

use std::time::Duration;

use jiff::Timestamp;

use super::job::Job;

/// One answer, classified. `Err` elsewhere means that we could not do our own work; whatever
/// Fabric, Entra or a credential source says is one of these, so no `?` can skip its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Fabric accepted the cancel request. Proves acceptance, not cancellation.
    Accepted {
        /// The `Location` header as sent. Recorded and shown, never followed.
        location: Option<String>,
        /// `Retry-After`; `None` when absent or unreadable, zero when it was zero or negative.
        retry_after: Option<Duration>,
        /// Fabric's id of the request.
        request_id: Option<String>,
    },
    /// The cancel request met a job that is already over. How it ended, we must ask.
    AlreadyCompleted {
        /// `Retry-After`, when sent.
        retry_after: Option<Duration>,
    },
    /// A readable look at the job.
    JobSeen {
        /// What it showed.
        job: Job,
        /// `Retry-After`; `None` when absent or unreadable, zero when it was zero or negative.
        retry_after: Option<Duration>,
    },
    /// A definite "not now": this request did nothing.
    Throttled {
        /// Whose limit was met.
        by: Throttle,
        /// `Retry-After`; `None` when absent or unreadable.
        retry_after: Option<Duration>,
        /// What was said, for support.
        error: ServiceError,
    },
    /// A definite "no": this request did nothing, and somebody must act or the job is not there.
    Refused {
        /// Who must act.
        refusal: Refusal,
        /// `Retry-After`, when sent.
        retry_after: Option<Duration>,
        /// What was said, for support.
        error: ServiceError,
        /// What to do about it, in our own words: names the object, the key and the fix.
        /// Stable: the same trouble always gives the same text. `None` for the fixed text
        /// of the refusal.
        advice: Option<String>,
    },
    /// A cancel request left, and nobody can tell what became of it.
    Unknown {
        /// `Retry-After`, when an answer carried one (503).
        retry_after: Option<Duration>,
        /// What was seen, for support.
        error: ServiceError,
    },
    /// Nothing was learned and nothing was done: a look that failed, no token, no answer from
    /// a credential source.
    Inconclusive {
        /// Who did not answer.
        from: Source,
        /// `Retry-After`, when an answer carried one.
        retry_after: Option<Duration>,
        /// What was seen, for support.
        error: ServiceError,
    },
    /// The identity's gate let nothing through: nothing was sent.
    Held {
        /// When the gate may be tried again.
        until: Timestamp,
        /// Who holds it back.
        by: Hold,
    },
    /// The deadline passed, with all that a verdict needs.
    DeadlinePassed,
}

/// Whose limit a throttling answer enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Throttle {
    /// The calling identity's quota (429): the gate closes for all that share it.
    Identity,
    /// The capacity's (430): delays this resource only.
    Capacity,
}

/// Who holds a request back before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// Fabric: it answered 429 to this identity.
    Fabric,
    /// We do: the identity's share of Fabric's quota is used up, or not known yet.
    OwnQuota,
}

/// Who did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The Fabric API.
    Fabric,
    /// Microsoft Entra ID's token endpoint.
    Entra,
    /// The Kubernetes API, asked for credentials.
    Kubernetes,
}

/// Why the answer was no, by who must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// Fabric will never accept this request. Final.
    RequestRejected,
    /// Fabric does not know the job instance. Final when seen twice, a minute apart.
    JobNotFound,
    /// Fabric does not know the workspace or the item, or hides it from this identity.
    TargetNotFound,
    /// The capacity of the workspace is paused.
    CapacityPaused,
    /// The identity lacks a right in Fabric.
    PermissionDenied,
    /// Entra refuses the credentials, or Fabric a fresh token.
    AuthenticationFailed,
    /// The credential source does not exist.
    CredentialsNotFound,
    /// The credential source cannot be used as it is.
    CredentialsInvalid,
    /// The operator may not use this credential source here.
    IdentityNotAllowed,
    /// The identity may not be used for this workspace.
    WorkspaceNotAllowed,
}

impl Refusal {
    /// Every refusal, for tables and exhaustive tests.
    pub const ALL: [Self; 10] = [
        Self::RequestRejected,
        Self::JobNotFound,
        Self::TargetNotFound,
        Self::CapacityPaused,
        Self::PermissionDenied,
        Self::AuthenticationFailed,
        Self::CredentialsNotFound,
        Self::CredentialsInvalid,
        Self::IdentityNotAllowed,
        Self::WorkspaceNotAllowed,
    ];
}

/// What a service said when it did not do what was asked: what Microsoft support asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceError {
    /// The service's stable code (`RequestBlocked`, `AADSTS7000215`, ...), or a stable name of
    /// ours where there was no answer (`ConnectionFailed`, `Timeout`, `UnreadableBody`, ...).
    pub code: String,
    /// What it said: at most 256 characters, without control characters.
    pub message: String,
    /// The HTTP status, when there was an answer.
    pub http_status: Option<u16>,
    /// The service's id of the request.
    pub request_id: Option<String>,
}
