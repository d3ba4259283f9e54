//! One job instance: a pure state machine over time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::spec::{CancelEffect, FailureReason, JobChange, JobRef, JobSpec, JobStatus, JobView};
use crate::settings::RepeatedCancel;

/// A cancel came too late, or a second one came and the settings refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AlreadyCompleted;

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) at: JobRef,
    pub(crate) job_type: String,
    pub(crate) invoke_type: String,
    pub(crate) root_activity_id: Uuid,
    pub(crate) failure_reason: Option<FailureReason>,
    pub(crate) null_end_time: bool,
    pub(crate) unsteady_start_time: bool,
    pub(crate) looks: u32,
    pub(crate) overlay: Map<String, Value>,
    /// Counts the jobs of a simulator, so that forms vary from job to job in a known order.
    pub(crate) ordinal: usize,
    pub(crate) created: Timestamp,
    cancel_takes: Option<Duration>,
    cancel_effect: CancelEffect,
    cancel_requested: Option<Timestamp>,
    cancels_accepted: u32,
    /// What was and what is planned, by time; the first entry is the creation.
    history: Vec<Turn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) at: Timestamp,
    pub(crate) status: JobStatus,
}

impl Job {
    pub(crate) fn new(
        spec: JobSpec,
        id: Uuid,
        root_activity_id: Uuid,
        ordinal: usize,
        now: Timestamp,
    ) -> Self {
        let mut history = vec![Turn {
            at: now,
            status: spec.status.clone(),
        }];
        let mut start = now;
        if spec.status == JobStatus::NotStarted
            && let Some(after) = spec.starts_after
        {
            start = later(now, after);
            history.push(Turn {
                at: start,
                status: JobStatus::InProgress,
            });
        }
        if !spec.status.is_ended()
            && let Some(after) = spec.ends_after
        {
            history.push(Turn {
                at: later(now, after).max(start),
                status: spec.ends_as,
            });
        }
        Self {
            at: JobRef {
                workspace_id: spec.workspace_id,
                item_id: spec.item_id,
                job_instance_id: id,
            },
            job_type: spec.job_type,
            invoke_type: spec.invoke_type,
            root_activity_id,
            failure_reason: spec.failure_reason,
            null_end_time: spec.null_end_time,
            unsteady_start_time: spec.unsteady_start_time,
            looks: 0,
            overlay: spec.overlay,
            ordinal,
            created: now,
            cancel_takes: spec.cancel_takes,
            cancel_effect: spec.cancel_effect,
            cancel_requested: None,
            cancels_accepted: 0,
            history,
        }
    }

    /// What is true at `time`.
    pub(crate) fn at(&self, time: Timestamp) -> &Turn {
        self.history
            .iter()
            .rfind(|turn| turn.at <= time)
            .unwrap_or(&self.history[0])
    }

    /// What a look at `now` shows: the truth at the last refresh.
    pub(crate) fn shown(&self, now: Timestamp, refresh: Duration) -> &Turn {
        match self.last_refresh(now, refresh) {
            None => self.at(now),
            Some(at) => self.at(at),
        }
    }

    /// From `now` to the next refresh of the service's view; `None` when the view is the truth.
    pub(crate) fn next_refresh(&self, now: Timestamp, refresh: Duration) -> Option<Duration> {
        let last = self.last_refresh(now, refresh)?;
        Some(refresh.saturating_sub(now.duration_since(last).unsigned_abs()))
    }

