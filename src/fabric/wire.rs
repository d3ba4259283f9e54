//! Bodies and headers as Fabric really sends them.
//!
//! The published schema is broken by real answers (nulls, times without a zone, missing
//! fields), so nothing is required here and nothing of a wrong type is an error: it is absent.

use http::HeaderMap;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::cancellation::{Job, JobFailure, JobStatus};
use crate::entra::AccessToken;
use crate::telemetry::text::{self, clean, clean_some};

/// Repeats the body's `errorCode`. Seen on every recorded error that has one.
const ERROR_CODE_HEADER: &str = "x-ms-public-api-error-code";
/// Fabric's id of the request, which Microsoft support asks for.
const REQUEST_ID_HEADER: &str = "requestid";

/// A longer text than this is no time.
const LONGEST_TIME: usize = 64;

/// What a body turned out to be.
#[derive(Debug)]
pub(super) enum Body {
    /// Nothing, or white space.
    Empty,
    /// A JSON object.
    Object(Map<String, Value>),
    /// JSON, but no object.
    OtherJson,
    /// Something else: HTML, cut off, not UTF-8, nested too deeply.
    Unreadable,
}

impl Body {
    /// Reads a body that is complete. A text in it that repeats `token` is withheld.
    pub(super) fn parse(bytes: &[u8], token: &AccessToken) -> Self {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        if bytes.trim_ascii().is_empty() {
            return Self::Empty;
        }
        // serde_json refuses to nest deeper than 128, so the stack is safe too.
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(mut object)) => {
                object.values_mut().for_each(|value| withhold(value, token));
                Self::Object(object)
            }
            Ok(_) => Self::OtherJson,
            Err(_) => Self::Unreadable,
        }
    }

    fn object(&self) -> Option<&Map<String, Value>> {
        match self {
            Self::Object(object) => Some(object),
            Self::Empty | Self::OtherJson | Self::Unreadable => None,
        }
    }

    /// Whether the body names another thing than `id`. A missing or null id names nothing.
    pub(super) fn is_about_another(&self, id: Uuid) -> bool {
        match self.object().and_then(|object| object.get("id")) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => Uuid::parse_str(text.trim()) != Ok(id),
            Some(_) => true,
        }
    }

    /// The job instance, when this is one: an object with an `id` or a `status` at least.
    pub(super) fn job(&self) -> Option<Job> {
        let object = self.object()?;
        if !object.contains_key("id") && !object.contains_key("status") {
            return None;
        }
        Some(Job {
            status: status(object.get("status")),
            job_type: string(object, "jobType"),
            invoke_type: string(object, "invokeType"),
            start_time: time(object, "startTimeUtc"),
            end_time: time(object, "endTimeUtc"),
            root_activity_id: string(object, "rootActivityId"),
            failure: failure(object.get("failureReason")),
        })
    }
}

/// What an answer says beside a job, wherever it says it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Fabric's stable error code: from the body, else from the header.
    pub(super) code: Option<String>,
    /// The text that goes with it, clean.
    pub(super) message: Option<String>,
    /// Whether Fabric says that asking again may help.
    pub(super) is_retriable: Option<bool>,
    /// Fabric's id of the request.
    pub(super) request_id: Option<String>,
}

impl Said {
    /// Reads an answer. The body's code wins over the header's.
    pub(super) fn read(headers: &HeaderMap, body: &Body, token: &AccessToken) -> Self {
        let empty = Map::new();
        let object = body.object().unwrap_or(&empty);
        // Gateways of the same house nest the error: `{"error": {"code": ..., "message": ...}}`.
        let nested = object
            .get("error")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        Self {
            code: string(object, "errorCode")
                .or_else(|| string(nested, "code"))
                .or_else(|| header(headers, ERROR_CODE_HEADER, text::NAME, token)),
            message: long_string(object, "message").or_else(|| long_string(nested, "message")),
            is_retriable: object.get("isRetriable").and_then(Value::as_bool),
            request_id: header(headers, REQUEST_ID_HEADER, usize::MAX, token)
                .filter(|id| is_id(id))
                .or_else(|| string(object, "requestId").filter(|id| is_id(id))),
        }
    }
}

/// A header's text, clean and cut; `None` when absent, empty or repeating `token`.
pub(super) fn header(
    headers: &HeaderMap,
    name: &str,
    limit: usize,
    token: &AccessToken,
) -> Option<String> {
    let raw = String::from_utf8_lossy(headers.get(name)?.as_bytes());
    if repeats(&raw, token) {
        return None;
    }
    clean_some(&raw, limit)
}

