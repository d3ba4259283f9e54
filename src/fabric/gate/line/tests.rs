//! The order of those who wait, as tables.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_770_366_600 + seconds).unwrap()
}

fn caller(id: u128, namespace: &str, rank: Rank) -> Caller<'_> {
    Caller {
        id: Uuid::from_u128(id),
        namespace,
        rank,
    }
}

/// A line in which these wait since the second named, told to come back at second 100.
fn line(waiting: &[(u128, &str, Rank, i64)]) -> Line {
    let mut line = Line::default();
    for (id, namespace, rank, since) in waiting {
        let caller = caller(*id, namespace, *rank);
        line.wait(&caller, at(100), None, at(*since));
    }
    line
}

/// The order in which those that wait would be served, one slot after the other.
fn order(mut line: Line, waiting: &[(u128, &str, Rank, i64)], now: i64) -> Vec<u128> {
    let mut left: Vec<_> = waiting.to_vec();
    let mut order = Vec::new();
    while !left.is_empty() {
        let first = left
            .iter()
            .position(|(id, namespace, rank, _)| {
                line.place(&caller(*id, namespace, *rank), at(now)).ahead == 0
            })
            .expect("somebody is first");
        let (id, namespace, rank, _) = left.remove(first);
        line.served(&caller(id, namespace, rank), at(now));
        order.push(id);
    }
    order
}

#[test]
fn what_is_more_urgent_goes_first_and_the_older_before_the_newer() {
    for (name, waiting, now, expected) in [
        (
            "by rank",
            vec![
                (1, "a", Rank::Look, 80),
                (2, "a", Rank::Cancel, 81),
                (3, "a", Rank::Again, 82),
            ],
            90,
            vec![3, 2, 1],
        ),
        (
            "by age",
            vec![
                (1, "a", Rank::Cancel, 82),
                (2, "a", Rank::Cancel, 80),
                (3, "a", Rank::Cancel, 81),
            ],
            90,
            vec![2, 3, 1],
        ),
        (
            "by id when of the same age",
            vec![(2, "a", Rank::Look, 80), (1, "a", Rank::Look, 80)],
            90,
            vec![1, 2],
        ),
        (
            "an overdue look before another namespace's, never before a cancel request",
            vec![
                (1, "a", Rank::Look, 70),
                (2, "a", Rank::Look, 40),
                (3, "a", Rank::Cancel, 90),
            ],
            90,
            vec![3, 2, 1],
        ),
        (
            "exactly 30 s is not overdue: the namespaces take turns",
            vec![
                (1, "a", Rank::Look, 60),
                (2, "a", Rank::Look, 60),
                (3, "b", Rank::Look, 70),
            ],
            90,
            vec![1, 3, 2],
        ),
    ] {
        assert_eq!(order(line(&waiting), &waiting, now), expected, "{name}");
    }
}

#[test]
fn namespaces_take_turns_however_many_wait_in_each() {
    let mut waiting: Vec<_> = (0..50).map(|id| (id, "many", Rank::Cancel, 0)).collect();
    waiting.push((100, "few", Rank::Cancel, 20));
    waiting.push((101, "few", Rank::Cancel, 21));
    waiting.push((200, "one", Rank::Cancel, 22));
    let order = order(line(&waiting), &waiting, 90);
    assert_eq!(order[..6], [0, 100, 200, 1, 101, 2]);
}

#[test]
fn the_place_of_each_is_its_place_in_the_order_when_many_slots_are_free() {
    let mut waiting: Vec<_> = (0..20).map(|id| (id, "many", Rank::Cancel, 0)).collect();
    waiting.extend((100..103).map(|id| (id, "few", Rank::Cancel, 20)));
    waiting.extend((200..205).map(|id| (id, "looks", Rank::Look, 20)));
    let line = line(&waiting);
    let mut places: Vec<_> = waiting
        .iter()
        .map(|(id, namespace, rank, _)| line.place(&caller(*id, namespace, *rank), at(60)).ahead)
        .collect();
    places.sort_unstable();
    assert_eq!(places, (0..28).collect::<Vec<_>>());
}

#[test]
fn who_just_had_its_turn_and_comes_back_waits_for_the_others_turns() {
    let waiting = [(1, "a", Rank::Cancel, 0), (2, "a", Rank::Cancel, 1)];
    let mut line = line(&waiting);
    let newcomer = caller(9, "b", Rank::Cancel);
    let second = caller(1, "a", Rank::Cancel);
    // Nobody had a turn yet: the older namespace goes first.
    assert_eq!(line.place(&newcomer, at(90)).ahead, 1);
    line.served(&second, at(90));
    assert_eq!(line.place(&newcomer, at(90)).ahead, 0);
    line.served(&newcomer, at(90));
    assert_eq!(line.place(&newcomer, at(90)).ahead, 1, "it is a's turn");
    // A turn counts for a minute.
    line.settle(at(149));
    assert!(line.namespaces["b"].served.is_some());
    line.settle(at(150));
    assert!(!line.namespaces.contains_key("b"));
}

#[test]
fn a_slot_is_kept_for_two_seconds_and_the_age_for_a_minute() {
    let old = caller(1, "a", Rank::Cancel);
    let other = caller(2, "a", Rank::Cancel);
    let line = line(&[(1, "a", Rank::Cancel, 0), (2, "a", Rank::Cancel, 50)]);
    for (now, ahead, expected) in [
        (99, 1, false),
        (100, 1, true),
        (101, 1, true),
        (102, 0, false),
    ] {
        let place = line.place(&other, at(now));
        assert_eq!((place.ahead, place.expected), (ahead, expected), "{now}");
    }
    assert_eq!(
        line.place(&old, at(159)).ahead,
        0,
        "late, but still the oldest"
    );
    let mut later = line.clone();
    later.settle(at(159));
    assert_eq!(later.len(), 2);
    later.settle(at(160));
    assert!(later.is_empty());
}

#[test]
fn asking_early_changes_nothing_and_asking_in_time_keeps_the_age() {
    let mut line = line(&[(1, "a", Rank::Cancel, 0)]);
    let one = caller(1, "a", Rank::Cancel);
    let before = line.clone();
    assert_eq!(line.wait(&one, at(200), None, at(99)), at(100));
    assert_eq!(line.wait(&one, at(200), Some(at(100)), at(99)), at(100));
    assert_eq!(line, before);
    assert_eq!(line.wait(&one, at(200), None, at(100)), at(200));
    assert_eq!(line.namespaces["a"].tickets[&one.id].since, at(0));
}

#[test]
fn a_gate_that_closes_meanwhile_makes_the_wait_longer() {
    let mut line = line(&[(1, "a", Rank::Cancel, 0)]);
    let one = caller(1, "a", Rank::Cancel);
    assert_eq!(line.wait(&one, at(200), Some(at(150)), at(50)), at(200));
    assert_eq!(line.namespaces["a"].tickets[&one.id].since, at(0));
}

#[test]
fn a_ticket_for_a_look_is_worth_nothing_for_a_cancel_request() {
    let mut line = line(&[(1, "a", Rank::Look, 0), (2, "a", Rank::Cancel, 50)]);
    let one = caller(1, "a", Rank::Cancel);
    assert_eq!(line.place(&one, at(60)).ahead, 1);
    line.wait(&one, at(120), None, at(60));
    assert_eq!(line.len(), 2, "one ticket each");
    assert_eq!(line.namespaces["a"].tickets[&one.id].since, at(60));
}
