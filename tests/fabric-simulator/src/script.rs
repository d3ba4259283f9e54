//! Scripts: which of the next requests are delayed, held, dropped, or answered otherwise.

pub(crate) mod answer;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::watch;
use uuid::Uuid;

pub use self::answer::{Answer, AnswerBody};
use crate::{ledger::NothingMatched, route::Route, settings::optional_seconds};

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

/// What rules are matched against.
pub(crate) struct Subject<'a> {
    pub(crate) route: Route,
    pub(crate) job_instance_id: Option<&'a str>,
    pub(crate) client_id: Option<&'a str>,
}

/// A rule's state, as `/_simulator/script` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleState {
    /// Names the rule in the control routes.
    pub id: u64,
    /// The rule; `times` counts down.
    pub rule: Rule,
    /// Requests that met the rule.
    pub arrived: u64,
    /// Whether its hold was released.
    pub released: bool,
}

/// A rule that was added: to wait for its requests, release or remove it.
///
/// Dropping the handle changes nothing.
#[derive(Clone, Debug)]
pub struct ScriptHandle {
    live: Arc<Live>,
    script: Arc<Script>,
}

impl ScriptHandle {
    /// Names the rule in the control routes.
    pub fn id(&self) -> u64 {
        self.live.id
    }

    /// Requests that met the rule so far.
    pub fn arrived(&self) -> u64 {
        self.live.progress.borrow().arrived
    }

    /// Waits until `requests` requests have met the rule; a held one is then at its hold point.
    /// `deadline` is tokio's time.
    ///
    /// # Errors
    ///
    /// When fewer came within the deadline.
    pub async fn wait_for_arrivals(
        &self,
        requests: u64,
        deadline: Duration,
    ) -> Result<(), NothingMatched> {
        let mut progress = self.live.progress.subscribe();
        let arrival = progress.wait_for(|progress| progress.ready >= requests);
        match tokio::time::timeout(deadline, arrival).await {
            Ok(_) => Ok(()),
            Err(_) => Err(NothingMatched {
                waited: deadline,
                held: Vec::new(),
            }),
        }
    }

    /// Lets every held request go on, and those that come later not wait.
    pub fn release(&self) {
        self.live
            .progress
            .send_modify(|progress| progress.release = Some(Release::Continue));
    }

    /// Closes the connection of every held request, and of those that come later.
    pub fn drop_connections(&self) {
        self.live
            .progress
            .send_modify(|progress| progress.release = Some(Release::Drop));
    }

    /// No further request meets the rule; held ones stay held until they are released.
    pub fn remove(&self) {
        self.script.remove(self.live.id);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    Continue,
    Drop,
}

#[derive(Debug)]
struct Live {
    id: u64,
    rule: Mutex<Rule>,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Requests that matched.
    arrived: u64,
    /// Requests that have come as far as the hold point, if there is one.
    ready: u64,
    release: Option<Release>,
}

/// All rules of a simulator.
#[derive(Debug, Default)]
pub(crate) struct Script {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    waiting: Vec<Arc<Live>>,
    /// Used up or removed, but still needed to release what they hold.
    spent: Vec<Arc<Live>>,
}

impl Script {
    pub(crate) fn add(self: &Arc<Self>, rule: Rule) -> Result<ScriptHandle, InvalidRule> {
        rule.check()?;
        let mut state = self.lock();
        state.last_id += 1;
        let live = Arc::new(Live {
            id: state.last_id,
            rule: Mutex::new(rule),
            progress: watch::Sender::new(Progress::default()),
        });
        state.waiting.push(live.clone());
        Ok(ScriptHandle {
            live,
            script: self.clone(),
        })
    }

    /// The rule that this request meets, if any; its `times` count down here.
    pub(crate) fn take(&self, request: &Subject<'_>) -> Option<Applied> {
        let mut state = self.lock();
        let index = state
            .waiting
            .iter()
            .position(|live| live.rule().matches(request))?;
        let live = state.waiting[index].clone();
        let rule = live.rule().clone();
        let used_up = {
            let mut left = live.rule();
            left.times = left.times.map(|times| times - 1);
            left.times == Some(0)
        };
        if used_up {
            state.waiting.remove(index);
            if rule.hold.is_some() {
                state.spent.push(live.clone());
            }
        }
        drop(state);
        live.progress.send_modify(|progress| {
            progress.arrived += 1;
            if rule.hold.is_none() {
                progress.ready += 1;
            }
        });
        Some(Applied {
            label: rule.label(),
            rule,
            live,
        })
    }

    pub(crate) fn find(self: &Arc<Self>, id: u64) -> Option<ScriptHandle> {
        let state = self.lock();
        let live = state
            .waiting
            .iter()
            .chain(&state.spent)
            .find(|live| live.id == id)?
            .clone();
        Some(ScriptHandle {
            live,
            script: self.clone(),
        })
    }

    pub(crate) fn states(&self) -> Vec<RuleState> {
        let state = self.lock();
        let mut states: Vec<_> = state
            .waiting
            .iter()
            .chain(&state.spent)
            .map(|live| live.state())
            .collect();
        states.sort_by_key(|state| state.id);
        states
    }

    pub(crate) fn clear(&self) {
        let state = &mut *self.lock();
        state.spent.append(&mut state.waiting);
        state.spent.retain(|live| live.rule().hold.is_some());
    }

    fn remove(&self, id: u64) {
        let mut state = self.lock();
        if let Some(index) = state.waiting.iter().position(|live| live.id == id) {
            let live = state.waiting.remove(index);
            state.spent.push(live);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

impl Live {
    fn rule(&self) -> std::sync::MutexGuard<'_, Rule> {
        self.rule.lock().expect("no holder of the lock panics")
    }

    fn state(&self) -> RuleState {
        let progress = *self.progress.borrow();
        RuleState {
            id: self.id,
            rule: self.rule().clone(),
            arrived: progress.arrived,
            released: progress.release.is_some(),
        }
    }
}

impl ScriptHandle {
    pub(crate) fn state(&self) -> RuleState {
        self.live.state()
    }
}

/// A rule that met a request.
pub(crate) struct Applied {
    pub(crate) rule: Rule,
    pub(crate) label: String,
    live: Arc<Live>,
}

impl Applied {
    /// Stays here while the rule holds requests at this point; `false` when the connection is to
    /// be closed.
    pub(crate) async fn passes(&self, point: HoldPoint) -> bool {
        if self.rule.hold != Some(point) {
            return true;
        }
        self.live
            .progress
            .send_modify(|progress| progress.ready += 1);
        let mut progress = self.live.progress.subscribe();
        let release = progress
            .wait_for(|progress| progress.release.is_some())
            .await;
        release.is_ok_and(|progress| progress.release == Some(Release::Continue))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
fn once() -> Option<u32> {
    Some(1)
}
