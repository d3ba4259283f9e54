//! What to do next.

use jiff::Timestamp;

use super::{
    Cancellation,
    facts::later,
    memory::Attempt,
    policy::{
        ERROR_INTERVAL, LAST_ATTEMPT, LAST_LOOK, LOOKS_BEFORE_REPEAT, MAX_REPEATS, REPEAT_AFTER,
        SHOW_TROUBLE_AFTER, STALLED_AFTER,
    },
};

/// The next thing to do about a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Store an intent, then send the cancel request.
    Request,
    /// Ask Fabric how the job stands.
    Look,
    /// Record that the deadline passed.
    GiveUp,
    /// Nothing before this moment; `None`: nothing until the resource changes.
    Wait {
        /// When to ask again.
        until: Option<Timestamp>,
    },
    /// It is over, or nobody wants it any more.
    Finished,
}

impl Cancellation {
    /// What to do now. Asking twice gives the same answer, and an early call is free: a watch
    /// is a source of early calls.
    #[must_use]
    pub fn next_step(&self, now: Timestamp) -> Step {
        if self.is_over() || self.wish.deleting {
            return Step::Finished;
        }
        let deadline = self.deadline();
        if let Some(deadline) = deadline.filter(|deadline| *deadline <= now) {
            return self.step_after(deadline, now);
        }
        if self.looks_are_due() {
            if self.repeat_is_due(now) && self.time_for_an_attempt(now) && self.is_free(now) {
                return Step::Request;
            }
            return self.when_free(now, Step::Look);
        }
        if self.wish.suspend {
            // The preflight: looked at once and shown, nothing sent.
            if self.current.attempts == 0 && !self.memory.preflighted {
                return self.when_free(now, Step::Look);
            }
            return Step::Wait { until: deadline };
        }
        if !self.time_for_an_attempt(now) {
            return Step::Wait { until: deadline };
        }
        self.when_free(now, Step::Request)
    }

    /// When the resource should be visited again although no event arrives: the next step, or
    /// the moment at which a lasting trouble must be shown. Not before `now`.
    #[must_use]
    pub fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.wish.deleting {
            return None;
        }
        let step = match self.next_step(now) {
            Step::Request | Step::Look | Step::GiveUp => Some(now),
            Step::Wait { until } => until,
            Step::Finished => return self.expires_at().map(|at| at.max(now)),
        };
        let trouble = self.memory.trouble.as_ref();
        let shown = trouble.map(|trouble| later(trouble.since, SHOW_TROUBLE_AFTER));
        let stalled = self
            .shown_trouble(now)
            .filter(|trouble| trouble.reason.needs_a_person())
            .map(|trouble| later(trouble.since, STALLED_AFTER));
        let error = self
            .stored
            .last_error
            .as_ref()
            .map(|error| later(error.time, ERROR_INTERVAL));
        let first = later(self.memory.first_seen, SHOW_TROUBLE_AFTER);
        [shown, stalled, error, Some(first)]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .chain(step)
            .min()
    }

    /// The moment at which the deadline passes. `None` while its clock has not started.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let stored = self.current.start_time?;
        let start = match self.memory.start_ahead {
            Some((ahead, seen)) if ahead == stored => seen,
            _ => stored,
        };
        // A start before the creation was stored by a clock that was wrong, too.
        let start = start.max(self.wish.created);
        Some(later(start, self.wish.active_deadline))
    }

    /// When a finished resource is to be deleted, if ever.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        Some(later(self.stored.completion_time?, self.wish.ttl?))
    }

    /// Whether Fabric asked for a wait that reaches beyond all that the deadline allows.
    #[must_use]
    pub(super) fn is_kept_away_beyond(&self, deadline: Timestamp) -> bool {
        self.server_not_before()
            .is_some_and(|at| at >= later(deadline, LAST_LOOK))
    }

    fn step_after(&self, deadline: Timestamp, now: Timestamp) -> Step {
        let last = later(deadline, LAST_LOOK);
        let looked = self.memory.looked_at.is_some_and(|at| at >= deadline);
        if !self.may_have_acted() || looked || now >= last || self.is_kept_away_beyond(deadline) {
            return Step::GiveUp;
        }
        match self.earliest().max(self.memory.look_from) {
            Some(at) if at > now => Step::Wait {
                until: Some(at.min(last)),
            },
            _ => Step::Look,
        }
    }

    /// Whether only looks can tell what comes next.
    fn looks_are_due(&self) -> bool {
        self.is_accepted()
            || self.memory.already_completed
            || self.memory.missing_since.is_some()
            || matches!(
                self.memory.attempt,
                Attempt::InFlight | Attempt::Unknown { .. }
            )
    }

    /// Whether a request may already have had an effect at Fabric.
    pub(super) fn may_have_acted(&self) -> bool {
        self.is_accepted()
            || self.memory.already_completed
            || self.memory.answer_lost
            || matches!(
                self.memory.attempt,
                Attempt::InFlight | Attempt::Unknown { .. }
            )
    }

    fn repeat_is_due(&self, now: Timestamp) -> bool {
        let Some(accepted) = self.current.accepted_time else {
            return false;
        };
        let requested = self.current.request_time.unwrap_or(accepted);
        // Derived from stored times, so that restarts do not add repeats.
        let repeats = if requested <= accepted {
            0
        } else if requested < later(accepted, REPEAT_AFTER * 2) {
            1
        } else {
            MAX_REPEATS
        };
        repeats < MAX_REPEATS
            && !self.wish.suspend
            && !self.memory.already_completed
            && self.memory.missing_since.is_none()
            && self.memory.running_looks >= LOOKS_BEFORE_REPEAT
            && now >= later(requested.max(accepted), REPEAT_AFTER)
    }

    /// No attempt is begun so late that the deadline could pass before its answer.
    fn time_for_an_attempt(&self, now: Timestamp) -> bool {
        self.deadline()
            .is_none_or(|deadline| later(now, LAST_ATTEMPT) <= deadline)
    }

    fn is_free(&self, now: Timestamp) -> bool {
        self.earliest().is_none_or(|at| at <= now)
    }

    fn when_free(&self, now: Timestamp, step: Step) -> Step {
        let earliest = match step {
            Step::Look => self.earliest().max(self.memory.look_from),
            Step::Request | Step::GiveUp | Step::Wait { .. } | Step::Finished => self.earliest(),
        };
        match earliest {
            Some(at) if at > now => Step::Wait {
                until: Some(self.deadline().map_or(at, |deadline| at.min(deadline))),
            },
            _ => step,
        }
    }

    /// No request for this resource before this moment.
    fn earliest(&self) -> Option<Timestamp> {
        let grace = match self.memory.attempt {
            Attempt::Unknown { look_from } => Some(look_from),
            Attempt::Idle | Attempt::InFlight => None,
        };
        [self.server_not_before(), self.memory.retry_at, grace]
            .into_iter()
            .flatten()
            .max()
    }

    /// What Fabric asked for, never shortened.
    fn server_not_before(&self) -> Option<Timestamp> {
        self.current.not_before.max(self.memory.not_before)
    }
}
