//! The gate of one identity: journeys.

use super::*;
use crate::fabric::gate::Rank;

mod windows;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_770_366_600_000 + millis).unwrap()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn pace(quota: u32) -> Pace {
    Pace::new(NonZeroU32::new(quota).unwrap())
}

fn cancel(id: u128) -> Caller<'static> {
    Caller {
        id: Uuid::from_u128(id),
        namespace: "a",
        rank: Rank::Cancel,
    }
}

fn look(id: u128) -> Caller<'static> {
    Caller {
        rank: Rank::Look,
        ..cancel(id)
    }
}

/// Open, with all slots free, from time 0.
fn open(quota: u32) -> Pace {
    let mut pace = pace(quota);
    let pass = pace.enter(&cancel(0), at(-120_000)).unwrap();
    pace.ended(pass, Answer::Answered, at(-120_000));
    pace.settle(at(0));
    assert_eq!((pace.mode, pace.taken()), (Mode::Open, 0));
    pace
}

/// Closed at time 0 for 50 s.
fn closed(quota: u32) -> Pace {
    let mut pace = open(quota);
    let pass = pace.enter(&cancel(0), at(0)).unwrap();
    pace.ended(pass, Answer::TooMany(secs(50)), at(0));
    pace
}

fn held(pace: &mut Pace, caller: &Caller<'_>, now: i64) -> Held {
    let held = pace.enter(caller, at(now)).unwrap_err();
    assert!(held.until > at(now));
    held
}

#[test]
fn after_a_start_requests_go_one_at_a_time_for_a_minute_from_the_first_end() {
    for answer in [Answer::Answered, Answer::Nothing] {
        let mut pace = pace(200);
        let first = pace.enter(&cancel(1), at(0)).unwrap();
        assert_eq!(held(&mut pace, &cancel(2), 100).by, Hold::OwnQuota);
        pace.ended(first, answer, at(1_000));
        let second = pace.enter(&cancel(2), at(1_000)).unwrap();
        held(&mut pace, &cancel(3), 1_100);
        pace.ended(second, Answer::Answered, at(2_000));
        let third = pace.enter(&cancel(4), at(60_999)).unwrap();
        held(&mut pace, &cancel(5), 60_999);
        assert!(pace.enter(&cancel(6), at(61_000)).is_ok(), "{answer:?}");
        assert!(pace.enter(&cancel(7), at(61_000)).is_ok());
        pace.ended(third, Answer::Answered, at(61_000));
    }
}

#[test]
fn a_request_that_was_never_sent_takes_no_slot_and_teaches_nothing() {
    let mut pace = pace(1);
    let pass = pace.enter(&cancel(1), at(0)).unwrap();
    pace.ended(pass, Answer::NotSent, at(10));
    assert_eq!((pace.mode, pace.taken()), (Mode::Cold, 0));
    assert!(pace.enter(&cancel(1), at(10)).is_ok());
}

#[test]
fn fifty_at_once_after_a_start_are_through_in_seconds() {
    for latency in [0, 20, 100, 300] {
        let mut pace = pace(200);
        let mut due: BTreeMap<(i64, u128), ()> = (0..50).map(|id| ((0, id), ())).collect();
        let mut asked = 0;
        let mut now = 0;
        while let Some(((at_ms, id), ())) = due.pop_first() {
            now = now.max(at_ms);
            asked += 1;
            match pace.enter(&cancel(id), at(now)) {
                Ok(pass) => {
                    // The others ask while this one is under way.
                    let end = now + latency;
                    while let Some(((at_ms, other), ())) = due.pop_first() {
                        if at_ms > end {
                            due.insert((at_ms, other), ());
                            break;
                        }
                        asked += 1;
                        let held = held(&mut pace, &cancel(other), at_ms.max(now));
                        due.insert(
                            (held.until.duration_since(at(0)).as_millis() as i64, other),
                            (),
                        );
                    }
                    now = end;
                    pace.ended(pass, Answer::Answered, at(now));
                }
                Err(held) => {
                    due.insert(
                        (held.until.duration_since(at(0)).as_millis() as i64, id),
                        (),
                    );
                }
            }
        }
        let limit = (50 * latency * 3 / 2).max(8_000);
        assert!(now <= limit, "{now} ms at {latency} ms a call");
        assert!(asked <= 50 * 20, "asked {asked} times");
    }
}

