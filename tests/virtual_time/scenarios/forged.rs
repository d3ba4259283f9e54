//! A status written by hand, by somebody with the right to: he may stop or end his own resource,
//! and nothing else.

use fabric_simulator::Route;
use serde_json::{Value, json};

use virtual_cluster::{
    clock::pass,
    operator::{Bench, hours, minutes, seconds},
};

/// What somebody may write, each on its own over what is there.
fn forgeries() -> Vec<(&'static str, Value)> {
    let condition = |type_: &str, status: &str, reason: &str| {
        json!({"type": type_, "status": status, "reason": reason, "message": "Forged.",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-05T07:00:00Z"})
    };
    let other = json!({"source": "Operator", "name": "stolen",
        "tenantId": "99999999-9999-9999-9999-999999999999",
        "clientId": "99999999-9999-9999-9999-999999999999"});
    let many: Vec<_> = (0..200)
        .map(|n| condition(&format!("Odd{n}"), "Maybe", "NoSuchReason"))
        .collect();
    vec![
        ("a negative count", json!({"attempts": -5})),
        ("the largest count", json!({"attempts": i32::MAX})),
        ("a few attempts", json!({"attempts": 3})),
        (
            "an acceptance",
            json!({"acceptedTime": "2026-01-05T07:59:00Z"}),
        ),
        (
            "an acceptance to come",
            json!({"acceptedTime": "9999-12-30T00:00:00Z", "attempts": 1}),
        ),
        (
            "a request long ago",
            json!({"requestTime": "0001-01-01T00:00:00Z", "attempts": 1}),
        ),
        (
            "a start to come",
            json!({"startTime": "9999-12-30T00:00:00Z"}),
        ),
        (
            "a start long ago",
            json!({"startTime": "0001-01-01T00:00:00Z"}),
        ),
        (
            "a wait without end",
            json!({"notBeforeTime": "9999-12-30T00:00:00Z"}),
        ),
        ("an identity", json!({"identity": other, "attempts": 1})),
        (
            "a place",
            json!({"location": "https://evil.example/v1/", "attempts": 1}),
        ),
        ("a job that ended", json!({"job": {"status": "Cancelled"}})),
        (
            "a job that is odd",
            json!({"job": {"status": "\u{0}\u{1b}[31m".repeat(500)}}),
        ),
        (
            "a success without an end",
            json!({"conditions": [condition("Ready", "True", "JobCancelled"),
                condition("Accepted", "True", "CancelAccepted"),
                condition("Cancelled", "True", "JobCancelled")]}),
        ),
        (
            "no need",
            json!({"attempts": 1, "conditions": [condition("Ready", "Unknown", "Pending"),
                condition("Accepted", "False", "NotNeeded"),
                condition("Cancelled", "Unknown", "WaitingForCancellation")]}),
        ),
        (
            "a missing job",
            json!({"conditions": [condition("Ready", "Unknown", "JobNotFound"),
                condition("Accepted", "Unknown", "Pending"),
                condition("Cancelled", "Unknown", "JobNotFound")]}),
        ),
        ("many conditions", json!({"conditions": many})),
        (
            "an error to come",
            json!({"lastError": {"code": "X".repeat(4096), "message": "\u{202e}", "httpStatus": -1,
                "time": "9999-12-30T00:00:00Z"}}),
        ),
        (
            "an end",
            json!({"completionTime": "2026-01-05T07:59:00Z",
                "conditions": [condition("Ready", "True", "JobCancelled")]}),
        ),
        (
            "a bare end",
            json!({"completionTime": "9999-12-30T00:00:00Z"}),
        ),
        (
            "other fields",
            json!({"phase": "Done", "observedGeneration": 77}),
        ),
    ]
}

fn forge(bench: &Bench, name: &str, forgery: &Value) {
    bench.server.edit_status(name, |object| {
        if !object["status"].is_object() {
            object["status"] = json!({});
        }
        for (field, value) in forgery.as_object().expect("fields") {
            object["status"][field] = value.clone();
        }
    });
}

/// The truth, or what the forger himself wrote; and nobody else's identity, and no panic.
fn check(bench: &Bench, name: &str, what: &str, forgery: &Value) {
    let metrics = bench.metrics();
    assert!(
        metrics.contains("reconcile_panics_total{controller=\"fabricjobcancellation\"} 0"),
        "{what}: a panic"
    );
    for cancel in bench.fabric.requests(Route::Cancel) {
        assert_eq!(cancel.status, Some(202), "{what}: {cancel:#?}");
    }
    assert!(bench.has_ended(name), "{what}: {:#}", bench.status(name));
    let said_cancelled = bench.condition(name, "Cancelled").starts_with("True");
    let ended_by_hand = forgery["completionTime"].is_string();
    let looks = bench.fabric.requests(Route::Job).len();
    assert!(
        !said_cancelled || ended_by_hand || looks > 0,
        "{what}: cancelled without a look"
    );
}

#[tokio::test(start_paused = true)]
async fn before_the_operator_starts_it_harms_its_author_at_most() {
    for (what, forgery) in forgeries() {
        let mut bench = Bench::new();
        let job = bench.job(1);
        bench.cancel("a", job, json!({}));
        forge(&bench, "a", &forgery);
        bench.start();
        pass(hours(3)).await;
        check(&bench, "a", what, &forgery);
        assert!(bench.cancels(job).len() <= 3, "{what}: at most two repeats");
        if forgery["completionTime"].is_string() {
            assert_eq!(bench.calls(), [], "{what}: an end is not acted on");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_the_middle_of_the_work_it_harms_its_author_at_most() {
    for (what, forgery) in forgeries() {
        let mut bench = Bench::new();
        let job = bench.job(1);
        bench.cancel("a", job, json!({}));
        bench.start();
        bench
            .wait(minutes(1), "accepted", || {
                bench.condition("a", "Accepted") == "True CancelAccepted"
            })
            .await;
        forge(&bench, "a", &forgery);
        pass(seconds(20)).await;
        forge(&bench, "a", &forgery);
        pass(hours(3)).await;
        check(&bench, "a", what, &forgery);
        assert_eq!(
            bench.cancels(job).len(),
            1,
            "{what}: accepted is not forgotten"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn written_again_and_again_it_costs_one_answer_each_and_the_truth_comes_out() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    bench.start();
    pass(seconds(2)).await;
    for round in 0..120 {
        forge(
            &bench,
            "a",
            &json!({"attempts": round % 3, "acceptedTime": null}),
        );
        pass(seconds(1)).await;
    }
    pass(hours(2)).await;
    assert_eq!(bench.ready("a"), "True JobCancelled");
    assert_eq!(bench.cancels(job).len(), 1);
    let writes = bench.server.writes_of("a").len();
    assert!(writes <= 3 + 120 * 2, "{writes} writes");
}
