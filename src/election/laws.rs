//! Whatever happens between candidates and Lease, at most one of them leads, and in the end one
//! does: random histories of delays, losses, stops, deletions and edits.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{Answer, Candidate, Record, Step, Terms};

const TERMS: Terms = Terms::STANDARD;
const CANDIDATES: usize = 3;

/// What happens next. Times are in tenths of a second.
#[derive(Clone, Debug)]
enum Event {
    /// Time passes for all; what is on its way stays there.
    Pass(u64),
    /// This candidate sends what is due, unless a call of its own is under way.
    Send(usize),
    /// Its call reaches the API server.
    Arrive(usize),
    /// It gets the answer; or, where there is none yet, gives up. The call may still arrive.
    Hear(usize),
    /// A call that was given up arrives after all.
    ArriveLate,
    Restart(usize),
    Resign(usize),
    Delete,
    /// Somebody writes a record that is no release.
    Edit(String, Option<i32>),
    /// Somebody edits a label.
    Touch,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let who = 0..CANDIDATES;
    let event = prop_oneof![
        6 => (1_u64..60).prop_map(Event::Pass),
        8 => who.clone().prop_map(Event::Send),
        8 => who.clone().prop_map(Event::Arrive),
        8 => who.clone().prop_map(Event::Hear),
        1 => Just(Event::ArriveLate),
        1 => who.clone().prop_map(Event::Restart),
        1 => who.prop_map(Event::Resign),
        1 => Just(Event::Delete),
        1 => (
            prop_oneof![Just(""), Just("0.0"), Just("1.0"), Just("foreign")],
            prop_oneof![Just(None), Just(Some(-1)), Just(Some(0)), Just(Some(15)), Just(Some(i32::MAX))],
        )
            .prop_map(|(holder, seconds)| Event::Edit(holder.to_owned(), seconds)),
        1 => Just(Event::Touch),
    ];
    prop::collection::vec(event, 1..400)
}

struct Call {
    step: Step,
    sent: Duration,
    answer: Option<Answer>,
}

struct Replica {
    candidate: Candidate,
    call: Option<Call>,
    lives: u32,
}

#[derive(Default)]
struct World {
    now: Duration,
    lease: Option<(u64, Record)>,
    version: u64,
    replicas: Vec<Replica>,
    abandoned: Vec<Step>,
    /// Until when each life of each replica could say that nobody else leads.
    claims: BTreeMap<(usize, u32), Duration>,
}

impl World {
    fn new() -> Self {
        let replica = |number| Replica {
            candidate: Candidate::new(format!("{number}.0"), TERMS),
            call: None,
            lives: 0,
        };
        Self {
            replicas: (0..CANDIDATES).map(replica).collect(),
            ..Self::default()
        }
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millisecond(i64::try_from(self.now.as_millis()).unwrap()).unwrap()
    }

    fn store(&mut self, record: Record) -> Answer {
        self.version += 1;
        self.lease = Some((self.version, record.clone()));
        Answer::Stored {
            version: self.version.to_string(),
            record,
        }
    }

    fn serve(&mut self, step: &Step) -> Answer {
        match (step, self.lease.clone()) {
            (Step::Read, None) => Answer::Missing,
            (Step::Read, Some((version, record))) => Answer::Found {
                version: version.to_string(),
                record,
            },
            (Step::Create(record), None) => self.store(record.clone()),
            (Step::Create(_), Some(_)) => Answer::Conflict,
            (Step::Replace { .. }, None) => Answer::Gone,
            (Step::Replace { version, record }, Some((current, _))) => {
                if *version == current.to_string() {
                    self.store(record.clone())
                } else {
                    Answer::Conflict
                }
            }
            (other, _) => panic!("{other:?} is no call"),
        }
    }

