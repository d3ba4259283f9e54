//! Who waits for a slot of one identity, and in which order slots are handed out: pure.
//!
//! Nobody sleeps here. A held caller leaves a ticket and is told when to come back; its place
//! among the tickets decides whether a free slot is its own. A slot is kept for a ticket until
//! shortly after that time, so that a resource that was deleted or suspended blocks nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::pace::WINDOW;
use crate::cancellation::later;

/// A look that has waited for longer than this goes before those that have not.
const OVERDUE_AFTER: Duration = Duration::from_secs(30);

/// For this long after the time that its ticket names, a slot is kept for it.
const KEPT_FOR: Duration = Duration::from_secs(2);

/// Who comes later than this after the time that its ticket names has lost its age.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// What a request is for, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rank {
    /// Sent again directly after a 401, with a fresh token: what was begun is finished first.
    Again,
    /// A cancel request.
    Cancel,
    /// A look at a job. It becomes more urgent, never more than a cancel request, once it has
    /// waited for 30 s.
    Look,
}

/// Who asks for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caller<'a> {
    /// The resource: its uid. It has at most one ticket.
    pub id: Uuid,
    /// The resource's namespace. Slots go round among namespaces.
    pub namespace: &'a str,
    /// What the request is for.
    pub rank: Rank,
}

/// Where a caller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// How many tickets go first.
    pub ahead: usize,
    /// Whether one of them is about to be used: its time has come, and not long ago.
    pub expected: bool,
}

/// The tickets of one identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Line {
    namespaces: BTreeMap<String, Namespace>,
    /// Slots handed out so far: tells which namespace had its turn longest ago.
    turns: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Namespace {
    tickets: BTreeMap<Uuid, Ticket>,
    /// The latest turn; none within the last minute goes first.
    served: Option<Turn>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Turn {
    number: u64,
    at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ticket {
    rank: Rank,
    since: Timestamp,
    until: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Again,
    Cancel,
    OverdueLook,
    Look,
}

impl Ticket {
    fn urgency(&self, now: Timestamp) -> Urgency {
        match self.rank {
            Rank::Again => Urgency::Again,
            Rank::Cancel => Urgency::Cancel,
            Rank::Look if later(self.since, OVERDUE_AFTER) < now => Urgency::OverdueLook,
            Rank::Look => Urgency::Look,
        }
    }

    /// Whether a slot is kept for it.
    fn is_live(&self, now: Timestamp) -> bool {
        now < later(self.until, KEPT_FOR)
    }
}

impl Line {
    /// Forgets tickets that nobody came back for, and turns that are a minute old.
    pub(super) fn settle(&mut self, now: Timestamp) {
        self.namespaces.retain(|_, namespace| {
            namespace
                .tickets
                .retain(|_, ticket| now < later(ticket.until, FORGOTTEN_AFTER));
            namespace.served = namespace.served.filter(|turn| now < later(turn.at, WINDOW));
            namespace.served.is_some() || !namespace.tickets.is_empty()
        });
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }

    /// How many tickets there are.
    pub(super) fn len(&self) -> usize {
        self.namespaces
            .values()
            .map(|namespace| namespace.tickets.len())
            .sum()
    }

    /// Where the caller stands, with the ticket it has or as the newest of its rank: the more
    /// urgent first, then one of each namespace in turn, within a namespace the oldest first.
    pub(super) fn place(&self, caller: &Caller<'_>, now: Timestamp) -> Place {
        let own = self.namespaces.get(caller.namespace);
        let mine = self.ticket(caller).unwrap_or(Ticket {
            rank: caller.rank,
            since: now,
            until: now,
        });
        let urgency = mine.urgency(now);
        let mut place = Place {
            ahead: 0,
            expected: false,
        };
        // How many of the own namespace go first: that many rounds go first everywhere.
        let mut rounds = 0;
        let mut own_oldest = mine.since;
        for (id, ticket) in own.into_iter().flat_map(|own| &own.tickets) {
            if ticket.is_live(now) && ticket.urgency(now) == urgency && *id != caller.id {
                own_oldest = own_oldest.min(ticket.since);
                if (ticket.since, *id) < (mine.since, caller.id) {
                    rounds += 1;
                    place.expected |= ticket.until <= now;
                }
            }
        }
        let own_turn = (own.and_then(|own| own.served), own_oldest, caller.namespace);
        for (name, namespace) in &self.namespaces {
            let (mut equal, mut expected) = (0, false);
            let mut oldest = Timestamp::MAX;
            for (id, ticket) in &namespace.tickets {
                if !ticket.is_live(now) || *id == caller.id {
                    continue;
                }
                let other = ticket.urgency(now);
                if other < urgency {
                    place.ahead += 1;
                    place.expected |= ticket.until <= now;
                } else if other == urgency {
                    equal += 1;
                    oldest = oldest.min(ticket.since);
                    expected |= ticket.until <= now;
                }
            }
            if name == caller.namespace {
                place.ahead += rounds;
                continue;
            }
            let goes_first = (namespace.served, oldest, name.as_str()) < own_turn;
            let before = equal.min(rounds + usize::from(goes_first));
            place.ahead += before;
            place.expected |= before > 0 && expected;
        }
        place
    }

    /// The caller gets a slot: its ticket is used up, and its namespace had its turn.
    pub(super) fn served(&mut self, caller: &Caller<'_>, now: Timestamp) {
        let turn = Turn {
            number: self.turns,
            at: now,
        };
        self.turns += 1;
        let namespace = self.namespace(caller);
        namespace.tickets.remove(&caller.id);
        namespace.served = Some(turn);
    }

    /// The caller waits. Its ticket keeps its age; the time it names stays as it is until it
    /// has come, unless nothing is let through before `at_least`. Returns that time.
    pub(super) fn wait(
        &mut self,
        caller: &Caller<'_>,
        until: Timestamp,
        at_least: Option<Timestamp>,
        now: Timestamp,
    ) -> Timestamp {
        let before = self.ticket(caller);
        let ticket = match before {
            Some(told) if now < told.until && Some(told.until) >= at_least => told,
            told => Ticket {
                rank: caller.rank,
                since: told.map_or(now, |told| told.since),
                until,
            },
        };
        self.namespace(caller).tickets.insert(caller.id, ticket);
        ticket.until
    }

    /// The caller's ticket. One for something else counts for nothing.
    fn ticket(&self, caller: &Caller<'_>) -> Option<Ticket> {
        let namespace = self.namespaces.get(caller.namespace)?;
        let ticket = namespace.tickets.get(&caller.id)?;
        (ticket.rank == caller.rank).then_some(*ticket)
    }

    fn namespace(&mut self, caller: &Caller<'_>) -> &mut Namespace {
        self.namespaces
            .entry(caller.namespace.to_owned())
            .or_default()
    }
}

#[cfg(test)]
mod tests;
