//! From an [`Answer`] to bytes.

use axum::body::Body;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value};
use std::{convert::Infallible, time::Duration};
use uuid::Uuid;

use crate::{
    entra::refusal::Subject,
    fabric::error::FabricError,
    script::{Answer, AnswerBody},
};

/// What an answer says about its request.
pub(super) struct Context {
    pub(super) request_id: Uuid,
    /// Entra names two ids.
    pub(super) correlation_id: Uuid,
    pub(super) now: Timestamp,
    pub(super) discovery: bool,
    pub(super) subject: Subject,
}

pub(super) fn response(answer: &Answer, context: &Context) -> Response<Body> {
    let mut response = Response::new(body(answer, context));
    // An answer that cannot be sent is the script author's mistake; it is told as such.
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    for (name, value) in &answer.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    if is_json(&answer.body) && !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        );
    }
    if let AnswerBody::FabricError { code, .. } = &answer.body {
        if let Ok(code) = HeaderValue::from_str(code) {
            headers.entry(ERROR_CODE).or_insert(code);
        }
        headers.entry(REQUEST_ID).or_insert(id(context.request_id));
    }
    // RFC 9110, section 5.6.7, in simulated time.
    let date = context
        .now
        .to_zoned(TimeZone::UTC)
        .strftime("%a, %d %b %Y %H:%M:%S GMT");
    headers.insert(
        header::DATE,
        HeaderValue::from_str(&date.to_string()).expect("a date is plain ASCII"),
    );
    response
}

/// The answer with these fields laid over its JSON object; an answer without one stays as it is.
pub(super) fn overlaid(answer: Answer, fields: Map<String, Value>, context: &Context) -> Answer {
    let Some(Value::Object(mut object)) = json(&answer, context) else {
        return answer;
    };
    object.extend(fields);
    Answer {
        body: AnswerBody::Json(Value::Object(object)),
        ..answer
    }
}

/// What the ledger calls the answer's error.
pub(super) fn error_code(answer: &Answer) -> Option<String> {
    match &answer.body {
        AnswerBody::FabricError { code, .. } => Some(code.clone()),
        AnswerBody::EntraRefusal(refusal) => Some(format!("AADSTS{}", refusal.code())),
        AnswerBody::Json(body) => body["errorCode"].as_str().map(str::to_owned),
        AnswerBody::Empty
        | AnswerBody::Text(_)
        | AnswerBody::Huge(_)
        | AnswerBody::Endless
        | AnswerBody::Trickling => None,
    }
}

fn json(answer: &Answer, context: &Context) -> Option<Value> {
    match &answer.body {
        AnswerBody::Json(value) => Some(value.clone()),
        AnswerBody::FabricError {
            code,
            message,
            is_retriable,
        } => {
            let error = FabricError {
                is_retriable: *is_retriable,
                ..FabricError::new(answer.status, code, message)
            };
            Some(error.body(context.request_id))
        }
        AnswerBody::EntraRefusal(refusal) => Some(refusal.body(
            &context.subject,
            context.discovery,
            context.request_id,
            context.correlation_id,
            context.now,
        )),
        AnswerBody::Empty
        | AnswerBody::Text(_)
        | AnswerBody::Huge(_)
        | AnswerBody::Endless
        | AnswerBody::Trickling => None,
    }
}

fn body(answer: &Answer, context: &Context) -> Body {
    if let Some(value) = json(answer, context) {
        return Body::from(value.to_string());
    }
    match &answer.body {
        AnswerBody::Text(text) => Body::from(text.clone()),
        AnswerBody::Huge(bytes) => filler(Some(*bytes)),
        AnswerBody::Endless => filler(None),
        AnswerBody::Trickling => trickle(),
        _ => Body::empty(),
    }
}

/// `{"value":"xxxx...`, never closed when endless, in chunks.
fn filler(bytes: Option<u64>) -> Body {
    const CHUNK: Bytes = Bytes::from_static(&[b'x'; 16 * 1024]);
    const HEAD: Bytes = Bytes::from_static(b"{\"value\":\"");
    const TAIL: Bytes = Bytes::from_static(b"\"}");
    let head = stream::iter([HEAD]);
    let Some(bytes) = bytes else {
        return Body::from_stream(head.chain(stream::repeat(CHUNK)).map(Ok::<_, Infallible>));
    };
    let length = CHUNK.len() as u64;
    let rest = usize::try_from(bytes % length).expect("below the length of a chunk");
    let whole = usize::try_from(bytes / length).unwrap_or(usize::MAX);
    let chunks = stream::repeat(CHUNK).take(whole);
    let tail = stream::iter([CHUNK.slice(..rest), TAIL]);
    Body::from_stream(head.chain(chunks).chain(tail).map(Ok::<_, Infallible>))
}

/// As [`filler`], but with pauses after the first chunks.
fn trickle() -> Body {
    const CHUNK: Bytes = Bytes::from_static(&[b'x'; 16 * 1024]);
    const HEAD: Bytes = Bytes::from_static(b"{\"value\":\"");
    let seconds = tokio::time::interval(Duration::from_secs(1));
    let bytes = stream::unfold(seconds, |mut seconds| async {
        seconds.tick().await;
        Some((CHUNK.slice(..1), seconds))
    });
    let at_once = stream::iter([HEAD]).chain(stream::repeat(CHUNK).take(12));
    Body::from_stream(at_once.chain(bytes).map(Ok::<_, Infallible>))
}

fn is_json(body: &AnswerBody) -> bool {
    !matches!(body, AnswerBody::Empty | AnswerBody::Text(_))
}

fn id(id: Uuid) -> HeaderValue {
    HeaderValue::from_str(&id.to_string()).expect("a UUID is plain ASCII")
}

/// \[REC\] repeats `errorCode` on all 126 recorded errors that have one.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-public-api-error-code");

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("requestid");
