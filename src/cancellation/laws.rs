//! The laws of the core, explored: every observation from every reachable state, bounded by the
//! number of events, with crashes, conflicts, suspensions and edits between them.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{
    Cancellation, Facts, Hold, JobStatus, Observation, Reason, Refusal, Source, Step, Throttle,
    Value, Wish,
    facts::later,
    policy::{LAST_LOOK, MAX_REPEATS},
    rules::{error, identity, seen, suspicious, t0, wish as ordinary},
};

const HOUR: Duration = Duration::from_secs(3600);

fn wish(deadline: Duration) -> Wish {
    Wish {
        active_deadline: deadline,
        ..ordinary()
    }
}

/// What either call can be answered with.
fn troubles() -> Vec<Observation> {
    let mut all = vec![
        Observation::Throttled {
            by: Throttle::Identity,
            retry_after: None,
            error: error("RequestBlocked"),
        },
        Observation::Throttled {
            by: Throttle::Capacity,
            retry_after: Some(Duration::from_secs(86_400)),
            error: error("TooManyRequestsForCapacity"),
        },
        Observation::Held {
            until: later(t0(), Duration::from_secs(90)),
            by: Hold::Fabric,
        },
        Observation::Held {
            until: later(t0(), Duration::from_secs(20)),
            by: Hold::OwnQuota,
        },
    ];
    let not_fabrics = Some(Duration::from_secs(600));
    for (from, retry_after) in [
        (Source::Fabric, None),
        (Source::Entra, not_fabrics),
        (Source::Kubernetes, None),
    ] {
        all.push(Observation::Inconclusive {
            from,
            retry_after,
            error: error("Timeout"),
        });
    }
    for refusal in Refusal::ALL {
        all.push(Observation::Refused {
            refusal,
            retry_after: None,
            error: error("SomeCode"),
            advice: None,
        });
    }
    all
}

fn answers_to_a_request() -> Vec<Observation> {
    let mut all = troubles();
    for retry_after in [None, Some(Duration::ZERO), Some(Duration::from_secs(600))] {
        all.push(Observation::Accepted {
            location: Some("https://example.invalid/".into()),
            retry_after,
            request_id: Some("r".into()),
        });
    }
    all.push(Observation::AlreadyCompleted { retry_after: None });
    all.push(Observation::Unknown {
        retry_after: None,
        error: error("Timeout"),
    });
    all
}

fn answers_to_a_look() -> Vec<Observation> {
    let mut all = troubles();
    for status in [
        JobStatus::NotStarted,
        JobStatus::InProgress,
        JobStatus::Completed,
        JobStatus::Failed,
        JobStatus::Cancelled,
        JobStatus::Deduped,
        JobStatus::Other("Dehydrated".into()),
    ] {
        all.push(seen(status, None));
    }
    all.push(seen(JobStatus::InProgress, Some(Duration::from_secs(600))));
    all.push(suspicious());
    all
}

/// How long Fabric's answer asks to be left alone, independent of the core's own reckoning.
fn asked(seen: &Observation) -> Option<Duration> {
    match seen {
        Observation::Accepted { retry_after, .. }
        | Observation::AlreadyCompleted { retry_after }
        | Observation::JobSeen { retry_after, .. }
        | Observation::Throttled { retry_after, .. }
        | Observation::Refused { retry_after, .. }
        | Observation::Unknown { retry_after, .. }
        | Observation::Inconclusive {
            from: Source::Fabric,
            retry_after,
            ..
        } => *retry_after,
        Observation::Inconclusive {
            from: Source::Entra | Source::Kubernetes,
            ..
        }
        | Observation::Held { .. }
        | Observation::DeadlinePassed => None,
    }
}

/// The core in its world, with what the laws need to remember.
#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    core: Cancellation,
    now: Timestamp,
    /// What a server asked for in this process, or stored.
    asked_until: Option<Timestamp>,
    /// Requests that Fabric may have processed.
    processed: u32,
    crashes: u32,
    lost: u32,
    suspends: u32,
    saw_cancelled: bool,
}

impl World {
    fn new(deadline: Duration) -> Self {
        Self {
            core: Cancellation::new(wish(deadline), Facts::default(), t0()),
            now: t0(),
            asked_until: None,
            processed: 0,
            crashes: 0,
            lost: 0,
            suspends: 0,
            saw_cancelled: false,
        }
    }

    fn answered(&self, core: Cancellation, seen: Observation) -> Self {
        let mut next = self.clone();
        if let Some(wait) = asked(&seen) {
            next.asked_until = next.asked_until.max(Some(later(self.now, wait)));
        }
        next.saw_cancelled |= matches!(
            &seen,
            Observation::JobSeen { job, .. } if job.status == JobStatus::Cancelled
        );
        let before = core.clone();
        next.core = core.record(seen.clone(), self.now);
        next.check_record(&before, &seen);
        next
    }

