//! The quota gate: who may send a request to Fabric now, by identity.
//!
//! Fabric counts requests per identity, so all resources that share one share its gate: they
//! are paced to the quota, a 429 for one holds them all back, and each has its turn. All rules
//! are in `pace`, a pure state machine; here is the mutex around it, and what an answer means.

mod line;
mod pace;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use uuid::Uuid;

pub use line::{Caller, Rank};
pub use pace::{Answer, Held, Pace, PassId};

use crate::cancellation::policy::{THROTTLE_DEFAULT, THROTTLE_MARGIN};
use crate::cancellation::{Observation, Source, Throttle};

/// More identities than this are remembered only while there is something to remember.
const IDLE_IDENTITIES: usize = 1_000;

/// Whose quota it is: Fabric counts per user or service principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GateKey {
    /// The Entra tenant.
    pub tenant_id: Uuid,
    /// The application (client) id.
    pub client_id: Uuid,
}

/// The gates of all identities. Clones share them.
///
/// Make a new one whenever this process begins to act, after another process may have acted:
/// it knows nothing of what was spent, and begins carefully.
#[derive(Clone, Debug)]
pub struct Gate {
    quota: NonZeroU32,
    identities: Arc<Mutex<HashMap<GateKey, Pace>>>,
}

/// Permission to send one request. Tell it the answer with [`Pass::report`]; dropping it says
/// that nobody knows whether the request was sent.
#[derive(Debug)]
#[must_use = "dropping a pass takes a slot of the quota as if the request had been sent"]
pub struct Pass {
    gate: Gate,
    who: GateKey,
    id: PassId,
    reported: bool,
}

impl Gate {
    /// Gates that know nothing yet, each for at most `quota` requests a minute.
    #[must_use]
    pub fn new(quota: NonZeroU32) -> Self {
        Self {
            quota,
            identities: Arc::default(),
        }
    }

    /// Asks to send one request with the identity `who`. Ask only with a token in hand: whoever
    /// merely names an identity must not spend its quota.
    ///
    /// # Errors
    /// [`Held`] when it is not this caller's turn.
    pub fn enter(&self, who: &GateKey, caller: &Caller<'_>, now: Timestamp) -> Result<Pass, Held> {
        let mut identities = self.lock();
        if identities.len() >= IDLE_IDENTITIES && !identities.contains_key(who) {
            identities.retain(|_, pace| !pace.is_idle(now));
        }
        let pace = identities
            .entry(*who)
            .or_insert_with(|| Pace::new(self.quota));
        let id = pace.enter(caller, now)?;
        Ok(Pass {
            gate: self.clone(),
            who: *who,
            id,
            reported: false,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GateKey, Pace>> {
        // Nothing below panics, so nothing is ever left half done.
        self.identities
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// Until when Fabric wants nothing, if it said so after this pass was given: then the request
    /// is better not sent.
    #[must_use]
    pub fn closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        let identities = self.gate.lock();
        identities.get(&self.who)?.closed(now)
    }

    /// Tells the gate what Fabric answered, and when.
    pub fn report(self, seen: &Observation, now: Timestamp) {
        self.end(meaning(seen), now);
    }

    /// The request was not sent after all: its slot is free at once.
    pub fn not_sent(self, now: Timestamp) {
        self.end(Answer::NotSent, now);
    }

    fn end(mut self, answer: Answer, now: Timestamp) {
        self.reported = true;
        if let Some(pace) = self.gate.lock().get_mut(&self.who) {
            pace.ended(self.id, answer, now);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.reported
            && let Some(pace) = self.gate.lock().get_mut(&self.who)
        {
            pace.dropped(self.id);
        }
    }
}

/// What an observation says about the identity's quota. 430 is the capacity's and 503 the
/// service's: both are answers like any other.
fn meaning(seen: &Observation) -> Answer {
    match seen {
        Observation::Throttled {
            by: Throttle::Identity,
            retry_after,
            ..
        } => Answer::TooMany(
            retry_after
                .unwrap_or(THROTTLE_DEFAULT)
                .saturating_add(THROTTLE_MARGIN),
        ),
        Observation::Accepted { .. }
        | Observation::AlreadyCompleted { .. }
        | Observation::JobSeen { .. }
        | Observation::Throttled {
            by: Throttle::Capacity,
            ..
        } => Answer::Answered,
        Observation::Inconclusive {
            from: Source::Entra | Source::Kubernetes,
            ..
        }
        | Observation::Held { .. }
        | Observation::DeadlinePassed => Answer::Nothing,
        Observation::Refused { error, .. }
        | Observation::Unknown { error, .. }
        | Observation::Inconclusive {
            from: Source::Fabric,
            error,
            ..
        } => {
            if error.http_status.is_some() {
                Answer::Answered
            } else {
                Answer::Nothing
            }
        }
    }
}

#[cfg(test)]
mod tests;
