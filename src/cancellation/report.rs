//! The conditions: a pure function of the value, with every message in one place.
//!
//! Messages are fixed texts with the fix in them. Never a time, a counter or an id that changes
//! from try to try: a text that changes wakes the watch that wrote it.

mod texts;

use jiff::Timestamp;

pub(super) use texts::CAPACITY_IS_BUSY;
use texts::trouble_text;

use super::{
    Cancellation,
    facts::{Conditions, Facts, Value, Verdict, later},
    job::JobStatus,
    memory::{Attempt, Trouble},
    policy::{SHOW_TROUBLE_AFTER, STALLED_AFTER},
    reason::{End, Reason},
};

impl Cancellation {
    /// The conditions as they should read at `now`.
    #[must_use]
    pub fn conditions(&self, now: Timestamp) -> Conditions {
        if let (true, Some(conditions)) = (self.is_over(), &self.current.conditions) {
            return conditions.clone();
        }
        let (reason, message, stalled) = self.working(now);
        Conditions {
            ready: Verdict {
                value: if stalled {
                    Value::False
                } else {
                    Value::Unknown
                },
                reason,
                message,
            },
            stalled,
            accepted: self.accepted_verdict(),
            cancelled: self.cancelled_verdict(),
        }
    }

    /// Ready's reason and message while the cancellation goes on, and whether it stalls.
    fn working(&self, now: Timestamp) -> (Reason, String, bool) {
        let trouble = self.shown_trouble(now);
        let settled = self.is_accepted() || self.memory.already_completed;
        if self.wish.suspend && !settled {
            let text = match (trouble, self.current.attempts) {
                (Some(trouble), _) => format!(
                    "Suspended: no cancel request is sent until `spec.suspend` is false. \
                     A look at the job met a problem: {}",
                    trouble_text(trouble)
                ),
                (None, 0) => "Suspended: nothing has been sent. Set `spec.suspend` to false to \
                              request the cancellation."
                    .into(),
                (None, _) => "Suspended: no further cancel request is sent until `spec.suspend` \
                              is false; an earlier one may still take effect."
                    .into(),
            };
            return (Reason::Suspended, text, false);
        }
        if let Some(trouble) = trouble {
            let stalled =
                trouble.reason.needs_a_person() && now >= later(trouble.since, STALLED_AFTER);
            return (trouble.reason, trouble_text(trouble), stalled);
        }
        let (reason, text) = if self.is_accepted() {
            (
                Reason::WaitingForCancellation,
                "Fabric accepted the cancel request; waiting for Fabric to report how the job \
                 ended.",
            )
        } else if self.memory.already_completed {
            (
                Reason::WaitingForCancellation,
                "Fabric says the job is already over; waiting for Fabric to report how it ended.",
            )
        } else if self.current.attempts > 0 {
            (
                Reason::RequestingCancellation,
                "Asking Fabric to cancel the job.",
            )
        } else {
            (
                Reason::Pending,
                "The cancellation will be requested as soon as Fabric may be called.",
            )
        };
        (reason, text.into(), false)
    }

    /// The trouble that Ready shows: at once where a person must act, else once it has lasted;
    /// until then what it showed before.
    pub(super) fn shown_trouble(&self, now: Timestamp) -> Option<&Trouble> {
        let trouble = self.memory.trouble.as_ref()?;
        let lasts =
            !trouble.reason.is_passing_trouble() || now >= later(trouble.since, SHOW_TROUBLE_AFTER);
        if lasts {
            Some(trouble)
        } else {
            self.memory.earlier_trouble.as_ref()
        }
    }

    fn accepted_verdict(&self) -> Verdict {
        if self.is_accepted() {
            cancel_accepted()
        } else if self.memory.answer_lost {
            answer_lost()
        } else if self.memory.already_completed {
            verdict(
                Value::False,
                Reason::NotNeeded,
                "Fabric says the job was already over; no cancel request was needed.",
            )
        } else {
            verdict(
                Value::Unknown,
                Reason::Pending,
                "Fabric has not accepted a cancel request yet.",
            )
        }
    }

    fn cancelled_verdict(&self) -> Verdict {
        if self.is_accepted() || self.memory.already_completed {
            verdict(
                Value::Unknown,
                Reason::WaitingForCancellation,
                "Fabric has not reported the end of the job yet.",
            )
        } else {
            verdict(
                Value::Unknown,
                Reason::Pending,
                "No cancel request has been accepted yet.",
            )
        }
    }

