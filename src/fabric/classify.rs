//! Turns an answer of Fabric's into an observation.
//!
//! What an error means is said in `meaning` alone. What that does not explain is unclear: a
//! cancel request's outcome is then unknown, and a look told nothing.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use http::header::LOCATION;
use jiff::Timestamp;

use super::Endpoint;
use super::meaning::{Advice, Hint, Meaning, meaning};
use super::retry_after::retry_after;
use super::wire::{self, Body, Said};
use crate::cancellation::{JobInstance, Observation, ServiceError, Source};
use crate::entra::AccessToken;
use crate::outbound::exchange::{Failure, Reply};
use crate::telemetry::text;

/// Which of the two calls was made: it decides what an unclear answer leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// The cancel request, a POST.
    Cancel,
    /// A look at the job, a GET.
    Look,
}

/// What was asked, which is needed to read the answer.
pub(super) struct Asked<'a> {
    call: Call,
    job: &'a JobInstance,
    endpoint: &'a Endpoint,
    token: &'a AccessToken,
    now: Timestamp,
}

impl<'a> Asked<'a> {
    pub(super) fn new(
        call: Call,
        job: &'a JobInstance,
        endpoint: &'a Endpoint,
        token: &'a AccessToken,
        now: Timestamp,
    ) -> Self {
        Self {
            call,
            job,
            endpoint,
            token,
            now,
        }
    }

    /// What the answer means. One line is logged unless all went as it should.
    pub(super) fn classify(&self, reply: &Result<Reply, Failure>) -> Observation {
        let (seen, request_id) = self.observe(reply);
        log(self.call, self.job, &seen, request_id.as_deref());
        seen
    }

    fn observe(&self, reply: &Result<Reply, Failure>) -> (Observation, Option<String>) {
        let Reply { head, body } = match reply {
            Ok(reply) => reply,
            Err(failure) => return (self.no_answer(failure), None),
        };
        let (body, cut_off) = match body {
            Ok(bytes) => (Body::parse(bytes, self.token), None),
            Err(failure) => (Body::Unreadable, Some(failure)),
        };
        let said = Said::read(&head.headers, &body, self.token);
        let answer = Answer {
            status: head.status,
            retry_after: retry_after(&head.headers, self.now),
            location: wire::header(&head.headers, LOCATION.as_str(), text::URL, self.token),
            body,
            cut_off,
            said,
        };
        let request_id = answer.said.request_id.clone();
        let seen = match (self.call, answer.status.as_u16()) {
            (Call::Cancel, 200 | 202 | 204) if answer.said.code.is_none() => self.accepted(answer),
            // A job instance has no error code of its own at the top.
            (Call::Look, 200) if answer.body.job().is_some() || answer.said.code.is_none() => {
                self.job_seen(answer)
            }
            _ => self.declined(answer),
        };
        (seen, request_id)
    }

    fn accepted(&self, answer: Answer<'_>) -> Observation {
        // A 202 is Fabric's own word for it and has no body; the other two are only believed
        // when nothing in the body says that somebody else answered.
        let believed = match (answer.status, &answer.body) {
            (StatusCode::ACCEPTED | StatusCode::NO_CONTENT, _)
            | (_, Body::Empty | Body::OtherJson) => true,
            (_, body @ Body::Object(_)) => !body.is_about_another(self.job.job_instance_id),
            (_, Body::Unreadable) => false,
        };
        if !believed {
            return self.unreadable(answer);
        }
        Observation::Accepted {
            location: answer.location,
            retry_after: answer.retry_after,
            request_id: answer.said.request_id,
        }
    }

    fn job_seen(&self, answer: Answer<'_>) -> Observation {
        match answer.body.job() {
            Some(job) if !answer.body.is_about_another(self.job.job_instance_id) => {
                Observation::JobSeen {
                    job,
                    retry_after: answer.retry_after,
                }
            }
            _ => self.unreadable(answer),
        }
    }

    fn declined(&self, answer: Answer<'_>) -> Observation {
        let status = answer.status.as_u16();
        let meaning = meaning(
            answer.said.code.as_deref(),
            status,
            answer.said.is_retriable,
        );
        let retry_after = answer.retry_after;
        match (meaning, self.call) {
            (Meaning::AlreadyCompleted, Call::Cancel) => {
                Observation::AlreadyCompleted { retry_after }
            }
            // No look is refused for that reason; whatever it means, the job was not shown.
            (Meaning::AlreadyCompleted, Call::Look) => self.unclear(answer.error(), retry_after),
            (Meaning::Throttled(by), _) => Observation::Throttled {
                by,
                retry_after,
                error: answer.error(),
            },
            (Meaning::Refused(refusal, advice), _) => Observation::Refused {
                refusal,
                retry_after,
                error: answer.error(),
                advice: self.advice(advice),
            },
            (Meaning::Unclear(hint), _) => {
                let mut error = answer.error();
                match hint {
                    Hint::None => {}
                    Hint::Route => {
                        error.message = format!(
                            "{} does not know this route: is it the Fabric API? see --fabric-endpoint",
                            self.endpoint
                        );
                    }
                    Hint::Redirect => {
                        if answer.said.code.is_none() {
                            "Redirected".clone_into(&mut error.code);
                        }
                        error.message = format!(
                            "{} answers with a redirect, which is never followed; see --fabric-endpoint",
                            self.endpoint
                        );
                    }
                }
                error.message = text::clean(&error.message, text::MESSAGE);
                self.unclear(error, retry_after)
            }
        }
    }