    /// A cancel request that has got as far as the job.
    pub(crate) fn cancel(
        &mut self,
        now: Timestamp,
        takes: Duration,
        repeated: RepeatedCancel,
    ) -> Result<(), AlreadyCompleted> {
        if self.at(now).status.is_ended() {
            return Err(AlreadyCompleted);
        }
        if self.cancel_requested.is_some() {
            match repeated {
                RepeatedCancel::JobAlreadyCompleted => return Err(AlreadyCompleted),
                RepeatedCancel::Accepted => {
                    self.cancels_accepted += 1;
                    return Ok(());
                }
            }
        }
        self.cancel_requested = Some(now);
        self.cancels_accepted += 1;
        if let CancelEffect::Ends(status) = self.cancel_effect.clone() {
            let end = later(now, self.cancel_takes.unwrap_or(takes));
            // Whichever end comes first is the end: a job can complete while the cancel works.
            let completes_first = self
                .history
                .iter()
                .any(|turn| turn.status.is_ended() && turn.at <= end);
            if !completes_first {
                self.replan(Turn { at: end, status });
            }
        }
        Ok(())
    }

    pub(crate) fn change(&mut self, change: JobChange, now: Timestamp) {
        if let Some(status) = change.status {
            self.replan(Turn { at: now, status });
        }
        if let Some(reason) = change.failure_reason {
            self.failure_reason = Some(reason);
        }
        if let Some(effect) = change.cancel_effect {
            self.cancel_effect = effect;
        }
        if let Some(takes) = change.cancel_takes {
            self.cancel_takes = Some(takes);
        }
        if let Some(null) = change.null_end_time {
            self.null_end_time = null;
        }
        if let Some(overlay) = change.overlay {
            self.overlay = overlay;
        }
    }

    pub(crate) fn view(&self, now: Timestamp, refresh: Duration) -> JobView {
        let truth = self.at(now);
        JobView {
            job: self.at,
            status: truth.status.clone(),
            shown_status: self.shown(now, refresh).status.clone(),
            cancel_requested_time: self.cancel_requested,
            cancels_accepted: self.cancels_accepted,
            end_time: truth.status.is_ended().then_some(truth.at),
        }
    }

    /// Forgets what was planned for this turn's time and later. The creation stays: it is what a
    /// stale view shows before its first refresh.
    fn replan(&mut self, turn: Turn) {
        let keep = 1 + self.history[1..].partition_point(|earlier| earlier.at < turn.at);
        self.history.truncate(keep);
        self.history.push(turn);
    }

    fn last_refresh(&self, now: Timestamp, refresh: Duration) -> Option<Timestamp> {
        if refresh.is_zero() {
            return None;
        }
        let age = now.duration_since(self.created).unsigned_abs().as_nanos();
        let since = Duration::from_nanos(
            u64::try_from(age % refresh.as_nanos()).expect("a refresh period is below 584 years"),
        );
        Some(now - SignedDuration::try_from(since).expect("below 584 years"))
    }
}

