//! The gates of several identities: what an answer means, and what a dropped pass does. The
//! rules of one identity are tested in `pace`.

use std::time::Duration;

use super::*;
use crate::cancellation::{Hold, Job, JobStatus, Refusal, ServiceError};

const WHO: GateKey = GateKey {
    tenant_id: Uuid::from_u128(1),
    client_id: Uuid::from_u128(2),
};
const OTHER: GateKey = GateKey {
    tenant_id: Uuid::from_u128(1),
    client_id: Uuid::from_u128(3),
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_770_366_600 + seconds).unwrap()
}

fn gate(quota: u32) -> Gate {
    Gate::new(NonZeroU32::new(quota).unwrap())
}

fn caller(id: u128) -> Caller<'static> {
    Caller {
        id: Uuid::from_u128(id),
        namespace: "a",
        rank: Rank::Cancel,
    }
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

#[test]
fn a_429_closes_the_gate_for_all_of_that_identity_and_no_other() {
    let gate = gate(200);
    let pass = gate.enter(&WHO, &caller(1), at(0)).unwrap();
    pass.report(&too_many(Some(50)), at(0));
    for id in 1..10 {
        let held = gate.enter(&WHO, &caller(id), at(1)).unwrap_err();
        assert_eq!(held.by, Hold::Fabric);
        assert!(held.until >= at(51), "{}", held.until);
    }
    assert!(gate.enter(&OTHER, &caller(1), at(0)).is_ok());
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
        let gate = gate(200);
        let pass = gate.enter(&WHO, &caller(1), at(0)).unwrap();
        pass.report(&too_many(retry_after), at(0));
        assert!(gate.enter(&WHO, &caller(1), at(seconds - 1)).is_err());
        let until = gate.enter(&WHO, &caller(1), at(0)).unwrap_err().until;
        assert!(
            until >= at(seconds) && until < at(seconds + 1),
            "{retry_after:?}: {until}"
        );
        assert!(gate.enter(&WHO, &caller(1), until).is_ok());
    }
}

#[test]
fn every_answer_of_fabrics_but_a_429_is_an_ordinary_one() {
    let refused = |status| Observation::Refused {
        refusal: Refusal::JobNotFound,
        retry_after: None,
        error: error(Some(status)),
        advice: None,
    };
    let unknown = |status| Observation::Unknown {
        retry_after: Some(Duration::from_secs(90)),
        error: error(status),
    };
    let inconclusive = |from, status| Observation::Inconclusive {
        from,
        retry_after: None,
        error: error(status),
    };
    for (observation, expected) in [
        (seen(), Answer::Answered),
        (
            Observation::Throttled {
                by: Throttle::Capacity,
                retry_after: Some(Duration::from_secs(90)),
                error: error(Some(430)),
            },
            Answer::Answered,
        ),
        (unknown(Some(503)), Answer::Answered),
        (refused(401), Answer::Answered),
        (refused(404), Answer::Answered),
        (
            Observation::AlreadyCompleted { retry_after: None },
            Answer::Answered,
        ),
        (inconclusive(Source::Fabric, Some(500)), Answer::Answered),
        (inconclusive(Source::Fabric, None), Answer::Nothing),
        (unknown(None), Answer::Nothing),
        (inconclusive(Source::Entra, Some(503)), Answer::Nothing),
        (inconclusive(Source::Kubernetes, Some(403)), Answer::Nothing),
        (Observation::DeadlinePassed, Answer::Nothing),
    ] {
        assert_eq!(meaning(&observation), expected, "{observation:?}");
    }
}

#[test]
fn a_dropped_or_panicking_pass_takes_its_slot_and_locks_nothing() {
    let gate = gate(2);
    drop(gate.enter(&WHO, &caller(1), at(0)).unwrap());
    let pass = gate.enter(&WHO, &caller(1), at(0)).unwrap();
    let panicked = std::thread::spawn(move || {
        let _pass = pass;
        panic!("a visit panics");
    })
    .join();
    assert!(panicked.is_err());
    let held = gate.enter(&WHO, &caller(1), at(1)).unwrap_err();
    assert!(
        held.until >= at(60) && held.until < at(62),
        "{}",
        held.until
    );
    assert!(gate.enter(&WHO, &caller(1), held.until).is_ok());
}

#[test]
fn a_pass_that_was_not_used_is_free_at_once() {
    let gate = gate(1);
    for second in 0..10 {
        let pass = gate.enter(&WHO, &caller(1), at(second)).unwrap();
        pass.not_sent(at(second));
    }
}

#[test]
fn identities_that_nobody_uses_are_forgotten() {
    let gate = gate(200);
    let key = |n: i64| GateKey {
        tenant_id: Uuid::from_u128(9),
        client_id: Uuid::from_u128(u128::try_from(n).unwrap()),
    };
    let mut most = 0;
    for n in 0..3_000 {
        let pass = gate.enter(&key(n), &caller(1), at(n)).unwrap();
        pass.report(&too_many(Some(50)), at(n));
        most = most.max(gate.lock().len());
    }
    assert_eq!(most, IDLE_IDENTITIES);
}

#[test]
fn an_identity_that_fabric_sent_away_is_not_forgotten_for_the_sake_of_new_ones() {
    let gate = gate(200);
    let key = |n: usize| GateKey {
        tenant_id: Uuid::from_u128(9),
        client_id: Uuid::from_u128(u128::try_from(n).unwrap()),
    };
    let pass = gate.enter(&WHO, &caller(1), at(0)).unwrap();
    pass.report(&too_many(Some(500)), at(0));
    for n in 0..=IDLE_IDENTITIES {
        let pass = gate.enter(&key(n), &caller(1), at(1)).unwrap();
        pass.not_sent(at(1));
    }
    gate.enter(&WHO, &caller(1), at(300)).unwrap_err();
}

#[test]
fn a_pass_learns_that_fabric_told_somebody_else_to_wait() {
    let gate = gate(200);
    let cold = gate.enter(&WHO, &caller(1), at(0)).unwrap();
    cold.report(&seen(), at(0));
    let waits = gate.enter(&WHO, &caller(1), at(61)).unwrap();
    let other = gate.enter(&WHO, &caller(2), at(61)).unwrap();
    assert_eq!(waits.closed_until(at(61)), None);
    other.report(&too_many(Some(30)), at(62));
    assert_eq!(waits.closed_until(at(62)), Some(at(93)));
    assert_eq!(waits.closed_until(at(93)), None, "its time is over");
    waits.not_sent(at(93));
}
