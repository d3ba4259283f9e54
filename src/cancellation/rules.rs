//! The protocol's rules, told as stories: what the author wanted, what was answered, how long it
//! took, and what is so afterwards. `laws.rs` explores everything; here each rule has its name.

mod budget;
mod deadline;
mod doubts;
mod hints;
mod messages;
mod others;
mod over;
mod protocol;
mod repeats;
mod stored;
mod suspension;
mod troubles;
mod verdicts;

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Cancellation, Conditions, Facts, Hold, Identity, Job, JobFailure, JobInstance, JobStatus,
    Observation, Reason, Refusal, ServiceError, Source, Step, Throttle, Value, Verdict, Wish,
    facts::later,
};

pub(super) fn t0() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a valid time")
}

/// The wish of an author who changes no default.
pub(super) fn wish() -> Wish {
    Wish {
        job: JobInstance {
            workspace_id: Uuid::from_u128(1),
            item_id: Uuid::from_u128(2),
            job_instance_id: Uuid::from_u128(3),
        },
        generation: 1,
        created: t0(),
        deleting: false,
        suspend: false,
        active_deadline: Duration::from_secs(3600),
        finished_is_success: true,
        missing_is_success: false,
        ttl: None,
    }
}

pub(super) fn identity() -> Identity {
    Identity {
        source: "Secret".into(),
        name: "fabric-credentials".into(),
        tenant_id: "tenant".into(),
        client_id: "client".into(),
    }
}

/// An error whose text must not reach a message.
pub(super) fn error(code: &str) -> ServiceError {
    ServiceError {
        code: code.into(),
        message: "fleeting-text".into(),
        http_status: Some(400),
        request_id: Some("fleeting-id".into()),
    }
}

pub(super) fn seen(status: JobStatus, retry_after: Option<Duration>) -> Observation {
    Observation::JobSeen {
        job: Job {
            status,
            job_type: None,
            invoke_type: None,
            start_time: None,
            end_time: None,
            root_activity_id: None,
            failure: None,
        },
        retry_after,
    }
}