    fn check_record(&self, before: &Cancellation, seen: &Observation) {
        assert!(
            !before.is_accepted() || self.core.is_accepted(),
            "accepted was forgotten: {seen:?}"
        );
        if let Observation::JobSeen { job, .. } = seen
            && !job.status.is_terminal()
        {
            assert!(!self.core.is_over(), "{:?} ended it", job.status);
        }
        if before.is_over() {
            assert_eq!(&self.core, before, "an end was changed by {seen:?}");
        }
    }

    /// Every world that one event can make of this one.
    fn successors(&self) -> Vec<Self> {
        let mut all = Vec::new();
        match self.core.next_step(self.now) {
            Step::Request => {
                let intent = self.core.intent(identity(), self.now);
                assert_eq!(intent.attempts, self.core.stored().attempts + 1);
                assert_eq!(intent.request_time, Some(super::whole_second(self.now)));
                assert_eq!(intent.identity, Some(identity()));
                let wish = self.core.wish().clone();
                let stored = self
                    .core
                    .clone()
                    .intent_stored(wish.clone(), intent.clone());
                // The process dies between intent and request, or after the request.
                all.extend(self.crash(wish, intent));
                let mut unsent = self.clone();
                unsent.core = stored.clone().not_sent();
                all.push(unsent);
                for answer in answers_to_a_request() {
                    let mut next = self.answered(stored.clone(), answer.clone());
                    match answer {
                        Observation::Accepted { .. } | Observation::AlreadyCompleted { .. } => {
                            next.processed += 1;
                        }
                        Observation::Unknown { .. } => {
                            next.processed += 1;
                            next.lost += 1;
                        }
                        _ => {}
                    }
                    all.push(next);
                }
            }
            Step::Look => {
                for answer in answers_to_a_look() {
                    all.push(self.answered(self.core.clone(), answer));
                }
            }
            Step::GiveUp => all.push(self.answered(self.core.clone(), Observation::DeadlinePassed)),
            Step::Wait { until } => {
                let mut next = self.clone();
                next.now = until.unwrap_or(later(self.now, HOUR)).max(self.now);
                all.push(next);
            }
            Step::Finished => {}
        }
        if let Some(facts) = self.core.due_write(self.now) {
            let mut next = self.clone();
            next.core = self.core.clone().written(self.core.wish().clone(), facts);
            assert_eq!(
                next.core.due_write(self.now),
                None,
                "one write leaves another"
            );
            all.push(next);
        }
        all.extend(self.crash(self.core.wish().clone(), self.core.stored().clone()));
        if self.suspends < 2 {
            let mut wish = self.core.wish().clone();
            wish.suspend = !wish.suspend;
            wish.generation += 1;
            let mut next = self.clone();
            next.suspends += 1;
            next.core = self
                .core
                .clone()
                .refresh(wish, self.core.stored().clone(), self.now);
            all.push(next);
        }
        all
    }

    fn crash(&self, wish: Wish, stored: Facts) -> Option<Self> {
        (self.crashes < 1).then(|| {
            let mut next = self.clone();
            next.crashes += 1;
            next.asked_until = stored.not_before;
            next.core = Cancellation::new(wish, stored, self.now);
            next
        })
    }

    fn check(&self) {
        let step = self.core.next_step(self.now);
        assert_eq!(
            step,
            self.core.next_step(self.now),
            "same question, same step"
        );
        let deadline = self.core.deadline();
        match step {
            Step::Request | Step::Look => {
                assert!(
                    self.asked_until.is_none_or(|until| self.now >= until),
                    "{step:?} before what a server asked for"
                );
                assert!(
                    self.core
                        .stored()
                        .not_before
                        .is_none_or(|at| self.now >= at),
                    "{step:?} before the stored not-before"
                );
            }
            Step::Wait { until: Some(until) } => {
                assert!(until > self.now, "a wait that is already over");
                if let Some(deadline) = deadline {
                    let last = if self.now >= deadline {
                        later(deadline, LAST_LOOK)
                    } else {
                        deadline
                    };
                    assert!(until <= last, "a wait past the deadline");
                }
            }
            Step::Wait { until: None } | Step::GiveUp | Step::Finished => {}
        }
        let suspended = self.core.wish().suspend;
        assert!(
            !(suspended && step == Step::Request),
            "sent while suspended"
        );
        assert!(
            !(self.core.memory.already_completed && step == Step::Request),
            "sent although Fabric said that the job is over"
        );
        assert!(
            self.core.wake_at(self.now).is_none_or(|at| at >= self.now),
            "a visit in the past"
        );
        let repeats = if self.core.is_accepted() {
            MAX_REPEATS
        } else {
            0
        };
        assert!(
            self.processed <= 1 + self.crashes + self.lost + repeats,
            "{} requests processed after {} crashes and {} lost answers",
            self.processed,
            self.crashes,
            self.lost
        );
        self.check_conditions();
    }

