//! One candidate for the Lease, as a value: no I/O, no clock, no randomness.
//!
//! Two verbs, as in the core: [`Candidate::next_step`] says what to do, [`Candidate::record`]
//! says what the candidate has become after it was done. Times are durations since any moment of
//! the candidate's own (the start of its process), by a clock that nobody sets. The clock on the
//! wall is only written into the Lease, never compared.
//!
//! Why there are never two leaders: a leader counts its lease from *before* it sent the renewal
//! that succeeded; everybody else counts the same time from *after* they saw a record change, or
//! the Lease vanish, which is later. And every write names the version that it was decided on.

use std::time::Duration;

use jiff::Timestamp;

use super::record::{Record, Terms};

/// What a candidate does next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Read the Lease.
    Read,
    /// Create the Lease with this record.
    Create(Record),
    /// Replace the Lease by one with this record, if it still has this version. Fields that the
    /// record does not know stay as they are.
    Replace {
        /// `metadata.resourceVersion` of the Lease that was judged.
        version: String,
        /// The new record.
        record: Record,
    },
    /// Nothing before this time.
    Wait {
        /// When to ask again.
        until: Duration,
    },
    /// It led, or was about to, and must not any more. Final.
    StepDown(Lost),
    /// It was asked to end, and holds nothing. Final.
    Done,
}

/// What came back for a [`Step::Read`], [`Step::Create`] or [`Step::Replace`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The read shows this Lease.
    Found {
        /// `metadata.resourceVersion`.
        version: String,
        /// What it says.
        record: Record,
    },
    /// The read shows that there is no Lease.
    Missing,
    /// The write is stored; so it reads now.
    Stored {
        /// The new `metadata.resourceVersion`.
        version: String,
        /// What it says.
        record: Record,
    },
    /// The write did nothing: the Lease has another version, or exists already (409).
    Conflict,
    /// The write did nothing: the Lease does not exist any more (404).
    Gone,
    /// No usable answer. A write may have been stored, or may yet be.
    Failed,
}

/// Why a leader is none any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Lost {
    /// No renewal succeeded within the renew deadline, for whatever reason.
    #[error("the Lease could not be renewed in time")]
    NotRenewed,
    /// The Lease names somebody else.
    #[error("the Lease was taken over by {0:?}")]
    TakenBy(String),
}

/// One candidate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    identity: String,
    terms: Terms,
    role: Role,
    lease: Lease,
    /// `lease` may be written upon; else it is read first.
    judged: bool,
    /// Writes without an answer that may have been stored, oldest first.
    unanswered: Vec<Sent>,
    next_at: Duration,
    /// The last write met a conflict and was followed up at once; a second one waits.
    hurried: bool,
    resigning: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Role {
    Standby,
    /// `renewed`: when the last renewal that succeeded was sent.
    Leader {
        renewed: Duration,
    },
    Released,
    Lost(Lost),
}