    /// The conditions of this end.
    pub(super) fn ended(&self, end: End, now: Timestamp) -> Conditions {
        let reason = Reason::from(end);
        let success = match end {
            End::JobCancelled | End::JobAlreadyCancelled => true,
            End::JobAlreadyFinished | End::JobEndedOtherwise => self.wish.finished_is_success,
            End::JobNotFound => self.wish.missing_is_success,
            End::RequestRejected | End::DeadlineExceeded => false,
        };
        let message = self.end_text(end, success, now);
        // What the look showed decides, not the reason: JobAlreadyFinished without a readable
        // look leaves open whether it was a cancellation.
        let cancelled = match self.seen_over() {
            _ if matches!(end, End::DeadlineExceeded | End::RequestRejected) => Value::Unknown,
            Some(JobStatus::Cancelled) => Value::True,
            Some(_) => Value::False,
            None => Value::Unknown,
        };
        let unresolved = matches!(
            self.memory.attempt,
            Attempt::Unknown { .. } | Attempt::InFlight
        );
        let accepted = if self.is_accepted() {
            self.accepted_verdict()
        } else if self.memory.answer_lost || unresolved {
            answer_lost()
        } else if self.memory.already_completed {
            self.accepted_verdict()
        } else {
            verdict(
                Value::False,
                reason,
                "Fabric did not accept a cancel request.",
            )
        };
        Conditions {
            ready: Verdict {
                value: if success { Value::True } else { Value::False },
                reason,
                message: message.clone(),
            },
            stalled: !success,
            accepted,
            cancelled: Verdict {
                value: cancelled,
                reason,
                message: match cancelled {
                    Value::True => "Fabric reports the job as Cancelled.".into(),
                    Value::False => "Fabric reports that the job ended otherwise.".into(),
                    Value::Unknown => "Fabric did not report how the job ended.".into(),
                },
            },
        }
    }

    /// The terminal status that Fabric reported, if it did.
    pub(super) fn seen_over(&self) -> Option<&JobStatus> {
        let job = self.current.job.as_ref()?;
        let seen = job.status.is_terminal()
            && self.is_believed(job)
            && self.memory.missing_since.is_none();
        seen.then_some(&job.status)
    }

    fn end_text(&self, end: End, success: bool, now: Timestamp) -> String {
        let policy = |field: &str| {
            if success {
                format!(" `spec.{field}` is Succeed, so the goal counts as reached.")
            } else {
                format!(" `spec.{field}` is Fail, so the goal counts as missed.")
            }
        };
        let status = self
            .seen_over()
            .map_or("ended", |status| status.as_str())
            .to_owned();
        match end {
            End::JobCancelled => "Fabric confirmed that the job was cancelled.".into(),
            End::JobAlreadyCancelled => {
                "Fabric reports the job as Cancelled; it was cancelled before a request of this \
                 resource was accepted."
                    .into()
            }
            End::JobAlreadyFinished if self.seen_over().is_none() => {
                "Fabric says the job was already over, and no longer shows how it ended.".to_owned()
                    + &policy("finishedJobPolicy")
            }
            End::JobAlreadyFinished => {
                let unknown = if self.may_have_acted() && !self.memory.already_completed {
                    " Whether it had accepted the cancel request is unknown."
                } else {
                    ""
                };
                format!("The job is over: Fabric reports {status}.{unknown}")
                    + &policy("finishedJobPolicy")
            }
            End::JobEndedOtherwise => {
                format!(
                    "Fabric accepted the cancel request, but the job ended otherwise: Fabric \
                     reports {status}."
                ) + &policy("finishedJobPolicy")
            }
            End::JobNotFound => {
                let accepted = if self.is_accepted() {
                    " It had accepted the cancel request before."
                } else {
                    ""
                };
                format!(
                    "Fabric does not know this job instance (any more); it answered so twice, a \
                     minute apart.{accepted} Check the three ids: `spec.jobInstanceId` must be a \
                     run of `spec.itemId` in `spec.workspaceId`; old runs leave Fabric's history."
                ) + &policy("missingJobPolicy")
            }
            End::RequestRejected => {
                let code = self
                    .current
                    .last_error
                    .as_ref()
                    .map_or("an error", |last| last.error.code.as_str());
                let trouble = self.memory.trouble.as_ref();
                let advised = trouble
                    .filter(|trouble| {
                        trouble.reason == Reason::RequestRejected && trouble.advice.is_some()
                    })
                    .map(trouble_text);
                let fix = advised.unwrap_or_else(|| {
                    "Check that this kind of item supports cancelling its jobs and that the ids \
                     belong together. Create a new FabricJobCancellation to try again."
                        .into()
                });
                format!(
                    "Fabric rejected the cancel request for good ({code}); `status.lastError` has \
                     what it said. {fix}"
                )
            }
            End::DeadlineExceeded => self.deadline_text(now),
        }
    }

