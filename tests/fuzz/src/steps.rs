//! The core in an arbitrary world: any answers, at any times, with edits, crashes and lost
//! writes between them.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use fabric_job_operator::cancellation::{
    Cancellation, Facts, Identity, Job, JobFailure, JobStatus, Observation, Refusal, ServiceError,
    Source, Step, Throttle, Value, Wish, later,
    policy::{LAST_LOOK, MAX_REPEATS},
    whole_second,
};
use jiff::Timestamp;

use crate::memory::{JOB, now};

/// Hints beyond this are not believed.
const LONGEST: Duration = Duration::from_secs(604_800);

/// Bytes that choose what happens next, until they run out. After each event every law of the
/// core must hold.
pub fn steps(input: &[u8]) {
    let mut bytes = Unstructured::new(input);
    let Ok(mut world) = World::new(&mut bytes) else {
        return;
    };
    world.check();
    for _ in 0..200 {
        if bytes.is_empty() || world.event(&mut bytes).is_err() {
            return;
        }
        world.check();
    }
}

/// The core, with what the laws need to remember.
struct World {
    core: Cancellation,
    now: Timestamp,
    /// Until when a server asked to be left alone: as this process heard, or as it was stored.
    asked_until: Option<Timestamp>,
    processed: u32,
    crashes: u32,
    lost: u32,
    cancelled_seen: bool,
    /// This process knows of an acceptance.
    accepted: bool,
}

impl World {
    fn new(bytes: &mut Unstructured<'_>) -> Result<Self> {
        let now = now();
        let wish = Wish {
            job: JOB,
            generation: 1,
            created: now,
            deleting: false,
            suspend: bytes.ratio(1, 8)?,
            active_deadline: Duration::from_secs(bytes.int_in_range(60..=604_800)?),
            finished_is_success: bytes.arbitrary()?,
            missing_is_success: bytes.arbitrary()?,
            ttl: bytes
                .arbitrary::<Option<u16>>()?
                .map(|seconds| Duration::from_secs(seconds.into())),
        };
        Ok(Self {
            core: Cancellation::new(wish, Facts::default(), now),
            now,
            asked_until: None,
            processed: 0,
            crashes: 0,
            lost: 0,
            cancelled_seen: false,
            accepted: false,
        })
    }

    fn event(&mut self, bytes: &mut Unstructured<'_>) -> Result<()> {
        match bytes.int_in_range(0..=11_u8)? {
            0..=5 => self.step(bytes)?,
            6 | 7 => self.write(bytes)?,
            8 => {
                let span = [1, 60, 3600, 604_800][usize::from(bytes.int_in_range(0..=3_u8)?)];
                let wait = Duration::from_millis(bytes.int_in_range(0..=span * 1000_u64)?);
                self.now = later(self.now, wait);
            }
            9 => {
                // Killed: what was not stored is forgotten.
                self.crashes += 1;
                self.asked_until = self.core.stored().not_before;
                self.accepted = self.core.stored().accepted_time.is_some();
                let (wish, stored) = (self.core.wish().clone(), self.core.stored().clone());
                self.core = Cancellation::new(wish, stored, self.now);
            }
            10 => {
                let mut wish = self.core.wish().clone();
                wish.generation += 1;
                match bytes.int_in_range(0..=4_u8)? {
                    0..=2 => wish.suspend = !wish.suspend,
                    3 => {
                        let seconds = bytes.int_in_range(60..=604_800)?;
                        wish.active_deadline = Duration::from_secs(seconds);
                    }
                    _ => wish.deleting = true,
                }
                let stored = self.core.stored().clone();
                self.core = self.core.clone().refresh(wish, stored, self.now);
            }
            _ => {
                // The watch brings what is stored once more, or another process's intent.
                let (wish, mut stored) = (self.core.wish().clone(), self.core.stored().clone());
                if stored.completion_time.is_none() && bytes.ratio(1, 4)? {
                    stored.attempts = self.core.current().attempts + 1;
                    stored.request_time = Some(whole_second(self.now));
                    self.crashes += 1;
                }
                self.core = self.core.clone().refresh(wish, stored, self.now);
            }
        }
        Ok(())
    }

    fn step(&mut self, bytes: &mut Unstructured<'_>) -> Result<()> {
        match self.core.next_step(self.now) {
            Step::Request => self.request(bytes)?,
            Step::Look => {
                let seen = answer_to_a_look(bytes, self.now)?;
                self.record(seen);
            }
            Step::GiveUp => self.record(Observation::DeadlinePassed),
            Step::Wait { until } => {
                self.now = until.unwrap_or(later(self.now, Duration::from_secs(3600)));
            }
            Step::Finished => {}
        }
        Ok(())
    }

