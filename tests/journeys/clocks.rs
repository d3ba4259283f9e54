//! The node's clock is an hour wrong.

use std::time::Duration;

use bench::{Scene, assert_not_before, journeys};
use control_plane::{ControlPlane, Suite};
use serde_json::json;

use crate::setup;

pub fn journeys(suite: Suite) -> Suite {
    journeys![suite;
        a_clock_an_hour_ahead_brings_neither_an_early_look_nor_an_early_verdict,
        a_clock_an_hour_behind_delays_nothing,
    ]
}

async fn a_clock_an_hour_ahead_brings_neither_an_early_look_nor_an_early_verdict(
    plane: &ControlPlane,
) {
    restarted_with_a_wrong_clock(plane, 3_600).await;
}

async fn a_clock_an_hour_behind_delays_nothing(plane: &ControlPlane) {
    restarted_with_a_wrong_clock(plane, -3_600).await;
}

async fn restarted_with_a_wrong_clock(plane: &ControlPlane, seconds: i64) {
    let setup = setup().faster(20).fabric(|settings| {
        settings.accepted_retry_after = Some(Duration::from_secs(100));
    });
    let mut scene = Scene::start(plane, setup).await;
    scene
        .cancel("job", json!({ "activeDeadlineSeconds": 1_200 }))
        .await;
    scene.wait_for_reason("job", "WaitingForCancellation").await;
    scene.operator().kill();
    let wrong = ("FABRIC_TEST_CLOCK_SKEW".to_owned(), seconds.to_string());
    scene.options().environment.push(wrong);
    scene.start_operator().await;
    let warns = |log: &str| log.contains("NTP") && log.contains("WARN");
    scene
        .operator()
        .wait_for_log("that the clock is wrong", warns)
        .await;

    scene.wait_for_end("job", "JobCancelled").await;
    let (cancels, looks) = (scene.cancels(), scene.looks());
    assert_eq!((cancels.len(), looks.len()), (1, 1));
    assert_not_before(&looks[0], &cancels[0], 100);
    scene.assert_nothing_leaked().await;
}
