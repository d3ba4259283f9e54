//! The log that tests read: every step in the order in which it happened, and every byte.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::call::Call;
use crate::clock;

/// One request with its answer, or one event of a watch.
#[derive(Clone, Debug)]
pub struct Step {
    /// 1 for the first step of the recorder, and so on without gaps, over all its proxies.
    pub sequence: u64,
    /// When it arrived at the proxy.
    pub time: Timestamp,
    /// When it was answered or lost; `None` while it is under way, and for watches that run.
    pub end_time: Option<Timestamp>,
    /// The proxy's name.
    pub proxy: String,
    /// The connection's number, unique in the recorder.
    pub connection: u64,
    /// What was asked.
    pub call: Call,
    /// Path and query.
    pub uri: String,
    /// The request's headers; of an event none.
    pub headers: HeaderMap,
    /// The request's body; of an event its JSON.
    pub body: Bytes,
    /// What servers answered, one for each delivery that was answered, in order.
    pub answers: Vec<Answered>,
    /// How often it was delivered to a server; of an event to the client.
    pub deliveries: u32,
    /// Whether a whole answer, the last one, went out to the client.
    pub reached: bool,
    /// The fault that it met.
    pub fault: Option<String>,
    /// Of an event: the step that opened its watch.
    pub watch: Option<u64>,
}

/// An answer as a server gave it, whether or not the client got it.
#[derive(Clone, Debug)]
pub struct Answered {
    /// When it was complete; of a watch when it began.
    pub time: Timestamp,
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; of a watch empty.
    pub body: Bytes,
    /// Whether a rule gave it in place of a server.
    pub made_up: bool,
}

impl Answered {
    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Step {
    /// The last answer.
    #[must_use]
    pub fn answer(&self) -> Option<&Answered> {
        self.answers.last()
    }

    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The last answer's HTTP status.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.answer().map(|answer| answer.status)
    }

    /// One line for people, without any body.
    #[must_use]
    pub fn line(&self) -> String {
        let Call {
            verb,
            resource,
            name,
            subresource,
            ..
        } = &self.call;
        let mut line = format!("{:>4} {} {:<7}", self.sequence, self.time, self.proxy);
        let _ = write!(line, " {verb:?} {resource}");
        for part in [name, subresource] {
            if !part.is_empty() {
                let _ = write!(line, "/{part}");
            }
        }
        if let Some(status) = self.status() {
            let _ = write!(line, " -> {status}");
        }
        if let Some(fault) = &self.fault {
            let _ = write!(line, "   *** {fault}, delivered {} times", self.deliveries);
        }
        line
    }
}

/// Every byte of one connection, in clear.
#[derive(Clone, Debug)]
pub struct Capture {
    /// The proxy's name.
    pub proxy: String,
    /// The connection's number.
    pub connection: u64,
    /// What the client sent.
    pub from_client: Vec<u8>,
    /// What the client got.
    pub to_client: Vec<u8>,
}

/// Which way bytes went.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    FromClient,
    ToClient,
}

/// The log of one or more proxies. Clones are the same log.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<()>>,
}

#[derive(Debug, Default)]
struct State {
    steps: Vec<Step>,
    captures: Vec<Capture>,
}

impl Recorder {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything so far, in order.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.state().steps.clone()
    }

    /// How many steps there are so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state().steps.len()
    }

    /// All bytes so far.
    #[must_use]
    pub fn captures(&self) -> Vec<Capture> {
        self.state().captures.clone()
    }

    /// Waits until a question about the whole log has an answer; `None` when it has none within
    /// `limit`. The question is asked again whenever the log changes.
    pub async fn wait_until<T>(
        &self,
        limit: Duration,
        mut question: impl FnMut(&[Step]) -> Option<T>,
    ) -> Option<T> {
        let mut changed = self.changed.subscribe();
        let asking = async {
            loop {
                changed.mark_unchanged();
                if let Some(answer) = question(&self.state().steps) {
                    return Some(answer);
                }
                changed.changed().await.ok()?;
            }
        };
        tokio::time::timeout(limit, asking).await.ok().flatten()
    }

    pub(crate) fn arrive(&self, step: impl FnOnce(u64, Timestamp) -> Step) -> Step {
        let step = {
            let mut state = self.state();
            let sequence = state.steps.len() as u64 + 1;
            let step = step(sequence, clock::now());
            state.steps.push(step.clone());
            step
        };
        self.changed.send_replace(());
        step
    }

    pub(crate) fn update(&self, sequence: u64, change: impl FnOnce(&mut Step)) {
        let index = usize::try_from(sequence - 1).expect("a step's number fits");
        if let Some(step) = self.state().steps.get_mut(index) {
            change(step);
        }
        self.changed.send_replace(());
    }

    /// A new connection; gives its number.
    pub(crate) fn connect(&self, proxy: &str) -> u64 {
        let mut state = self.state();
        let connection = state.captures.len() as u64 + 1;
        state.captures.push(Capture {
            proxy: proxy.to_owned(),
            connection,
            from_client: Vec::new(),
            to_client: Vec::new(),
        });
        connection
    }

    pub(crate) fn capture(&self, connection: u64, direction: Direction, bytes: &[u8]) {
        let index = usize::try_from(connection - 1).expect("a connection's number fits");
        if let Some(capture) = self.state().captures.get_mut(index) {
            let (kept, most) = match direction {
                Direction::FromClient => (&mut capture.from_client, usize::MAX),
                Direction::ToClient => (&mut capture.to_client, MOST_CAPTURED),
            };
            let room = most.saturating_sub(kept.len()).min(bytes.len());
            kept.extend_from_slice(&bytes[..room]);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An endless body is not kept for ever.
const MOST_CAPTURED: usize = 4 << 20;
