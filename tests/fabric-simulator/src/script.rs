//! Scripts: which of the next requests are delayed, held, dropped, or answered otherwise.

pub(crate) mod answer;
mod live;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

pub(crate) use self::live::{Applied, Script, Subject};
pub use self::{
    answer::{Answer, AnswerBody},
    live::{RuleState, ScriptHandle, TooFewArrivals},
};
use crate::{route::Route, settings::optional_seconds};

/// "The next n calls of these routes ...": which requests, and what happens to them.
///
/// The first rule that matches a request is used, in the order in which rules were added; a rule
/// that is used up is gone. The order of events in a request is: delay, hold before processing,
/// processing (unless the rule skips it), hold after processing, reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Empty: all routes.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Only requests for this job instance.
    #[serde(default)]
    pub job_instance_id: Option<Uuid>,
    /// Only requests by this application: of the bearer token, or of the token request.
    #[serde(default)]
    pub client_id: Option<String>,
    /// How many requests; until it is removed when `None`.
    #[serde(default = "once")]
    pub times: Option<u32>,
    /// Wait this long (simulated time) first.
    #[serde(default, rename = "delaySeconds", with = "optional_seconds")]
    pub delay: Option<Duration>,
    /// Hold the request until it is released.
    #[serde(default)]
    pub hold: Option<HoldPoint>,
    /// The request never gets to the state machine: a gateway has answered, or it was lost on its
    /// way. Not possible together with [`ScriptedReply::Normal`] or [`ScriptedReply::Overlay`].
    #[serde(default)]
    pub skip_processing: bool,
    /// What the client gets.
    #[serde(default)]
    pub reply: ScriptedReply,
}

/// Where a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HoldPoint {
    /// It has arrived and had no effect yet.
    BeforeProcessing,
    /// It has taken effect, and the answer is not sent yet.
    AfterProcessing,
}

/// What the client gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ScriptedReply {
    /// The normal answer.
    #[default]
    Normal,
    /// This answer.
    Answer(Answer),
    /// The normal answer with these fields laid over its JSON object.
    Overlay(Map<String, Value>),
    /// No answer: the connection is closed.
    Drop,
}

impl Rule {
    /// The next call of this route, answered normally until said otherwise.
    pub fn on(route: Route) -> Self {
        Self::on_routes([route])
    }

    /// The next call of any of these routes ([`Route::FABRIC`], [`Route::ENTRA`]); of any route
    /// when there are none.
    pub fn on_routes(routes: impl IntoIterator<Item = Route>) -> Self {
        Self {
            routes: routes.into_iter().collect(),
            job_instance_id: None,
            client_id: None,
            times: once(),
            delay: None,
            hold: None,
            skip_processing: false,
            reply: ScriptedReply::Normal,
        }
    }

    /// Only for this job instance.
    #[must_use]
    pub fn job(mut self, job_instance_id: Uuid) -> Self {
        self.job_instance_id = Some(job_instance_id);
        self
    }

    /// Only for this application.
    #[must_use]
    pub fn client(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// For the next `times` requests instead of one.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// For all requests until the rule is removed.
    #[must_use]
    pub fn until_removed(mut self) -> Self {
        self.times = None;
        self
    }

    /// Wait this long (simulated time) first.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Hold the request there until [`ScriptHandle::release`].
    #[must_use]
    pub fn hold(mut self, point: HoldPoint) -> Self {
        self.hold = Some(point);
        self
    }

    /// Answer this, and do not process the request.
    #[must_use]
    pub fn answer(mut self, answer: Answer) -> Self {
        self.reply = ScriptedReply::Answer(answer);
        self.skip_processing = true;
        self
    }

    /// Process the request, and answer this instead of the truth.
    #[must_use]
    pub fn answer_after_processing(mut self, answer: Answer) -> Self {
        self.reply = ScriptedReply::Answer(answer);
        self
    }

    /// Process the request, and lay these fields over the JSON of the normal answer.
    ///
    /// # Panics
    ///
    /// When `fields` is not a JSON object.
    #[must_use]
    pub fn overlay(mut self, fields: Value) -> Self {
        let Value::Object(fields) = fields else {
            panic!("an overlay is a JSON object")
        };
        self.reply = ScriptedReply::Overlay(fields);
        self
    }

    /// Close the connection; the request has no effect.
    #[must_use]
    pub fn drop_before_processing(mut self) -> Self {
        self.reply = ScriptedReply::Drop;
        self.skip_processing = true;
        self
    }

    /// Process the request, then close the connection: a lost answer.
    #[must_use]
    pub fn drop_after_processing(mut self) -> Self {
        self.reply = ScriptedReply::Drop;
        self
    }

    fn matches(&self, request: &Subject<'_>) -> bool {
        (self.routes.is_empty() || self.routes.contains(&request.route))
            && self.job_instance_id.is_none_or(|id| {
                request
                    .job_instance_id
                    .is_some_and(|raw| Uuid::parse_str(raw) == Ok(id))
            })
            && self.client_id.as_deref().is_none_or(|id| {
                request
                    .client_id
                    .is_some_and(|client| client.eq_ignore_ascii_case(id))
            })
    }

    fn check(&self) -> Result<(), InvalidRule> {
        let needs_processing = matches!(
            self.reply,
            ScriptedReply::Normal | ScriptedReply::Overlay(_)
        );
        if self.skip_processing && needs_processing {
            return Err(InvalidRule::NothingToAnswer);
        }
        if self.times == Some(0) {
            return Err(InvalidRule::NoTimes);
        }
        Ok(())
    }

    /// What the ledger says about a request that met this rule.
    fn label(&self) -> String {
        let mut parts = Vec::new();
        if let Some(delay) = self.delay {
            parts.push(format!("delayed {} s", delay.as_secs_f64()));
        }
        match self.hold {
            Some(HoldPoint::BeforeProcessing) => parts.push("held before processing".into()),
            Some(HoldPoint::AfterProcessing) => parts.push("held after processing".into()),
            None => {}
        }
        let reply = match (&self.reply, self.skip_processing) {
            (ScriptedReply::Normal, _) => None,
            (ScriptedReply::Overlay(_), _) => Some("answered with other fields"),
            (ScriptedReply::Answer(_), true) => Some("answered instead of processing"),
            (ScriptedReply::Answer(_), false) => Some("answered otherwise after processing"),
            (ScriptedReply::Drop, true) => Some("dropped before processing"),
            (ScriptedReply::Drop, false) => Some("dropped after processing"),
        };
        parts.extend(reply.map(str::to_owned));
        parts.join(", ")
    }
}

/// A rule that cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// Skipping the processing leaves no normal answer.
    #[error("add the rule: `skipProcessing` needs a reply of `answer` or `drop`")]
    NothingToAnswer,
    /// A rule for no request.
    #[error("add the rule: `times` must be at least 1, or null for every request")]
    NoTimes,
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
fn once() -> Option<u32> {
    Some(1)
}
