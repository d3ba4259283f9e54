//! What the resource says: the wish (spec) and the facts (status), free of Kubernetes types.

use std::time::Duration;

use jiff::{Timestamp, Unit};

use super::{
    job::{Job, JobInstance},
    observation::ServiceError,
    reason::Reason,
};

/// What the author wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wish {
    /// The run to cancel.
    pub job: JobInstance,
    /// `metadata.generation`: which edition of the wish this is.
    pub generation: i64,
    /// When the resource was created, by the API server's clock.
    pub created: Timestamp,
    /// Whether the resource is being deleted.
    pub deleting: bool,
    /// Hold back new attempts.
    pub suspend: bool,
    /// How long the cancellation may take, from [`Facts::start_time`].
    pub active_deadline: Duration,
    /// Whether a job that ended otherwise than by cancellation counts as the goal reached.
    pub finished_is_success: bool,
    /// Whether a job that Fabric does not know counts as the goal reached.
    pub missing_is_success: bool,
    /// How long the resource is kept after its end; `None` for ever.
    pub ttl: Option<Duration>,
}

/// What is known of the cancellation: the status, as stored or as it should be. Times are whole
/// seconds, the resolution of a stored time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    /// The edition of the wish that was last acted on.
    pub observed_generation: Option<i64>,
    /// When the deadline's clock started.
    pub start_time: Option<Timestamp>,
    /// When the latest intent was stored.
    pub request_time: Option<Timestamp>,
    /// When Fabric first accepted a request.
    pub accepted_time: Option<Timestamp>,
    /// When it ended, in whatever way. Never changes once set.
    pub completion_time: Option<Timestamp>,
    /// No request before this.
    pub not_before: Option<Timestamp>,
    /// Intents stored; Fabric has processed at most this many requests.
    pub attempts: u32,
    /// What the 202 said. Never followed.
    pub location: Option<String>,
    /// Fabric's id of the accepted request.
    pub request_id: Option<String>,
    /// What Fabric last said of the job.
    pub job: Option<Job>,
    /// Which identity acts.
    pub identity: Option<Identity>,
    /// The latest trouble.
    pub last_error: Option<LastError>,
    /// The conditions; `None` until the first write.
    pub conditions: Option<Conditions>,
}

/// Which identity acts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// `Secret`, `ServiceAccount` or `Operator`.
    pub source: String,
    /// The name of the object it comes from.
    pub name: String,
    /// The Entra tenant.
    pub tenant_id: String,
    /// The Entra application (client).
    pub client_id: String,
}

/// The latest trouble, for support.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LastError {
    /// What was said.
    pub error: ServiceError,
    /// When this trouble began.
    pub time: Timestamp,
}

/// A condition's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Not decided yet.
    Unknown,
}

/// A condition without the bookkeeping that Kubernetes adds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// Its value.
    pub value: Value,
    /// Why.
    pub reason: Reason,
    /// For people: what is so, and what to do about it. Nothing fleeting.
    pub message: String,
}

/// All conditions of a cancellation. `Reconciling` is not stored: it is true exactly while
/// `Ready` is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conditions {
    /// Whether the goal is reached.
    pub ready: Verdict,
    /// Whether a person must act, or it ended without the goal. Carries Ready's reason.
    pub stalled: bool,
    /// Whether Fabric accepted the request.
    pub accepted: Verdict,
    /// Whether Fabric says the job was cancelled.
    pub cancelled: Verdict,
}

/// `at` plus `by`; the end of time where that does not fit.
#[must_use]
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// The whole second that `at` lies in: how a past moment is stored.
#[must_use]
pub fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_nanosecond().div_euclid(1_000_000_000) as i64).unwrap_or(at)
}

/// The first whole second not before `at`: how a "not before" is stored, so that rounding never
/// makes a request early.
#[must_use]
pub fn next_whole_second(at: Timestamp) -> Timestamp {
    at.round(
        jiff::TimestampRound::new()
            .smallest(Unit::Second)
            .mode(jiff::RoundMode::Ceil),
    )
    .unwrap_or(at)
}
