//! The gate: a table of journeys, and a walk that no order of events may break.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::cancellation::{Job, JobStatus, Refusal, ServiceError};

const WHO: GateKey = GateKey {
    tenant_id: Uuid::from_u128(1),
    client_id: Uuid::from_u128(2),
};
const OTHER: GateKey = GateKey {
    tenant_id: Uuid::from_u128(1),
    client_id: Uuid::from_u128(3),
};
/// A seed without a share of the spread.
const SEED: Uuid = Uuid::nil();

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_770_366_600 + seconds).unwrap()
}

fn error(http_status: Option<u16>) -> ServiceError {
    ServiceError {
        code: "X".to_owned(),
        message: "x".to_owned(),
        http_status,
        request_id: None,
    }
}

fn too_many(retry_after: Option<u64>) -> Observation {
    Observation::Throttled {
        by: Throttle::Identity,
        retry_after: retry_after.map(Duration::from_secs),
        error: error(Some(429)),
    }
}

fn seen() -> Observation {
    Observation::JobSeen {
        job: Job {
            status: JobStatus::InProgress,
            job_type: None,
            invoke_type: None,
            start_time: None,
            end_time: None,
            root_activity_id: None,
            failure: None,
        },
        retry_after: None,
    }
}

/// A gate that one answer at time 0 has closed until 51.
fn closed() -> Gate {
    let gate = Gate::new();
    gate.enter(&WHO, at(0), SEED)
        .unwrap()
        .report(&too_many(Some(50)), at(0));
    gate
}

fn held(gate: &Gate, now: i64) -> Timestamp {
    gate.enter(&WHO, at(now), SEED).unwrap_err().until
}

#[test]
fn an_open_gate_lets_everybody_through_and_remembers_nothing() {
    let gate = Gate::new();
    let passes: Vec<Pass> = (0..100)
        .map(|_| gate.enter(&WHO, at(0), SEED).unwrap())
        .collect();
    assert!(passes.iter().all(|pass| !pass.is_probe()));
    for pass in passes {
        pass.report(&seen(), at(1));
    }
    assert!(gate.lock().is_empty());
}

#[test]
fn one_429_closes_the_gate_for_all_of_that_identity_and_no_other() {
    let gate = closed();
    assert_eq!(held(&gate, 0), at(51));
    assert_eq!(held(&gate, 50), at(51));
    assert!(gate.enter(&OTHER, at(0), SEED).is_ok());
}

#[test]
fn the_gate_closes_for_as_long_as_fabric_says_within_bounds() {
    for (retry_after, seconds) in [
        (Some(0), 1),
        (Some(50), 51),
        (None, 61),
        (Some(599), 600),
        (Some(3_600), 600),
        (Some(u64::MAX), 600),
    ] {
        let gate = Gate::new();
        gate.enter(&WHO, at(0), SEED)
            .unwrap()
            .report(&too_many(retry_after), at(0));
        assert_eq!(held(&gate, 0), at(seconds), "{retry_after:?}");
    }
}

#[test]
fn after_its_time_exactly_one_probe_passes_and_the_rest_come_back_soon() {
    let gate = closed();
    let probe = gate.enter(&WHO, at(51), SEED).unwrap();
    assert!(probe.is_probe());
    for seed in 0..1_000 {
        let until = gate
            .enter(&WHO, at(51), Uuid::from_u128(seed))
            .unwrap_err()
            .until;
        assert!(until >= at(53) && until < at(58), "{until}");
    }
    drop(probe);
}

#[test]
fn held_callers_come_back_spread_and_always_at_the_same_time() {
    let gate = closed();
    let mut times: Vec<Timestamp> = (0..1_000)
        .map(|seed| {
            let seed = Uuid::from_u128(seed * 7_919);
            let until = gate.enter(&WHO, at(1), seed).unwrap_err().until;
            assert_eq!(until, gate.enter(&WHO, at(2), seed).unwrap_err().until);
            assert!(until >= at(51) && until < at(56), "{until}");
            until
        })
        .collect();
    times.sort_unstable();
    times.dedup();
    assert!(times.len() > 900, "{} different times", times.len());
}