pub(crate) fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| time.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const FIVE: Duration = Duration::from_secs(5);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    fn job(change: impl FnOnce(&mut JobSpec)) -> Job {
        let mut spec = JobSpec::running(Uuid::nil(), Uuid::nil());
        change(&mut spec);
        Job::new(spec, Uuid::nil(), Uuid::nil(), 0, at(0))
    }

    #[test]
    fn a_cancelled_job_ends_after_the_cancel_has_taken_its_time() {
        let mut job = job(|_| ());
        job.cancel(at(10), FIVE, RepeatedCancel::Accepted).unwrap();
        assert_eq!(job.at(at(14)).status, JobStatus::InProgress);
        assert_eq!(
            *job.at(at(15)),
            Turn {
                at: at(15),
                status: JobStatus::Cancelled
            }
        );
    }

    #[test]
    fn a_cancel_of_a_job_that_has_ended_is_refused_whatever_its_end() {
        for status in [
            JobStatus::Completed,
            JobStatus::Failed,
            JobStatus::Cancelled,
            JobStatus::Deduped,
        ] {
            let mut job = job(|spec| spec.status = status.clone());
            let answer = job.cancel(at(1), FIVE, RepeatedCancel::Accepted);
            assert_eq!(answer, Err(AlreadyCompleted), "{status:?}");
        }
    }

    #[test]
    fn a_job_that_completes_while_the_cancel_works_is_completed() {
        let mut job = job(|spec| spec.ends_after = Some(Duration::from_secs(12)));
        job.cancel(at(10), FIVE, RepeatedCancel::Accepted).unwrap();
        assert_eq!(job.at(at(60)).status, JobStatus::Completed);
    }

    #[test]
    fn a_queued_job_that_is_cancelled_never_starts() {
        let mut job = job(|spec| {
            spec.status = JobStatus::NotStarted;
            spec.starts_after = Some(Duration::from_secs(30));
            spec.ends_after = Some(Duration::from_secs(90));
        });
        job.cancel(at(10), FIVE, RepeatedCancel::Accepted).unwrap();
        assert_eq!(job.at(at(12)).status, JobStatus::NotStarted);
        assert_eq!(job.at(at(100)).status, JobStatus::Cancelled);
    }

    #[test]
    fn a_second_cancel_keeps_the_end_of_the_first() {
        let mut job = job(|_| ());
        job.cancel(at(10), FIVE, RepeatedCancel::Accepted).unwrap();
        job.cancel(at(12), FIVE, RepeatedCancel::Accepted).unwrap();
        let view = job.view(at(20), Duration::ZERO);
        assert_eq!((view.end_time, view.cancels_accepted), (Some(at(15)), 2));
    }

    #[test]
    fn a_second_cancel_can_be_refused_when_asked_to() {
        let mut job = job(|_| ());
        job.cancel(at(10), FIVE, RepeatedCancel::JobAlreadyCompleted)
            .unwrap();
        let second = job.cancel(at(12), FIVE, RepeatedCancel::JobAlreadyCompleted);
        assert_eq!(second, Err(AlreadyCompleted));
    }

    #[test]
    fn a_stale_view_shows_the_job_as_it_was_at_the_last_refresh() {
        let mut job = job(|_| ());
        job.cancel(at(10), FIVE, RepeatedCancel::Accepted).unwrap();
        assert_eq!(job.shown(at(59), MINUTE).status, JobStatus::InProgress);
        assert_eq!(job.shown(at(60), MINUTE).status, JobStatus::Cancelled);
        // Meanwhile the truth already refuses a cancel: JobAlreadyCompleted beside InProgress.
        assert_eq!(
            job.cancel(at(30), FIVE, RepeatedCancel::Accepted),
            Err(AlreadyCompleted)
        );
    }

    #[test]
    fn the_next_refresh_counts_down() {
        let job = job(|_| ());
        assert_eq!(
            job.next_refresh(at(61), MINUTE),
            Some(Duration::from_secs(59))
        );
        assert_eq!(job.next_refresh(at(61), Duration::ZERO), None);
    }

    #[test]
    fn a_cancel_without_effect_is_accepted_and_the_job_runs_on() {
        let mut job = job(|spec| spec.cancel_effect = CancelEffect::Nothing);
        job.cancel(at(10), FIVE, RepeatedCancel::Accepted).unwrap();
        assert_eq!(job.at(at(10_000)).status, JobStatus::InProgress);
    }

    #[test]
    fn a_changed_status_forgets_what_was_planned() {
        let mut job = job(|spec| spec.ends_after = Some(Duration::from_secs(12)));
        let change = JobChange {
            status: Some(JobStatus::InProgress),
            ..Default::default()
        };
        job.change(change, at(5));
        job.cancel(at(10), FIVE, RepeatedCancel::Accepted).unwrap();
        assert_eq!(job.at(at(60)).status, JobStatus::Cancelled);
    }

    #[test]
    fn a_changed_status_hides_behind_a_stale_view_until_its_refresh() {
        let mut job = job(|_| ());
        job.change(
            JobChange {
                status: Some(JobStatus::Failed),
                ..Default::default()
            },
            at(5),
        );
        assert_eq!(job.at(at(5)).status, JobStatus::Failed);
        assert_eq!(job.shown(at(30), MINUTE).status, JobStatus::InProgress);
        assert_eq!(job.shown(at(61), MINUTE).status, JobStatus::Failed);
    }
}
