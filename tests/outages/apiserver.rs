//! The API server or its store goes away in the middle of the work.

use std::time::Duration;

use bench::{Scene, Setup, Signal, assert_not_before, journeys};
use control_plane::{ControlPlane, Suite};
use fabric_simulator::{HoldPoint, Route, Rule};
use serde_json::json;

use crate::{PATIENCE, install_crd, setup};

pub fn journeys(suite: Suite) -> Suite {
    journeys![suite;
        an_api_server_restarted_while_waiting_costs_nothing,
        an_api_server_gone_between_post_and_record_loses_no_acceptance,
        told_to_end_while_the_api_server_is_gone_it_records_once_it_is_back,
        told_to_end_after_the_record_failed_it_records_once_the_api_server_is_back,
        a_store_that_hangs_between_post_and_record_loses_no_acceptance,
        a_full_store_sends_nothing_without_its_intent,
        an_api_server_that_hangs_while_waiting_costs_nothing,
    ]
}

/// Fabric asks to wait for some seconds of real time.
fn patient(virtual_seconds: u64) -> Setup {
    setup().faster(20).fabric(|settings| {
        settings.accepted_retry_after = Some(Duration::from_secs(virtual_seconds));
    })
}

async fn an_api_server_restarted_while_waiting_costs_nothing(plane: &ControlPlane) {
    install_crd(plane).await;
    let mut scene = Scene::start(plane, patient(60)).await;
    scene.cancel("job", json!({})).await;
    scene.wait_for_reason("job", "WaitingForCancellation").await;
    plane.kill_apiserver().expect("it can be killed");
    // The look falls into the outage; what it shows must be kept until it can be stored.
    scene
        .fabric
        .wait_for(PATIENCE, |entry| entry.route == Route::Job)
        .await
        .expect("Fabric is asked although the API server is gone");
    quiet_for(&scene, Duration::from_secs(4)).await;
    plane.restart_apiserver().await.expect("it comes back");

    scene.wait_for_end("job", "JobCancelled").await;
    let (cancels, looks) = (scene.cancels(), scene.looks());
    assert_eq!(
        (cancels.len(), looks.len()),
        (1, 1),
        "nothing was asked twice"
    );
    assert_not_before(&looks[0], &cancels[0], 60);
    let writes = scene
        .audit(plane)
        .await
        .count(|entry| entry.verb == "patch");
    assert!(writes <= 5, "{writes} writes that reached the API server");
    no_hot_loop(&mut scene).await;
    scene.assert_nothing_leaked().await;
}

