//! Random histories against an independent count of every window of the server.

use proptest::prelude::*;

use super::*;

const QUOTA: usize = 5;

#[derive(Clone, Debug)]
enum Event {
    Enter {
        id: u8,
        namespace: bool,
        look: bool,
    },
    /// The request of one pass arrives at the server, if it has not yet.
    Arrive(usize),
    End {
        which: usize,
        answer: Answer,
    },
    Pass {
        millis: i64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let answer = prop_oneof![
        6 => Just(Answer::Answered),
        2 => Just(Answer::Nothing),
        1 => Just(Answer::NotSent),
        1 => (0..90_u64).prop_map(|wait| Answer::TooMany(secs(wait))),
    ];
    prop_oneof![
        8 => (0..40_u8, any::<bool>(), any::<bool>())
            .prop_map(|(id, namespace, look)| Event::Enter { id, namespace, look }),
        3 => any::<usize>().prop_map(Event::Arrive),
        4 => (any::<usize>(), answer).prop_map(|(which, answer)| Event::End { which, answer }),
        4 => prop_oneof![0..500_i64, 1_000..20_000_i64, 55_000..65_000_i64]
            .prop_map(|millis| Event::Pass { millis }),
    ]
}

struct Request {
    pass: PassId,
    entered: i64,
    arrived: bool,
}

/// Brings all requests to the server that must have arrived: a request is sent and given up
/// within half a minute of being let through.
fn deliver(out: &mut [Request], arrivals: &mut Vec<i64>, now: i64) {
    for request in out.iter_mut() {
        if !request.arrived && request.entered + 35_000 <= now {
            request.arrived = true;
            arrivals.push(request.entered + 35_000);
        }
    }
}

/// The most requests in any window of a minute that begins with one of them: no window, fixed
/// or sliding, holds more.
fn fullest(arrivals: &mut [i64]) -> usize {
    arrivals.sort_unstable();
    let from = |start: i64| {
        arrivals
            .iter()
            .filter(move |at| (start..start + 60_000).contains(*at))
    };
    arrivals
        .iter()
        .map(|start| from(*start).count())
        .max()
        .unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_window_of_the_server_ever_holds_more_than_the_quota_and_nothing_passes_a_closed_gate(
        warm in any::<bool>(),
        events in prop::collection::vec(event(), 1..250),
    ) {
        let mut pace = if warm { open(QUOTA as u32) } else { pace(QUOTA as u32) };
        let mut now = 0;
        let mut out: Vec<Request> = Vec::new();
        let mut arrivals = Vec::new();
        let mut closed_until = i64::MIN;
        for event in events {
            match event {
                Event::Pass { millis } => {
                    now += millis;
                    deliver(&mut out, &mut arrivals, now);
                }
                Event::Enter { id, namespace, look } => {
                    let caller = Caller {
                        id: Uuid::from_u128(id.into()),
                        namespace: if namespace { "a" } else { "b" },
                        rank: if look { Rank::Look } else { Rank::Cancel },
                    };
                    let again = pace.clone().enter(&caller, at(now));
                    match pace.enter(&caller, at(now)) {
                        Ok(pass) => {
                            prop_assert!(now >= closed_until);
                            out.push(Request { pass, entered: now, arrived: false });
                        }
                        Err(held) => {
                            prop_assert_eq!(again, Err(held));
                            prop_assert!(held.until > at(now));
                            prop_assert!(held.until >= at(closed_until.max(-1_000_000)));
                            let most = now.max(closed_until) + 61_000;
                            prop_assert!(held.until <= at(most), "{} at {}", held.until, now);
                            let before = pace.clone();
                            prop_assert_eq!(pace.enter(&caller, at(now)), Err(held));
                            prop_assert_eq!(&pace, &before, "asking twice changes nothing");
                        }
                    }
                }
                Event::Arrive(which) if !out.is_empty() => {
                    let index = which % out.len();
                    let request = &mut out[index];
                    if !request.arrived {
                        request.arrived = true;
                        arrivals.push(now);
                    }
                }
                Event::End { which, answer } if !out.is_empty() => {
                    let request = out.swap_remove(which % out.len());
                    let answer = match answer {
                        Answer::NotSent if request.arrived => Answer::Nothing,
                        answer => answer,
                    };
                    if !request.arrived && answer != Answer::NotSent {
                        arrivals.push(now);
                    }
                    if let Answer::TooMany(wait) = answer {
                        closed_until = closed_until.max(now + wait.as_millis() as i64);
                    }
                    pace.ended(request.pass, answer, at(now));
                }
                Event::Arrive(_) | Event::End { .. } => {}
            }
            prop_assert!(pace.taken() <= QUOTA);
        }
        prop_assert!(fullest(&mut arrivals) <= QUOTA);
        // Whatever happened, in the end somebody who keeps asking is let through.
        let longest = now.max(closed_until) + 300_000;
        let caller = cancel(99);
        while let Err(held) = pace.enter(&caller, at(now)) {
            now = held.until.duration_since(at(0)).as_millis() as i64;
            prop_assert!(now < longest, "it is held for ever");
        }
    }

    #[test]
    fn between_a_start_and_the_first_good_minute_there_is_one_request_at_a_time(
        events in prop::collection::vec(event(), 1..80),
    ) {
        let mut pace = pace(200);
        let mut now = 0;
        let mut out: Vec<(PassId, i64)> = Vec::new();
        let mut first_end = None;
        for event in events {
            match event {
                Event::Pass { millis } => now += millis.min(5_000),
                Event::Enter { id, .. } => {
                    if let Ok(pass) = pace.enter(&cancel(id.into()), at(now)) {
                        let careful = first_end.is_none_or(|end| now < end + 60_000);
                        out.retain(|(_, entered)| now < entered + 60_000);
                        prop_assert!(!careful || out.is_empty());
                        out.push((pass, now));
                    }
                }
                Event::End { which, .. } if !out.is_empty() => {
                    let (pass, _) = out.swap_remove(which % out.len());
                    pace.ended(pass, Answer::Answered, at(now));
                    first_end = first_end.or(Some(now));
                }
                Event::Arrive(_) | Event::End { .. } => {}
            }
        }
    }
}

/// Many that ask when they are told to, and are answered at once.
struct Crowd {
    pace: Pace,
    /// Who comes when, in milliseconds.
    due: BTreeMap<(i64, u128), &'static str>,
    served: Vec<(i64, u128)>,
}

impl Crowd {
    fn run(&mut self, until: i64) {
        while let Some(((now, id), namespace)) = self.due.pop_first() {
            if now > until {
                self.due.insert((now, id), namespace);
                return;
            }
            let caller = Caller {
                id: Uuid::from_u128(id),
                namespace,
                rank: Rank::Cancel,
            };
            match self.pace.enter(&caller, at(now)) {
                Ok(pass) => {
                    self.pace.ended(pass, Answer::Answered, at(now));
                    self.served.push((now, id));
                }
                Err(held) => {
                    let until = held.until.duration_since(at(0)).as_millis() as i64;
                    self.due.insert((until, id), namespace);
                }
            }
        }
    }

