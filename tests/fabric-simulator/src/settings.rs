//! What the simulated service does unless a job or a script says otherwise.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Behaviour of the simulated service, in simulated time; can be changed while it runs.
///
/// In JSON durations are seconds (numbers, fractions allowed) and the names end in `Seconds`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    /// `Retry-After` of the 202 answers to a cancel and to a run; `None` leaves the header out.
    ///
    /// 60 s by default: \[SPEC\] the example, \[REC\] all six recorded cancels.
    #[serde(rename = "acceptedRetryAfterSeconds", with = "optional_seconds")]
    pub accepted_retry_after: Option<Duration>,
    /// `Retry-After` of a look at a job that has not ended. Ended jobs carry none (\[REC\] 14 of 14).
    pub look_retry_after: LookRetryAfter,
    /// From an accepted cancel to the job's end; a job may say otherwise. 5 s by default.
    ///
    /// \[REC\] 40 s for a notebook cancelled in the queue, under 1 s for one that ran.
    #[serde(rename = "cancelTakesSeconds", with = "seconds")]
    pub cancel_takes: Duration,
    /// How often the service refreshes its view of a job; a look shows the job as it was at the
    /// last refresh. Zero (the default) shows the truth.
    ///
    /// \[DOC\] workload development kit, monitoring hub: about once a minute. \[REC\] a pipeline that
    /// had ended was still shown `InProgress` 100 s later.
    #[serde(rename = "viewRefreshSeconds", with = "seconds")]
    pub view_refresh: Duration,
    /// Calls per window, identity and bucket; `None` switches the quota off.
    ///
    /// \[DOC\] throttling article: the Job Scheduler bucket is 200 calls a minute per user or service
    /// principal; the window is fixed and refills all at once.
    pub quota: Option<QuotaLimit>,
    /// How long an access token is valid. 3599 s by default, as Entra's answers say.
    #[serde(rename = "tokenLifetimeSeconds", with = "seconds")]
    pub token_lifetime: Duration,
    /// What a cancel answers while an earlier one is under way.
    pub repeated_cancel: RepeatedCancel,
    /// Show `endTimeUtc: null` on every job that ended as `Cancelled` (\[REC\] seen within a second
    /// of the end); a job may also ask for it alone.
    pub null_end_time_when_cancelled: bool,
    /// Job instances on one page of the list.
    pub list_page_size: usize,
    /// Show `continuationToken: null` on the last page instead of leaving it out ([SPEC] Spark
    /// example).
    pub null_continuation_token: bool,
    /// How long a job started by a run request stays `NotStarted`.
    #[serde(rename = "runStartsAfterSeconds", with = "seconds")]
    pub run_starts_after: Duration,
    /// How long a job started by a run request then runs before it is `Completed`; `None` runs on.
    #[serde(rename = "runLastsSeconds", with = "optional_seconds")]
    pub run_lasts: Option<Duration>,
}

/// `Retry-After` of a look at a job that has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LookRetryAfter {
    /// No header, as in 17 of 35 recorded looks.
    Absent,
    /// Always this many seconds.
    Seconds(u64),
    /// Whole seconds to the next refresh of the service's view, down to 0 (\[REC\] 0, 2, 3, 20 to 59;
    /// that it is a countdown is inferred). Without a refresh period the header is absent.
    #[default]
    Countdown,
}

/// What a cancel answers while an earlier one is under way. Not established by any source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RepeatedCancel {
    /// 202 again; the first one's end stands.
    #[default]
    Accepted,
    /// 400 `JobAlreadyCompleted`.
    JobAlreadyCompleted,
}

/// Calls that one identity may make in one bucket in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QuotaLimit {
    /// Calls in one window.
    pub calls: u32,
    /// The length of the window.
    #[serde(rename = "windowSeconds", with = "seconds")]
    pub window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            accepted_retry_after: Some(Duration::from_secs(60)),
            look_retry_after: LookRetryAfter::default(),
            cancel_takes: Duration::from_secs(5),
            view_refresh: Duration::ZERO,
            quota: Some(QuotaLimit::default()),
            token_lifetime: Duration::from_secs(3_599),
            repeated_cancel: RepeatedCancel::default(),
            null_end_time_when_cancelled: false,
            list_page_size: 100,
            null_continuation_token: false,
            run_starts_after: Duration::from_secs(2),
            run_lasts: None,
        }
    }
}

impl Default for QuotaLimit {
    fn default() -> Self {
        Self {
            calls: 200,
            window: Duration::from_secs(60),
        }
    }
}

/// Durations as seconds in JSON.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| D::Error::custom(format!("{seconds} is not a number of seconds >= 0")))
    }
}

/// Durations as seconds in JSON, `null` for none.
pub(crate) mod optional_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Seconds(#[serde(with = "super::seconds")] Duration);

    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(Seconds).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Seconds>::deserialize(deserializer)?.map(|seconds| seconds.0))
    }
}
