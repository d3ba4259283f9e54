//! More to do than the identity's quota allows.

use std::{num::NonZeroU32, time::Duration};

use fabric_simulator::{Answer, QuotaLimit, Route, Rule, Settings};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use virtual_cluster::{
    api_server::{Fault, Rule as Trouble, Verb},
    clock::pass,
    operator::{Bench, minutes, seconds, since_start},
};

const MINUTE: SignedDuration = SignedDuration::from_secs(60);

/// A Fabric that allows so many requests a minute, this many cancellations, and an operator
/// that knows the quota.
fn crowd(quota: u32, size: u32, deadline: u32) -> Bench {
    let mut bench = Bench::with(Settings {
        quota: Some(QuotaLimit {
            calls: quota,
            ..QuotaLimit::default()
        }),
        ..Settings::default()
    });
    bench.requests_per_minute = NonZeroU32::new(quota).expect("a quota of at least 1");
    for number in 0..size {
        let job = bench.job(number);
        let spec = json!({"activeDeadlineSeconds": deadline});
        bench.cancel(&name(number), job, spec);
    }
    bench
}

fn name(number: u32) -> String {
    format!("a{number}")
}

async fn all_ended(bench: &Bench, size: u32, within: Duration) {
    let all = || (0..size).all(|number| bench.has_ended(&name(number)));
    bench.wait(within, "all have ended", all).await;
    for number in 0..size {
        assert_eq!(bench.ready(&name(number)), "True JobCancelled");
    }
}

fn refused(bench: &Bench) -> usize {
    let calls = bench.calls();
    calls.iter().filter(|call| call.status == Some(429)).count()
}

