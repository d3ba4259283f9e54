//! The gate of one identity: a pure value, and the time is an argument.
//!
//! **The quota.** Fabric allows so many requests a minute. Which minute is Fabric's affair, so
//! no window of a minute, fixed or sliding, may hold more. A request takes a slot when it is let
//! through and keeps it until [`WINDOW`] after its answer was seen. Of the requests that reach
//! Fabric within one minute, the last one was let through less than a minute after the first
//! one's answer; so all of them had their slots then, and there are no more slots than the quota.
//!
//! **429** closes the gate for everybody, for as long as Fabric says.
//!
//! **Not knowing.** After a start nobody knows what a predecessor has spent, and after a 429 what
//! somebody else spends. Then requests go one at a time, so that one answer of 429 stops them all:
//! after a start until a minute after the first request has ended (whatever the predecessor sent
//! is out of every window by then), and after a 429 until a minute after the first good answer.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::line::{Caller, Line};
use crate::cancellation::{Hold, later};

/// Fabric counts requests by the minute.
pub const WINDOW: Duration = Duration::from_secs(60);

/// A pass that was neither answered nor dropped for this long is given up. A request is sent at
/// most 15 s after its pass was given (the licence of an intent) and ended 20 s later.
pub const PASS_LIMIT: Duration = Duration::from_secs(60);

/// One answer closes the gate for at most this long, whatever it says: a single odd number must
/// not silence an identity for a day. The resource that got it waits as long as it was told.
pub const LONGEST_COOL_DOWN: Duration = Duration::from_secs(600);

/// Nobody is told to wait for longer than this after the gate opens: whoever goes first may
/// have been deleted.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// While requests go one at a time, the next in line comes back after this...
const PAUSE: Duration = Duration::from_millis(250);

/// ... and each one behind it so much later.
const TURN: Duration = Duration::from_millis(50);

/// Those that wait for a slot of the quota come back spread over this, the others over [`PAUSE`].
const SPREAD: Duration = Duration::from_secs(1);

/// What became of a request that was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// 429: nothing more for this long.
    TooMany(Duration),
    /// Any other answer of Fabric's.
    Answered,
    /// None: no connection, no answer in time, or nobody knows. It may have been counted.
    Nothing,
    /// It was never sent.
    NotSent,
}

/// Not now: nothing may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// When to ask again: about when the caller's turn comes. Always later than now.
    pub until: Timestamp,
    /// Who holds it back.
    pub by: Hold,
}

/// One request that was let through. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PassId(u64);

/// The gate of one identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pace {
    quota: NonZeroU32,
    mode: Mode,
    under_way: BTreeMap<PassId, UnderWay>,
    /// When the slots of ended requests come free, the next one first.
    spent: VecDeque<Timestamp>,
    line: Line,
    next: u64,
}

/// A request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct UnderWay {
    /// When it was let through.
    entered: Timestamp,
    /// Nobody will say what became of it. It counts as ended when the time is next known.
    dropped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Mode {
    /// Nothing is known yet: one at a time.
    Cold,
    /// Fabric said 429. Nothing before `until`, then one at a time.
    Closed { until: Timestamp },
    /// One at a time for a while.
    Careful { until: Timestamp },
    /// As many as there are slots.
    Open,
}

impl Pace {
    /// A gate that knows nothing yet, for at most `quota` requests a minute.
    #[must_use]
    pub fn new(quota: NonZeroU32) -> Self {
        Self {
            quota,
            mode: Mode::Cold,
            under_way: BTreeMap::new(),
            spent: VecDeque::new(),
            line: Line::default(),
            next: 0,
        }
    }

    /// Asks to send one request. Asking early changes nothing: the caller is let through if its
    /// turn has come, else it is told the same time again.
    ///
    /// # Errors
    /// [`Held`] when it is not the caller's turn. It then has a ticket.
    pub fn enter(&mut self, caller: &Caller<'_>, now: Timestamp) -> Result<PassId, Held> {
        self.settle(now);
        let place = self.line.place(caller, now);
        let one_at_a_time = self.under_way.is_empty() && !place.expected;
        let open = match self.mode {
            Mode::Open => true,
            Mode::Closed { until } => until <= now && one_at_a_time,
            Mode::Cold | Mode::Careful { .. } => one_at_a_time,
        };
        if open && place.ahead < self.free() {
            self.line.served(caller, now);
            let pass = PassId(self.next);
            self.next += 1;
            let entered = UnderWay {
                entered: now,
                dropped: false,
            };
            self.under_way.insert(pass, entered);
            return Ok(pass);
        }
        let until = self.turn(place.ahead, caller.id, now);
        Err(Held {
            until: self.line.wait(caller, until, self.closed_until(), now),
            by: match self.mode {
                Mode::Closed { .. } => Hold::Fabric,
                Mode::Cold | Mode::Careful { .. } | Mode::Open => Hold::OwnQuota,
            },
        })
    }

