//! One resource's trouble is its own.

use serde_json::json;

use crate::{
    api_server::{CANCELLATIONS, NAMESPACE},
    clock::pass,
    operator::{Bench, hours, minutes, seconds},
};

#[tokio::test(start_paused = true)]
async fn a_panic_costs_its_own_resource_a_retry_and_nobody_else_anything() {
    let mut bench = Bench::new();
    let (unlucky, lucky) = (bench.job(1), bench.job(2));
    bench
        .panics
        .lock()
        .unwrap()
        .insert(unlucky.job_instance_id, 1);
    bench.cancel("unlucky", unlucky, json!({}));
    bench.cancel("lucky", lucky, json!({}));
    bench.start();
    bench.ended("lucky", minutes(2)).await;
    assert_eq!(bench.server.writes_of("lucky").len(), 3);
    bench.ended("unlucky", minutes(10)).await;
    assert_eq!(bench.ready("unlucky"), "True JobCancelled");
    assert_eq!(bench.panics.lock().unwrap()[&unlucky.job_instance_id], 0);
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_panics_each_time_is_tried_ever_more_slowly() {
    let mut bench = Bench::new();
    let unlucky = bench.job(1);
    bench
        .panics
        .lock()
        .unwrap()
        .insert(unlucky.job_instance_id, usize::MAX);
    bench.cancel("unlucky", unlucky, json!({"activeDeadlineSeconds": 86_400}));
    bench.start();
    pass(hours(1)).await;
    let left = bench.panics.lock().unwrap().drain().next().unwrap().1;
    let panics = usize::MAX - left;
    assert!(
        (40..=80).contains(&panics),
        "about once a minute, not {panics} times in an hour"
    );
    bench.ended("unlucky", minutes(10)).await;
    assert_eq!(bench.ready("unlucky"), "True JobCancelled");
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_cannot_be_decoded_ends_alone_as_invalid_spec_without_a_storm() {
    let mut bench = Bench::new();
    bench.server.create(
        &CANCELLATIONS,
        json!({
            "metadata": {"name": "odd", "namespace": NAMESPACE},
            "spec": {"workspaceId": 7, "activeDeadlineSeconds": "soon"},
        }),
    );
    let job = bench.job(1);
    bench.cancel("fine", job, json!({}));
    bench.start();
    bench.ended("fine", minutes(2)).await;
    assert_eq!(bench.ready("fine"), "True JobCancelled");
    bench.ended("odd", seconds(1)).await;
    assert_eq!(bench.ready("odd"), "False InvalidSpec");
    assert_eq!(bench.condition("odd", "Stalled"), "True InvalidSpec");
    pass(hours(24)).await;
    assert_eq!(bench.server.writes_of("odd").len(), 1);
    assert!(bench.server.reads_of("odd").len() <= 2);
}

#[tokio::test(start_paused = true)]
async fn ids_that_are_no_uuids_end_as_invalid_spec_and_never_reach_a_url() {
    let mut bench = Bench::new();
    bench.server.create(
        &CANCELLATIONS,
        json!({
            "metadata": {"name": "odd", "namespace": NAMESPACE},
            "spec": {"workspaceId": "../..", "itemId": "x", "jobInstanceId": "y"},
        }),
    );
    bench.start();
    bench.ended("odd", minutes(1)).await;
    assert_eq!(bench.ready("odd"), "False InvalidSpec");
    pass(hours(1)).await;
    assert_eq!(bench.calls(), []);
    assert_eq!(bench.server.writes_of("odd").len(), 1);
}
