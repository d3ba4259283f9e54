//! Many at once: a namespace that goes away, an API server that asks for patience.

use std::collections::HashMap;
use std::num::NonZeroU32;

use fabric_simulator::{JobRef, Route, Settings};
use serde_json::json;

use virtual_cluster::{
    api_server::{CANCELLATIONS, Fault, Rule, Verb},
    clock::pass,
    operator::{Bench, hours, minutes, seconds},
};

/// Fewer than the quota of a minute, so that only the trouble under test delays them.
const MANY: u32 = 150;

/// A quota that delays nobody.
const PLENTY: NonZeroU32 = NonZeroU32::new(5000).expect("5000 is not 0");

fn name(number: u32) -> String {
    format!("c{number}")
}

fn crowd() -> (Bench, Vec<JobRef>) {
    let bench = Bench::new();
    let jobs: Vec<_> = (0..MANY).map(|number| bench.job(number)).collect();
    for (number, job) in (0..).zip(&jobs) {
        bench.cancel(&name(number), *job, json!({}));
    }
    (bench, jobs)
}

/// They come within eight minutes, so that nobody waits long in the operator's own queue.
async fn arrive(bench: &Bench, size: u32, job: impl Fn(u32) -> JobRef) {
    for number in 0..size {
        bench.cancel(&name(number), job(number), json!({}));
        if number % 125 == 124 {
            pass(minutes(1)).await;
        }
    }
}

fn all(bench: &Bench, size: u32, condition: &str, expected: &str) -> bool {
    (0..size).all(|number| bench.condition(&name(number), condition) == expected)
}

#[tokio::test(start_paused = true)]
async fn a_namespace_deleted_with_all_in_flight_leaves_no_request_behind() {
    const ALL: u32 = 1000;
    let mut bench = Bench::with(Settings {
        accepted_retry_after: Some(hours(1)),
        quota: None,
        ..Settings::default()
    });
    bench.requests_per_minute = PLENTY;
    bench.start();
    arrive(&bench, ALL, |number| bench.job(number)).await;
    assert!(all(&bench, ALL, "Accepted", "True CancelAccepted"));
    assert_eq!(bench.fabric.requests(Route::Job).len(), 0, "all in flight");
    for number in 0..ALL {
        bench.server.delete(&CANCELLATIONS, &name(number));
    }
    pass(seconds(2)).await;
    let (asked, called) = (bench.server.ledger().len(), bench.calls().len());
    pass(hours(3)).await;
    assert_eq!(bench.calls().len(), called, "nobody is looked at any more");
    let later: Vec<_> = bench.server.ledger()[asked..]
        .iter()
        .filter(|entry| entry.verb != Verb::Watch)
        .cloned()
        .collect();
    assert!(later.is_empty(), "{later:#?}");
    let metrics = bench.metrics();
    assert!(
        metrics.contains("result=\"error\"} 0"),
        "no storm of errors\n{metrics}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_throttles_is_given_time_and_no_request_is_sent_without_its_intent() {
    let (mut bench, jobs) = crowd();
    let status = "fabricjobcancellations/status";
    let throttles = Rule::on(Verb::Patch, status, Fault::Answer(429));
    bench.server.inject(throttles.always());
    bench.start();
    pass(minutes(1)).await;
    assert_eq!(bench.calls(), [], "no intent, no request");
    let before = bench.server.ledger().len();
    pass(minutes(10)).await;
    let asked = bench.server.ledger().len() - before;
    assert!(asked <= 600, "asked {asked} times in ten minutes");
    bench.server.heal();
    bench
        .wait(minutes(10), "all have ended", || {
            all(&bench, MANY, "Ready", "True JobCancelled")
        })
        .await;
    assert!(jobs.iter().all(|job| bench.cancels(*job).len() == 1));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_resources_for_one_job_ask_once_each_at_most_and_reach_the_same_truth() {
    const ALL: u32 = 1000;
    let mut bench = Bench::with(Settings {
        cancel_takes: minutes(14),
        accepted_retry_after: Some(minutes(15)),
        quota: None,
        ..Settings::default()
    });
    bench.requests_per_minute = PLENTY;
    let job = bench.job(1);
    bench.start();
    arrive(&bench, ALL, |_| job).await;
    pass(minutes(40)).await;
    let mut writes = HashMap::new();
    for asked in bench.server.ledger() {
        if let (Verb::Patch, Some(name)) = (asked.verb, asked.name) {
            *writes.entry(name).or_insert(0) += 1;
        }
    }
    for number in 0..ALL {
        let ready = bench.ready(&name(number));
        assert!(
            ["True JobCancelled", "True JobAlreadyCancelled"].contains(&ready.as_str()),
            "{number}: {ready}"
        );
        assert_eq!(bench.status(&name(number))["attempts"], json!(1));
        assert!(writes[&name(number)] <= 5, "{number}: {writes:?}");
    }
    let (cancels, looks) = (bench.cancels(job).len(), bench.looks(job).len());
    println!("{cancels} cancel requests, {looks} looks");
    assert_eq!(cancels, 1000, "the job ran on while all of them asked");
    assert!(looks <= 2000, "{looks} looks");
}