    fn request(&mut self, bytes: &mut Unstructured<'_>) -> Result<()> {
        let identity = Identity {
            source: "Secret".to_owned(),
            name: "fabric-credentials".to_owned(),
            tenant_id: "tenant".to_owned(),
            client_id: "client".to_owned(),
        };
        let intent = self.core.intent(identity, self.now);
        assert_eq!(intent.attempts, self.core.stored().attempts + 1);
        let wish = self.core.wish().clone();
        if bytes.ratio(1, 8)? {
            // Stored, and the answer to the write is lost: it comes back with the watch.
            self.core = self.core.clone().refresh(wish, intent, self.now);
            return Ok(());
        }
        self.core = self.core.clone().intent_stored(wish, intent);
        if bytes.ratio(1, 8)? {
            self.core = self.core.clone().not_sent();
            return Ok(());
        }
        let seen = answer_to_a_request(bytes, self.now)?;
        match &seen {
            Observation::Accepted { .. } => self.processed += 1,
            Observation::Unknown { .. } => {
                self.processed += 1;
                self.lost += 1;
            }
            _ => {}
        }
        self.now = later(
            self.now,
            Duration::from_millis(bytes.int_in_range(0..=20_000)?),
        );
        self.record(seen);
        Ok(())
    }

    fn record(&mut self, seen: Observation) {
        let before = self.core.clone();
        if let Some(wait) = asked(&seen) {
            let until = later(self.now, wait.min(LONGEST));
            self.asked_until = self.asked_until.max(Some(until));
        }
        if let Observation::JobSeen { job, .. } = &seen {
            self.cancelled_seen |= job.status == JobStatus::Cancelled;
        }
        self.core = before.clone().record(seen.clone(), self.now);
        self.accepted |= matches!(seen, Observation::Accepted { .. }) && !before.is_over();
        if let Observation::JobSeen { job, .. } = &seen
            && !job.status.is_terminal()
        {
            assert!(!self.core.is_over() || before.is_over(), "{job:?} ended it");
        }
        if before.is_over() {
            assert_eq!(self.core, before, "an end was changed by {seen:?}");
        }
    }

    fn write(&mut self, bytes: &mut Unstructured<'_>) -> Result<()> {
        let Some(facts) = self.core.due_write(self.now) else {
            return Ok(());
        };
        if let Some(end) = self.core.stored().completion_time {
            assert_eq!(facts.completion_time, Some(end), "a stored end changed");
        }
        assert_eq!(facts.attempts, self.core.current().attempts);
        if bytes.ratio(1, 8)? {
            // Refused, or never arrived.
            return Ok(());
        }
        let wish = self.core.wish().clone();
        self.core = self.core.clone().written(wish, facts);
        assert_eq!(
            self.core.due_write(self.now),
            None,
            "one write leaves another"
        );
        Ok(())
    }

    fn check(&self) {
        let step = self.core.next_step(self.now);
        assert_eq!(
            step,
            self.core.next_step(self.now),
            "same question, same step"
        );
        assert!(
            self.core.is_accepted() || !self.accepted,
            "accepted was forgotten"
        );
        let wish = self.core.wish();
        match step {
            Step::Request | Step::Look => {
                assert!(!self.core.is_over(), "{step:?} after the end");
                assert!(!wish.deleting, "{step:?} although it is being deleted");
                let early = self.asked_until.max(self.core.stored().not_before);
                assert!(
                    early.is_none_or(|until| self.now >= until),
                    "{step:?} at {}, and a server asked to wait until {early:?}",
                    self.now
                );
            }
            Step::Wait { until: Some(until) } => {
                assert!(until > self.now, "a wait that is over");
                let deadline = self.core.deadline();
                assert!(
                    deadline.is_none_or(|deadline| until <= later(deadline, LAST_LOOK)),
                    "a wait past the deadline {deadline:?}: {until}"
                );
            }
            Step::Wait { until: None } | Step::GiveUp | Step::Finished => {}
        }
        if step == Step::Request {
            assert!(!wish.suspend, "sent while suspended");
            assert!(
                !self.core.is_already_completed(),
                "sent although Fabric said that the job is over"
            );
        }
        assert!(
            self.core.wake_at(self.now).is_none_or(|at| at >= self.now),
            "a visit in the past"
        );
        assert!(self.core.stored().attempts <= self.core.current().attempts);
        assert!(
            self.processed <= 1 + self.crashes + self.lost + MAX_REPEATS,
            "{} requests processed, {} crashes, {} lost answers",
            self.processed,
            self.crashes,
            self.lost
        );
        let conditions = self.core.conditions(self.now);
        let ready = conditions.ready.value;
        assert_eq!(conditions.stalled, ready == Value::False);
        assert!(
            ready != Value::True || self.core.is_over(),
            "Ready before the end"
        );
        assert!(
            conditions.cancelled.value != Value::True || self.cancelled_seen,
            "Cancelled, and Fabric never said so"
        );
        for verdict in [
            &conditions.ready,
            &conditions.accepted,
            &conditions.cancelled,
        ] {
            assert!(!verdict.message.is_empty());
            assert!(!verdict.message.contains("fleeting"), "{verdict:?}");
        }
    }
}

