//! Fabric's refusals: error codes, their HTTP status, and the body.

use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde_json::{Value, json};
use uuid::Uuid;

/// An answer of Fabric that says no.
///
/// \[SPEC\] `ErrorResponse`: `errorCode` and `message` are required; the code is the contract. \[REC\]
/// `isRetriable` is `true` on `RequestBlocked`, `false` on the not-found codes and absent from
/// older answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FabricError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) is_retriable: Option<bool>,
    pub(crate) retry_after: Option<u64>,
}

impl FabricError {
    pub(crate) fn new(status: u16, code: &str, message: &str) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            is_retriable: None,
            retry_after: None,
        }
    }

    /// \[SDK\] code catalogue, group 401.
    pub(crate) fn token_is_missing() -> Self {
        Self::new(
            401,
            "TokenIsMissing",
            "The request does not carry an access token",
        )
    }

    /// \[SDK\] code catalogue, group 401; also for a token that was issued for another audience.
    pub(crate) fn invalid_token() -> Self {
        Self::new(401, "InvalidToken", "The access token is invalid")
    }

    /// \[SDK\] code catalogue, group 401.
    pub(crate) fn token_expired() -> Self {
        Self::new(
            401,
            "TokenExpired",
            "Access token has expired, resubmit with a new access token",
        )
    }

    /// \[SPEC\] listed for every job route; the HTTP status is the code catalogue's group.
    pub(crate) fn insufficient_privileges() -> Self {
        Self::new(
            403,
            "InsufficientPrivileges",
            "The caller does not have sufficient permissions to perform the action",
        )
    }

    /// \[SDK\] code catalogue, group 404; also what a caller sees who may not know of it.
    pub(crate) fn workspace_not_found() -> Self {
        Self::not_found(
            "WorkspaceNotFound",
            "The requested workspace could not be found",
        )
    }

    /// \[SPEC\] listed for every job route.
    pub(crate) fn item_not_found() -> Self {
        Self::not_found("ItemNotFound", "The requested item could not be found")
    }

    /// \[SDK\] job scheduler's codes; its HTTP status is not established, 404 is inferred.
    pub(crate) fn job_instance_not_found() -> Self {
        Self::not_found(
            "JobInstanceNotFound",
            "The requested job instance could not be found",
        )
    }

    /// Seen in the field: an unknown route is 404 `EntityNotFound`.
    pub(crate) fn unknown_route() -> Self {
        Self::not_found(
            "EntityNotFound",
            "The requested resource could not be found",
        )
    }

    /// Seen in the field: a paused capacity is a 404 with this code (one report: 503).
    pub(crate) fn capacity_not_active() -> Self {
        Self::new(
            404,
            "CapacityNotActive",
            "Unable to complete the action because the Fabric capacity is not active",
        )
    }

    /// \[SPEC\] listed for cancel; HTTP 400 seen in the field.
    pub(crate) fn job_already_completed() -> Self {
        Self::new(
            400,
            "JobAlreadyCompleted",
            "Requested cancellation cannot be processed as the job instance run has completed",
        )
    }

    /// \[SDK\] code catalogue, group 400. Which code a path that is no UUID really gets is inferred.
    pub(crate) fn invalid_parameter(name: &str) -> Self {
        Self::new(
            400,
            "InvalidParameter",
            &format!("The parameter {name} is not a valid UUID"),
        )
    }

    /// \[SPEC\] listed for run on demand.
    pub(crate) fn invalid_job_type() -> Self {
        Self::new(400, "InvalidJobType", "The job type is invalid")
    }

    /// \[SDK\] code catalogue, group 400.
    pub(crate) fn corrupted_payload() -> Self {
        Self::new(
            400,
            "CorruptedPayload",
            "The request body is not valid JSON",
        )
    }

    /// \[REC\] the body of 76 recorded 429 answers; the time in the text is that of the header, up to
    /// a second later.
    pub(crate) fn request_blocked(until: Timestamp, retry_after: u64) -> Self {
        Self {
            is_retriable: Some(true),
            retry_after: Some(retry_after),
            ..Self::new(
                429,
                "RequestBlocked",
                &format!(
                    "Request is blocked by the upstream service until: {} (UTC)",
                    american(until)
                ),
            )
        }
    }

    /// The body with the fields in the order of the recordings.
    pub(crate) fn body(&self, request_id: Uuid) -> Value {
        let mut body = json!({
            "requestId": request_id,
            "errorCode": self.code,
            "message": self.message,
        });
        if let Some(is_retriable) = self.is_retriable {
            body["isRetriable"] = is_retriable.into();
        }
        body
    }

    fn not_found(code: &str, message: &str) -> Self {
        Self {
            is_retriable: Some(false),
            ..Self::new(404, code, message)
        }
    }
}

/// `2/6/2026 8:31:04 AM`, as in the recorded messages.
fn american(time: Timestamp) -> String {
    let time: Zoned = time.to_zoned(TimeZone::UTC);
    let (hour, half) = match time.hour() {
        0 => (12, "AM"),
        hour @ 1..=11 => (hour, "AM"),
        12 => (12, "PM"),
        hour => (hour - 12, "PM"),
    };
    format!(
        "{}/{}/{} {hour}:{:02}:{:02} {half}",
        time.month(),
        time.day(),
        time.year(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_in_a_blocked_answer_is_written_as_recorded() {
        for (time, text) in [
            ("2026-02-06T08:31:04Z", "2/6/2026 8:31:04 AM"),
            ("2026-12-31T00:05:00Z", "12/31/2026 12:05:00 AM"),
            ("2026-12-31T12:05:00Z", "12/31/2026 12:05:00 PM"),
            ("2026-12-31T23:59:59Z", "12/31/2026 11:59:59 PM"),
        ] {
            assert_eq!(american(time.parse().unwrap()), text);
        }
    }
}
