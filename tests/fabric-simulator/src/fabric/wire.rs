//! The JSON of a job instance as the service really sends it.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{FailureReason, JobStatus, job::Job};
use crate::settings::Settings;

/// The body of a look at a job.
///
/// \[REC\] `endTimeUtc` and `failureReason` are `null` until there is something to say, where the
/// schema declares a plain string and a plain object; times have no zone and a varying number of
/// fraction digits.
pub(crate) fn instance(job: &Job, settings: &Settings, request_id: Uuid, now: Timestamp) -> Value {
    let shown = job.shown(now, settings.view_refresh);
    let null_end = job.null_end_time
        || (settings.null_end_time_when_cancelled && shown.status == JobStatus::Cancelled);
    let end = (shown.status.is_ended() && !null_end)
        .then(|| zoneless(shown.at, fraction_digits(job.ordinal + 1)));
    let mut start = job.created;
    if job.unsteady_start_time && job.looks > 0 {
        start += UNSTEADY;
    }
    let failure = (shown.status == JobStatus::Failed).then(|| {
        job.failure_reason
            .clone()
            .unwrap_or_else(FailureReason::without_detail)
    });
    let mut body = json!({
        "id": job.at.job_instance_id,
        "itemId": job.at.item_id,
        "jobType": job.job_type,
        "invokeType": job.invoke_type,
        "status": shown.status,
        "rootActivityId": job.root_activity_id,
        "startTimeUtc": zoneless(start, fraction_digits(job.ordinal)),
        "endTimeUtc": end,
        "failureReason": failure.map(|reason| json!({
            "requestId": request_id,
            "errorCode": reason.error_code,
            "message": reason.message,
            "isRetriable": false,
        })),
    });
    for (field, value) in &job.overlay {
        body[field] = value.clone();
    }
    body
}

/// `2025-09-07T14:59:18.14`: UTC, without a zone (\[REC\]).
pub(crate) fn zoneless(time: Timestamp, fraction_digits: usize) -> String {
    format!("{time:.fraction_digits$}")
        .trim_end_matches('Z')
        .to_owned()
}

/// How far `startTimeUtc` moves when it moves at all: the recorded change is 180 ms.
const UNSTEADY: SignedDuration = SignedDuration::from_millis(181);

/// \[REC\] `...18.14`, `...22.311953`, `...37.4613303`: two to seven digits, never a zone.
fn fraction_digits(ordinal: usize) -> usize {
    const DIGITS: [usize; 6] = [7, 2, 6, 3, 5, 4];
    DIGITS[ordinal % DIGITS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_no_zone_and_as_many_digits_as_asked_for() {
        let time: Timestamp = "2025-09-07T14:59:18.14Z".parse().unwrap();
        assert_eq!(zoneless(time, 2), "2025-09-07T14:59:18.14");
        assert_eq!(zoneless(time, 7), "2025-09-07T14:59:18.1400000");
    }

    #[test]
    fn the_number_of_digits_varies_from_job_to_job() {
        let seen: std::collections::BTreeSet<_> = (0..6).map(fraction_digits).collect();
        assert_eq!(seen.len(), 6);
    }
}