    fn check_conditions(&self) {
        let conditions = self.core.conditions(self.now);
        let ready = &conditions.ready;
        assert_eq!(
            conditions.stalled,
            ready.value == Value::False,
            "Ready is False only together with Stalled"
        );
        assert_eq!(
            self.core.is_over(),
            self.core.current().completion_time.is_some()
        );
        if conditions.cancelled.value == Value::True {
            assert!(self.saw_cancelled, "Cancelled without Fabric saying so");
        }
        if ready.value == Value::True {
            assert!(self.core.is_over(), "Ready before the end");
        }
        for verdict in [ready, &conditions.accepted, &conditions.cancelled] {
            assert!(!verdict.message.is_empty());
            for fleeting in ["fleeting", "2027-", "T0", ":0"] {
                assert!(
                    !verdict.message.contains(fleeting),
                    "fleeting text in {:?}",
                    verdict.message
                );
            }
        }
    }

    /// With a friendly Fabric it ends, and soon.
    fn check_it_can_end(&self) {
        let mut world = self.clone();
        for _ in 0..40 {
            let core = world.core.clone();
            let mut wish = core.wish().clone();
            if wish.suspend {
                wish.suspend = false;
                wish.generation += 1;
                let stored = core.stored().clone();
                world.core = core.refresh(wish, stored, world.now);
                continue;
            }
            match core.next_step(world.now) {
                Step::Request => {
                    let intent = core.intent(identity(), world.now);
                    let core = core.intent_stored(wish, intent);
                    world.core = core.record(
                        Observation::Accepted {
                            location: None,
                            retry_after: None,
                            request_id: None,
                        },
                        world.now,
                    );
                }
                Step::Look => {
                    world.core = core.record(seen(JobStatus::Cancelled, None), world.now);
                }
                Step::GiveUp => world.core = core.record(Observation::DeadlinePassed, world.now),
                Step::Wait { until } => world.now = until.unwrap_or(later(world.now, HOUR)),
                Step::Finished => {
                    assert!(world.core.is_over());
                    return;
                }
            }
        }
        panic!("it does not end: {:?}", self.core);
    }
}

struct Explored {
    states: usize,
    transitions: usize,
    reasons: BTreeSet<Reason>,
}

fn explore(start: World, events: usize) -> Explored {
    let mut known = HashSet::new();
    let mut queue = VecDeque::from([(start.clone(), 0)]);
    known.insert(start);
    let mut explored = Explored {
        states: 0,
        transitions: 0,
        reasons: BTreeSet::new(),
    };
    while let Some((world, depth)) = queue.pop_front() {
        explored.states += 1;
        world.check();
        world.check_it_can_end();
        let conditions = world.core.conditions(world.now);
        explored.reasons.insert(conditions.ready.reason);
        explored.reasons.insert(conditions.accepted.reason);
        explored.reasons.insert(conditions.cancelled.reason);
        if depth == events {
            continue;
        }
        for next in world.successors() {
            explored.transitions += 1;
            if known.insert(next.clone()) {
                queue.push_back((next, depth + 1));
            }
        }
    }
    explored
}

#[test]
fn every_law_holds_in_every_reachable_state() {
    let mut reasons = BTreeSet::new();
    let (mut states, mut transitions) = (0, 0);
    // A short deadline reaches its rules, a long one the repeats.
    for deadline in [Duration::from_secs(90), HOUR * 2] {
        let explored = explore(World::new(deadline), 5);
        states += explored.states;
        transitions += explored.transitions;
        reasons.extend(explored.reasons);
    }
    println!("core: {states} states, {transitions} transitions explored");
    assert!(states > 10_000, "only {states} states");
    let unreached: Vec<_> = Reason::ALL
        .into_iter()
        .filter(|reason| !reasons.contains(reason))
        .collect();
    // InvalidSpec belongs to a spec that never gets here.
    assert_eq!(unreached, [Reason::InvalidSpec]);
}

/// A random walk: which successor to take, as a fraction of how many there are.
fn walk(mut world: World, choices: &[u16]) {
    for choice in choices {
        world.check();
        let successors = world.successors();
        if successors.is_empty() {
            return;
        }
        let index = usize::from(*choice) * successors.len() / (usize::from(u16::MAX) + 1);
        world = successors[index].clone();
    }
    world.check_it_can_end();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_law_holds_along_long_walks(
        choices in proptest::collection::vec(any::<u16>(), 1..120),
        minutes in 1_u64..600,
    ) {
        walk(World::new(Duration::from_secs(60 * minutes)), &choices);
    }
}
