//! Faults, and the rules that say which step meets one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::record::Step;
use crate::upstream::Upstream;

/// What happens to one request, or to one event of a watch.
#[derive(Clone, Debug, Default)]
pub enum Fault {
    /// Nothing: only the rule's hooks run.
    #[default]
    None,
    /// It never arrives. An event: it is hidden, and later ones pass.
    Lose(Loss),
    /// It arrives, and its answer does not.
    LoseAnswer(Loss),
    /// It arrives twice; the client gets the second answer. An event is shown twice.
    Duplicate,
    /// It arrives this much later. An event, and all after it, too.
    Delay(Duration),
    /// The connection is reset at once, and the request arrives this much later all the same.
    ArriveLate(Duration),
    /// The answer comes in pieces of so many bytes, with this pause before each.
    Slice(usize, Duration),
    /// The connection is reset after so many bytes of the answer's body. An event: of its JSON.
    Cut(usize),
    /// It never arrives, and the client gets this answer.
    Answer(Answer),
    /// It goes to another server.
    Via(Upstream),
    /// The watch ends with 410 Gone in place of the event, as after a compaction.
    Expire,
}

/// How the client learns of a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The connection is reset.
    Reset,
    /// Not at all: nothing comes any more. A watch goes silent, half open.
    Hang,
    /// Not at all, and everything after it comes as if nothing had happened: for events.
    Silent,
}

/// An answer that no server gave.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: AnswerBody,
}

/// The body of an [`Answer`].
#[derive(Clone, Debug)]
pub enum AnswerBody {
    /// These bytes.
    Whole(Bytes),
    /// These bytes again and again, with this pause before each time, until the client goes away.
    Endless(Bytes, Duration),
}

impl Answer {
    /// An answer with a JSON body.
    #[must_use]
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            body: AnswerBody::Whole(body.to_string().into()),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Something that a test does when a step is reached, for example `kill -9`.
pub type Hook = Arc<dyn Fn(Step) -> BoxFuture<'static, ()> + Send + Sync>;

type Matcher = Box<dyn Fn(&Step) -> bool + Send + Sync>;

/// "The n-th step that ... meets this fault."
pub struct Rule {
    matches: Matcher,
    nth: u32,
    times: u32,
    seen: u32,
    pub(crate) met: Met,
}

/// What a step that met a rule goes through.
#[derive(Clone)]
pub(crate) struct Met {
    pub(crate) fault: Fault,
    pub(crate) before: Option<Hook>,
    pub(crate) after: Option<Hook>,
    pub(crate) fired: Arc<watch::Sender<u32>>,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("nth", &self.nth)
            .field("times", &self.times)
            .field("seen", &self.seen)
            .field("fault", &self.met.fault)
            .finish_non_exhaustive()
    }
}

impl Rule {
    /// The first step that `matches` goes on as usual, until said otherwise.
    pub fn on(matches: impl Fn(&Step) -> bool + Send + Sync + 'static) -> Self {
        Self {
            matches: Box::new(matches),
            nth: 1,
            times: 1,
            seen: 0,
            met: Met {
                fault: Fault::None,
                before: None,
                after: None,
                fired: Arc::new(watch::Sender::new(0)),
            },
        }
    }

    /// The n-th such step instead of the first, counted from 1.
    #[must_use]
    pub fn nth(mut self, nth: u32) -> Self {
        self.nth = nth;
        self
    }

    /// So many steps in a row from there on instead of one.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// All steps from there on.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u32::MAX)
    }

    /// Meets this fault.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.met.fault = fault;
        self
    }

    /// Runs before anything is delivered; the step waits for it.
    #[must_use]
    pub fn before<F>(mut self, hook: impl Fn(Step) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.met.before = Some(Arc::new(move |step| Box::pin(hook(step))));
        self
    }

    /// Runs after it was delivered, before the client learns of it. Of a watch's event: after it
    /// was passed on.
    #[must_use]
    pub fn after<F>(mut self, hook: impl Fn(Step) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.met.after = Some(Arc::new(move |step| Box::pin(hook(step))));
        self
    }
}

/// Tells whether a rule has been met.
#[derive(Clone, Debug)]
pub struct RuleHandle {
    fired: watch::Receiver<u32>,
}

impl RuleHandle {
    /// How many steps have met the rule so far.
    #[must_use]
    pub fn fired(&self) -> u32 {
        *self.fired.borrow()
    }

    /// Waits until the rule has been met for the first time; false when it never can be any more.
    pub async fn wait(&self) -> bool {
        let mut fired = self.fired.clone();
        fired.wait_for(|fired| *fired > 0).await.is_ok()
    }
}

/// Rules in the order in which they were added; the first that matches counts the step.
#[derive(Debug, Default)]
pub(crate) struct Rules(Vec<Rule>);

impl Rules {
    pub(crate) fn add(&mut self, rule: Rule) -> RuleHandle {
        let fired = rule.met.fired.subscribe();
        self.0.push(rule);
        RuleHandle { fired }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The rule that this step meets. Every rule that matches counts it, the first due one wins.
    pub(crate) fn meet(&mut self, step: &Step) -> Option<Met> {
        let mut met = None;
        for rule in &mut self.0 {
            if !(rule.matches)(step) {
                continue;
            }
            rule.seen = rule.seen.saturating_add(1);
            let due = rule.seen >= rule.nth && rule.seen - rule.nth < rule.times;
            if due && met.is_none() {
                rule.met.fired.send_modify(|fired| *fired += 1);
                met = Some(rule.met.clone());
            }
        }
        met
    }
}

/// A gate that holds whoever waits at it until it is opened. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Hold(Arc<watch::Sender<bool>>);

impl Default for Hold {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Hold {
    /// Lets everyone through from now on.
    pub fn release(&self) {
        self.0.send_replace(true);
    }

    /// Waits until the gate is open.
    pub async fn wait(&self) {
        let mut open = self.0.subscribe();
        // The sender lives in `self`, so the channel cannot close meanwhile.
        let _ = open.wait_for(|open| *open).await;
    }
}
