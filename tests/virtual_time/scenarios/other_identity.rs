//! A Secret that names another application while its resource is worked on: a request carries a
//! token of the identity that its own intent stored.

use fabric_simulator::{Answer, HoldPoint, JobRef, Route, Rule};
use serde_json::json;

use virtual_cluster::{
    api_server::{Fault, Rule as Trouble, SECRETS, Verb},
    clock::pass,
    operator::{Bench, minutes, seconds},
};

/// The Secret in use names this application from now on.
fn name_another(bench: &Bench) -> String {
    let other = bench.add_identity("other", 7).client_id;
    let secret = bench.server.get(&SECRETS, "other");
    let data = secret.expect("it was just created")["data"].take();
    bench.server.edit(&SECRETS, "fabric-credentials", |secret| {
        secret["data"] = data;
    });
    other
}

/// Whose tokens the cancel requests for this job carried.
fn senders(bench: &Bench, job: JobRef) -> Vec<String> {
    let id = Some(job.job_instance_id.to_string());
    let requests = bench.fabric.requests(Route::Cancel).into_iter();
    let its = requests.filter(|request| request.job_instance_id == id);
    its.filter_map(|request| Some(request.identity?.client_id))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn after_a_401_another_identity_needs_an_intent_of_its_own() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    let post = bench.fabric.script(
        Rule::on(Route::Cancel)
            .hold(HoldPoint::BeforeProcessing)
            .answer(Answer::error(401, "TokenExpired")),
    );
    bench.start();
    post.wait_for_arrivals(1, minutes(1))
        .await
        .expect("it arrives");
    let other = name_another(&bench);
    post.release();
    bench.ended("a", minutes(10)).await;
    let status = bench.status("a");
    assert_eq!(status["attempts"], json!(2), "another intent");
    assert_eq!(status["identity"]["clientId"], json!(other));
    let senders = senders(&bench, job);
    assert_ne!(senders[0], other);
    assert_eq!(senders[1..], [other]);
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_changes_while_the_intent_is_written_does_not_send_under_it() {
    let mut bench = Bench::new();
    let first = bench.job(1);
    bench.cancel("first", first, json!({}));
    bench.start();
    // A Secret in use is read again after five minutes: that is while the intent is written.
    pass(seconds(298)).await;
    name_another(&bench);
    let status = "fabricjobcancellations/status";
    let late = Trouble::on(Verb::Patch, status, Fault::Delay(seconds(5)));
    bench.server.inject(late.named("a"));
    let job = bench.job(2);
    bench.cancel("a", job, json!({}));
    bench.ended("a", minutes(5)).await;
    assert_eq!(senders(&bench, job), senders(&bench, first));
}