/// Replaces every text that repeats `token`, before anything is cut.
fn withhold(value: &mut Value, token: &AccessToken) {
    match value {
        Value::String(text) if repeats(text, token) => text::WITHHELD.clone_into(text),
        Value::Array(values) => values.iter_mut().for_each(|value| withhold(value, token)),
        Value::Object(object) => object.values_mut().for_each(|value| withhold(value, token)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether `text` holds a part of `token`, or would hold it once it is clean.
fn repeats(text: &str, token: &AccessToken) -> bool {
    token.is_in(text) || token.is_in(&clean(text, usize::MAX))
}

/// An id is shown and searched for, so it is short and plain.
fn is_id(text: &str) -> bool {
    text.len() <= 64
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
}

fn status(value: Option<&Value>) -> JobStatus {
    match value {
        Some(Value::String(text)) => status_word(text),
        Some(Value::Number(number)) => JobStatus::Other(clean(&number.to_string(), text::NAME)),
        Some(Value::Bool(flag)) => JobStatus::Other(flag.to_string()),
        None | Some(Value::Null | Value::Array(_) | Value::Object(_)) => {
            JobStatus::Other(String::new())
        }
    }
}

/// A word that becomes a known one only by cleaning is not known: an end rests on what Fabric
/// said. It is shown with what was hidden in it, so that it stays another word once it is stored.
fn status_word(text: &str) -> JobStatus {
    let shown = clean(text, text::NAME);
    match JobStatus::parse(&shown) {
        JobStatus::Other(word) => JobStatus::Other(word),
        known if text.trim() == shown => known,
        _ => JobStatus::Other(clean(&text.escape_default().to_string(), text::NAME)),
    }
}

/// An absent, null or empty reason is none; one without a code has an empty code.
fn failure(value: Option<&Value>) -> Option<JobFailure> {
    let object = value?.as_object()?;
    let code = string(object, "errorCode");
    let message = long_string(object, "message");
    if code.is_none() && message.is_none() {
        return None;
    }
    Some(JobFailure {
        code: code.unwrap_or_default(),
        message,
        request_id: string(object, "requestId"),
    })
}

fn string(object: &Map<String, Value>, key: &str) -> Option<String> {
    clean_some(object.get(key)?.as_str()?, text::NAME)
}

fn long_string(object: &Map<String, Value>, key: &str) -> Option<String> {
    clean_some(object.get(key)?.as_str()?, text::MESSAGE)
}

/// Fabric's times are UTC without saying so, with up to nine fraction digits; some articles
/// show a `Z`. What cannot be read is absent.
fn time(object: &Map<String, Value>, key: &str) -> Option<Timestamp> {
    let text = object.get(key)?.as_str()?.trim();
    if text.len() > LONGEST_TIME {
        return None;
    }
    let time = match text.parse::<Timestamp>() {
        Ok(time) => time,
        Err(_) => text
            .parse::<DateTime>()
            .ok()?
            .to_zoned(TimeZone::UTC)
            .ok()?
            .timestamp(),
    };
    // Year 1 is .NET's way to say that there is no time.
    (time.to_zoned(TimeZone::UTC).year() > 1).then_some(time)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Option<Timestamp> {
        let body = json!({ "t": text });
        time(body.as_object().unwrap(), "t")
    }

    #[test]
    fn a_status_with_something_hidden_in_it_is_no_known_status() {
        for (sent, shown) in [
            ("Can\u{200b}celled", "Can\\u{200b}celled"),
            ("Fail\u{7f}ed", "Fail\\u{7f}ed"),
        ] {
            let read = status(Some(&json!(sent)));
            assert_eq!(read, JobStatus::Other(shown.to_owned()));
            assert_eq!(JobStatus::parse(read.as_str()), read, "as it is read back");
        }
        assert_eq!(status(Some(&json!(" cancelled\n"))), JobStatus::Cancelled);
    }

    #[test]
    fn a_leap_second_is_a_time() {
        let before = read("2016-12-31T23:59:59");
        assert!(before.is_some());
        assert_eq!(read("2016-12-31T23:59:60"), before);
        assert_eq!(read("2016-12-31T23:59:60.0000000Z"), before);
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_none(text in ".{0,80}|[0-9TZ:.+ -]{0,40}") {
            read(&text);
        }

        #[test]
        fn a_time_is_utc_whatever_its_digits_and_zone(
            nanos in 0..253_402_300_799_000_000_000_i128,
            digits in 0..=9_usize,
            suffix in prop::sample::select(vec!["", "Z", "+00:00"]),
        ) {
            let time = Timestamp::from_nanosecond(nanos).unwrap();
            let scale = 10_i128.pow(9 - u32::try_from(digits).unwrap());
            let expected = Timestamp::from_nanosecond(nanos / scale * scale).unwrap();
            let seconds = time.strftime("%Y-%m-%dT%H:%M:%S");
            let fraction = &format!("{:09}", nanos % 1_000_000_000)[..digits];
            let dot = if digits > 0 { "." } else { "" };
            prop_assert_eq!(read(&format!("{seconds}{dot}{fraction}{suffix}")), Some(expected));
        }
    }
}