    fn served_at(&self, id: u128) -> Option<i64> {
        self.served
            .iter()
            .find(|(_, other)| *other == id)
            .map(|(at, _)| *at)
    }
}

fn crowd(quota: u32, size: u128) -> Crowd {
    Crowd {
        pace: open(quota),
        due: (0..size).map(|id| ((0, id), "many")).collect(),
        served: Vec::new(),
    }
}

#[test]
fn one_cancellation_beside_5000_of_another_namespace_waits_for_about_one_window() {
    for (size, arrives) in [(1_000, 0), (1_000, 30_000), (5_000, 61_000)] {
        let mut crowd = crowd(200, size);
        crowd.due.insert((arrives, 9_999), "one");
        let mut now = arrives;
        while crowd.served_at(9_999).is_none() {
            crowd.run(now);
            now += 1_000;
        }
        let waited = crowd.served_at(9_999).expect("served") - arrives;
        assert!(waited <= 63_000, "{waited} ms after coming at {arrives}");
    }
}

#[test]
fn hardly_a_slot_is_left_idle_while_many_wait_and_no_window_is_overrun() {
    let mut crowd = crowd(20, 500);
    crowd.run(600_000);
    let all = crowd.served.len();
    assert!(all >= 20 * 9, "{all} served");
    let mut arrivals: Vec<_> = crowd.served.iter().map(|(at, _)| *at).collect();
    assert!(fullest(&mut arrivals) <= 20);
}

#[test]
fn two_namespaces_share_evenly_while_both_wait() {
    let mut crowd = Crowd {
        pace: open(100),
        due: (0..1_000)
            .map(|id| ((0, id), if id < 800 { "many" } else { "fewer" }))
            .collect(),
        served: Vec::new(),
    };
    crowd.run(190_000);
    let fewer = crowd
        .served
        .iter()
        .filter(|(at, id)| *at > 0 && *id >= 800)
        .count();
    let all = crowd.served.iter().filter(|(at, _)| *at > 0).count();
    assert!((fewer * 2).abs_diff(all) <= 4, "{fewer} of {all}");
}

#[test]
fn those_that_vanish_while_they_wait_keep_nobody_waiting_for_long() {
    let mut crowd = crowd(40, 1_000);
    crowd.run(1_000);
    // All but the last of them are deleted.
    crowd.due.retain(|(_, id), _| *id >= 960);
    crowd.run(600_000);
    let last = crowd.served.iter().map(|(at, _)| *at).max().unwrap();
    assert!(last <= 130_000, "the last one after {last} ms");
}