async fn an_api_server_gone_between_post_and_record_loses_no_acceptance(plane: &ControlPlane) {
    install_crd(plane).await;
    let mut scene = Scene::start(plane, patient(30)).await;
    let held = scene
        .fabric
        .script(Rule::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    scene.cancel("job", json!({})).await;
    held.wait_for_arrivals(1, PATIENCE).await.expect("a POST");
    plane.kill_apiserver().expect("it can be killed");
    held.release();
    scene
        .operator()
        .wait_for_log("that the record failed", |log| {
            log.contains("failed to write the status")
        })
        .await;
    plane.restart_apiserver().await.expect("it comes back");

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert!(ended["status"]["acceptedTime"].is_string(), "{ended:#}");
    assert!(ended["status"]["requestId"].is_string(), "{ended:#}");
    assert_eq!(ended["status"]["attempts"], 1);
    assert_eq!(scene.cancels().len(), 1);
    assert_not_before(&scene.looks()[0], &scene.cancels()[0], 30);
    no_hot_loop(&mut scene).await;
    scene.assert_nothing_leaked().await;
}

async fn told_to_end_while_the_api_server_is_gone_it_records_once_it_is_back(plane: &ControlPlane) {
    told_to_end_without_api_server(plane, When::BeforeTheAnswer).await;
}

async fn told_to_end_after_the_record_failed_it_records_once_the_api_server_is_back(
    plane: &ControlPlane,
) {
    told_to_end_without_api_server(plane, When::AfterTheRecordFailed).await;
}

/// When the operator is told to end.
#[derive(PartialEq)]
enum When {
    BeforeTheAnswer,
    AfterTheRecordFailed,
}

async fn told_to_end_without_api_server(plane: &ControlPlane, when: When) {
    install_crd(plane).await;
    let mut scene = Scene::start(plane, setup()).await;
    let held = scene
        .fabric
        .script(Rule::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    scene.cancel("job", json!({})).await;
    held.wait_for_arrivals(1, PATIENCE).await.expect("a POST");
    plane.kill_apiserver().expect("it can be killed");
    let failed = |log: &str| log.contains("failed to write the status");
    if when == When::AfterTheRecordFailed {
        held.release();
        scene.operator().wait_for_log("the failure", failed).await;
    }
    scene.operator().signal(Signal::TERM);
    let ends = |log: &str| log.contains("shutting down");
    scene.operator().wait_for_log("that it ends", ends).await;
    held.release();
    scene.operator().wait_for_log("the failure", failed).await;
    plane.restart_apiserver().await.expect("it comes back");

    let status = scene.operator().ended().await;
    assert_eq!(status.code(), Some(0), "{}", scene.log());
    let recorded = scene.get("job").await;
    assert!(
        recorded["status"]["acceptedTime"].is_string(),
        "{recorded:#}\n{}",
        scene.log()
    );
    scene.start_operator().await;
    scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(scene.cancels().len(), 1);
    scene.assert_nothing_leaked().await;
}

async fn a_store_that_hangs_between_post_and_record_loses_no_acceptance(plane: &ControlPlane) {
    install_crd(plane).await;
    let mut scene = Scene::start(plane, patient(30)).await;
    let held = scene
        .fabric
        .script(Rule::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    scene.cancel("job", json!({})).await;
    held.wait_for_arrivals(1, PATIENCE).await.expect("a POST");
    plane.pause_etcd().expect("it can be paused");
    held.release();
    // Whether the write that hung was stored is unknown; it may still be, when the store goes on.
    scene
        .operator()
        .wait_for_log("that the record got no answer", |log| {
            log.contains("no answer from the Kubernetes API")
        })
        .await;
    plane.resume_etcd().await.expect("it goes on");

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert!(ended["status"]["acceptedTime"].is_string(), "{ended:#}");
    assert_eq!(ended["status"]["attempts"], 1);
    assert_eq!(scene.cancels().len(), 1);
    assert_not_before(&scene.looks()[0], &scene.cancels()[0], 30);
    no_hot_loop(&mut scene).await;
    scene.assert_nothing_leaked().await;
}

async fn a_full_store_sends_nothing_without_its_intent(plane: &ControlPlane) {
    install_crd(plane).await;
    let mut scene = Scene::start(plane, patient(30)).await;
    let held = scene
        .fabric
        .script(Rule::on(Route::Token).hold(HoldPoint::BeforeProcessing));
    scene.cancel("job", json!({})).await;
    held.wait_for_arrivals(1, PATIENCE)
        .await
        .expect("a token request");
    plane.fill_etcd().await.expect("it can be filled");
    held.release();
    scene
        .operator()
        .wait_for_log("that the intent was not stored", |log| {
            log.matches("failed to write the status").count() >= 2
        })
        .await;
    assert_eq!(scene.cancels().len(), 0, "nothing is sent without intent");
    plane.empty_etcd().await.expect("it can be emptied");

    scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(scene.cancels().len(), 1);
    no_hot_loop(&mut scene).await;
    scene.assert_nothing_leaked().await;
}

async fn an_api_server_that_hangs_while_waiting_costs_nothing(plane: &ControlPlane) {
    install_crd(plane).await;
    let mut scene = Scene::start(plane, patient(40)).await;
    scene.cancel("job", json!({})).await;
    scene.wait_for_reason("job", "WaitingForCancellation").await;
    plane.pause_apiserver().expect("it can be paused");
    scene
        .fabric
        .wait_for(PATIENCE, |entry| entry.route == Route::Job)
        .await
        .expect("Fabric is asked although the API server hangs");
    quiet_for(&scene, Duration::from_secs(4)).await;
    plane.resume_apiserver().await.expect("it goes on");

    scene.wait_for_end("job", "JobCancelled").await;
    let (cancels, looks) = (scene.cancels(), scene.looks());
    assert_eq!(
        (cancels.len(), looks.len()),
        (1, 1),
        "nothing was asked twice"
    );
    assert_not_before(&looks[0], &cancels[0], 40);
    no_hot_loop(&mut scene).await;
    scene.assert_nothing_leaked().await;
}

/// Lets the outage last, and checks that Fabric is not asked to cancel meanwhile.
async fn quiet_for(scene: &Scene, outage: Duration) {
    let asked = scene.cancels().len();
    let more = scene.fabric.wait_until(outage, |entries| {
        let cancels = entries.iter().filter(|entry| entry.route == Route::Cancel);
        (cancels.count() > asked).then_some(())
    });
    assert!(more.await.is_err(), "{:#?}", scene.fabric.ledger());
}

/// Few visits and few lines for one cancellation, outage or not.
async fn no_hot_loop(scene: &mut Scene) {
    let lines = scene.log().lines().count();
    let (_, metrics) = scene
        .operator()
        .get("--metrics-bind-address", "/metrics")
        .await;
    let visits: u64 = metrics
        .lines()
        .filter(|line| line.starts_with("controller_runtime_reconcile_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    assert!((1..=40).contains(&visits), "{visits} visits\n{metrics}");
    assert!(lines <= 120, "{lines} lines\n{}", scene.log());
    println!("{visits} visits, {lines} lines");
}
