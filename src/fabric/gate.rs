//! The quota gate: one answer "too many requests" holds back everything that shares an identity.
//!
//! Fabric counts Job Scheduler calls per identity, so a 429 for one resource speaks for all.
//! The gate closes for as long as Fabric says; then exactly one request, the probe, goes
//! through while the others are held. Its answer opens the gate or closes it again.
//!
//! A pure state machine: the time is an argument, and a mutex is all that surrounds it.

mod line;
mod pace;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

pub use line::{Caller, Rank};
pub use pace::{Answer, Pace, PassId};

use crate::cancellation::policy::{THROTTLE_DEFAULT, THROTTLE_MARGIN};
use crate::cancellation::{Observation, Source, Throttle, later};

/// One answer closes the gate for at most this long, whatever it says: a single odd number must
/// not silence an identity for a day. The resource that got it waits as long as it was told.
const LONGEST_COOL_DOWN: Duration = Duration::from_secs(600);

/// Who is held while the probe is out comes back after this, plus its share of [`SPREAD_MILLIS`].
const PROBE_PAUSE: Duration = Duration::from_secs(2);

/// Held callers come back spread over this many milliseconds instead of all at once.
const SPREAD_MILLIS: u128 = 5_000;

/// A closed gate that nobody asked for this long after its time is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Whose quota it is: Fabric counts per user or service principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GateKey {
    /// The Entra tenant.
    pub tenant_id: Uuid,
    /// The application (client) id.
    pub client_id: Uuid,
}

/// Not now: nothing may be sent with this identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// When the gate may be tried again. Spread by the caller's seed, so that those held
    /// together do not come back together.
    pub until: Timestamp,
}

/// The gates of all identities. Clones share them.
///
/// Only closed gates are remembered, so the memory is bounded by the identities that Fabric
/// throttles at a time.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    closed: Arc<Mutex<HashMap<GateKey, Closed>>>,
}

/// Permission to send one request. Tell it the answer with [`Pass::report`]; dropping it says
/// that nothing was learned, and if it was the probe, the next caller becomes the probe.
#[derive(Debug)]
#[must_use = "dropping a pass says that nothing was learned"]
pub struct Pass {
    gate: Gate,
    who: GateKey,
    probe: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Closed {
    /// Nothing is sent before this.
    until: Timestamp,
    /// Whether the one probe is out. At most one pass with `probe` set exists per identity.
    probing: bool,
}

impl Gate {
    /// Gates that are all open.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to send one request with the identity `who`. `seed` (the job instance id, say)
    /// spreads the times at which held callers come back.
    ///
    /// # Errors
    /// [`Held`] when the gate is closed, or when its probe is still out.
    pub fn enter(&self, who: &GateKey, now: Timestamp, seed: Uuid) -> Result<Pass, Held> {
        let mut closed = self.lock();
        let probe = match closed.get_mut(who) {
            None => false,
            Some(gate) if now < gate.until => {
                return Err(Held {
                    until: later(gate.until, spread(seed)),
                });
            }
            Some(gate) if gate.probing => {
                return Err(Held {
                    until: later(now, PROBE_PAUSE + spread(seed)),
                });
            }
            Some(gate) => {
                gate.probing = true;
                true
            }
        };
        Ok(Pass {
            gate: self.clone(),
            who: *who,
            probe,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GateKey, Closed>> {
        // Every change is a single assignment, so a panic elsewhere leaves nothing half done.
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// Whether this request is the one that tests a gate after its time.
    #[cfg(test)]
    fn is_probe(&self) -> bool {
        self.probe
    }

    /// Tells the gate what Fabric answered.
    ///
    /// A 429 closes it. Any other answer opens it if this pass is the probe and no later 429
    /// has closed it anew; the answer to a request sent before the gate closed never does.
    /// What is no answer of Fabric's (no connection, no token) counts as if the pass were
    /// dropped.
    pub fn report(mut self, seen: &Observation, now: Timestamp) {
        match verdict(seen) {
            Verdict::TooMany(cool_down) => self.close(later(now, cool_down), now),
            Verdict::Answered => self.open(now),
            Verdict::NoAnswer => {}
        }
    }

    fn close(&mut self, until: Timestamp, now: Timestamp) {
        let mut closed = self.gate.lock();
        closed.retain(|_, gate| gate.probing || now < later(gate.until, FORGET_AFTER));
        let gate = closed.entry(self.who).or_insert(Closed {
            until,
            probing: false,
        });
        gate.until = gate.until.max(until);
        if self.probe {
            gate.probing = false;
            self.probe = false;
        }
    }

    fn open(&mut self, now: Timestamp) {
        if !self.probe {
            return;
        }
        let mut closed = self.gate.lock();
        // A straggler's 429 that arrived while the probe was out is newer than the probe.
        if closed.get(&self.who).is_some_and(|gate| gate.until <= now) {
            closed.remove(&self.who);
            self.probe = false;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.probe
            && let Some(gate) = self.gate.lock().get_mut(&self.who)
        {
            gate.probing = false;
        }
    }
}

enum Verdict {
    TooMany(Duration),
    Answered,
    NoAnswer,
}

fn verdict(seen: &Observation) -> Verdict {
    match seen {
        Observation::Throttled {
            by: Throttle::Identity,
            retry_after,
            ..
        } => Verdict::TooMany(
            retry_after
                .unwrap_or(THROTTLE_DEFAULT)
                .saturating_add(THROTTLE_MARGIN)
                .min(LONGEST_COOL_DOWN),
        ),
        Observation::Accepted { .. }
        | Observation::AlreadyCompleted { .. }
        | Observation::JobSeen { .. }
        | Observation::Throttled {
            by: Throttle::Capacity,
            ..
        } => Verdict::Answered,
        Observation::Inconclusive {
            from: Source::Entra | Source::Kubernetes,
            ..
        }
        | Observation::Held { .. }
        | Observation::DeadlinePassed => Verdict::NoAnswer,
        Observation::Refused { error, .. }
        | Observation::Unknown { error, .. }
        | Observation::Inconclusive {
            from: Source::Fabric,
            error,
            ..
        } => {
            if error.http_status.is_some() {
                Verdict::Answered
            } else {
                Verdict::NoAnswer
            }
        }
    }
}

/// A share of [`SPREAD_MILLIS`] that is always the same for the same seed.
fn spread(seed: Uuid) -> Duration {
    let millis = u64::try_from(seed.as_u128() % SPREAD_MILLIS).expect("less than SPREAD_MILLIS");
    Duration::from_millis(millis)
}

#[cfg(test)]
mod tests;
