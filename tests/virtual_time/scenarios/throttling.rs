//! 429 for many at once.

use std::collections::BTreeMap;

use fabric_simulator::{Answer, Route, Rule};
use serde_json::json;

use virtual_cluster::{
    clock::pass,
    operator::{Bench, hours, minutes, seconds, since_start},
};

const MANY: u32 = 50;

fn crowd() -> Bench {
    let bench = Bench::new();
    for number in 0..MANY {
        let job = bench.job(number);
        bench.cancel(
            &format!("a{number}"),
            job,
            json!({"activeDeadlineSeconds": 86_400}),
        );
    }
    bench
}

fn all_ended(bench: &Bench) -> bool {
    (0..MANY).all(|number| bench.has_ended(&format!("a{number}")))
}

/// How many calls arrived in each second from this one on.
fn calls_per_second(bench: &Bench, from: i64) -> BTreeMap<i64, usize> {
    let mut seconds = BTreeMap::new();
    for call in bench.calls() {
        let second = since_start(call.time).as_secs();
        if second >= from {
            *seconds.entry(second).or_default() += 1;
        }
    }
    seconds
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_429_is_met_with_one_probe_per_window_and_all_end_after_it() {
    let mut bench = crowd();
    let throttled = Answer::throttled(Some(60));
    let storm = bench.fabric.script(
        Rule::on_routes(Route::FABRIC)
            .until_removed()
            .answer(throttled),
    );
    bench.start();
    pass(minutes(1) - seconds(1)).await;
    let first = bench.calls().len();
    assert!(first <= 32, "no more than those already under way: {first}");
    pass(minutes(59)).await;
    let probes = bench.calls().len() - first;
    assert!(
        (50..=60).contains(&probes),
        "one per 61 s and a little more, not {probes}"
    );
    for number in 0..MANY {
        let writes = bench.server.writes_of(&format!("a{number}")).len();
        let attempts = bench.status(&format!("a{number}"))["attempts"]
            .as_u64()
            .unwrap_or(0);
        // An intent for each probe, one for the trouble; none for a 429.
        assert!(
            writes as u64 <= attempts + 2,
            "a{number}: {writes} writes, {attempts} attempts"
        );
        assert!(!bench.has_ended(&format!("a{number}")));
    }
    storm.remove();
    let healed = bench.calendar.elapsed().as_secs() as i64;
    bench
        .wait(minutes(10), "all have ended", || all_ended(&bench))
        .await;
    for number in 0..MANY {
        assert_eq!(bench.ready(&format!("a{number}")), "True JobCancelled");
    }
    assert_eq!(
        bench
            .fabric
            .requests(Route::Cancel)
            .iter()
            .filter(|call| call.processed)
            .count(),
        MANY as usize
    );
    let busiest = calls_per_second(&bench, healed).into_values().max();
    assert!(
        busiest <= Some(25),
        "a herd of {busiest:?} calls in one second"
    );
}

#[tokio::test(start_paused = true)]
async fn an_absurd_retry_after_silences_its_resource_but_not_the_identity_for_a_day() {
    let mut bench = crowd();
    bench
        .fabric
        .script(Rule::on(Route::Cancel).answer(Answer::throttled(Some(36_000))));
    bench.start();
    bench
        .wait(minutes(15), "all but one have ended", || {
            (0..MANY)
                .filter(|number| bench.has_ended(&format!("a{number}")))
                .count()
                == MANY as usize - 1
        })
        .await;
    pass(hours(9)).await;
    assert!(!all_ended(&bench));
    bench
        .wait(hours(1), "all have ended", || all_ended(&bench))
        .await;
}
