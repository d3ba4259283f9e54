//! What Fabric answers.

use std::time::Duration;

use fabric_job_operator::cancellation::{JobStatus, Observation, ServiceError};
use jiff::Timestamp;

use crate::memory::{Answer, JOB, TOKEN, cancel, look};

/// The longest wait that is believed.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// A longer text is no time, in bytes.
const LONGEST_TIME: usize = 64;

/// From then on a time is meant as one: 1900.
const FIRST_TIME: Timestamp = Timestamp::constant(-2_208_988_800, 0);

/// `Retry-After`: each line is one header. What is a plain number is honoured as it is, and
/// nothing is believed for more than seven days.
pub fn retry_after(input: &[u8]) {
    let mut answer = Answer::new(200, format!(r#"{{"id":"{}"}}"#, JOB.job_instance_id));
    let lines: Vec<_> = input.split(|byte| *byte == b'\n').take(8).collect();
    for line in &lines {
        answer = answer.header("retry-after", line);
    }
    let Observation::JobSeen { retry_after, .. } = look(answer) else {
        panic!("a readable job is seen whatever the headers say");
    };
    let plain = lines
        .iter()
        .filter_map(|line| std::str::from_utf8(line).ok())
        .filter(|line| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|line| line.parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(LONGEST))
        .max();
    assert!(
        retry_after >= plain,
        "{retry_after:?} is shorter than {plain:?}"
    );
    assert!(
        retry_after.is_none_or(|wait| wait <= LONGEST),
        "{retry_after:?}"
    );
}

/// The times of a job, which Fabric sends without a zone: a time is read as UTC, as far as it
/// can be read, and one that cannot be never hides the status.
pub fn job_times(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let body = serde_json::json!({
        "id": JOB.job_instance_id, "status": "Cancelled", "startTimeUtc": text, "endTimeUtc": text,
    });
    let Observation::JobSeen { job, .. } = look(Answer::new(200, body.to_string())) else {
        panic!("a time made the job unreadable: {text:?}");
    };
    assert_eq!(job.status, JobStatus::Cancelled);
    assert_eq!(job.start_time, job.end_time);
    // Year 1 is no time, and longer is an attack on the parser.
    if let Ok(time) = text.parse::<Timestamp>()
        && text.len() <= LONGEST_TIME
        && time >= FIRST_TIME
    {
        assert_eq!(job.start_time, Some(time), "{text:?} names its zone");
    }
    if let Some(time) = job.start_time {
        assert!(!text.trim().is_empty(), "{time} out of nothing");
    }
}

/// The answer to a look: two bytes of status, then the body. A job is only seen in a 200 that
/// is about this job.
pub fn job_body(input: &[u8]) {
    let Some((status, body)) = status_and_rest(input) else {
        return;
    };
    let seen = look(Answer::new(status, body));
    check_texts(&seen);
    match &seen {
        Observation::JobSeen { job, .. } => {
            assert_eq!(status, 200);
            let sent: serde_json::Value = serde_json::from_slice(without_mark(body))
                .expect("a job that was seen is valid JSON");
            let ours = JOB.job_instance_id.to_string();
            let id = sent["id"].as_str().map(|id| id.trim().to_ascii_lowercase());
            if let Some(id) = id.filter(|id| id.len() == ours.len()) {
                assert_eq!(id, ours, "another job was believed");
            }
            if job.status.is_terminal() {
                let status = sent["status"].as_str().unwrap_or_default();
                assert!(
                    status.trim().eq_ignore_ascii_case(job.status.as_str()),
                    "{status:?} became {:?}",
                    job.status
                );
            }
        }
        Observation::Throttled { .. }
        | Observation::Refused { .. }
        | Observation::Inconclusive { .. } => {}
        other => panic!("no answer to a look: {other:?}"),
    }
}

/// The answer to a cancel request: two bytes of status, one line with the error code's header,
/// then the body. Accepted is only what an accepting status says.
pub fn cancel_answer(input: &[u8]) {
    let Some((status, rest)) = status_and_rest(input) else {
        return;
    };
    let end = rest.iter().position(|byte| *byte == b'\n');
    let (code, body) = rest.split_at(end.unwrap_or(0));
    let answer = Answer::new(status, body)
        .header("x-ms-public-api-error-code", code)
        .header("requestid", b"0d4a3ef4-21ad-4b9f-a4d6-3a7c9e0a0001");
    let seen = cancel(answer);
    check_texts(&seen);
    match &seen {
        Observation::Accepted { .. } => assert!(matches!(status, 200 | 202 | 204), "{status}"),
        Observation::AlreadyCompleted { .. } | Observation::Throttled { .. } => {}
        Observation::Refused { error, .. } => {
            assert_eq!(error.http_status, Some(status));
            let silent = error.code.starts_with("Http");
            assert!(!(silent && status >= 500), "{status} is no refusal");
        }
        Observation::Unknown { error, .. } => assert_eq!(error.http_status, Some(status)),
        other => panic!("no answer to a cancel request: {other:?}"),
    }
}

/// `Location` of a 202: recorded as far as it is a clean line, and never a reason to doubt the
/// acceptance.
pub fn location(input: &[u8]) {
    let answer = Answer::new(202, "").header("location", input);
    let Observation::Accepted { location, .. } = cancel(answer) else {
        panic!("a 202 is an acceptance, whatever its Location says");
    };
    if let Some(location) = location {
        check_text("location", &location, 512);
    }
}

fn status_and_rest(input: &[u8]) -> Option<(u16, &[u8])> {
    let ([high, low], rest) = input.split_first_chunk::<2>()?;
    // 100 to 599: what a client lets through as a final status, and more.
    let status = 100 + u16::from_be_bytes([*high, *low]) % 500;
    Some((status, rest))
}

fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)
}

fn check_texts(seen: &Observation) {
    match seen {
        Observation::Throttled { error, .. }
        | Observation::Refused { error, .. }
        | Observation::Unknown { error, .. }
        | Observation::Inconclusive { error, .. } => check_error(error),
        Observation::JobSeen { job, .. } => {
            for text in [&job.job_type, &job.invoke_type, &job.root_activity_id]
                .into_iter()
                .flatten()
            {
                check_text("a name of the job", text, 128);
            }
            check_text("the job's status", job.status.as_str(), 128);
        }
        Observation::Accepted {
            location,
            request_id,
            ..
        } => {
            for text in [location, request_id].into_iter().flatten() {
                check_text("a header", text, 512);
            }
        }
        Observation::AlreadyCompleted { .. }
        | Observation::Held { .. }
        | Observation::DeadlinePassed => {}
    }
}

fn check_error(error: &ServiceError) {
    assert!(!error.code.is_empty(), "an error without a code: {error:?}");
    check_text("code", &error.code, 128);
    check_text("message", &error.message, 256);
    if let Some(id) = &error.request_id {
        check_text("request id", id, 128);
    }
}

/// What is shown is one short clean line.
pub(crate) fn check_line(what: &str, text: &str, limit: usize) {
    assert!(
        text.chars().count() <= limit,
        "{what} is too long: {text:?}"
    );
    assert!(!text.chars().any(char::is_control), "{what}: {text:?}");
}

/// As [`check_line`], and it holds no part of the token that went with the request.
fn check_text(what: &str, text: &str, limit: usize) {
    check_line(what, text, limit);
    for part in TOKEN.split('.').chain([TOKEN]) {
        assert!(!text.contains(part), "{what} shows the token: {text:?}");
    }
}
