//! What was learned: one observation in, a new value out.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Cancellation,
    facts::{LastError, later, next_whole_second, whole_second},
    job::{Job, JobStatus},
    memory::{Attempt, Trouble},
    observation::{Hold, Observation, Refusal, ServiceError, Source, Throttle},
    policy::{
        BACKOFF, ERROR_INTERVAL, NOT_FOUND_APART, SLOW_RETRY, SUSPICIOUS_LOOKS, backoff, hint,
        throttle,
    },
    reason::{End, Reason},
    report::CAPACITY_IS_BUSY,
};

impl Cancellation {
    /// What the cancellation has become by what was seen at `now`.
    #[must_use]
    pub fn record(mut self, seen: Observation, now: Timestamp) -> Self {
        if self.is_over() {
            return self;
        }
        match seen {
            Observation::Accepted {
                location,
                retry_after,
                request_id,
            } => {
                self.succeeded();
                self.memory.attempt = Attempt::Idle;
                self.memory.running_looks = 0;
                self.keep_away(hint(retry_after), now);
                if self.current.accepted_time.is_none() {
                    self.current.accepted_time = Some(whole_second(now));
                    self.current.location = location;
                    self.current.request_id = request_id;
                }
            }
            Observation::AlreadyCompleted { retry_after } => {
                self.succeeded();
                self.memory.attempt = Attempt::Idle;
                self.memory.already_completed = true;
                if let Some(asked) = retry_after.filter(|asked| !asked.is_zero()) {
                    self.keep_away(asked, now);
                }
            }
            Observation::JobSeen { job, retry_after } => self.job_seen(job, retry_after, now),
            Observation::Throttled {
                by,
                retry_after,
                error,
            } => {
                self.attempt_did_nothing();
                let wait = throttle(retry_after, &self.wish.job, self.memory.failures);
                self.keep_away(wait, now);
                self.memory.failures += 1;
                let advice = (by == Throttle::Capacity).then(|| CAPACITY_IS_BUSY.to_owned());
                self.in_trouble(Reason::Throttled, advice, Some(error), now);
            }
            Observation::Refused {
                refusal,
                retry_after,
                error,
                advice,
            } => {
                if let Some(asked) = retry_after {
                    self.keep_away(asked, now);
                }
                self.refused(refusal, error, advice, now);
            }
            Observation::Unknown { retry_after, error } => {
                if self.memory.attempt == Attempt::InFlight {
                    self.memory.attempt = Attempt::Unknown { look_from: now };
                }
                if let Some(asked) = retry_after {
                    self.keep_away(asked, now);
                }
                self.failed(None, now);
                self.in_trouble(Reason::FabricUnavailable, None, Some(error), now);
            }
            Observation::Inconclusive {
                from,
                retry_after,
                error,
            } => {
                self.attempt_did_nothing();
                let reason = match from {
                    Source::Fabric => Reason::FabricUnavailable,
                    Source::Entra => Reason::EntraUnavailable,
                    Source::Kubernetes => Reason::ResolvingCredentials,
                };
                // What somebody else asks for holds back the next question to them. It is not
                // Fabric's, and nothing is to be stored or said as if it were.
                let ours = match (from, retry_after) {
                    (Source::Fabric, Some(asked)) => {
                        self.keep_away(asked, now);
                        None
                    }
                    (Source::Fabric, None) => None,
                    (Source::Entra | Source::Kubernetes, asked) => asked,
                };
                self.failed(ours, now);
                self.in_trouble(reason, None, Some(error), now);
            }
            Observation::Held { until, by } => {
                self.attempt_did_nothing();
                self.memory.retry_at = Some(until);
                let reason = match by {
                    Hold::Fabric => Reason::Throttled,
                    Hold::OwnQuota => Reason::Queued,
                };
                self.in_trouble(reason, None, None, now);
            }
            Observation::DeadlinePassed => self.end(End::DeadlineExceeded, now),
        }
        self
    }

    /// The request of the stored intent was not sent after all.
    #[must_use]
    pub fn not_sent(mut self) -> Self {
        self.attempt_did_nothing();
        self
    }

    fn job_seen(&mut self, job: Job, retry_after: Option<Duration>, now: Timestamp) {
        self.succeeded();
        self.memory.missing_since = None;
        self.memory.suspicious_looks = if job.is_suspicious() {
            self.memory.suspicious_looks + 1
        } else {
            0
        };
        let believed = self.is_believed(&job);
        if believed {
            self.memory.looked_at = Some(now);
        }
        let over = job.status.is_terminal() && believed;
        let status = job.status.clone();
        // Details may change from look to look; only a new status is news.
        if over || self.current.job.as_ref().map(|job| &job.status) != Some(&job.status) {
            self.current.job = Some(job);
        }
        match retry_after {
            // Our own pace: it holds back looks, not a request.
            None => self.memory.look_from = Some(later(now, hint(None))),
            asked => self.keep_away(hint(asked), now),
        }
        if self.current.attempts == 0 {
            self.memory.preflighted = true;
        } else if over {
            self.end(self.end_by(&status), now);
        } else if believed {
            if matches!(
                self.memory.attempt,
                Attempt::Unknown { .. } | Attempt::InFlight
            ) {
                // The request had no visible effect; the next attempt may be made.
                self.memory.attempt = Attempt::Idle;
                self.memory.answer_lost = true;
            }
            self.memory.running_looks += 1;
        }
    }

    /// Whether what a look showed is believed: a suspicious failure only when seen repeatedly.
    pub(super) fn is_believed(&self, job: &Job) -> bool {
        !job.is_suspicious() || self.memory.suspicious_looks >= SUSPICIOUS_LOOKS
    }

