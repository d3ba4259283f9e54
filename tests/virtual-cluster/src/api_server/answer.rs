//! Answers and refusals in kube-apiserver's form.

use axum::body::Body;
use http::{Response, StatusCode, header};
use serde_json::{Value, json};

use super::request::Kind;

/// A request that is answered with a `Status` instead of what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
}

impl Refusal {
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        let reason = match code {
            400 => "BadRequest",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            405 => "MethodNotAllowed",
            406 => "NotAcceptable",
            409 => "Conflict",
            410 => "Expired",
            415 => "UnsupportedMediaType",
            422 => "Invalid",
            429 => "TooManyRequests",
            500 => "InternalError",
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "Unknown",
        };
        Self {
            code,
            reason,
            message: message.into(),
        }
    }

    pub fn unknown_resource() -> Self {
        Self::new(404, "the server could not find the requested resource")
    }

    pub fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(404, format!("{} \"{name}\" not found", kind.qualified()))
    }

    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.qualified());
        Self {
            reason: "AlreadyExists",
            ..Self::new(409, message)
        }
    }

    pub fn stale(kind: &Kind, name: &str) -> Self {
        Self::new(
            409,
            format!(
                "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; \
                 please apply your changes to the latest version and try again",
                kind.qualified()
            ),
        )
    }

    pub fn precondition(kind: &Kind, name: &str, field: &str, asked: &str, is: &str) -> Self {
        Self::new(
            409,
            format!(
                "Operation cannot be fulfilled on {} \"{name}\": the {field} in the precondition \
                 ({asked}) does not match the {field} in record ({is})",
                kind.qualified()
            ),
        )
    }

    pub fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(410, format!("too old resource version: {asked} ({oldest})"))
    }

    /// The `Status` object that says so.
    pub fn status(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        })
    }

    pub fn response(&self) -> Response<Body> {
        respond(self.code, &self.status())
    }
}

/// A JSON answer.
pub fn respond(code: u16, value: &Value) -> Response<Body> {
    Response::builder()
        .status(StatusCode::from_u16(code).expect("a test uses valid HTTP status codes"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(value.to_string()))
        .expect("the parts are valid")
}
