//! What a shutdown finishes, and what it leaves alone.

use fabric_simulator::{HoldPoint, Route, Rule as Script};
use serde_json::json;

use virtual_cluster::{
    api_server::{Fault, Rule, Verb},
    clock::pass,
    operator::{Bench, minutes, seconds},
};

const STATUS: &str = "fabricjobcancellations/status";

fn is_accepted(bench: &Bench) -> bool {
    bench.status("a")["acceptedTime"].is_string()
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_whose_write_fails_during_the_shutdown_is_stored_before_the_end() {
    for fault in [Fault::Answer(500), Fault::Hang, Fault::LoseRequest] {
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
            .inject(Rule::on(Verb::Patch, STATUS, fault).always());
        bench.begin_shutdown();
        held.release();
        pass(seconds(20)).await;
        assert!(!bench.is_shut_down(), "{fault:?}");
        assert!(!is_accepted(&bench), "{fault:?}");
        // The intent, and then once a second at most.
        assert!(bench.server.writes_of("a").len() <= 1 + 21, "{fault:?}");
        bench.server.heal();
        bench
            .wait(seconds(20), "it ends", || bench.is_shut_down())
            .await;
        assert!(is_accepted(&bench), "{fault:?}");
        assert_eq!(bench.cancels(job).len(), 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_between_two_tries_of_a_write_still_stores_the_acceptance() {
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
        .inject(Rule::on(Verb::Patch, STATUS, Fault::Answer(500)).always());
    held.release();
    // Long enough for the pause to be much longer than what is looked for below.
    pass(seconds(20)).await;
    bench.server.heal();
    assert!(!is_accepted(&bench));
    bench.begin_shutdown();
    pass(seconds(1)).await;
    assert!(bench.is_shut_down());
    assert!(is_accepted(&bench));
    assert_eq!(bench.looks(job), Vec::<i64>::new());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_during_the_token_exchange_stores_no_intent() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    let held = bench
        .fabric
        .script(Script::on(Route::Token).hold(HoldPoint::BeforeProcessing));
    bench.start();
    held.wait_for_arrivals(1, minutes(1)).await.unwrap();
    bench.begin_shutdown();
    pass(seconds(1)).await;
    held.release();
    bench
        .wait(seconds(2), "it ends", || bench.is_shut_down())
        .await;
    pass(minutes(1)).await;
    assert_eq!(bench.status("a")["attempts"].as_u64().unwrap_or(0), 0);
    assert_eq!(bench.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn a_look_in_progress_does_not_hold_up_the_shutdown() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    let held = bench
        .fabric
        .script(Script::on(Route::Job).hold(HoldPoint::BeforeProcessing));
    bench.start();
    held.wait_for_arrivals(1, minutes(5)).await.unwrap();
    bench.begin_shutdown();
    pass(seconds(1)).await;
    assert!(bench.is_shut_down());
    assert!(is_accepted(&bench) && !bench.has_ended("a"));
}