#[test]
fn every_answer_to_the_probe_but_a_429_opens_the_gate() {
    let refused = Observation::Refused {
        refusal: Refusal::JobNotFound,
        retry_after: None,
        error: error(Some(404)),
        advice: None,
    };
    let unknown = Observation::Unknown {
        retry_after: None,
        error: error(Some(503)),
    };
    let capacity = Observation::Throttled {
        by: Throttle::Capacity,
        retry_after: None,
        error: error(Some(430)),
    };
    let over = Observation::AlreadyCompleted { retry_after: None };
    for answer in [seen(), refused, unknown, capacity, over] {
        let gate = closed();
        gate.enter(&WHO, at(51), SEED)
            .unwrap()
            .report(&answer, at(52));
        let next = gate.enter(&WHO, at(52), SEED).unwrap();
        assert!(!next.is_probe(), "{answer:?}");
        assert!(gate.lock().is_empty());
    }
}

#[test]
fn what_is_no_answer_lets_the_next_caller_probe() {
    let inconclusive = |from, status| Observation::Inconclusive {
        from,
        retry_after: None,
        error: error(status),
    };
    for nothing in [
        inconclusive(Source::Fabric, None),
        inconclusive(Source::Entra, Some(503)),
        inconclusive(Source::Kubernetes, Some(403)),
        Observation::Unknown {
            retry_after: None,
            error: error(None),
        },
        Observation::DeadlinePassed,
    ] {
        let gate = closed();
        gate.enter(&WHO, at(51), SEED)
            .unwrap()
            .report(&nothing, at(52));
        assert!(gate.enter(&WHO, at(52), SEED).unwrap().is_probe());
    }
}

#[test]
fn a_429_to_the_probe_closes_the_gate_again() {
    let gate = closed();
    gate.enter(&WHO, at(51), SEED)
        .unwrap()
        .report(&too_many(None), at(52));
    assert_eq!(held(&gate, 52), at(113));
    assert!(gate.enter(&WHO, at(113), SEED).unwrap().is_probe());
}

#[test]
fn a_dropped_or_panicking_probe_does_not_lock_the_gate() {
    let gate = closed();
    drop(gate.enter(&WHO, at(51), SEED).unwrap());
    let probe = gate.enter(&WHO, at(51), SEED).unwrap();
    let panicked = std::thread::spawn(move || {
        let _probe = probe;
        panic!("a reconcile panics");
    })
    .join();
    assert!(panicked.is_err());
    assert!(gate.enter(&WHO, at(51), SEED).unwrap().is_probe());
}

#[test]
fn an_answer_to_a_request_from_before_never_opens_the_gate() {
    let gate = Gate::new();
    let early = gate.enter(&WHO, at(0), SEED).unwrap();
    let earlier = gate.enter(&WHO, at(0), SEED).unwrap();
    gate.enter(&WHO, at(0), SEED)
        .unwrap()
        .report(&too_many(Some(50)), at(0));
    early.report(&seen(), at(1));
    assert_eq!(held(&gate, 1), at(51));
    let probe = gate.enter(&WHO, at(60), SEED).unwrap();
    earlier.report(&seen(), at(61));
    assert!(gate.enter(&WHO, at(61), SEED).is_err());
    probe.report(&seen(), at(62));
    assert!(gate.enter(&WHO, at(62), SEED).is_ok());
}

#[test]
fn a_later_429_only_ever_prolongs() {
    let gate = Gate::new();
    let passes: Vec<Pass> = (0..3)
        .map(|_| gate.enter(&WHO, at(0), SEED).unwrap())
        .collect();
    for (pass, (retry_after, until)) in passes.into_iter().zip([(50, 53), (5, 53), (80, 83)]) {
        pass.report(&too_many(Some(retry_after)), at(2));
        assert_eq!(held(&gate, 2), at(until));
    }
}

#[test]
fn a_stragglers_429_while_the_probe_is_out_wins_over_the_probes_good_answer() {
    let gate = Gate::new();
    let straggler = gate.enter(&WHO, at(0), SEED).unwrap();
    gate.enter(&WHO, at(0), SEED)
        .unwrap()
        .report(&too_many(Some(0)), at(0));
    let probe = gate.enter(&WHO, at(2), SEED).unwrap();
    straggler.report(&too_many(Some(30)), at(3));
    probe.report(&seen(), at(4));
    assert_eq!(held(&gate, 4), at(34));
    assert!(gate.enter(&WHO, at(34), SEED).unwrap().is_probe());
}

