//! The rules that wait for requests, and the requests that they hold.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{HoldPoint, InvalidRule, Rule};
use crate::route::Route;

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

/// Fewer requests than a test waited for have met a rule within its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wait for requests that meet the rule: {arrived} of {wanted} came within {waited:?}")]
pub struct TooFewArrivals {
    /// How many the test waited for.
    pub wanted: u64,
    /// How many came.
    pub arrived: u64,
    /// The deadline.
    pub waited: Duration,
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
    ) -> Result<(), TooFewArrivals> {
        let mut progress = self.live.progress.subscribe();
        let arrival = progress.wait_for(|progress| progress.ready >= requests);
        match tokio::time::timeout(deadline, arrival).await {
            Ok(_) => Ok(()),
            Err(_) => Err(TooFewArrivals {
                wanted: requests,
                arrived: self.arrived(),
                waited: deadline,
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