    /// An answer that should tell something and cannot be read.
    fn unreadable(&self, answer: Answer<'_>) -> Observation {
        let retry_after = answer.retry_after;
        let (code, message) = match answer.cut_off {
            Some(failure) => (failure.code, failure.message.clone()),
            None => (
                "UnreadableBody",
                format!(
                    "{} sent a body that is not this job instance: is it the Fabric API? see --fabric-endpoint",
                    self.endpoint
                ),
            ),
        };
        let error = ServiceError {
            code: code.to_owned(),
            message: text::clean(&message, text::MESSAGE),
            http_status: Some(answer.status.as_u16()),
            request_id: answer.said.request_id,
        };
        self.unclear(error, retry_after)
    }

    fn no_answer(&self, failure: &Failure) -> Observation {
        let Failure { code, message } = failure;
        let error = ServiceError {
            code: (*code).to_owned(),
            message: text::clean(&format!("{}: {message}", self.endpoint), text::MESSAGE),
            http_status: None,
            request_id: None,
        };
        self.unclear(error, None)
    }

    fn unclear(&self, error: ServiceError, retry_after: Option<Duration>) -> Observation {
        match self.call {
            Call::Cancel => Observation::Unknown { retry_after, error },
            Call::Look => Observation::Inconclusive {
                from: Source::Fabric,
                retry_after,
                error,
            },
        }
    }

    fn advice(&self, advice: Advice) -> Option<String> {
        let JobInstance {
            workspace_id,
            item_id,
            ..
        } = self.job;
        let text: Cow<'static, str> = match advice {
            Advice::General => return None,
            Advice::GrantRole => format!(
                "give the identity a role on workspace {workspace_id} that may read and execute item {item_id} (Contributor, Member or Admin)"
            )
            .into(),
            Advice::GrantScope => {
                "the token lacks the scope for this call: check --fabric-scope and the app registration's permissions".into()
            }
            Advice::TenantSwitch => {
                "a Fabric administrator must enable the tenant setting \"Service principals can call Fabric public APIs\" for this identity".into()
            }
            Advice::Feature => format!(
                "a feature that this call needs is turned off: ask a Fabric administrator to check the tenant settings and the capacity of workspace {workspace_id}"
            )
            .into(),
            Advice::TenantNotAllowed => format!(
                "the identity's tenant may not call this workspace: use an identity of the tenant that owns workspace {workspace_id}"
            )
            .into(),
            Advice::License => {
                "the identity has no Fabric licence: assign one, or use a service principal".into()
            }
            Advice::AssignCapacity => {
                format!("workspace {workspace_id} has no capacity: assign one that runs").into()
            }
            Advice::OtherIdentity => format!(
                "the jobs of item {item_id} are closed to this kind of identity: create a new FabricJobCancellation that uses another one"
            )
            .into(),
        };
        Some(text.into_owned())
    }
}

/// An answer that has a status at least.
struct Answer<'a> {
    status: StatusCode,
    retry_after: Option<Duration>,
    location: Option<String>,
    body: Body,
    cut_off: Option<&'a Failure>,
    said: Said,
}

impl Answer<'_> {
    fn error(&self) -> ServiceError {
        let status = self.status.as_u16();
        ServiceError {
            code: self
                .said
                .code
                .clone()
                .unwrap_or_else(|| format!("Http{status}")),
            message: self
                .said
                .message
                .clone()
                .unwrap_or_else(|| format!("HTTP status {status} without a message")),
            http_status: Some(status),
            request_id: self.said.request_id.clone(),
        }
    }
}

fn log(call: Call, job: &JobInstance, seen: &Observation, request_id: Option<&str>) {
    let call = match call {
        Call::Cancel => "cancel",
        Call::Look => "look",
    };
    let job_instance = job.job_instance_id;
    let (outcome, error) = match seen {
        Observation::Accepted { .. } | Observation::JobSeen { .. } => {
            tracing::debug!(call, %job_instance, request_id, "Fabric answered");
            return;
        }
        Observation::AlreadyCompleted { .. } => {
            tracing::debug!(call, %job_instance, request_id, "the job is already over");
            return;
        }
        // Never made here: no request was sent.
        Observation::Held { .. } | Observation::DeadlinePassed => return,
        Observation::Throttled { error, .. } => ("throttled", error),
        Observation::Refused { error, .. } => ("refused", error),
        Observation::Unknown { error, .. } => ("unknown", error),
        Observation::Inconclusive { error, .. } => ("inconclusive", error),
    };
    tracing::info!(
        call,
        %job_instance,
        outcome,
        code = error.code,
        message = error.message,
        http_status = error.http_status,
        request_id,
        "Fabric did not do what was asked"
    );
}

#[cfg(test)]
mod tests;
