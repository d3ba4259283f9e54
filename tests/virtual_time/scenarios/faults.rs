//! A Kubernetes API that lags, conflicts, loses and hangs.

use std::time::Duration;

use fabric_simulator::{HoldPoint, Route, Rule as Script};
use serde_json::json;

use virtual_cluster::{
    api_server::{CANCELLATIONS, Fault, Rule, Verb},
    clock::pass,
    operator::{Bench, hours, minutes, seconds},
};

const STATUS: &str = "fabricjobcancellations/status";

#[tokio::test(start_paused = true)]
async fn a_cache_that_lags_half_a_second_gives_no_second_post_and_no_further_write() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.server.lag_watches(Duration::from_millis(500));
    // So the event of the intent arrives when the acceptance is stored, and not seen yet.
    let slow = Duration::from_millis(300);
    bench.fabric.script(Script::on(Route::Cancel).delay(slow));
    bench.cancel("a", job, json!({}));
    bench.start();
    bench.ended("a", minutes(5)).await;
    pass(hours(1)).await;
    assert_eq!((bench.cancels(job), bench.looks(job).len()), (vec![0], 1));
    // The budget of a cache that is up to date: no write is refused, nothing is read.
    let cost = (
        bench.server.writes_of("a").len(),
        bench.server.reads_of("a").len(),
    );
    assert_eq!(cost, (3, 0));
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_meets_a_conflict_sends_nothing_until_the_newer_edition_was_seen() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    bench
        .server
        .inject(Rule::on(Verb::Patch, STATUS, Fault::Answer(409)));
    bench.start();
    pass(seconds(4)).await;
    assert_eq!(bench.cancels(job), Vec::<i64>::new());
    bench.ended("a", minutes(5)).await;
    assert_eq!(
        (bench.cancels(job), bench.server.reads_of("a").len()),
        (vec![5], 1)
    );
    assert_eq!(bench.status("a")["attempts"], json!(1));
}

#[tokio::test(start_paused = true)]
async fn a_label_edited_between_post_and_record_does_not_lose_the_acceptance() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    let held = bench
        .fabric
        .script(Script::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    bench.cancel("a", job, json!({}));
    bench.start();
    held.wait_for_arrivals(1, minutes(1)).await.unwrap();
    bench.label("a", "1");
    held.release();
    bench
        .wait(seconds(10), "the acceptance is stored", || {
            bench.status("a")["acceptedTime"].is_string()
        })
        .await;
    bench.ended("a", minutes(5)).await;
    assert_eq!(
        (bench.cancels(job).len(), bench.server.reads_of("a").len()),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_the_intent_counts_as_an_attempt_and_a_look_comes_before_the_post() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    bench
        .server
        .inject(Rule::on(Verb::Patch, STATUS, Fault::LoseAnswer));
    bench.start();
    bench.ended("a", minutes(10)).await;
    assert_eq!(bench.ready("a"), "True JobCancelled");
    let (cancels, looks) = (bench.cancels(job), bench.looks(job));
    assert!(
        cancels.len() == 1 && looks[0] >= 25 && cancels[0] >= looks[0],
        "a look comes first"
    );
    assert_eq!(bench.status("a")["attempts"], json!(2));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_the_record_gives_no_second_post() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    let held = bench
        .fabric
        .script(Script::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    bench.start();
    held.wait_for_arrivals(1, minutes(1)).await.unwrap();
    bench
        .server
        .inject(Rule::on(Verb::Patch, STATUS, Fault::LoseAnswer));
    held.release();
    bench.ended("a", minutes(10)).await;
    assert_eq!(bench.ready("a"), "True JobCancelled");
    assert_eq!((bench.cancels(job).len(), bench.looks(job).len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_or_failing_write_is_given_up_and_tried_again() {
    for fault in [
        Fault::Hang,
        Fault::Answer(500),
        Fault::Answer(503),
        Fault::Answer(403),
        Fault::LoseRequest,
    ] {
        let mut bench = Bench::new();
        let job = bench.job(1);
        bench.cancel("a", job, json!({}));
        bench
            .server
            .inject(Rule::on(Verb::Patch, STATUS, fault).named("a").times(3));
        bench.start();
        bench.ended("a", minutes(10)).await;
        assert_eq!(bench.ready("a"), "True JobCancelled", "{fault:?}");
        assert_eq!(bench.cancels(job).len(), 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_write_delays_its_resource_and_sends_nothing_twice() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    bench
        .server
        .inject(Rule::on(Verb::Patch, STATUS, Fault::Delay(seconds(9))).always());
    bench.start();
    bench.ended("a", minutes(5)).await;
    assert_eq!(bench.cancels(job), [9]);
    bench.server.heal();
}

#[tokio::test(start_paused = true)]
async fn a_writer_who_never_stops_cannot_lose_the_acceptance() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    let held = bench
        .fabric
        .script(Script::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    bench.start();
    held.wait_for_arrivals(1, minutes(1)).await.unwrap();
    bench
        .server
        .inject(Rule::on(Verb::Patch, STATUS, Fault::Answer(409)).times(30));
    held.release();
    bench.ended("a", minutes(10)).await;
    assert_eq!(bench.ready("a"), "True JobCancelled");
    assert_eq!(bench.cancels(job).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_status_restored_from_before_the_request_is_asked_about_and_ends_in_the_truth() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    bench.start();
    pass(seconds(10)).await;
    bench.kill();
    bench.server.edit_status("a", |object| {
        object["status"] = json!({"observedGeneration": -1})
    });
    bench.start();
    bench.ended("a", minutes(10)).await;
    let ready = bench.ready("a");
    assert!(ready.starts_with("True Job"), "{ready}");
    assert!(bench.cancels(job).len() <= 2);
}

#[tokio::test(start_paused = true)]
async fn deleted_between_intent_and_record_is_the_end_of_it() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    let held = bench
        .fabric
        .script(Script::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    bench.start();
    held.wait_for_arrivals(1, minutes(1)).await.unwrap();
    bench.server.delete(&CANCELLATIONS, "a");
    held.release();
    pass(hours(1)).await;
    assert_eq!((bench.cancels(job).len(), bench.looks(job).len()), (1, 0));
    assert_eq!(bench.server.get(&CANCELLATIONS, "a"), None);
}