#[test]
fn gates_that_nobody_asks_for_are_forgotten() {
    let gate = Gate::new();
    let key = |n: i64| GateKey {
        tenant_id: Uuid::from_u128(9),
        client_id: Uuid::from_u128(u128::try_from(n).unwrap()),
    };
    let mut most = 0;
    for n in 0..10_000 {
        gate.enter(&key(n), at(n), SEED)
            .unwrap()
            .report(&too_many(Some(50)), at(n));
        most = most.max(gate.lock().len());
    }
    // One a second, each remembered for 51 s and ten minutes.
    assert!(most <= 652, "{most}");
}

#[derive(Clone, Debug)]
enum Event {
    Enter { other: bool, seed: u64 },
    Report { which: usize, answer: Answer },
    Drop { which: usize },
    Pass { seconds: i64 },
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    TooMany(Option<u64>),
    Good,
    Nothing,
}

fn event() -> impl Strategy<Value = Event> {
    let answer = prop_oneof![
        prop::option::of(prop_oneof![Just(0), 1..100_u64, 500..5_000_u64])
            .prop_map(Answer::TooMany),
        Just(Answer::Good),
        Just(Answer::Nothing),
    ];
    prop_oneof![
        4 => (any::<bool>(), any::<u64>()).prop_map(|(other, seed)| Event::Enter { other, seed }),
        3 => (any::<usize>(), answer).prop_map(|(which, answer)| Event::Report { which, answer }),
        1 => any::<usize>().prop_map(|which| Event::Drop { which }),
        3 => prop_oneof![0..5_i64, 30..90_i64, 300..700_i64].prop_map(|seconds| Event::Pass { seconds }),
    ]
}

proptest! {
    #[test]
    fn there_are_never_two_probes_and_never_a_pass_before_the_time(
        events in prop::collection::vec(event(), 1..80)
    ) {
        let gate = Gate::new();
        let mut now = 0;
        let mut passes: Vec<Pass> = Vec::new();
        // What any correct gate must at least wait for, by identity.
        let mut not_before: HashMap<GateKey, i64> = HashMap::new();
        for event in events {
            match event {
                Event::Pass { seconds } => now += seconds,
                Event::Drop { which } if !passes.is_empty() => {
                    drop(passes.swap_remove(which % passes.len()));
                }
                Event::Report { which, answer } if !passes.is_empty() => {
                    let pass = passes.swap_remove(which % passes.len());
                    let who = pass.who;
                    match answer {
                        Answer::TooMany(retry_after) => {
                            pass.report(&too_many(retry_after), at(now));
                            let wait = i64::try_from(retry_after.unwrap_or(60).min(599) + 1).unwrap();
                            let until = not_before.entry(who).or_default();
                            *until = (*until).max(now + wait);
                        }
                        Answer::Good => pass.report(&seen(), at(now)),
                        Answer::Nothing => pass.report(&Observation::DeadlinePassed, at(now)),
                    }
                }
                Event::Drop { .. } | Event::Report { .. } => {}
                Event::Enter { other, seed } => {
                    let who = if other { OTHER } else { WHO };
                    match gate.enter(&who, at(now), Uuid::from_u128(seed.into())) {
                        Ok(pass) => {
                            prop_assert!(now >= not_before.get(&who).copied().unwrap_or(i64::MIN));
                            passes.push(pass);
                        }
                        Err(held) => {
                            prop_assert!(held.until > at(now));
                            prop_assert!(held.until <= at(now + 606));
                        }
                    }
                }
            }
            for who in [WHO, OTHER] {
                let probes = passes.iter().filter(|pass| pass.probe && pass.who == who).count();
                prop_assert!(probes <= 1, "{} probes", probes);
            }
        }
        // Whatever happened, once all is reported the gate can be passed again.
        passes.clear();
        prop_assert!(gate.enter(&WHO, at(now + 700), SEED).is_ok());
    }
}
