//! Many resources with one identity, and an Entra or a Fabric that does not like it.

use std::time::Duration;

use fabric_simulator::{Answer, HoldPoint, JobRef, Route, Rule};
use serde_json::json;

use virtual_cluster::{
    api_server::CANCELLATIONS,
    clock::pass,
    operator::{Bench, hours, minutes, seconds, since_start},
};

/// When a token was asked for, in whole seconds since the start.
fn exchanges(bench: &Bench) -> Vec<i64> {
    let requests = bench.fabric.requests(Route::Token).into_iter();
    requests
        .map(|entry| since_start(entry.time).as_secs())
        .collect()
}

fn unauthorized() -> Answer {
    Answer::error(401, "TokenExpired")
}

/// Fabric refuses the token of the first request, something happens while Entra is asked for
/// another one, then Entra answers, which `takes` so long.
async fn refused_once(takes: Duration, meanwhile: impl FnOnce(&Bench)) -> (Bench, JobRef) {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    let post = bench.fabric.script(
        Rule::on(Route::Cancel)
            .hold(HoldPoint::BeforeProcessing)
            .answer(unauthorized()),
    );
    bench.start();
    post.wait_for_arrivals(1, minutes(1))
        .await
        .expect("it arrives");
    let token = bench
        .fabric
        .script(Rule::on(Route::Token).hold(HoldPoint::BeforeProcessing));
    post.release();
    token
        .wait_for_arrivals(1, minutes(1))
        .await
        .expect("it arrives");
    meanwhile(&bench);
    pass(takes).await;
    token.release();
    (bench, job)
}

#[tokio::test(start_paused = true)]
async fn after_a_401_the_request_is_sent_again_with_a_new_token_under_the_same_intent() {
    let (bench, job) = refused_once(seconds(1), |_| {}).await;
    bench.ended("a", minutes(5)).await;
    assert_eq!(bench.cancels(job), [0, 1]);
    assert_eq!(bench.status("a")["attempts"], json!(1));
    assert_eq!(bench.ready("a"), "True JobCancelled");
}

#[tokio::test(start_paused = true)]
async fn after_a_401_nothing_is_sent_again_when_the_new_token_comes_later_than_the_licence_lasts() {
    let (bench, job) = refused_once(seconds(16), |_| {}).await;
    pass(seconds(5)).await;
    assert_eq!(bench.cancels(job), [0], "an intent licenses 15 s");
    bench.ended("a", minutes(5)).await;
    assert_eq!(bench.cancels(job).len(), 2);
    assert_eq!(bench.status("a")["attempts"], json!(2), "a new intent");
}

#[tokio::test(start_paused = true)]
async fn after_a_401_nothing_is_sent_again_for_a_resource_deleted_meanwhile() {
    let delete = |bench: &Bench| bench.server.delete(&CANCELLATIONS, "a");
    let (bench, job) = refused_once(seconds(1), delete).await;
    pass(hours(1)).await;
    assert_eq!(bench.cancels(job), [0]);
}

#[tokio::test(start_paused = true)]
async fn after_a_401_nothing_is_sent_again_for_a_resource_suspended_meanwhile() {
    let suspend = |bench: &Bench| {
        bench.server.edit(&CANCELLATIONS, "a", |object| {
            object["spec"]["suspend"] = json!(true)
        });
    };
    let (bench, job) = refused_once(seconds(1), suspend).await;
    pass(minutes(30)).await;
    assert_eq!(bench.cancels(job), [0]);
    assert_eq!(bench.ready("a"), "Unknown Suspended");
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_hangs_leaves_places_for_other_identities() {
    let mut bench = Bench::new();
    bench.concurrency = 4;
    let slow = bench.add_identity("slow", 3);
    bench.fabric.script(
        Rule::on(Route::Token)
            .client(slow.client_id)
            .hold(HoldPoint::BeforeProcessing)
            .until_removed(),
    );
    for number in 0..20 {
        let spec = json!({"credentials": {"secretRef": {"name": "slow"}}});
        bench.cancel(&format!("slow{number}"), bench.job(number), spec);
    }
    bench.start();
    for round in 0..6 {
        pass(seconds(7)).await;
        let job = bench.job(100 + round);
        bench.cancel(&format!("quick{round}"), job, json!({}));
        bench
            .wait(seconds(10), "the other identity's request", || {
                bench.cancels(job).len() == 1
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_renewal_hangs_the_kept_token_goes_on_cancelling() {
    let mut bench = Bench::new();
    bench.concurrency = 4;
    bench.cancel("first", bench.job(0), json!({}));
    bench.start();
    // A token lives for an hour, and its renewal is due some minutes before.
    pass(minutes(56)).await;
    let entra = bench.fabric.script(
        Rule::on(Route::Token)
            .hold(HoldPoint::BeforeProcessing)
            .until_removed(),
    );
    let jobs: Vec<_> = (1..=20).map(|number| bench.job(number)).collect();
    for (number, job) in jobs.iter().enumerate() {
        bench.cancel(&format!("a{number}"), *job, json!({}));
    }
    bench
        .wait(seconds(10), "the requests of all but one", || {
            let sent = jobs.iter().filter(|job| bench.cancels(**job).len() == 1);
            sent.count() >= jobs.len() - 1
        })
        .await;
    assert_eq!(entra.arrived(), 1, "the renewal was tried");
}

#[tokio::test(start_paused = true)]
async fn a_401_that_lasts_costs_one_exchange_in_half_a_minute_however_many_suffer() {
    let mut bench = Bench::new();
    bench.fabric.script(
        Rule::on_routes(Route::FABRIC)
            .until_removed()
            .answer(unauthorized()),
    );
    for number in 0..20 {
        bench.cancel(&format!("a{number}"), bench.job(number), json!({}));
    }
    bench.start();
    pass(minutes(10)).await;
    let exchanges = exchanges(&bench);
    assert!(
        (2..=21).contains(&exchanges.len()),
        "{} exchanges: {exchanges:?}",
        exchanges.len()
    );
}

#[tokio::test(start_paused = true)]
async fn entras_retry_after_keeps_every_resource_of_the_identity_away() {
    let mut bench = Bench::new();
    bench
        .fabric
        .script(Rule::on(Route::Token).answer(Answer::throttled(Some(120))));
    for number in 0..5 {
        bench.cancel(&format!("a{number}"), bench.job(number), json!({}));
    }
    bench.start();
    pass(seconds(20)).await;
    bench.cancel("late", bench.job(5), json!({}));
    pass(seconds(98)).await;
    assert_eq!(exchanges(&bench), [0]);
    bench.ended("late", minutes(5)).await;
    bench.ended("a0", minutes(5)).await;
    let exchanges = exchanges(&bench);
    assert!(exchanges.len() == 2 && exchanges[1] >= 120, "{exchanges:?}");
}
