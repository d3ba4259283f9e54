//! The deadline, and the clock that it is measured with.

use fabric_simulator::{Answer, CancelEffect, Route, Rule, Settings};
use jiff::SignedDuration;
use serde_json::json;

use virtual_cluster::{
    clock::pass,
    operator::{Bench, hours, minutes, seconds},
};

#[tokio::test(start_paused = true)]
async fn a_deadline_is_reached_with_one_look_after_it() {
    let mut bench = Bench::with(Settings {
        accepted_retry_after: Some(minutes(50)),
        ..Settings::default()
    });
    let job = bench.job_like(1, |job| job.cancel_effect = CancelEffect::Nothing);
    bench.cancel("a", job, json!({"activeDeadlineSeconds": 5 * 3600}));
    bench.start();
    bench.ended("a", hours(6)).await;
    assert_eq!(bench.ready("a"), "False DeadlineExceeded");
    let last = *bench.looks(job).last().expect("it was looked at");
    assert!((18_000..18_060).contains(&last), "{last}");
    let looks = bench.looks(job).len();
    pass(hours(24)).await;
    assert_eq!(bench.looks(job).len(), looks);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_ended_just_before_the_deadline_is_seen_by_the_last_look() {
    let mut bench = Bench::with(Settings {
        accepted_retry_after: Some(hours(1) + minutes(1)),
        ..Settings::default()
    });
    let job = bench.job(1);
    bench.cancel("a", job, json!({"activeDeadlineSeconds": 3600}));
    bench.start();
    bench.ended("a", hours(2)).await;
    assert_eq!(bench.ready("a"), "True JobCancelled");
    assert_eq!(bench.looks(job), [3660]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_beyond_the_last_looks_is_honoured_and_named() {
    let mut bench = Bench::with(Settings {
        accepted_retry_after: Some(hours(24)),
        ..Settings::default()
    });
    let job = bench.job(1);
    bench.cancel("a", job, json!({"activeDeadlineSeconds": 3600}));
    bench.start();
    bench.ended("a", hours(2)).await;
    assert_eq!(bench.ready("a"), "False DeadlineExceeded");
    assert_eq!(bench.looks(job), Vec::<i64>::new());
    let message = bench.status("a")["conditions"][0]["message"].to_string();
    assert!(message.contains("longer"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn unreadable_looks_after_the_deadline_are_tried_for_five_minutes() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.fabric.script(
        Rule::on(Route::Job)
            .until_removed()
            .answer(Answer::unavailable(None)),
    );
    bench.cancel("a", job, json!({"activeDeadlineSeconds": 3600}));
    bench.start();
    bench.ended("a", hours(2)).await;
    assert_eq!(bench.ready("a"), "False DeadlineExceeded");
    let passed = bench.calendar.elapsed();
    assert!(
        passed >= hours(1) + minutes(5) && passed < hours(1) + minutes(6),
        "{passed:?}"
    );
    assert_eq!(bench.cancels(job), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_fabric_that_is_down_for_hours_costs_few_writes_and_heals() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    let down = bench.fabric.script(
        Rule::on_routes(Route::FABRIC)
            .until_removed()
            .answer(Answer::unavailable(None)),
    );
    bench.cancel("a", job, json!({"activeDeadlineSeconds": 86_400}));
    bench.start();
    pass(hours(6)).await;
    assert_eq!(bench.ready("a"), "Unknown FabricUnavailable");
    let writes = bench.server.writes_of("a").len();
    assert!(
        writes <= 4,
        "{writes} writes: {:#?}",
        bench.server.history("a")
    );
    let calls = bench.calls().len();
    assert!(
        (6 * 48..6 * 60 + 20).contains(&calls),
        "about one call a minute, not {calls}"
    );
    down.remove();
    bench.ended("a", minutes(10)).await;
    assert_eq!(bench.ready("a"), "True JobCancelled");
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_clock_is_an_hour_ahead_gives_up_no_earlier() {
    let mut bench = Bench::new();
    let job = bench.job_like(1, |job| job.cancel_effect = CancelEffect::Nothing);
    bench.cancel("a", job, json!({"activeDeadlineSeconds": 3600}));
    bench.start();
    pass(minutes(10)).await;
    bench.kill();
    bench.start_on_a_node_ahead_by(SignedDuration::from_hours(1));
    pass(minutes(45)).await;
    assert!(!bench.has_ended("a"), "{:#?}", bench.status("a"));
    bench.ended("a", minutes(10)).await;
    assert_eq!(bench.ready("a"), "False DeadlineExceeded");
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_clock_is_an_hour_behind_gives_up_no_later() {
    let mut bench = Bench::new();
    let job = bench.job_like(1, |job| job.cancel_effect = CancelEffect::Nothing);
    bench.cancel("a", job, json!({"activeDeadlineSeconds": 3600}));
    bench.start_on_a_node_ahead_by(SignedDuration::from_hours(-1));
    bench.ended("a", hours(1) + minutes(6)).await;
    assert!(bench.calendar.elapsed() >= hours(1));
    assert_eq!(bench.ready("a"), "False DeadlineExceeded");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_whose_date_jumps_ahead_makes_no_verdict_earlier() {
    let mut bench = Bench::new();
    let job = bench.job_like(1, |job| job.cancel_effect = CancelEffect::Nothing);
    bench.cancel("a", job, json!({"activeDeadlineSeconds": 3600}));
    bench.start();
    pass(minutes(10)).await;
    bench.server.skew_date(SignedDuration::from_hours(1));
    pass(minutes(45)).await;
    assert!(!bench.has_ended("a"));
    bench.ended("a", minutes(10)).await;
    assert!(bench.calendar.elapsed() >= hours(1) + seconds(0));
}