    fn deadline_text(&self, now: Timestamp) -> String {
        let what = if self.is_accepted() {
            "Fabric accepted the cancel request, but did not report the end of the job before \
             `spec.activeDeadlineSeconds` passed; it may still end."
        } else if self.memory.already_completed {
            "Fabric said that the job was already over, but did not report how it ended before \
             `spec.activeDeadlineSeconds` passed."
        } else if self.may_have_acted() {
            "`spec.activeDeadlineSeconds` passed while it was unknown whether Fabric took the \
             cancel request; the job may still end."
        } else {
            "`spec.activeDeadlineSeconds` passed before Fabric accepted a cancel request; nothing \
             was cancelled by this resource."
        };
        let longer = self
            .deadline()
            .filter(|deadline| *deadline <= now && self.is_kept_away_beyond(*deadline))
            .map_or("", |_| {
                if self.may_have_acted() {
                    " Fabric asked for a longer wait than the deadline left, so no last look was \
                     made."
                } else {
                    " Fabric asked for a longer wait than the deadline left."
                }
            });
        let why = self
            .memory
            .trouble
            .as_ref()
            .map_or_else(String::new, |trouble| {
                let reason = trouble.reason.as_str();
                if trouble.reason.needs_a_person() {
                    format!(
                        " What stood in the way: {reason}: {}",
                        trouble_text(trouble)
                    )
                } else {
                    // Its text speaks of what the operator still does.
                    format!(" What stood in the way: {reason}; see `status.lastError`.")
                }
            });
        format!(
            "{what}{longer}{why} Look at the job in Fabric's Monitor hub; create a new \
             FabricJobCancellation to try again."
        )
    }
}

/// The conditions of a resource whose spec this version cannot use. What Fabric said while
/// another version could use it stays true.
#[must_use]
pub fn invalid_spec(stored: &Facts, problem: &str) -> Conditions {
    let reason = Reason::InvalidSpec;
    let not_needed = stored
        .conditions
        .as_ref()
        .map(|conditions| &conditions.accepted)
        .filter(|accepted| accepted.reason == Reason::NotNeeded);
    let (sent, accepted) = if stored.accepted_time.is_some() {
        (
            "Fabric had accepted a cancel request before; how the job ended is not looked up.",
            cancel_accepted(),
        )
    } else if let Some(not_needed) = not_needed {
        (
            "Fabric had said that the job was already over; how it ended is not looked up.",
            not_needed.clone(),
        )
    } else if stored.attempts > 0 {
        (
            "A cancel request may have reached Fabric before; the job may still end.",
            answer_lost(),
        )
    } else {
        (
            "Nothing was sent to Fabric.",
            verdict(
                Value::False,
                reason,
                "Fabric did not accept a cancel request.",
            ),
        )
    };
    Conditions {
        ready: Verdict {
            value: Value::False,
            reason,
            message: format!(
                "The spec cannot be used: {problem}. {sent} Delete this resource and create a \
                 corrected one."
            ),
        },
        stalled: true,
        accepted,
        cancelled: verdict(
            Value::Unknown,
            reason,
            "Fabric did not report how the job ended.",
        ),
    }
}

fn verdict(value: Value, reason: Reason, message: &str) -> Verdict {
    Verdict {
        value,
        reason,
        message: message.to_owned(),
    }
}

fn cancel_accepted() -> Verdict {
    verdict(
        Value::True,
        Reason::CancelAccepted,
        "Fabric accepted the cancel request.",
    )
}

fn answer_lost() -> Verdict {
    verdict(
        Value::Unknown,
        Reason::AnswerLost,
        "The answer to a cancel request was lost: Fabric may or may not have accepted it.",
    )
}
