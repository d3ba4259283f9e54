//! The start, the end, and a cluster that is not ready.

use std::time::Duration;

use fabric_simulator::{HoldPoint, Route, Rule as Script};
use serde_json::json;

use virtual_cluster::{
    api_server::{CANCELLATIONS, Fault, Rule, Schema, Verb},
    clock::pass,
    operator::{Bench, hours, minutes, seconds},
};

#[tokio::test(start_paused = true)]
async fn a_missing_or_older_crd_is_named_with_its_fix_and_waited_for() {
    let mut bench = Bench::new();
    bench.server.install(None);
    bench.start();
    pass(minutes(1)).await;
    let problem = bench.not_ready().unwrap();
    assert!(
        problem.contains("missing") && problem.contains("kubectl apply"),
        "{problem}"
    );
    bench
        .server
        .install(Some(Schema::shipped().without_status_field("attempts")));
    pass(minutes(1)).await;
    let problem = bench.not_ready().unwrap();
    assert!(
        problem.contains("older") && problem.contains("attempts"),
        "{problem}"
    );
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    pass(minutes(1)).await;
    assert_eq!(bench.calls(), []);
    bench.server.install(Some(Schema::shipped()));
    bench.ended("a", minutes(5)).await;
    assert_eq!(bench.not_ready(), None);
}

#[tokio::test(start_paused = true)]
async fn a_crd_replaced_by_an_older_one_stops_requests_instead_of_hiding_them() {
    let mut bench = Bench::new();
    bench.start();
    pass(seconds(10)).await;
    bench
        .server
        .install(Some(Schema::shipped().without_status_field("attempts")));
    let status = "fabricjobcancellations/status";
    // As slow as a real one: the own write's event arrives in a later second than the write.
    let slow = Fault::Delay(Duration::from_millis(1200));
    bench
        .server
        .inject(Rule::on(Verb::Patch, status, slow).always());
    let job = bench.job(1);
    bench.cancel("a", job, json!({"activeDeadlineSeconds": 86_400}));
    pass(hours(1)).await;
    assert_eq!(bench.cancels(job), Vec::<i64>::new());
    let writes = bench.server.writes_of("a").len();
    assert!(writes <= 80, "{writes} writes in an hour");
    bench.server.install(Some(Schema::shipped()));
    bench.ended("a", minutes(10)).await;
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_api_server_is_waited_for_at_the_start() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    let path = "/openapi/v3/apis/fabricjobs.dev/v1alpha1";
    bench
        .server
        .inject(Rule::on(Verb::Get, path, Fault::LoseRequest).always());
    bench.start();
    pass(minutes(10)).await;
    assert!(bench.not_ready().is_some());
    bench.server.heal();
    bench.ended("a", minutes(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_between_post_and_record_records_first() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    let held = bench
        .fabric
        .script(Script::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    bench.start();
    held.wait_for_arrivals(1, minutes(1)).await.unwrap();
    let other = bench.job(2);
    let releases = async {
        pass(seconds(5)).await;
        held.release();
    };
    let server = bench.server.clone();
    let late = server.get(&CANCELLATIONS, "a").unwrap();
    assert_eq!(late["status"]["attempts"], json!(1));
    let ((), ended) = tokio::join!(releases, bench.shut_down());
    ended.unwrap();
    assert!(bench.status("a")["acceptedTime"].is_string());
    assert_eq!(bench.cancels(other), Vec::<i64>::new());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_records_what_the_api_server_would_not_take_at_first() {
    for fault in [Fault::LoseRequest, Fault::LoseAnswer, Fault::Answer(403)] {
        let mut bench = Bench::new();
        let job = bench.job(1);
        bench.cancel("a", job, json!({}));
        let held = bench
            .fabric
            .script(Script::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
        bench.start();
        held.wait_for_arrivals(1, minutes(1)).await.unwrap();
        let writes = Rule::on(Verb::Patch, "fabricjobcancellations/status", fault);
        bench.server.inject(writes.times(12));
        held.release();
        let ended = bench.shut_down().await;
        ended.unwrap();
        let status = bench.status("a");
        assert!(status["acceptedTime"].is_string(), "{fault:?}: {status:#}");
        assert_eq!(bench.cancels(job).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_kill_between_post_and_record_is_looked_at_first_and_not_sent_twice() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    let held = bench
        .fabric
        .script(Script::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    bench.start();
    held.wait_for_arrivals(1, minutes(1)).await.unwrap();
    bench.kill();
    held.release();
    bench.start();
    bench.ended("a", minutes(5)).await;
    assert_eq!(bench.ready("a"), "True JobCancelled");
    assert_eq!(bench.cancels(job), [0]);
    assert!(bench.looks(job)[0] >= 25, "{:?}", bench.looks(job));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_down_is_asked_once_a_second_at_most_and_nothing_is_lost() {
    let mut bench = Bench::new();
    let jobs: Vec<_> = (0..150).map(|number| bench.job(number)).collect();
    for (number, job) in jobs.iter().enumerate() {
        bench.cancel(&format!("c{number}"), *job, json!({}));
    }
    bench.start();
    bench
        .wait(minutes(5), "all are accepted", || {
            (0..150).all(|number| {
                bench.condition(&format!("c{number}"), "Accepted") == "True CancelAccepted"
            })
        })
        .await;
    for (verb, resource) in [
        (Verb::Patch, "fabricjobcancellations/status"),
        (Verb::Get, "fabricjobcancellations"),
        (Verb::List, "fabricjobcancellations"),
        (Verb::Watch, "fabricjobcancellations"),
        (Verb::Get, "secrets"),
        (Verb::Create, "events"),
        (Verb::Patch, "events"),
    ] {
        let down = Rule::on(verb, resource, Fault::LoseRequest);
        bench.server.inject(down.always());
    }
    bench.server.close_watches();
    // Those that were on their way when it went down each notice by themselves.
    pass(seconds(30)).await;
    let before = bench.server.ledger().len();
    let outage = minutes(10);
    pass(outage).await;
    let asked = bench.server.ledger().len() - before;
    assert!(
        asked <= usize::try_from(outage.as_secs()).unwrap(),
        "asked {asked} times in {outage:?}"
    );
    bench.server.heal();
    for number in 0..150 {
        bench.ended(&format!("c{number}"), minutes(2)).await;
    }
    assert!(jobs.iter().all(|job| bench.cancels(*job).len() == 1));
}
