//! Many at once: a namespace that goes away, an API server that asks for patience.

use fabric_simulator::JobRef;
use serde_json::json;

use virtual_cluster::{
    api_server::{CANCELLATIONS, Fault, Rule, Verb},
    clock::pass,
    operator::{Bench, hours, minutes, seconds},
};

/// Fewer than the quota of a minute, so that only the trouble under test delays them.
const MANY: u32 = 150;

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

fn all(bench: &Bench, condition: &str, expected: &str) -> bool {
    (0..MANY).all(|number| bench.condition(&name(number), condition) == expected)
}

#[tokio::test(start_paused = true)]
async fn a_namespace_deleted_with_all_in_flight_leaves_no_request_behind() {
    let (mut bench, _) = crowd();
    bench.start();
    bench
        .wait(minutes(10), "all are accepted", || {
            all(&bench, "Accepted", "True CancelAccepted")
        })
        .await;
    for number in 0..MANY {
        bench.server.delete(&CANCELLATIONS, &name(number));
    }
    pass(seconds(2)).await;
    let (asked, called) = (bench.server.ledger().len(), bench.calls().len());
    pass(hours(1)).await;
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
            all(&bench, "Ready", "True JobCancelled")
        })
        .await;
    assert!(jobs.iter().all(|job| bench.cancels(*job).len() == 1));
}
