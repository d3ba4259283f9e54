//! Answers that a script gives instead of the state machine.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{entra::EntraRefusal, fabric::error::FabricError};

/// A whole answer: status, headers, body.
///
/// Nothing is added to it but the `Date` header, and a Fabric error's `RequestId` and
/// `x-ms-public-api-error-code`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Names and values; a name may occur twice.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// What follows.
    #[serde(default)]
    pub body: AnswerBody,
}

/// The body of an [`Answer`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AnswerBody {
    /// No body.
    #[default]
    Empty,
    /// `application/json`, unless a header says otherwise.
    Json(Value),
    /// As it stands; without a `Content-Type` of its own.
    Text(String),
    /// A Fabric error; the request's id is filled in.
    #[serde(rename_all = "camelCase")]
    FabricError {
        /// `errorCode`.
        code: String,
        /// `message`.
        #[serde(default)]
        message: String,
        /// `isRetriable`; absent when `None`.
        #[serde(default)]
        is_retriable: Option<bool>,
    },
    /// An Entra refusal; ids and time are filled in.
    EntraRefusal(EntraRefusal),
    /// That many bytes of valid JSON string content, sent in chunks.
    Huge(
        /// Bytes.
        u64,
    ),
    /// JSON string content that never ends.
    Endless,
    /// The same, but after 192 KiB it comes byte by byte, one a second of real time.
    Trickling,
}

impl Answer {
    /// A status and nothing else.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: AnswerBody::Empty,
        }
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A JSON body.
    #[must_use]
    pub fn json(mut self, body: Value) -> Self {
        self.body = AnswerBody::Json(body);
        self
    }

    /// An HTML page, as gateways and portals send it; also with status 200.
    #[must_use]
    pub fn html(mut self, page: impl Into<String>) -> Self {
        self.body = AnswerBody::Text(page.into());
        self.header("Content-Type", "text/html; charset=utf-8")
    }

    /// A body of this many bytes.
    #[must_use]
    pub fn huge(mut self, bytes: u64) -> Self {
        self.body = AnswerBody::Huge(bytes);
        self
    }

    /// A body that never ends.
    #[must_use]
    pub fn endless(mut self) -> Self {
        self.body = AnswerBody::Endless;
        self
    }

    /// A body that comes byte by byte after its first 192 KiB.
    #[must_use]
    pub fn trickling(mut self) -> Self {
        self.body = AnswerBody::Trickling;
        self
    }

    /// 202, with headers only as given: a foreign `Location`, a `Retry-After` of `soon`, or none.
    pub fn accepted(location: Option<&str>, retry_after: Option<&str>) -> Self {
        let mut answer = Self::new(202);
        if let Some(location) = location {
            answer = answer.header("Location", location);
        }
        if let Some(retry_after) = retry_after {
            answer = answer.header("Retry-After", retry_after);
        }
        answer
    }

    /// A Fabric error with this code, at any HTTP status.
    pub fn error(status: u16, code: impl Into<String>) -> Self {
        let code = code.into();
        let message = format!("The simulator was told to answer {code}");
        Self {
            body: AnswerBody::FabricError {
                code,
                message,
                is_retriable: None,
            },
            ..Self::new(status)
        }
    }

    /// 429 `RequestBlocked` (\[REC\]); without `Retry-After` when `None`, as other clients report.
    pub fn throttled(retry_after_seconds: Option<u64>) -> Self {
        let mut answer = Self::new(429);
        if let Some(seconds) = retry_after_seconds {
            answer = answer.header("Retry-After", seconds.to_string());
        }
        answer.body = AnswerBody::FabricError {
            code: "RequestBlocked".into(),
            message: "Request is blocked by the upstream service".into(),
            is_retriable: Some(true),
        };
        answer
    }

    /// 503 of a service that is down for a while.
    pub fn unavailable(retry_after_seconds: Option<u64>) -> Self {
        let answer = Self::new(503).html("<html><body><h1>Service Unavailable</h1></body></html>");
        match retry_after_seconds {
            Some(seconds) => answer.header("Retry-After", seconds.to_string()),
            None => answer,
        }
    }

    /// A redirect to this URL.
    pub fn redirect(status: u16, url: impl Into<String>) -> Self {
        Self::new(status).header("Location", url)
    }

    /// 400 `JobAlreadyCompleted`, also for a job that a look still shows as running.
    pub fn job_already_completed() -> Self {
        FabricError::job_already_completed().into()
    }

    /// What Entra answers to a token request that it refuses, is too busy for, or cannot serve.
    pub fn entra(refusal: EntraRefusal) -> Self {
        let mut answer = Self::new(refusal.status());
        if let Some(seconds) = refusal.retry_after() {
            answer = answer.header("Retry-After", seconds.to_string());
        }
        answer.body = AnswerBody::EntraRefusal(refusal);
        answer
    }
}

impl From<FabricError> for Answer {
    fn from(error: FabricError) -> Self {
        let mut answer = Self::new(error.status);
        if let Some(seconds) = error.retry_after {
            answer = answer.header("Retry-After", seconds.to_string());
        }
        answer.body = AnswerBody::FabricError {
            code: error.code,
            message: error.message,
            is_retriable: error.is_retriable,
        };
        answer
    }
}