    /// What became of a request. A second word about the same one changes nothing, unless it
    /// is a 429.
    pub fn ended(&mut self, pass: PassId, answer: Answer, now: Timestamp) {
        self.settle(now);
        let entered = self.under_way.remove(&pass);
        if entered.is_some() && answer != Answer::NotSent {
            self.spend(later(now, WINDOW));
        }
        let careful = Mode::Careful {
            until: later(now, WINDOW),
        };
        self.mode = match (answer, self.mode, entered) {
            (Answer::TooMany(wait), mode, _) => {
                let until = later(now, wait.min(LONGEST_COOL_DOWN));
                let before = match mode {
                    Mode::Closed { until } => Some(until),
                    Mode::Cold | Mode::Careful { .. } | Mode::Open => None,
                };
                Mode::Closed {
                    until: before.map_or(until, |before| before.max(until)),
                }
            }
            (Answer::Answered | Answer::Nothing, Mode::Cold, Some(_)) => careful,
            // The answer to a request from before says nothing about the time after.
            (Answer::Answered, Mode::Closed { until }, Some(entered))
                if until <= entered.entered =>
            {
                careful
            }
            (_, mode, _) => mode,
        };
    }

    /// Until when Fabric wants nothing; `None` when it does not say so now.
    #[must_use]
    pub fn closed(&self, now: Timestamp) -> Option<Timestamp> {
        self.closed_until().filter(|until| now < *until)
    }

    /// Nobody will say what became of this one: a visit panicked or was cancelled. It may have
    /// been sent, and counts as ended when this value is next told the time.
    pub fn dropped(&mut self, pass: PassId) {
        if let Some(request) = self.under_way.get_mut(&pass) {
            request.dropped = true;
        }
    }

    /// Requests that may be under way or that Fabric may still count: never more than the quota.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.under_way.len() + self.spent.len()
    }

    /// How many tickets there are.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.line.len()
    }

    /// Whether forgetting it loses nothing but that it has been open.
    #[must_use]
    pub fn is_idle(&self, now: Timestamp) -> bool {
        let mut at = self.clone();
        at.settle(now);
        at.taken() == 0
            && at.line.is_empty()
            && !matches!(at.mode, Mode::Closed { until } if now < until)
    }

    /// Brings it to this moment. A clock that was set back makes no wait longer than it would
    /// be if it began now.
    fn settle(&mut self, now: Timestamp) {
        let mut ended = Vec::new();
        self.under_way.retain(|_, request| {
            request.entered = request.entered.min(now);
            let limit = later(request.entered, PASS_LIMIT);
            if request.dropped {
                ended.push(now);
            } else if limit <= now {
                ended.push(limit);
            }
            !request.dropped && now < limit
        });
        for at in ended {
            let free = later(at, WINDOW);
            self.spend(free);
            if self.mode == Mode::Cold {
                self.mode = Mode::Careful { until: free };
            }
        }
        let latest = later(now, WINDOW);
        if self.spent.back().is_some_and(|free| *free > latest) {
            self.spent
                .iter_mut()
                .for_each(|free| *free = (*free).min(latest));
        }
        while self.spent.front().is_some_and(|free| *free <= now) {
            self.spent.pop_front();
        }
        self.mode = match self.mode {
            Mode::Careful { until } if until <= now => Mode::Open,
            Mode::Careful { until } => Mode::Careful {
                until: until.min(latest),
            },
            Mode::Closed { until } => Mode::Closed {
                until: until.min(later(now, LONGEST_COOL_DOWN)),
            },
            mode @ (Mode::Cold | Mode::Open) => mode,
        };
        self.line.settle(now);
    }

    fn spend(&mut self, free: Timestamp) {
        let at = self.spent.partition_point(|other| *other <= free);
        self.spent.insert(at, free);
    }

    fn quota(&self) -> usize {
        self.quota.get() as usize
    }

    fn free(&self) -> usize {
        self.quota() - self.taken()
    }

    fn closed_until(&self) -> Option<Timestamp> {
        match self.mode {
            Mode::Closed { until } => Some(until),
            Mode::Cold | Mode::Careful { .. } | Mode::Open => None,
        }
    }

    /// About when the turn of a caller comes that so many go before.
    fn turn(&self, ahead: usize, id: Uuid, now: Timestamp) -> Timestamp {
        let turns = TURN.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX));
        let (opens, paced) = match self.mode {
            Mode::Open => (now, now),
            Mode::Closed { until } if now < until => (until, later(until, turns)),
            Mode::Closed { .. } | Mode::Cold | Mode::Careful { .. } => {
                (now, later(now, PAUSE.saturating_add(turns)))
            }
        };
        // Each slot serves one caller per window: those that are free now, then the others as
        // they come free, then all of them again.
        let (windows, index) = (ahead / self.quota(), ahead % self.quota());
        let slot = match index.checked_sub(self.free()) {
            None => now,
            Some(index) => self.spent.get(index).copied().unwrap_or(later(now, WINDOW)),
        };
        let windows = u32::try_from(windows).unwrap_or(u32::MAX);
        let slot = later(slot, WINDOW.saturating_mul(windows));
        let spread = if paced < slot { SPREAD } else { PAUSE };
        let at = paced.max(slot).min(later(opens, LONGEST_WAIT));
        later(at, share(spread, id))
    }
}

/// A part of `most` that is always the same for the same id, in whole milliseconds.
fn share(most: Duration, id: Uuid) -> Duration {
    // FNV-1a: ids may differ in few bits only.
    let hash = id
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis((hash >> 16) % millis)
}

#[cfg(test)]
mod tests;