    fn end_by(&self, status: &JobStatus) -> End {
        let may_be_ours = self.is_accepted()
            || self.memory.answer_lost
            || matches!(
                self.memory.attempt,
                Attempt::Unknown { .. } | Attempt::InFlight
            );
        match status {
            JobStatus::Cancelled if may_be_ours => End::JobCancelled,
            JobStatus::Cancelled => End::JobAlreadyCancelled,
            JobStatus::NotStarted
            | JobStatus::InProgress
            | JobStatus::Completed
            | JobStatus::Failed
            | JobStatus::Deduped
            | JobStatus::Other(_) => {
                if self.is_accepted() {
                    End::JobEndedOtherwise
                } else {
                    End::JobAlreadyFinished
                }
            }
        }
    }

    fn refused(
        &mut self,
        refusal: Refusal,
        error: ServiceError,
        advice: Option<String>,
        now: Timestamp,
    ) {
        let asked_to_cancel = self.memory.attempt == Attempt::InFlight;
        self.attempt_did_nothing();
        let not_found = matches!(refusal, Refusal::JobNotFound | Refusal::TargetNotFound);
        if not_found && self.memory.already_completed && !self.is_accepted() {
            // Fabric said that the job is over and no longer shows how it ended.
            self.in_trouble(Reason::JobNotFound, None, Some(error), now);
            let shown_before = self.seen_over().cloned();
            let end = shown_before.map_or(End::JobAlreadyFinished, |status| self.end_by(&status));
            self.end(end, now);
            return;
        }
        let begins = match refusal {
            Refusal::RequestRejected if asked_to_cancel && !self.is_accepted() => {
                self.in_trouble(Reason::RequestRejected, advice, Some(error), now);
                self.end(End::RequestRejected, now);
                return;
            }
            // A look that is rejected says nothing about the cancel request.
            Refusal::RequestRejected => {
                self.in_trouble(Reason::FabricUnavailable, advice, Some(error), now)
            }
            Refusal::JobNotFound if self.current.attempts > 0 => {
                self.in_trouble(Reason::JobNotFound, None, Some(error), now);
                match self.memory.missing_since {
                    None => self.memory.missing_since = Some(now),
                    Some(since) if now >= later(since, NOT_FOUND_APART) => {
                        self.end(End::JobNotFound, now);
                        return;
                    }
                    Some(_) => {}
                }
                let since = self.memory.missing_since.unwrap_or(now);
                self.memory.retry_at = Some(later(since, NOT_FOUND_APART));
                return;
            }
            // Without an attempt it counts for nothing yet.
            Refusal::JobNotFound
            | Refusal::TargetNotFound
            | Refusal::CapacityPaused
            | Refusal::PermissionDenied
            | Refusal::AuthenticationFailed
            | Refusal::CredentialsNotFound
            | Refusal::CredentialsInvalid
            | Refusal::IdentityNotAllowed
            | Refusal::WorkspaceNotAllowed => {
                self.in_trouble(refusal.into(), advice, Some(error), now)
            }
        };
        if begins {
            // The slow pace starts anew, however often something else failed before.
            self.memory.failures = 0;
        }
        let pause = backoff(SLOW_RETRY, &self.wish.job, self.memory.failures);
        self.memory.retry_at = Some(later(now, pause));
        self.memory.failures += 1;
    }

    fn attempt_did_nothing(&mut self) {
        if self.memory.attempt == Attempt::InFlight {
            self.memory.attempt = Attempt::Idle;
        }
    }

    fn succeeded(&mut self) {
        self.memory.trouble = None;
        self.memory.earlier_trouble = None;
        self.memory.failures = 0;
        self.memory.retry_at = None;
        self.memory.look_from = None;
    }

    /// The next try waits for our own pause, and for `at_least`.
    fn failed(&mut self, at_least: Option<Duration>, now: Timestamp) {
        let pause = backoff(BACKOFF, &self.wish.job, self.memory.failures);
        let pause = pause.max(at_least.unwrap_or_default());
        self.memory.retry_at = Some(later(now, pause));
        self.memory.failures += 1;
    }

    /// Fabric asked for this long; an earlier, longer wish of Fabric's stands.
    fn keep_away(&mut self, wait: Duration, now: Timestamp) {
        let until = next_whole_second(later(now, wait));
        self.memory.not_before = self.memory.not_before.max(Some(until));
    }

    /// Notes the trouble. Whether it has just begun.
    fn in_trouble(
        &mut self,
        reason: Reason,
        advice: Option<String>,
        error: Option<ServiceError>,
        now: Timestamp,
    ) -> bool {
        let begins = !self.shows(reason);
        let mut since = whole_second(now);
        if begins {
            // A trouble that gives way for a moment and comes back has lasted all the time.
            let shown = self.shown_trouble(now).cloned();
            let (same, other) = match shown {
                Some(shown) if shown.reason == reason => (Some(shown.since), None),
                other => (None, other),
            };
            since = same.unwrap_or(since);
            self.memory.earlier_trouble = other;
        } else if let Some(trouble) = &self.memory.trouble {
            since = trouble.since;
        }
        self.memory.trouble = Some(Trouble {
            reason,
            advice,
            since,
        });
        if let Some(error) = error {
            let last = self.current.last_error.as_ref();
            let other_code = last.is_none_or(|last| {
                last.error.code != error.code && now >= later(last.time, ERROR_INTERVAL)
            });
            if begins {
                self.current.last_error = Some(LastError { error, time: since });
            } else if other_code {
                let time = whole_second(now);
                self.current.last_error = Some(LastError { error, time });
            }
        }
        begins
    }

    fn end(&mut self, end: End, now: Timestamp) {
        self.current.conditions = Some(self.ended(end, now));
        self.current.completion_time = Some(whole_second(now));
    }
}