/// The Lease as last seen, and until when a leader that is not us may count on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Lease {
    NeverSeen,
    Missing {
        held_until: Duration,
    },
    Found {
        version: String,
        record: Record,
        held_until: Duration,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sent {
    record: Record,
    at: Duration,
}

impl Candidate {
    /// A candidate that has seen nothing yet. `identity` must be its own for ever: a process that
    /// starts again is another candidate.
    #[must_use]
    pub fn new(identity: impl Into<String>, terms: Terms) -> Self {
        Self {
            identity: identity.into(),
            terms,
            role: Role::Standby,
            lease: Lease::NeverSeen,
            judged: false,
            unanswered: Vec::new(),
            next_at: Duration::ZERO,
            hurried: false,
            resigning: false,
        }
    }

    /// What to do now. The same question has the same answer, apart from `wall`, the time that a
    /// write puts into the Lease.
    #[must_use]
    pub fn next_step(&self, now: Duration, wall: Timestamp) -> Step {
        match &self.role {
            Role::Lost(why) => return Step::StepDown(why.clone()),
            Role::Released => return Step::Done,
            Role::Standby if self.resigning => return Step::Done,
            Role::Standby | Role::Leader { .. } => {}
        }
        if let Some(end) = self.must_end_at()
            && now >= end
        {
            return if self.resigning {
                Step::Done
            } else {
                Step::StepDown(Lost::NotRenewed)
            };
        }
        if now < self.next_at {
            let until = self
                .must_end_at()
                .map_or(self.next_at, |end| end.min(self.next_at));
            return Step::Wait { until };
        }
        if !self.judged {
            return Step::Read;
        }
        let held = |before| Record::held(&self.identity, &self.terms, before, wall);
        match &self.lease {
            Lease::NeverSeen => Step::Read,
            Lease::Missing { .. } if self.resigning => Step::Done,
            Lease::Missing { .. } => Step::Create(held(None)),
            Lease::Found {
                version, record, ..
            } => Step::Replace {
                version: version.clone(),
                record: if self.resigning {
                    Record::released(record, wall)
                } else {
                    held(Some(record))
                },
            },
        }
    }

    /// What the candidate is after `step`, which was sent at `sent`, had this answer at `now`.
    /// `jitter` lengthens the wait for the next attempt.
    #[must_use]
    pub fn record(
        mut self,
        step: &Step,
        answer: Answer,
        sent: Duration,
        now: Duration,
        jitter: Duration,
    ) -> Self {
        if matches!(self.role, Role::Released | Role::Lost(_)) {
            return self;
        }
        if !self.resigning && self.must_end_at().is_some_and(|end| now >= end) {
            // Too late, even for a renewal that succeeded: it has been said that this one ended.
            self.role = Role::Lost(Lost::NotRenewed);
            return self;
        }
        let later = now.max(sent.saturating_add(self.terms.retry).saturating_add(jitter));
        // Only a write that is still worth a lease is worth remembering.
        let worth = self.terms.renew_deadline;
        self.unanswered
            .retain(|write| now < write.at.saturating_add(worth));
        match answer {
            Answer::Stored { version, record } => {
                self.hurried = false;
                self.see(version, record, now);
                self.stored(step, sent, now, later);
            }
            Answer::Found { version, record } => {
                self.see(version, record, now);
                self.found(now, later);
            }
            Answer::Missing => self.missing(now, later),
            Answer::Gone if matches!(step, Step::Replace { .. }) => self.missing(now, later),
            Answer::Conflict => {
                self.judged = false;
                self.next_at = if self.hurried { later } else { now };
                self.hurried = !self.hurried;
            }
            // A create that finds nothing to create in (no namespace) has failed like any other.
            Answer::Failed | Answer::Gone => {
                self.hurried = false;
                self.next_at = later;
                if let Step::Create(record) | Step::Replace { record, .. } = step {
                    self.unanswered.push(Sent {
                        record: record.clone(),
                        at: sent,
                    });
                }
                // The write may have been stored: the Lease tells.
                self.judged = false;
            }
        }
        self
    }

    /// Somebody saw the Lease change: a standby reads it now rather than later.
    #[must_use]
    pub fn look_again(mut self, now: Duration) -> Self {
        if self.role == Role::Standby {
            self.next_at = self.next_at.min(now);
        }
        self
    }

    /// Asks for the end: a leader gives the lease up, which it may do only when it has stopped
    /// working; a standby is done.
    #[must_use]
    pub fn resign(mut self) -> Self {
        self.resigning = true;
        self.next_at = Duration::ZERO;
        self
    }

    /// Until when nobody else can lead, while this candidate leads; `None` while it does not.
    #[must_use]
    pub fn leads_until(&self, now: Duration) -> Option<Duration> {
        let Role::Leader { renewed } = self.role else {
            return None;
        };
        let leads = !self.resigning && now < renewed.saturating_add(self.terms.renew_deadline);
        leads.then(|| renewed.saturating_add(self.terms.lease))
    }

    /// How long one call may take that begins now: half of the renew deadline, so that there is
    /// a second try, and never beyond the moment at which a leader has to give up.
    #[must_use]
    pub fn patience(&self, now: Duration) -> Duration {
        let most = self.terms.renew_deadline / 2;
        self.must_end_at()
            .map_or(most, |end| most.min(end.saturating_sub(now)))
    }

    /// When a leader ends unless it is renewed; a leader that gives up has until its lease ends.
    fn must_end_at(&self) -> Option<Duration> {
        let Role::Leader { renewed } = self.role else {
            return None;
        };
        Some(renewed.saturating_add(if self.resigning {
            self.terms.lease
        } else {
            self.terms.renew_deadline
        }))
    }

    /// Takes a Lease into the memory. Its time begins anew only when the record changed: another
    /// version alone, an annotation say, is no sign of life.
    fn see(&mut self, version: String, record: Record, now: Duration) {
        let held_until = match &self.lease {
            Lease::Found {
                record: before,
                held_until,
                ..
            } if *before == record => *held_until,
            _ => now.saturating_add(self.terms.hold(&record)),
        };
        self.lease = Lease::Found {
            version,
            record,
            held_until,
        };
    }

    /// Takes into the memory that there is no Lease. Whoever held it may have renewed it just
    /// before it was deleted, also when this candidate never saw it.
    fn miss(&mut self, now: Duration) {
        let hold = match &self.lease {
            Lease::Missing { .. } => return,
            Lease::NeverSeen => self.terms.lease,
            Lease::Found { record, .. } => self.terms.hold(record).max(self.terms.lease),
        };
        self.lease = Lease::Missing {
            held_until: now.saturating_add(hold),
        };
    }

    fn stored(&mut self, step: &Step, sent: Duration, now: Duration, later: Duration) {
        let (Step::Create(written)
        | Step::Replace {
            record: written, ..
        }) = step
        else {
            return self.found(now, later);
        };
        match &self.lease {
            Lease::Found { record, .. } if record.holder == written.holder => {}
            // Something on the way changed what was written.
            _ => return self.found(now, later),
        }
        if written.is_released() {
            self.role = Role::Released;
        } else {
            self.lead_since(sent, later);
        }
    }

    /// Judges the Lease that was just seen.
    fn found(&mut self, now: Duration, later: Duration) {
        let Lease::Found {
            record, held_until, ..
        } = &self.lease
        else {
            return;
        };
        let ours = record.holder == self.identity;
        // Our own write whose answer was lost: the lease counts from when it was sent.
        let sent = self
            .unanswered
            .iter()
            .find(|write| ours && write.record == *record)
            .map(|write| write.at);
        match (&self.role, sent) {
            (Role::Standby | Role::Leader { .. }, Some(sent)) => {
                self.lead_since(sent, now.max(sent.saturating_add(self.terms.retry)));
            }
            (Role::Leader { .. }, None) if ours => {
                // Edited, or an older write of ours arrived late: written again on top of it.
                self.judged = true;
                self.next_at = now;
            }
            (Role::Leader { .. }, None) if self.resigning => self.role = Role::Released,
            (Role::Leader { .. }, None) => {
                self.role = Role::Lost(Lost::TakenBy(record.holder.clone()));
            }
            // Our own name in a record that we did not write is a stranger's.
            (Role::Standby, None) => self.wait_unless_free(*held_until, now, later),
            (Role::Released | Role::Lost(_), _) => {}
        }
    }

    fn missing(&mut self, now: Duration, later: Duration) {
        self.miss(now);
        match (&self.role, &self.lease) {
            (Role::Leader { .. }, _) => {
                self.judged = true;
                self.next_at = now;
            }
            (Role::Standby, Lease::Missing { held_until }) => {
                self.wait_unless_free(*held_until, now, later);
            }
            _ => {}
        }
    }

    fn lead_since(&mut self, renewed: Duration, later: Duration) {
        self.role = Role::Leader { renewed };
        self.unanswered.clear();
        self.judged = true;
        self.next_at = if self.resigning {
            Duration::ZERO
        } else {
            later
        };
    }

    fn wait_unless_free(&mut self, held_until: Duration, now: Duration, later: Duration) {
        self.judged = now >= held_until;
        self.next_at = if self.judged {
            now
        } else {
            later.min(held_until)
        };
    }
}
