//! What to do next about one cancellation, and what was learned: pure.
//!
//! No I/O, no clock, no async, no randomness, no logging: the time is an argument, news comes
//! in as an [`Observation`], and the answer is a value. The shell around it (`controller`)
//! carries out at most one effect per answer.
//!
//! ```text
//!             intent stored            accepted            an end is seen
//!  unsent ──────────────► in flight ─────────────► accepted ─────────────► ended
//!    ▲  ▲                  │  │  │                    │  ▲ ten minutes, still running:
//!    │  └── refused ───────┘  │  └─ already over ─► looks only  a new attempt, twice at most
//!    └── a look: still runs ◄─ unknown
//! ```
//!
//! The laws (checked exhaustively in `laws.rs`): the same question has the same answer; no
//! request before its not-before time and no wait past the deadline; a request only directly
//! after its intent was stored; accepted is never forgotten; a stored end never changes; a
//! server's `Retry-After` is never shortened; an unknown status costs looks, never a verdict.

// A new reason, refusal or status must be decided upon wherever one is matched.
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

mod facts;
mod job;
#[cfg(test)]
mod laws;
mod learn;
mod memory;
mod observation;
pub mod policy;
mod reason;
mod report;
#[cfg(test)]
mod rules;
mod step;

use jiff::Timestamp;

pub use facts::{
    Conditions, Facts, Identity, LastError, Value, Verdict, Wish, later, whole_second,
};
pub use job::{Job, JobFailure, JobInstance, JobStatus};
pub use observation::{Hold, Observation, Refusal, ServiceError, Source, Throttle};
use reason::End;
pub use reason::Reason;
pub use report::invalid_spec;
pub use step::Step;

use memory::{Attempt, Memory, Trouble};

/// One cancellation: what the resource says, and what this process knows of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cancellation {
    wish: Wish,
    /// As the API server last showed it.
    stored: Facts,
    /// As it should read: `stored` and what was learned since.
    current: Facts,
    memory: Memory,
}

impl Cancellation {
    /// A cancellation that this process sees for the first time: all it knows is what is stored.
    #[must_use]
    pub fn new(wish: Wish, stored: Facts, now: Timestamp) -> Self {
        let memory = Memory::of(&stored, now);
        let current = stored.clone();
        Self {
            wish,
            stored,
            current,
            memory,
        }
        .settled()
    }

    /// The same cancellation after the API server showed a newer edition of the resource. Facts
    /// that could not be stored yet are kept.
    #[must_use]
    pub fn refresh(mut self, wish: Wish, stored: Facts, now: Timestamp) -> Self {
        let edited = wish.generation != self.wish.generation;
        if edited {
            // The author acted: try again at once, however slowly it was tried before.
            self.memory.retry_at = self.memory.missing_since.and(self.memory.retry_at);
            self.memory.failures = 0;
            if self.memory.missing_since.is_none() && self.shows(Reason::JobNotFound) {
                // Seen by a preflight. It counts for nothing once the request itself is wanted.
                self.memory.trouble = None;
            }
        }
        self.wish = wish;
        if stored.completion_time.is_some() {
            self.current = stored.clone();
        } else if stored.attempts > self.current.attempts {
            // Somebody else's intent, or ours whose answer was lost: unresolved. (Fewer attempts
            // are an old status put back: what is known here stands, and is stored again.)
            let memory = Memory::of(&stored, now);
            let before = std::mem::replace(&mut self.memory, memory);
            self.memory.not_before = before.not_before;
            self.memory.already_completed |= before.already_completed;
            self.memory.answer_lost |= before.answer_lost;
            let unstored = std::mem::replace(&mut self.current, stored.clone());
            if unstored.accepted_time.is_some() && stored.accepted_time.is_none() {
                self.current.accepted_time = unstored.accepted_time;
                self.current.location = unstored.location;
                self.current.request_id = unstored.request_id;
            }
        } else if self.current.accepted_time.is_none() && stored.accepted_time.is_some() {
            self.current = stored.clone();
        } else if stored.attempts == self.current.attempts {
            self.learn_of_others(&stored, now);
        }
        self.stored = stored;
        if edited {
            self.decide_anew(now);
        }
        if self.memory.attempt == Attempt::InFlight {
            // A run that ended without its answer.
            self.memory.attempt = Memory::of(&self.current, now).attempt;
        }
        self.settled()
    }

    /// Takes over what another process stored about the same attempt, which this one may have
    /// begun to work on from an older edition.
    fn learn_of_others(&mut self, stored: &Facts, now: Timestamp) {
        let told = Memory::of(stored, now);
        self.memory.already_completed |= told.already_completed;
        self.memory.answer_lost |= told.answer_lost;
        self.current.not_before = self.current.not_before.max(stored.not_before);
        if stored.accepted_time.is_some() {
            self.current.accepted_time = stored.accepted_time;
            self.current.location.clone_from(&stored.location);
            self.current.request_id.clone_from(&stored.request_id);
        }
    }

