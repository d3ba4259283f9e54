//! Long waits, and what may happen in the middle of them.

use std::time::Duration;

use fabric_simulator::{CancelEffect, LookRetryAfter, Settings};
use serde_json::json;

use virtual_cluster::{
    api_server::CANCELLATIONS,
    clock::pass,
    operator::{Bench, hours, minutes, seconds},
};

const DAY: i64 = 86_400;

fn patient() -> Bench {
    Bench::with(Settings {
        accepted_retry_after: Some(hours(24)),
        ..Settings::default()
    })
}

#[tokio::test(start_paused = true)]
async fn a_day_of_retry_after_is_waited_out_with_one_look_after_it_and_no_write_before() {
    let mut bench = patient();
    let job = bench.job(1);
    bench.cancel("a", job, json!({"activeDeadlineSeconds": 2 * DAY}));
    bench.start();
    pass(seconds(60)).await;
    let (writes, version) = (
        bench.server.writes_of("a").len(),
        bench.resource_version("a"),
    );
    pass(hours(24) - seconds(70)).await;
    assert_eq!((bench.cancels(job), bench.looks(job)), (vec![0], vec![]));
    assert_eq!(
        (
            bench.server.writes_of("a").len(),
            bench.resource_version("a")
        ),
        (writes, version)
    );
    bench.ended("a", minutes(1)).await;
    pass(hours(24)).await;
    assert_eq!((bench.cancels(job), bench.looks(job)), (vec![0], vec![DAY]));
    assert_eq!(bench.ready("a"), "True JobCancelled");
}

#[tokio::test(start_paused = true)]
async fn relists_and_watch_restarts_in_the_middle_of_a_wait_cause_no_early_request() {
    let mut bench = patient();
    let job = bench.job(1);
    bench.cancel("a", job, json!({"activeDeadlineSeconds": 2 * DAY}));
    bench.start();
    for _ in 0..20 {
        pass(minutes(30)).await;
        bench.server.expire_watches();
        pass(minutes(30)).await;
        bench.server.close_watches();
    }
    assert_eq!((bench.cancels(job), bench.looks(job)), (vec![0], vec![]));
    assert_eq!(
        (
            bench.server.writes_of("a").len(),
            bench.server.reads_of("a").len()
        ),
        (2, 0)
    );
    bench.ended("a", hours(5)).await;
    assert_eq!((bench.cancels(job), bench.looks(job)), (vec![0], vec![DAY]));
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_the_middle_of_a_wait_causes_no_early_request() {
    let mut bench = patient();
    let job = bench.job(1);
    bench.cancel("a", job, json!({"activeDeadlineSeconds": 2 * DAY}));
    bench.start();
    for _ in 0..20 {
        pass(hours(1)).await;
        bench.kill();
        bench.start();
    }
    bench.ended("a", hours(5)).await;
    assert_eq!((bench.cancels(job), bench.looks(job)), (vec![0], vec![DAY]));
    assert_eq!(bench.server.writes_of("a").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn labels_edited_five_times_a_second_for_a_minute_cost_no_call_and_no_write() {
    let mut bench = patient();
    let job = bench.job(1);
    bench.cancel("a", job, json!({"activeDeadlineSeconds": 2 * DAY}));
    bench.start();
    pass(minutes(5)).await;
    let before = (
        bench.fabric.ledger().len(),
        bench.server.writes_of("a").len(),
        bench.server.reads_of("a").len(),
    );
    for edit in 0..300 {
        bench.label("a", &edit.to_string());
        pass(Duration::from_millis(200)).await;
    }
    let after = (
        bench.fabric.ledger().len(),
        bench.server.writes_of("a").len(),
        bench.server.reads_of("a").len(),
    );
    assert_eq!(after, before);
    assert_eq!(bench.server.history("a").len(), 1 + 2 + 300);
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_job_is_asked_every_thirty_seconds_and_repeated_after_ten_minutes_twice_at_most()
 {
    let mut bench = Bench::with(Settings {
        look_retry_after: LookRetryAfter::Absent,
        ..Settings::default()
    });
    let job = bench.job_like(1, |job| job.cancel_effect = CancelEffect::Nothing);
    bench.cancel("a", job, json!({"activeDeadlineSeconds": 7200}));
    bench.start();
    pass(minutes(100)).await;
    let cancels = bench.cancels(job);
    assert_eq!(cancels.len(), 3, "{cancels:?}");
    assert!(
        cancels
            .windows(2)
            .all(|pair| (600..=660).contains(&(pair[1] - pair[0]))),
        "{cancels:?}"
    );
    let looks = bench.looks(job);
    assert!(
        looks.windows(2).all(|pair| pair[1] - pair[0] >= 30),
        "{looks:?}"
    );
    assert_eq!(bench.status("a")["attempts"], json!(3));
    // Three intents, the first acceptance, the first sight of the running job.
    assert_eq!(bench.server.writes_of("a").len(), 3 + 1 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_resource_deleted_while_waiting_is_not_thought_of_again() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    bench.start();
    pass(seconds(10)).await;
    bench.server.delete(&CANCELLATIONS, "a");
    pass(hours(2)).await;
    assert_eq!((bench.cancels(job), bench.looks(job)), (vec![0], vec![]));
    assert_eq!(bench.server.writes_of("a").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_resource_is_looked_at_once_and_sends_nothing_until_it_is_resumed() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({"suspend": true}));
    bench.start();
    pass(hours(48)).await;
    assert_eq!((bench.cancels(job), bench.looks(job)), (vec![], vec![0]));
    assert_eq!(bench.ready("a"), "Unknown Suspended");
    assert_eq!(bench.status("a")["attempts"], json!(0));
    assert!(bench.server.writes_of("a").len() <= 2);
    bench.server.edit(&CANCELLATIONS, "a", |object| {
        object["spec"]["suspend"] = json!(false)
    });
    bench.ended("a", minutes(5)).await;
    assert_eq!(bench.ready("a"), "True JobCancelled");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_not_found_is_believed_when_it_is_missing_for_a_minute() {
    let mut bench = Bench::new();
    let mut job = bench.job(1);
    job.job_instance_id = uuid::Uuid::from_u128(404);
    bench.cancel("a", job, json!({}));
    bench.start();
    pass(seconds(50)).await;
    assert_eq!(bench.ready("a"), "Unknown JobNotFound");
    bench.ended("a", minutes(5)).await;
    assert_eq!(bench.ready("a"), "False JobNotFound");
    let looks = bench.looks(job);
    assert_eq!(bench.cancels(job), [0]);
    assert!(
        (60..=90).contains(looks.last().expect("it was looked for")),
        "{looks:?}"
    );
}