/// A failure that Fabric also shows for a healthy, fresh instance.
pub(super) fn suspicious() -> Observation {
    let Observation::JobSeen { mut job, .. } = seen(JobStatus::Failed, None) else {
        unreachable!("seen() makes a look")
    };
    job.failure = Some(JobFailure {
        code: "NotFound".into(),
        message: None,
        request_id: None,
    });
    Observation::JobSeen {
        job,
        retry_after: None,
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn accepted() -> Observation {
    accepted_after(None)
}

fn accepted_after(retry_after: impl Into<Option<u64>>) -> Observation {
    Observation::Accepted {
        location: Some("https://example.invalid/".into()),
        retry_after: retry_after.into().map(secs),
        request_id: Some("request".into()),
    }
}

fn already_completed() -> Observation {
    Observation::AlreadyCompleted { retry_after: None }
}

fn running() -> Observation {
    seen(JobStatus::InProgress, None)
}

fn cancelled() -> Observation {
    seen(JobStatus::Cancelled, None)
}

fn lost() -> Observation {
    Observation::Unknown {
        retry_after: None,
        error: error("Timeout"),
    }
}

fn refused(refusal: Refusal) -> Observation {
    Observation::Refused {
        refusal,
        retry_after: None,
        error: error("SomeCode"),
        advice: None,
    }
}

fn throttled(retry_after: impl Into<Option<u64>>) -> Observation {
    Observation::Throttled {
        by: Throttle::Identity,
        retry_after: retry_after.into().map(secs),
        error: error("RequestBlocked"),
    }
}

fn no_answer(from: Source) -> Observation {
    Observation::Inconclusive {
        from,
        retry_after: None,
        error: error("Timeout"),
    }
}

/// One cancellation and its world: a clock, an API server that stores, and a count of what the
/// operator did.
#[derive(Clone, Debug)]
struct Story {
    core: Cancellation,
    now: Timestamp,
    /// Writes of the resource.
    writes: u32,
    /// Cancel requests that left.
    requests: u32,
    /// Looks that left.
    looks: u32,
    /// Events so far: a story that does not end is broken.
    events: u32,
}

impl Story {
    /// The author applies this wish, and the operator sees it for the first time.
    fn start(wish: Wish) -> Self {
        Self {
            core: Cancellation::new(wish, Facts::default(), t0()),
            now: t0(),
            writes: 0,
            requests: 0,
            looks: 0,
            events: 0,
        }
    }

    /// The ordinary wish, accepted by Fabric without a hint.
    fn accepted() -> Self {
        Self::start(wish()).answer(accepted())
    }

    /// The ordinary wish whose request was answered by "already over".
    fn already_over() -> Self {
        Self::start(wish()).answer(already_completed())
    }

    fn step(&self) -> Step {
        self.core.next_step(self.now)
    }

    /// The intent of a request that is due is stored.
    fn intent(mut self) -> Self {
        assert_eq!(self.step(), Step::Request, "an intent without need");
        let intent = self.core.intent(identity(), self.now);
        let wish = self.core.wish().clone();
        self.core = self.core.intent_stored(wish, intent);
        self.writes += 1;
        self
    }

    /// What is asked for is asked (a request after its intent), answered so, and stored.
    fn answer(self, seen: Observation) -> Self {
        self.answer_unstored(seen).store()
    }

    /// The same, but the process does not get to store it.
    fn answer_unstored(mut self, seen: Observation) -> Self {
        self = self.one_more_event();
        match self.step() {
            Step::Request => {
                self = self.intent();
                self.requests += 1;
            }
            Step::Look => self.looks += 1,
            Step::GiveUp => assert_eq!(seen, Observation::DeadlinePassed),
            other => panic!("nothing is asked now: {other:?}"),
        }
        self.hear(seen)
    }

    /// The request did not get as far as its intent: no token, a closed gate.
    fn before_the_intent(self, seen: Observation) -> Self {
        self.hear(seen).store()
    }

    /// News without a question.
    fn hear(mut self, seen: Observation) -> Self {
        self.core = self.core.record(seen, self.now);
        self
    }

    /// What is due is stored.
    fn store(mut self) -> Self {
        if let Some(facts) = self.core.due_write(self.now) {
            self.writes += 1;
            let wish = self.core.wish().clone();
            self.core = self.core.written(wish, facts);
            assert_eq!(
                self.core.due_write(self.now),
                None,
                "one write leaves another"
            );
        }
        self
    }

    /// Time passes; nothing wakes the operator before its end.
    fn advance(mut self, by: u64) -> Self {
        self.now = later(self.now, secs(by));
        self
    }

    /// The operator sleeps as long as its step says.
    fn wait(mut self) -> Self {
        match self.step() {
            Step::Wait { until: Some(until) } => self.now = until,
            other => panic!("no wait: {other:?}"),
        }
        self.one_more_event()
    }

    /// The operator sleeps until it wants to visit the resource again, and stores what is due.
    fn visit(mut self) -> Self {
        self.now = self.core.wake_at(self.now).expect("a next visit");
        self.one_more_event().store()
    }

    fn one_more_event(mut self) -> Self {
        self.events += 1;
        assert!(self.events < 2000, "the story does not end");
        self
    }

    /// For how many seconds the step says to wait.
    fn waits(&self) -> i64 {
        match self.step() {
            Step::Wait { until: Some(until) } => until.duration_since(self.now).as_secs(),
            other => panic!("no wait: {other:?}"),
        }
    }

    /// The process dies; another one sees what is stored.
    fn restart(mut self) -> Self {
        let (wish, stored) = (self.core.wish().clone(), self.core.stored().clone());
        self.core = Cancellation::new(wish, stored, self.now);
        self
    }

    /// The author edits the resource.
    fn edit(mut self, edit: impl FnOnce(&mut Wish)) -> Self {
        let mut wish = self.core.wish().clone();
        edit(&mut wish);
        wish.generation += 1;
        let stored = self.core.stored().clone();
        self.core = self.core.refresh(wish, stored, self.now);
        self
    }

    /// Somebody else changes what is stored.
    fn stored_by_others(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        let mut stored = self.core.stored().clone();
        change(&mut stored);
        let wish = self.core.wish().clone();
        self.core = self.core.refresh(wish, stored, self.now);
        self
    }

    fn facts(&self) -> &Facts {
        self.core.current()
    }

    fn ready(&self) -> (Value, Reason) {
        pair(&self.core.conditions(self.now).ready)
    }

    fn accepted_is(&self) -> (Value, Reason) {
        pair(&self.core.conditions(self.now).accepted)
    }

    fn cancelled_is(&self) -> (Value, Reason) {
        pair(&self.core.conditions(self.now).cancelled)
    }

    fn message(&self) -> String {
        self.core.conditions(self.now).ready.message
    }
}

fn pair(verdict: &Verdict) -> (Value, Reason) {
    (verdict.value, verdict.reason)
}