    /// What must be stored before the next cancel request may be sent: attempt, time, identity.
    #[must_use]
    pub fn intent(&self, identity: Identity, now: Timestamp) -> Facts {
        let mut next = self.clone();
        if next.trouble_ends_with_the_intent() {
            next.memory.trouble = None;
        }
        next.current.attempts += 1;
        next.current.request_time = Some(whole_second(now));
        next.current.identity = Some(identity);
        next.to_store(now)
    }

    /// Which identity a preflight used: shown, so that its author sees who would act.
    #[must_use]
    pub fn looked_at_by(mut self, identity: Identity) -> Self {
        if self.current.attempts == 0 {
            self.current.identity = Some(identity);
        }
        self
    }

    /// The intent is stored: exactly one request may follow.
    #[must_use]
    pub fn intent_stored(mut self, wish: Wish, stored: Facts) -> Self {
        if self.trouble_ends_with_the_intent() {
            self.memory.trouble = None;
        }
        self.memory.attempt = Attempt::InFlight;
        self.memory.running_looks = 0;
        self.memory.look_from = None;
        self.wish = wish;
        self.current = stored.clone();
        self.stored = stored;
        self
    }

    /// What this write stored, as the API server showed it.
    #[must_use]
    pub fn written(mut self, wish: Wish, stored: Facts) -> Self {
        self.wish = wish;
        self.current = stored.clone();
        self.stored = stored;
        self.settled()
    }

    /// What should be stored now, if that is worth a write: a new fact, a new reason, a new
    /// generation. Nothing is written while a cancellation merely waits.
    #[must_use]
    pub fn due_write(&self, now: Timestamp) -> Option<Facts> {
        if self.wish.deleting {
            return None;
        }
        let generation = Some(self.wish.generation);
        if self.stored.completion_time.is_some() {
            return (self.stored.observed_generation != generation).then(|| Facts {
                observed_generation: generation,
                ..self.stored.clone()
            });
        }
        if self.next_step_writes_it(now) {
            return None;
        }
        self.news(now)
    }

    /// What should be stored by a process that takes no further step: also what the next step's
    /// own write would have carried.
    #[must_use]
    pub fn due_last_write(&self, now: Timestamp) -> Option<Facts> {
        if self.wish.deleting || self.stored.completion_time.is_some() {
            return self.due_write(now);
        }
        self.news(now)
    }

    /// The facts, when they say more than what is stored.
    fn news(&self, now: Timestamp) -> Option<Facts> {
        let generation = Some(self.wish.generation);
        let want = self.to_store(now);
        let due = match &self.stored.conditions {
            // A first write that only says "nothing yet" waits for the intent, or for what is
            // soon to be shown of the queue.
            None => {
                want.conditions.as_ref().map(|c| c.ready.reason) != Some(Reason::Pending)
                    || now >= later(self.memory.first_seen, policy::SHOW_TROUBLE_AFTER)
                        && !self.waits_for_its_first_turn()
            }
            Some(stored) => {
                Some(stored) != want.conditions.as_ref()
                    || self.stored.observed_generation != generation
                    || (self.stored.accepted_time, self.stored.completion_time)
                        != (want.accepted_time, want.completion_time)
                    || status_of(&self.stored) != status_of(&want)
                    || self.new_error_is_due(&want, now)
            }
        };
        due.then_some(want)
    }

    /// The facts as they should be stored at `now`.
    fn to_store(&self, now: Timestamp) -> Facts {
        let mut facts = self.current.clone();
        facts.observed_generation = Some(self.wish.generation);
        facts.not_before = self.current.not_before.max(self.memory.not_before);
        let conditions = self.conditions(now);
        if conditions.ready.reason.starts_the_clock() && !self.waits_for_its_first_turn() {
            facts.start_time = facts.start_time.or(Some(whole_second(now)));
        }
        facts.conditions = Some(conditions);
        facts
    }

    /// An end that could not be stored yet, under an edited wish: what Fabric said of the job stays
    /// and is judged by the new policies; a deadline's verdict falls, and is given again if it
    /// still holds.
    fn decide_anew(&mut self, now: Timestamp) {
        if self.stored.completion_time.is_some() || !self.is_over() {
            return;
        }
        let conditions = self.current.conditions.as_ref();
        let end = match conditions.map(|conditions| conditions.ready.reason) {
            Some(Reason::JobAlreadyFinished) => End::JobAlreadyFinished,
            Some(Reason::JobEndedOtherwise) => End::JobEndedOtherwise,
            Some(Reason::JobNotFound) => End::JobNotFound,
            Some(Reason::DeadlineExceeded) => {
                self.current.completion_time = None;
                self.current.conditions.clone_from(&self.stored.conditions);
                return;
            }
            _ => return,
        };
        self.current.conditions = Some(self.ended(end, now));
    }

    fn new_error_is_due(&self, want: &Facts, now: Timestamp) -> bool {
        let code = |facts: &Facts| {
            facts
                .last_error
                .as_ref()
                .map(|last| last.error.code.clone())
        };
        let shown = want.conditions.as_ref().map(|c| c.ready.reason);
        shown.is_some_and(|reason| self.shows(reason))
            && code(&self.stored) != code(want)
            && self
                .stored
                .last_error
                .as_ref()
                .is_none_or(|last| now >= later(last.time, policy::ERROR_INTERVAL))
    }