/// No window of a minute, wherever it begins, holds more requests than the quota.
fn assert_no_window_is_overrun(bench: &Bench, quota: usize) {
    let times: Vec<Timestamp> = bench.calls().iter().map(|call| call.time).collect();
    for (first, next) in times.iter().zip(times.iter().skip(quota)) {
        let apart = next.duration_since(*first);
        assert!(apart >= MINUTE, "{} requests within {apart:#}", quota + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn five_hundred_cancellations_keep_to_the_quota_and_their_wait_eats_no_deadline() {
    let mut bench = crowd(200, 500, 90);
    bench.start();
    pass(minutes(1)).await;
    let queued = (0..500)
        .filter(|number| bench.ready(&name(*number)) == "Unknown Queued")
        .filter(|number| bench.status(&name(*number))["startTime"].is_null())
        .count();
    assert!(queued >= 290, "{queued} show that they wait");
    let cancelled = bench.fabric.requests(Route::Cancel).len();
    assert_eq!(cancelled, 200, "cancel requests go before looks");
    all_ended(&bench, 500, minutes(10)).await;
    assert_eq!(refused(&bench), 0, "Fabric refused nothing");
    assert_no_window_is_overrun(&bench, 200);
    let mut latest = SignedDuration::ZERO;
    for number in 0..500 {
        let status = bench.status(&name(number));
        assert_eq!(status["attempts"], 1);
        let start = status["startTime"].as_str().and_then(|at| at.parse().ok());
        latest = latest.max(since_start(start.expect("a start time")));
        let writes = bench.server.writes_of(&name(number)).len();
        // Intent, acceptance and end; `Queued` once before and once after.
        assert!(writes <= 5, "a{number}: {writes} writes");
    }
    assert!(latest > SignedDuration::from_secs(110), "{latest:#}");
}

#[tokio::test(start_paused = true)]
async fn a_few_cancellations_at_a_start_do_not_wait_long_enough_to_show_it() {
    let mut bench = crowd(200, 50, 3_600);
    bench.start();
    pass(seconds(9)).await;
    assert_eq!(bench.fabric.requests(Route::Cancel).len(), 50);
    all_ended(&bench, 50, minutes(3)).await;
    for number in 0..50 {
        assert_eq!(bench.server.writes_of(&name(number)).len(), 3);
    }
    assert_eq!(refused(&bench), 0);
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_the_middle_of_a_spent_window_costs_at_most_one_refusal() {
    let mut bench = crowd(60, 150, 3_600);
    bench.start();
    pass(seconds(30)).await;
    assert_eq!(bench.calls().len(), 60, "the window is used up");
    bench.kill();
    bench.start();
    pass(seconds(1)).await;
    assert_eq!(refused(&bench), 1, "the first request tells");
    all_ended(&bench, 150, minutes(30)).await;
    assert_eq!(refused(&bench), 1);
}

#[tokio::test(start_paused = true)]
async fn events_do_not_let_anybody_jump_the_queue() {
    let mut bench = crowd(20, 60, 3_600);
    bench.start();
    pass(seconds(30)).await;
    let before = bench.calls().len();
    for round in 0..20 {
        for number in 0..60 {
            bench.label(&name(number), &round.to_string());
        }
        pass(seconds(1)).await;
    }
    assert_eq!((before, bench.calls().len()), (20, 20));
    all_ended(&bench, 60, minutes(20)).await;
    assert_eq!(refused(&bench), 0);
    assert_no_window_is_overrun(&bench, 20);
}

#[tokio::test(start_paused = true)]
async fn those_that_are_deleted_or_suspended_while_they_wait_take_no_turn() {
    let mut bench = crowd(20, 200, 3_600);
    bench.start();
    pass(seconds(30)).await;
    let served = bench.fabric.requests(Route::Cancel);
    let served: Vec<_> = served
        .iter()
        .map(|call| call.job_instance_id.clone())
        .collect();
    let waiting = |bench: &Bench, number: u32| {
        let job = bench.job(number).job_instance_id.to_string();
        !served.contains(&Some(job))
    };
    // All but the last twenty of those that wait are deleted.
    let left: Vec<u32> = (0..200).filter(|number| waiting(&bench, *number)).collect();
    for number in &left[..left.len() - 20] {
        bench
            .server
            .delete(&virtual_cluster::api_server::CANCELLATIONS, &name(*number));
    }
    let all = || {
        left[left.len() - 20..]
            .iter()
            .all(|number| bench.status(&name(*number))["attempts"] == 1)
    };
    bench
        .wait(minutes(2), "the others had their turn", all)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_sent_again_after_a_401_counts_too() {
    let mut bench = crowd(2, 1, 3_600);
    bench.fabric.update_settings(|settings| {
        settings.accepted_retry_after = Some(seconds(1));
    });
    bench
        .fabric
        .script(Rule::on(Route::Cancel).answer(Answer::error(401, "TokenExpired")));
    bench.start();
    pass(seconds(30)).await;
    assert_eq!(bench.calls().len(), 2, "both cancel requests");
    all_ended(&bench, 1, minutes(3)).await;
    assert_eq!(bench.calls().len(), 3);
    assert_eq!(bench.status(&name(0))["attempts"], 1);
    assert_no_window_is_overrun(&bench, 2);
}

#[tokio::test(start_paused = true)]
async fn a_429_that_comes_while_an_intent_is_written_holds_its_request_back() {
    let mut bench = Bench::new();
    let first = bench.job(1);
    bench.cancel("first", first, json!({}));
    bench.start();
    // Until then requests go one at a time.
    pass(minutes(3)).await;
    let (slow, told) = (bench.job(2), bench.job(3));
    let status = "fabricjobcancellations/status";
    let late = Trouble::on(Verb::Patch, status, Fault::Delay(seconds(5)));
    bench.server.inject(late.named("slow"));
    let throttled = Rule::on(Route::Cancel).job(told.job_instance_id);
    bench
        .fabric
        .script(throttled.answer(Answer::throttled(Some(40))));
    bench.cancel("slow", slow, json!({}));
    bench.cancel("told", told, json!({}));
    bench.ended("slow", minutes(5)).await;
    bench.ended("told", minutes(5)).await;
    let begun = bench.cancels(told)[0];
    for job in [slow, told] {
        let sent = bench.cancels(job);
        let last = *sent.last().unwrap();
        assert!(
            last >= begun + 40,
            "sent at {sent:?}, told to wait at {begun}"
        );
    }
    assert_eq!(bench.cancels(slow).len(), 1, "not through a closed gate");
    assert_eq!(
        bench.status("slow")["attempts"],
        2,
        "the later send has an intent of its own"
    );
}
