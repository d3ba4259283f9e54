//! What a cancellation costs, and that an ended one costs nothing.

use fabric_simulator::Route;
use serde_json::json;

use virtual_cluster::{
    api_server::{CANCELLATIONS, Change, EVENTS, Verb},
    clock::pass,
    operator::{Bench, hours, minutes, seconds},
};

#[tokio::test(start_paused = true)]
async fn a_cancellation_without_trouble_costs_three_writes_no_read_and_one_post() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    bench.start();
    bench.ended("a", minutes(5)).await;
    assert_eq!(bench.ready("a"), "True JobCancelled");
    assert_eq!(bench.condition("a", "Cancelled"), "True JobCancelled");
    assert_eq!((bench.cancels(job), bench.looks(job)), (vec![0], vec![60]));
    assert_eq!(
        bench.server.writes_of("a").len(),
        3,
        "{:#?}",
        bench.server.writes_of("a")
    );
    assert_eq!(bench.server.reads_of("a").len(), 0);
    let events = bench.server.list(&EVENTS);
    let reasons: Vec<_> = events.iter().map(|event| event["reason"].clone()).collect();
    assert!(
        reasons.len() == 2
            && reasons.contains(&json!("CancelAccepted"))
            && reasons.contains(&json!("JobCancelled")),
        "{reasons:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_day_after_the_end_nothing_was_asked_and_nothing_written() {
    let mut bench = Bench::new();
    for number in 0..5 {
        let job = bench.job(number);
        bench.cancel(&format!("a{number}"), job, json!({}));
    }
    bench.start();
    bench.ended("a4", minutes(5)).await;
    pass(minutes(5)).await;
    let versions = || {
        (0..5)
            .map(|n| bench.resource_version(&format!("a{n}")))
            .collect::<Vec<_>>()
    };
    let requests = || {
        bench
            .server
            .ledger()
            .iter()
            .filter(|entry| entry.verb != Verb::Watch)
            .count()
    };
    let before = (versions(), requests(), bench.fabric.ledger().len());
    pass(hours(24)).await;
    assert_eq!(
        (versions(), requests(), bench.fabric.ledger().len()),
        before
    );
}

#[tokio::test(start_paused = true)]
async fn a_finished_resource_is_deleted_when_its_time_is_up_and_only_that_edition() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({"ttlSecondsAfterFinished": 3600}));
    bench.start();
    bench.ended("a", minutes(5)).await;
    let ended = bench.calendar.elapsed();
    let exists = || bench.server.get(&CANCELLATIONS, "a").is_some();
    pass(seconds(3590)).await;
    assert!(exists());
    bench.wait(seconds(20), "a is deleted", || !exists()).await;
    assert!(bench.calendar.elapsed() - ended >= seconds(3599));
    let last = bench.server.history("a").pop().expect("it has a history");
    assert_eq!(last.change, Change::Deleted);
    assert_eq!(
        bench.server.reads_of("a").len(),
        1,
        "it is read once more just before"
    );
    assert_eq!(bench.cancels(job).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_it_deleted_itself_is_not_begun_again_by_a_cache_that_is_behind() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    // So the editions before the end are seen when the resource is gone.
    bench.server.lag_watches(seconds(100));
    bench.cancel("a", job, json!({"ttlSecondsAfterFinished": 0}));
    bench.start();
    let exists = || bench.server.get(&CANCELLATIONS, "a").is_some();
    bench.wait(minutes(5), "a is deleted", || !exists()).await;
    let asked = (bench.cancels(job), bench.looks(job));
    pass(hours(1)).await;
    assert_eq!((bench.cancels(job), bench.looks(job)), asked);
}

#[tokio::test(start_paused = true)]
async fn a_finished_resource_edited_in_the_last_moment_is_not_deleted() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({"ttlSecondsAfterFinished": 3600}));
    bench.start();
    bench.ended("a", minutes(5)).await;
    pass(minutes(30)).await;
    // The operator does not see the edit, and finds out by itself.
    bench.server.freeze_watches(true);
    bench.server.edit(&CANCELLATIONS, "a", |object| {
        object["spec"]
            .as_object_mut()
            .unwrap()
            .remove("ttlSecondsAfterFinished");
    });
    pass(hours(3)).await;
    assert!(bench.server.get(&CANCELLATIONS, "a").is_some());
    let deletes = bench
        .server
        .writes_of("a")
        .into_iter()
        .filter(|entry| entry.verb == Verb::Delete);
    assert_eq!(deletes.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_edited_knob_costs_one_write_of_the_observed_generation_in_any_state() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    bench.start();
    pass(seconds(30)).await;
    let writes = bench.server.writes_of("a").len();
    bench.server.edit(&CANCELLATIONS, "a", |object| {
        object["spec"]["activeDeadlineSeconds"] = json!(7200)
    });
    pass(seconds(1)).await;
    assert_eq!(bench.status("a")["observedGeneration"], json!(2));
    assert_eq!(bench.server.writes_of("a").len(), writes + 1);
    bench.ended("a", minutes(5)).await;
    pass(minutes(1)).await;
    let (writes, end) = (
        bench.server.writes_of("a").len(),
        bench.status("a")["completionTime"].clone(),
    );
    bench.server.edit(&CANCELLATIONS, "a", |object| {
        object["spec"]["activeDeadlineSeconds"] = json!(100)
    });
    pass(minutes(10)).await;
    assert_eq!(bench.status("a")["observedGeneration"], json!(3));
    assert_eq!(bench.server.writes_of("a").len(), writes + 1);
    assert_eq!(
        (
            bench.status("a")["completionTime"].clone(),
            bench.fabric.requests(Route::Job).len()
        ),
        (end, 1)
    );
}