    /// Whether a step that may be taken at once stores the news with its own write.
    fn next_step_writes_it(&self, now: Timestamp) -> bool {
        let Some(stored) = &self.stored.conditions else {
            return false;
        };
        match self.next_step(now) {
            // The intent carries everything; an acceptance waits for nothing.
            Step::Request => self.stored.accepted_time == self.current.accepted_time,
            // Fabric has just said that the job is over: the look that follows usually shows how.
            Step::Look => {
                self.memory.already_completed
                    && stored.cancelled.reason != Reason::WaitingForCancellation
            }
            Step::GiveUp | Step::Wait { .. } | Step::Finished => false,
        }
    }

    /// Whether this is the latest trouble.
    fn shows(&self, reason: Reason) -> bool {
        self.memory
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.reason == reason)
    }

    /// Whether nothing but our own quota has held back the first attempt, shown or not yet. The
    /// deadline does not start by that.
    fn waits_for_its_first_turn(&self) -> bool {
        self.current.attempts == 0 && self.shows(Reason::Queued)
    }

    /// Who stores an intent has a token, and has been let through the gate.
    fn trouble_ends_with_the_intent(&self) -> bool {
        self.memory.trouble.as_ref().is_some_and(|trouble| {
            matches!(
                trouble.reason,
                Reason::Queued
                    | Reason::ResolvingCredentials
                    | Reason::EntraUnavailable
                    | Reason::CredentialsNotFound
                    | Reason::CredentialsInvalid
                    | Reason::IdentityNotAllowed
                    | Reason::WorkspaceNotAllowed
            )
        })
    }

    /// A suspended resource that never asked has no clock.
    fn settled(mut self) -> Self {
        if self.wish.suspend && self.current.attempts == 0 && !self.is_over() {
            self.current.start_time = None;
        }
        self
    }

    /// Whether it ended, stored or not.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.current.completion_time.is_some()
    }

    /// Whether Fabric accepted a request, stored or not.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.current.accepted_time.is_some()
    }

    /// Whether Fabric said that the job was over before a request was accepted.
    #[must_use]
    pub fn is_already_completed(&self) -> bool {
        self.memory.already_completed
    }

    /// What the author wants.
    #[must_use]
    pub fn wish(&self) -> &Wish {
        &self.wish
    }

    /// The facts as the API server last showed them.
    #[must_use]
    pub fn stored(&self) -> &Facts {
        &self.stored
    }

    /// The facts as they should read.
    #[must_use]
    pub fn current(&self) -> &Facts {
        &self.current
    }
}

fn status_of(facts: &Facts) -> Option<&JobStatus> {
    facts.job.as_ref().map(|job| &job.status)
}

impl Memory {
    /// What can be told from stored facts alone.
    fn of(stored: &Facts, now: Timestamp) -> Self {
        let conditions = stored.conditions.as_ref();
        let ready = conditions.map(|c| c.ready.reason);
        let accepted = stored.accepted_time.is_some();
        let already_completed = !accepted
            && conditions.is_some_and(|c| c.cancelled.reason == Reason::WaitingForCancellation);
        let answer_lost = conditions.is_some_and(|c| c.accepted.reason == Reason::AnswerLost);
        let last_error = stored.last_error.as_ref();
        let began = last_error.map_or(now, |last| last.time.min(now));
        let attempt = if stored.attempts == 0 || accepted || already_completed {
            Attempt::Idle
        } else {
            let sent = stored.request_time.unwrap_or(now);
            Attempt::Unknown {
                // Clamped: a stored time ahead of this clock must not keep us away for longer.
                look_from: later(sent, policy::UNKNOWN_GRACE)
                    .min(later(now, policy::UNKNOWN_GRACE)),
            }
        };
        let trouble = conditions.and_then(|c| {
            let reason = c.ready.reason;
            let lasts = reason.is_passing_trouble()
                || reason.needs_a_person()
                || reason == Reason::JobNotFound;
            // What is shown, or has stalled, stays so, whatever was noted last.
            let shown_for = if c.stalled {
                policy::STALLED_AFTER
            } else if reason.is_passing_trouble() {
                policy::SHOW_TROUBLE_AFTER
            } else {
                std::time::Duration::ZERO
            };
            lasts.then(|| Trouble {
                reason,
                advice: Some(c.ready.message.clone()),
                since: began.min(now.saturating_sub(shown_for).unwrap_or(began)),
            })
        });
        Self {
            first_seen: now,
            start_ahead: stored
                .start_time
                .filter(|start| *start > now)
                .map(|start| (start, now)),
            attempt,
            answer_lost,
            already_completed,
            not_before: None,
            retry_at: None,
            failures: 0,
            trouble,
            earlier_trouble: None,
            look_from: None,
            running_looks: 0,
            suspicious_looks: 0,
            // Stored times are cut to the second: a second more keeps the looks a minute apart.
            missing_since: (ready == Some(Reason::JobNotFound))
                .then(|| later(began, std::time::Duration::from_secs(1))),
            looked_at: None,
            preflighted: stored.job.is_some(),
        }
    }
}
