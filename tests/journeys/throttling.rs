//! Fabric asks to wait: nothing is asked earlier than told.

use bench::{Scene, assert_not_before, condition, journeys, reason};
use control_plane::{ControlPlane, Suite};
use fabric_simulator::{Answer, HoldPoint, Route, Rule};
use serde_json::json;
use std::time::Duration;

use crate::{PATIENCE, setup};

pub fn journeys(suite: Suite) -> Suite {
    journeys![suite;
        a_throttled_post_is_repeated_when_fabric_said_and_not_before,
        a_throttled_post_without_retry_after_waits_a_minute,
        a_throttled_look_is_repeated_when_fabric_said_and_not_before,
        one_throttling_answer_holds_all_resources_of_the_identity_until_one_probe,
        a_busy_capacity_delays_its_own_resource_only,
        an_unavailable_service_is_left_alone_as_long_as_it_said,
        fifty_cancellations_at_once_all_end_within_the_budget_of_each,
    ]
    .test(
        "a_cancellation_beyond_the_quota_is_queued_and_its_deadline_does_not_run",
        a_cancellation_beyond_the_quota_is_queued_and_its_deadline_does_not_run,
    )
}

async fn a_throttled_post_is_repeated_when_fabric_said_and_not_before(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    let throttled = Answer::throttled(Some(40));
    scene
        .fabric
        .script(Rule::on(Route::Cancel).answer(throttled));
    scene.cancel("job", json!({})).await;
    let waiting = scene.wait_for_reason("job", "Throttled").await;
    assert_eq!(condition(&waiting, "Ready")["status"], "Unknown");
    assert_eq!(waiting["status"]["lastError"]["code"], "RequestBlocked");
    assert_eq!(waiting["status"]["lastError"]["httpStatus"], 429);

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(ended["status"]["attempts"], 2);
    assert_eq!(reason(&ended, "Accepted"), "CancelAccepted");
    let cancels = scene.cancels();
    assert_eq!((cancels.len(), scene.processed()), (2, 1));
    assert_not_before(&cancels[1], &cancels[0], 40);
    assert_eq!(scene.looks().len(), 1, "a 429 did nothing: no look before");
    scene.assert_nothing_leaked().await;
}

async fn a_throttled_post_without_retry_after_waits_a_minute(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    scene
        .fabric
        .script(Rule::on(Route::Cancel).answer(Answer::throttled(None)));
    scene.cancel("job", json!({})).await;

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(ended["status"]["attempts"], 2);
    let cancels = scene.cancels();
    assert_eq!((cancels.len(), scene.processed()), (2, 1));
    assert_not_before(&cancels[1], &cancels[0], 60);
    scene.assert_nothing_leaked().await;
}

async fn a_throttled_look_is_repeated_when_fabric_said_and_not_before(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    for retry_after in [Some(30), None] {
        scene
            .fabric
            .script(Rule::on(Route::Job).answer(Answer::throttled(retry_after)));
    }
    scene.cancel("job", json!({})).await;

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(ended["status"]["attempts"], 1);
    assert_eq!(scene.cancels().len(), 1, "accepted is never forgotten");
    let looks = scene.looks();
    assert_eq!(looks.len(), 3);
    assert_not_before(&looks[0], &scene.cancels()[0], 1);
    assert_not_before(&looks[1], &looks[0], 30);
    assert_not_before(&looks[2], &looks[1], 60);
    scene.assert_nothing_leaked().await;
}

async fn one_throttling_answer_holds_all_resources_of_the_identity_until_one_probe(
    plane: &ControlPlane,
) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    let throttled = Answer::throttled(Some(60));
    scene
        .fabric
        .script(Rule::on(Route::Cancel).answer(throttled));
    scene.cancel("first", json!({})).await;
    let refused = scene
        .fabric
        .wait_for(PATIENCE, |entry| entry.status == Some(429))
        .await
        .expect("a 429");
    // The others come while the gate is closed; whoever comes first after it is the probe.
    let probe = scene
        .fabric
        .script(Rule::on_routes(Route::FABRIC).hold(HoldPoint::BeforeProcessing));
    let others = ["second", "third", "fourth", "fifth"];
    for name in others {
        scene
            .cancel_job(name, &scene.another_job(), json!({}))
            .await;
    }
    for name in others {
        let held = scene.wait_for_reason(name, "Throttled").await;
        assert_eq!(held["status"]["attempts"], 0, "nothing was tried: {held:#}");
    }
    probe.wait_for_arrivals(1, PATIENCE).await.expect("a probe");
    // Longer than those that are held stay away when a probe is out.
    let more = scene.fabric.wait_until(Duration::from_secs(1), |entries| {
        let after = |entry: &&fabric_simulator::Entry| {
            entry.route != Route::Token && entry.sequence > refused.sequence
        };
        (entries.iter().filter(after).count() > 1).then_some(())
    });
    assert!(more.await.is_err(), "{:#?}", scene.fabric.ledger());
    probe.release();

    let ended = scene.wait_for_end("first", "JobCancelled").await;
    assert_eq!(ended["status"]["attempts"], 2);
    for name in others {
        let ended = scene.wait_for_end(name, "JobCancelled").await;
        assert_eq!(ended["status"]["attempts"], 1, "{ended:#}");
    }
    let cancels = scene.fabric.requests(Route::Cancel);
    assert_eq!(cancels.len(), 6, "one for each, and the refused one");
    for later in &cancels[1..] {
        assert_not_before(later, &refused, 60);
    }
    assert_eq!(scene.fabric.requests(Route::Token).len(), 1);
    scene.assert_nothing_leaked().await;
}

