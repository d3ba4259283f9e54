//! An object restored from a backup, with every status that a cancellation ever shows.

use std::time::Duration;

use fabric_simulator::{Answer, JobStatus, Route, Rule};
use serde_json::{Value, json};

use virtual_cluster::{
    clock::pass,
    operator::{Bench, hours, minutes},
};

/// What a cancellation lives through, with its name.
pub fn lives() -> Vec<(&'static str, Value, Vec<Rule>)> {
    let refused = |status, code: &str| Answer::error(status, code);
    vec![
        ("plain", json!({}), vec![]),
        (
            "throttled",
            json!({}),
            vec![Rule::on(Route::Cancel).answer(Answer::throttled(Some(60)))],
        ),
        (
            "forbidden until it stalled",
            json!({}),
            vec![
                Rule::on(Route::Cancel)
                    .times(5)
                    .answer(refused(403, "InsufficientPrivileges")),
            ],
        ),
        (
            "its answer lost",
            json!({}),
            vec![Rule::on(Route::Cancel).drop_after_processing()],
        ),
        (
            "already over, as Fabric says too early",
            json!({}),
            vec![
                Rule::on(Route::Cancel)
                    .answer_after_processing(refused(400, "JobAlreadyCompleted")),
            ],
        ),
        (
            "missing once",
            json!({}),
            vec![Rule::on(Route::Cancel).answer(refused(404, "JobInstanceNotFound"))],
        ),
        ("suspended for ever", json!({"suspend": true}), vec![]),
        (
            "given up",
            json!({"activeDeadlineSeconds": 60}),
            vec![
                Rule::on_routes(Route::FABRIC)
                    .until_removed()
                    .answer(refused(500, "UnknownError")),
            ],
        ),
    ]
}

/// Every status that is stored in such a life, the first (none) left out.
pub async fn statuses(spec: &Value, rules: Vec<Rule>) -> Vec<Value> {
    let mut bench = slow().await;
    for rule in rules {
        bench.fabric.script(rule);
    }
    let job = bench.job(1);
    bench.cancel("a", job, spec.clone());
    bench.start();
    pass(hours(2)).await;
    let history = bench.server.history("a").into_iter();
    history
        .map(|event| event.object["status"].clone())
        .filter(|status| status["conditions"].is_array())
        .collect()
}

/// A Fabric that takes its time. Asynchronous as other ways to a bench are, which let time pass.
pub async fn slow() -> Bench {
    Bench::with(fabric_simulator::Settings {
        cancel_takes: Duration::from_secs(90),
        ..fabric_simulator::Settings::default()
    })
}

#[tokio::test(start_paused = true)]
async fn an_end_stays_and_everything_else_comes_to_the_truth_by_looks() {
    let mut restored = 0;
    for (life, spec, rules) in lives() {
        for (number, status) in statuses(&spec, rules).await.into_iter().enumerate() {
            restored += 1;
            carried_on(&format!("{life}, status {number}"), &status, slow).await;
        }
    }
    assert!(restored >= 20, "only {restored} restores");
}

/// A resource with this status comes to the truth, however its job stands.
pub async fn carried_on(what: &str, status: &Value, bench: impl AsyncFn() -> Bench) {
    for now in [
        JobStatus::InProgress,
        JobStatus::Cancelled,
        JobStatus::Completed,
    ] {
        let what = format!("{what}, the job is {now:?}");
        let mut bench = bench().await;
        let job = bench.job(1);
        bench
            .fabric
            .set_job_status(job.job_instance_id, now.clone());
        bench.cancel("a", job, json!({"activeDeadlineSeconds": 86_400}));
        bench
            .server
            .edit_status("a", |object| object["status"] = status.clone());
        assert_eq!(bench.status("a"), *status, "{what}: not stored as it was");
        bench.start();
        pass(hours(1)).await;
        let ready = bench.ready("a");
        if status["completionTime"].is_string() {
            assert_eq!(bench.calls(), [], "{what}");
            assert_eq!(bench.status("a"), *status, "{what}");
            continue;
        }
        let processed = bench.fabric.processed_cancels(job.job_instance_id);
        let not_needed = status["conditions"].to_string().contains("NotNeeded");
        match now {
            // Fabric itself had said that it is over: only looks follow, to the deadline.
            JobStatus::InProgress if not_needed => {
                assert_eq!(ready, "Unknown WaitingForCancellation", "{what}");
                assert_eq!(processed, 0, "{what}");
                continue;
            }
            JobStatus::InProgress => {
                assert!(
                    ["True JobCancelled", "True JobAlreadyCancelled"].contains(&ready.as_str()),
                    "{what}: {ready}"
                );
                assert_eq!(processed, 1, "{what}");
            }
            JobStatus::Cancelled => {
                assert!(ready.ends_with("Cancelled"), "{what}: {ready}");
                assert_eq!(processed, 0, "{what}");
            }
            _ => {
                assert!(
                    ["True JobAlreadyFinished", "True JobEndedOtherwise"].contains(&ready.as_str()),
                    "{what}: {ready}"
                );
                assert!(
                    bench.condition("a", "Cancelled").starts_with("False"),
                    "{what}"
                );
            }
        }
        // And then nothing more.
        let (calls, version) = (bench.calls().len(), bench.resource_version("a"));
        pass(minutes(60)).await;
        assert_eq!(bench.calls().len(), calls, "{what}");
        assert_eq!(bench.resource_version("a"), version, "{what}");
    }
}