fn asked(seen: &Observation) -> Option<Duration> {
    match seen {
        Observation::Accepted { retry_after, .. }
        | Observation::AlreadyCompleted { retry_after }
        | Observation::JobSeen { retry_after, .. }
        | Observation::Throttled { retry_after, .. }
        | Observation::Refused { retry_after, .. }
        | Observation::Unknown { retry_after, .. } => *retry_after,
        Observation::Inconclusive {
            from, retry_after, ..
        } => retry_after.filter(|_| *from == Source::Fabric),
        Observation::Held { .. } | Observation::DeadlinePassed => None,
    }
}

fn answer_to_a_request(bytes: &mut Unstructured<'_>, now: Timestamp) -> Result<Observation> {
    Ok(match bytes.int_in_range(0..=4_u8)? {
        0 | 1 => Observation::Accepted {
            location: Some("https://fabric.example/".to_owned()),
            retry_after: hint(bytes)?,
            request_id: Some("r".to_owned()),
        },
        2 => Observation::AlreadyCompleted {
            retry_after: hint(bytes)?,
        },
        3 => Observation::Unknown {
            retry_after: hint(bytes)?,
            error: error(bytes)?,
        },
        _ => trouble(bytes, now)?,
    })
}

fn answer_to_a_look(bytes: &mut Unstructured<'_>, now: Timestamp) -> Result<Observation> {
    if bytes.ratio(1, 4)? {
        return trouble(bytes, now);
    }
    let words = [
        "NotStarted",
        "InProgress",
        "InProgress",
        "InProgress",
        "Completed",
        "Failed",
        "Cancelled",
        "Deduped",
        "Dehydrated",
    ];
    let suspicious = bytes.ratio(1, 3)?;
    let failure = suspicious.then(|| JobFailure {
        code: "RequestExecutionFailed".to_owned(),
        message: None,
        request_id: None,
    });
    Ok(Observation::JobSeen {
        job: Job {
            status: JobStatus::parse(bytes.choose(&words)?),
            job_type: Some("Pipeline".to_owned()),
            invoke_type: Some("Manual".to_owned()),
            start_time: Some(now),
            end_time: (!suspicious).then_some(now),
            root_activity_id: None,
            failure,
        },
        retry_after: hint(bytes)?,
    })
}

fn trouble(bytes: &mut Unstructured<'_>, now: Timestamp) -> Result<Observation> {
    Ok(match bytes.int_in_range(0..=3_u8)? {
        0 => Observation::Throttled {
            by: *bytes.choose(&[Throttle::Identity, Throttle::Capacity])?,
            retry_after: hint(bytes)?,
            error: error(bytes)?,
        },
        1 => Observation::Refused {
            refusal: *bytes.choose(&Refusal::ALL)?,
            retry_after: hint(bytes)?,
            error: error(bytes)?,
            advice: bytes.arbitrary::<bool>()?.then(|| "Do this.".to_owned()),
        },
        2 => Observation::Inconclusive {
            from: *bytes.choose(&[Source::Fabric, Source::Entra, Source::Kubernetes])?,
            retry_after: hint(bytes)?,
            error: error(bytes)?,
        },
        _ => Observation::Held {
            until: later(now, Duration::from_secs(bytes.int_in_range(0..=600)?)),
        },
    })
}

fn hint(bytes: &mut Unstructured<'_>) -> Result<Option<Duration>> {
    Ok(match bytes.int_in_range(0..=5_u8)? {
        0 | 1 => None,
        2 => Some(Duration::ZERO),
        3 => Some(Duration::from_secs(bytes.int_in_range(1..=120)?)),
        4 => Some(Duration::from_millis(bytes.arbitrary::<u32>()?.into())),
        _ => Some(Duration::from_secs(bytes.arbitrary()?)),
    })
}

fn error(bytes: &mut Unstructured<'_>) -> Result<ServiceError> {
    Ok(ServiceError {
        code: bytes
            .choose(&["Timeout", "SomeCode", "RequestBlocked"])?
            .to_string(),
        message: "fleeting 12:34".to_owned(),
        http_status: bytes.arbitrary::<bool>()?.then_some(500),
        request_id: None,
    })
}