async fn a_busy_capacity_delays_its_own_resource_only(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    let busy = Answer::error(430, "CapacityLimitExceeded").header("Retry-After", "90");
    scene.fabric.script(Rule::on(Route::Cancel).answer(busy));
    scene.cancel("busy", json!({})).await;
    scene.wait_for_reason("busy", "Throttled").await;
    let other = scene.another_job();
    scene.cancel_job("other", &other, json!({})).await;
    scene.wait_for_end("other", "JobCancelled").await;
    assert_eq!(scene.cancels().len(), 1, "the other one was not held");

    let ended = scene.wait_for_end("busy", "JobCancelled").await;
    assert_eq!(ended["status"]["attempts"], 2);
    let cancels = scene.cancels();
    assert_eq!((cancels.len(), scene.processed()), (2, 1));
    assert_not_before(&cancels[1], &cancels[0], 90);
    scene.assert_nothing_leaked().await;
}

async fn an_unavailable_service_is_left_alone_as_long_as_it_said(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    for route in [Route::Cancel, Route::Job] {
        let unavailable = Answer::unavailable(Some(60));
        scene.fabric.script(Rule::on(route).answer(unavailable));
    }
    scene.cancel("job", json!({})).await;
    let waiting = scene.wait_for_reason("job", "FabricUnavailable").await;
    assert_eq!(waiting["status"]["lastError"]["httpStatus"], 503);

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(
        ended["status"]["attempts"], 2,
        "looked at, then asked again"
    );
    assert_eq!(scene.processed(), 1);
    let (cancels, looks) = (scene.cancels(), scene.looks());
    assert_not_before(&looks[0], &cancels[0], 60);
    assert_not_before(&looks[1], &looks[0], 60);
    assert!(looks[1].sequence < cancels[1].sequence, "it looks first");
    scene.assert_nothing_leaked().await;
}

async fn a_cancellation_beyond_the_quota_is_queued_and_its_deadline_does_not_run(
    plane: &ControlPlane,
) {
    let mut setup = setup().faster(20);
    setup.arguments = vec!["--requests-per-minute=1".into()];
    let scene = Scene::start(plane, setup).await;
    scene.cancel("first", json!({})).await;
    let accepted = |it: &serde_json::Value| it["status"]["acceptedTime"].is_string();
    scene.wait("first", "its acceptance", accepted).await;
    let job = scene.another_job();
    scene.cancel_job("second", &job, json!({})).await;
    let waiting = scene.wait_for_reason("second", "Queued").await;
    assert_eq!(condition(&waiting, "Ready")["status"], "Unknown");
    assert_eq!(waiting["status"]["attempts"], 0);
    assert!(waiting["status"]["startTime"].is_null(), "{waiting:#}");

    for name in ["first", "second"] {
        let ended = scene.wait_for_end(name, "JobCancelled").await;
        assert_eq!(ended["status"]["attempts"], 1);
    }
    let calls = scene.fabric.ledger();
    let calls: Vec<_> = calls.iter().filter(|it| it.route != Route::Token).collect();
    assert_eq!(calls.len(), 4);
    for pair in calls.windows(2) {
        assert_not_before(pair[1], pair[0], 60);
    }
    scene.assert_nothing_leaked().await;
}

async fn fifty_cancellations_at_once_all_end_within_the_budget_of_each(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup()).await;
    let began = scene.fabric.clock().now();
    let names: Vec<_> = (0..50).map(|n| format!("job-{n}")).collect();
    for name in &names {
        scene
            .cancel_job(name, &scene.another_job(), json!({}))
            .await;
    }
    for name in &names {
        let ended = scene.wait_for_end(name, "JobCancelled").await;
        assert_eq!(ended["status"]["attempts"], 1);
    }
    let took = scene.fabric.clock().now().duration_since(began);
    println!("50 cancellations took {:.1} s", took.as_secs_f64());

    let ledger = scene.fabric.ledger();
    let count = |route| ledger.iter().filter(|entry| entry.route == route).count();
    assert_eq!(count(Route::Cancel), 50);
    assert_eq!(
        ledger
            .iter()
            .filter(|entry| entry.processed && entry.route == Route::Cancel)
            .count(),
        50
    );
    assert_eq!(count(Route::Job), 50, "one look each");
    assert_eq!(count(Route::Token), 1, "one token for all");
    assert!(ledger.iter().all(|entry| entry.status != Some(429)));
    let audit = scene.audit(plane).await;
    assert_eq!(audit.count(|entry| entry.verb == "patch"), 150, "{audit}");
    assert_eq!(audit.count(|entry| entry.verb == "get"), 0, "{audit}");
    scene.assert_nothing_leaked().await;
}