    fn send(&mut self, who: usize) {
        let (now, wall) = (self.now, self.wall());
        let replica = &mut self.replicas[who];
        if replica.call.is_some() {
            return;
        }
        let step = replica.candidate.next_step(now, wall);
        match step {
            Step::Wait { until } => assert!(until > now, "a wait ends later"),
            Step::StepDown(_) | Step::Done => self.restart(who),
            _ => {
                replica.call = Some(Call {
                    step,
                    sent: now,
                    answer: None,
                });
            }
        }
    }

    fn arrive(&mut self, who: usize) {
        let Some(mut call) = self.replicas[who].call.take() else {
            return;
        };
        if call.answer.is_none() {
            call.answer = Some(self.serve(&call.step));
        }
        self.replicas[who].call = Some(call);
    }

    fn hear(&mut self, who: usize) {
        let now = self.now;
        let replica = &mut self.replicas[who];
        let Some(call) = replica.call.take() else {
            return;
        };
        let answer = call.answer.unwrap_or_else(|| {
            self.abandoned.push(call.step.clone());
            Answer::Failed
        });
        let jitter = Duration::from_millis(100 * (who as u64 + 1));
        replica.candidate = replica
            .candidate
            .clone()
            .record(&call.step, answer, call.sent, now, jitter);
    }

    fn restart(&mut self, who: usize) {
        let replica = &mut self.replicas[who];
        replica.lives += 1;
        replica.candidate = Candidate::new(format!("{who}.{}", replica.lives), TERMS);
        if let Some(call) = replica.call.take()
            && call.answer.is_none()
        {
            self.abandoned.push(call.step);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Pass(tenths) => self.now += Duration::from_millis(100 * tenths),
            Event::Send(who) => self.send(who),
            Event::Arrive(who) => self.arrive(who),
            Event::Hear(who) => self.hear(who),
            Event::ArriveLate => {
                if let Some(step) = self.abandoned.pop() {
                    let _ = self.serve(&step);
                }
            }
            Event::Restart(who) => self.restart(who),
            Event::Resign(who) => {
                let replica = &mut self.replicas[who];
                replica.candidate = replica.candidate.clone().resign();
                self.claims.remove(&(who, replica.lives));
            }
            Event::Delete => self.lease = None,
            Event::Edit(holder, duration_seconds) => {
                let _ = self.store(Record {
                    holder,
                    duration_seconds,
                    acquired: None,
                    renewed: None,
                    transitions: None,
                });
            }
            Event::Touch => {
                if let Some((_, record)) = self.lease.clone() {
                    let _ = self.store(record);
                }
            }
        }
    }

    fn leaders(&self) -> Vec<usize> {
        let leads = |who: &usize| {
            self.replicas[*who]
                .candidate
                .leads_until(self.now)
                .is_some()
        };
        (0..CANDIDATES).filter(leads).collect()
    }

    /// Whoever said that nobody else can lead until then was right, also when it has crashed.
    fn check(&mut self) -> Result<(), TestCaseError> {
        for who in self.leaders() {
            let replica = &self.replicas[who];
            let until = replica.candidate.leads_until(self.now);
            let me = (who, replica.lives);
            self.claims.extend(until.map(|until| (me, until)));
        }
        let now = self.now;
        self.claims.retain(|_, until| *until > now);
        prop_assert!(self.claims.len() <= 1, "at {now:?}: {:?}", self.claims);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn there_are_never_two_leaders_and_in_the_end_there_is_one(history in events()) {
        let mut world = World::new();
        for event in history {
            world.happen(event);
            world.check()?;
        }
        // From now on nothing goes wrong any more.
        let quiet_since = world.now;
        while world.leaders().is_empty() {
            for who in 0..CANDIDATES {
                world.send(who);
                world.arrive(who);
                world.hear(who);
                world.check()?;
            }
            world.happen(Event::Pass(1));
            let waited = world.now.saturating_sub(quiet_since);
            let most = TERMS.longest_hold() + TERMS.lease * 2;
            prop_assert!(waited < most, "nobody leads after {waited:?}");
        }
    }
}