#[test]
fn a_429_after_a_start_is_the_only_one() {
    let mut pace = pace(200);
    let pass = pace.enter(&cancel(0), at(0)).unwrap();
    for id in 1..100 {
        held(&mut pace, &cancel(id), 0);
    }
    pace.ended(pass, Answer::TooMany(secs(30)), at(100));
    for id in 0..100 {
        let held = held(&mut pace, &cancel(id), 5_000);
        assert_eq!(held.by, Hold::Fabric);
        assert!(held.until >= at(30_100));
    }
}

#[test]
fn a_429_holds_back_everybody_and_then_one_goes_at_a_time_until_a_minute_after_a_good_answer() {
    let mut pace = closed(200);
    assert_eq!(held(&mut pace, &cancel(1), 49_999).by, Hold::Fabric);
    let probe = pace.enter(&cancel(1), at(51_000)).unwrap();
    assert_eq!(held(&mut pace, &cancel(2), 51_000).by, Hold::Fabric);
    pace.ended(probe, Answer::Answered, at(52_000));
    let next = pace.enter(&cancel(2), at(52_000)).unwrap();
    assert_eq!(held(&mut pace, &cancel(4), 52_000).by, Hold::OwnQuota);
    pace.ended(next, Answer::Answered, at(53_000));
    let _other = pace.enter(&look(5), at(111_999)).unwrap();
    held(&mut pace, &look(6), 111_999);
    assert!(pace.enter(&look(7), at(112_000)).is_ok());
}

#[test]
fn one_answer_closes_it_for_at_most_ten_minutes_and_a_later_one_only_prolongs() {
    let mut pace = open(10);
    let passes: Vec<_> = (0..4)
        .map(|id| pace.enter(&look(id), at(0)).unwrap())
        .collect();
    for (pass, (wait, until)) in passes.into_iter().zip([
        (50, 50_000),
        (5, 50_000),
        (80, 80_000),
        (1_000_000, 600_000),
    ]) {
        pace.ended(pass, Answer::TooMany(secs(wait)), at(0));
        assert_eq!(pace.closed_until(), Some(at(until)));
    }
}

#[test]
fn what_was_sent_before_the_429_neither_opens_the_gate_nor_joins_the_probe() {
    let mut pace = open(10);
    let straggler = pace.enter(&look(1), at(0)).unwrap();
    let throttled = pace.enter(&look(2), at(0)).unwrap();
    pace.ended(throttled, Answer::TooMany(secs(1)), at(100));
    held(&mut pace, &look(3), 2_000);
    pace.ended(straggler, Answer::Answered, at(3_000));
    assert_eq!(pace.mode, Mode::Closed { until: at(1_100) });
    let probe = pace.enter(&look(3), at(3_000)).unwrap();
    pace.ended(probe, Answer::Answered, at(3_100));
    assert_eq!(pace.mode, Mode::Careful { until: at(63_100) });
}

#[test]
fn a_probe_without_an_answer_is_followed_by_another() {
    for answer in [Answer::Nothing, Answer::NotSent] {
        let mut pace = closed(10);
        let probe = pace.enter(&look(1), at(50_000)).unwrap();
        held(&mut pace, &look(2), 50_000);
        pace.ended(probe, answer, at(51_000));
        assert!(matches!(pace.mode, Mode::Closed { .. }));
        assert!(pace.enter(&look(2), at(51_000)).is_ok());
    }
}

#[test]
fn a_pass_that_hangs_is_given_up_after_its_limit_and_keeps_its_slot_for_a_window_more() {
    let mut pace = pace(1);
    let hung = pace.enter(&cancel(1), at(0)).unwrap();
    assert_eq!(held(&mut pace, &cancel(2), 59_999).by, Hold::OwnQuota);
    held(&mut pace, &cancel(2), 119_999);
    let next = pace.enter(&cancel(2), at(121_200)).unwrap();
    // A late word changes nothing...
    pace.ended(hung, Answer::Answered, at(121_300));
    assert_eq!(pace.taken(), 1);
    // ... unless it is a 429.
    pace.ended(hung, Answer::TooMany(secs(9)), at(121_300));
    assert_eq!(pace.closed_until(), Some(at(130_300)));
    pace.ended(next, Answer::Answered, at(121_400));
    assert_eq!(pace.closed_until(), Some(at(130_300)));
}

#[test]
fn a_hung_probe_does_not_block_the_identity() {
    let mut pace = closed(10);
    let _hung = pace.enter(&cancel(1), at(50_000)).unwrap();
    held(&mut pace, &cancel(2), 109_999);
    assert!(pace.enter(&cancel(2), at(112_500)).is_ok());
}

#[test]
fn a_dropped_pass_counts_as_ended_once_the_time_is_known() {
    let mut pace = pace(1);
    let pass = pace.enter(&cancel(1), at(0)).unwrap();
    pace.dropped(pass);
    assert_eq!(pace.taken(), 1);
    held(&mut pace, &cancel(2), 5_000);
    assert_eq!(pace.mode, Mode::Careful { until: at(65_000) });
    held(&mut pace, &cancel(2), 64_999);
    assert!(
        pace.enter(&cancel(1), at(65_000)).is_ok() || pace.enter(&cancel(2), at(67_000)).is_ok()
    );
    let mut probing = closed(10);
    let probe = probing.enter(&cancel(1), at(50_000)).unwrap();
    probing.dropped(probe);
    assert!(probing.enter(&cancel(1), at(50_000)).is_ok());
}

#[test]
fn a_slot_comes_free_a_minute_after_the_answer() {
    let mut pace = open(2);
    let first = pace.enter(&look(1), at(0)).unwrap();
    let _second = pace.enter(&look(2), at(0)).unwrap();
    pace.ended(first, Answer::Answered, at(20_000));
    let told = held(&mut pace, &look(3), 20_000);
    assert_eq!(told.by, Hold::OwnQuota);
    assert!(told.until >= at(80_000) && told.until < at(81_000));
    held(&mut pace, &look(3), 79_999);
    assert!(pace.enter(&look(3), told.until).is_ok());
}

#[test]
fn those_that_wait_are_told_about_when_their_turn_comes_and_at_most_a_minute() {
    let mut pace = open(10);
    for id in 0..10 {
        let pass = pace.enter(&cancel(id), at(1_000 * id as i64)).unwrap();
        pace.ended(pass, Answer::Answered, at(1_000 * id as i64));
    }
    for id in 10..40_i64 {
        let told = held(&mut pace, &cancel(id as u128), 10_000).until;
        let slot = (60_000 + 1_000 * (id - 10)).min(70_000);
        assert!(told >= at(slot) && told < at(slot + 1_000), "{id}: {told}");
    }
    // Ten thousand that wait ask about once a minute each.
    let mut asked = 0;
    let mut due: Vec<_> = (100..1_100_u128).map(|id| (at(11_000), id)).collect();
    while let Some(index) = due.iter().position(|(when, _)| *when < at(69_000)) {
        let (when, id) = due.swap_remove(index);
        asked += 1;
        due.push((pace.enter(&cancel(id), when).unwrap_err().until, id));
    }
    assert!(asked <= 2_000, "{asked}");
}

#[test]
fn a_request_sent_again_after_a_401_goes_before_all_that_wait() {
    let mut pace = open(2);
    let first = pace.enter(&cancel(1), at(0)).unwrap();
    let second = pace.enter(&cancel(2), at(0)).unwrap();
    for id in 3..50 {
        held(&mut pace, &cancel(id), 100);
    }
    pace.ended(first, Answer::Answered, at(1_000));
    pace.ended(second, Answer::NotSent, at(1_000));
    let again = Caller {
        rank: Rank::Again,
        ..cancel(1)
    };
    assert!(pace.enter(&again, at(1_000)).is_ok());
    held(&mut pace, &cancel(3), 1_000);
}

#[test]
fn a_clock_that_is_set_back_prolongs_no_wait_beyond_what_it_would_be_now() {
    let mut pace = closed(1);
    pace.settle(at(-86_400_000));
    assert_eq!(pace.closed_until(), Some(at(-86_400_000 + 600_000)));
    assert_eq!(pace.spent.back(), Some(&at(-86_400_000 + 60_000)));
    let mut hung = open(1);
    let _pass = hung.enter(&cancel(1), at(0)).unwrap();
    hung.settle(at(-86_400_000));
    hung.settle(at(-86_400_000 + 120_000));
    assert_eq!(hung.taken(), 0);
}

#[test]
fn nothing_is_remembered_of_an_identity_that_nobody_uses() {
    let mut pace = closed(10);
    for id in 1..100 {
        held(&mut pace, &cancel(id), 0);
    }
    assert!(!pace.is_idle(at(49_000)));
    assert!(!pace.is_idle(at(60_000)));
    assert!(pace.is_idle(at(180_000)));
    pace.settle(at(180_000));
    assert_eq!((pace.waiting(), pace.taken()), (0, 0));
}
