//! One resource's trouble is its own.

use std::collections::BTreeSet;

use fabric_simulator::JobRef;
use serde_json::json;

use virtual_cluster::{
    api_server::{CANCELLATIONS, EVENTS, Fault, NAMESPACE, Rule as Trouble, SECRETS, Verb},
    clock::pass,
    operator::{Bench, hours, minutes, seconds},
};

#[tokio::test(start_paused = true)]
async fn secrets_of_one_name_in_two_namespaces_are_two_identities_and_serve_no_third() {
    let mut bench = Bench::new();
    let name = "fabric-credentials";
    let theirs = bench.add_identity_in("default", name, 7).client_id;
    let stored = bench.server.get(&SECRETS, name).expect("the bench has one");
    assert_eq!(stored["metadata"]["namespace"], NAMESPACE);
    let jobs = [bench.job(1), bench.job(2), bench.job(3)];
    bench.cancel("a", jobs[0], json!({}));
    bench.cancel_in("default", "b", jobs[1], json!({}));
    bench.cancel_in("without-a-secret", "c", jobs[2], json!({}));
    bench.start();
    bench.ended("a", minutes(5)).await;
    pass(minutes(5)).await;

    let callers = |job: JobRef| -> BTreeSet<String> {
        let id = Some(job.job_instance_id.to_string());
        let calls = bench.calls().into_iter();
        let its = calls.filter(|call| call.job_instance_id == id);
        its.filter_map(|call| Some(call.identity?.client_id))
            .collect()
    };
    let ours = callers(jobs[0]);
    assert!(ours.len() == 1 && !ours.contains(&theirs), "{ours:?}");
    assert_eq!(callers(jobs[1]), BTreeSet::from([theirs]));
    assert_eq!(callers(jobs[2]), BTreeSet::new(), "nobody's is anybody's");
}

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
async fn an_end_as_invalid_spec_never_lands_on_an_object_created_anew_under_that_name() {
    let mut bench = Bench::new();
    let metadata = json!({"name": "odd", "namespace": NAMESPACE});
    let odd = json!({"metadata": metadata, "spec": {"workspaceId": 7}});
    bench.server.create(&CANCELLATIONS, odd);
    let late = Trouble::on(
        Verb::Get,
        "fabricjobcancellations",
        Fault::Delay(seconds(5)),
    );
    bench.server.inject(late.named("odd"));
    bench.start();
    bench
        .wait(minutes(1), "it is read", || {
            !bench.server.reads_of("odd").is_empty()
        })
        .await;
    bench.server.delete(&CANCELLATIONS, "odd");
    bench.cancel("odd", bench.job(1), json!({}));
    bench.ended("odd", minutes(5)).await;
    assert_eq!(bench.ready("odd"), "True JobCancelled");
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

#[tokio::test(start_paused = true)]
async fn an_invalid_spec_is_announced_once_and_its_knobs_and_labels_are_followed() {
    let mut bench = Bench::new();
    let rows = [
        ("undecodable", json!({"workspaceId": 7})),
        (
            "malformed",
            json!({"workspaceId": "../..", "itemId": "x", "jobInstanceId": "y"}),
        ),
    ];
    for (name, spec) in &rows {
        bench.server.create(
            &CANCELLATIONS,
            json!({"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}),
        );
    }
    bench.start();
    for (name, _) in &rows {
        bench.ended(name, minutes(1)).await;
        let ready = bench.status(name)["conditions"].clone();
        let ended = bench.status(name)["completionTime"].clone();
        bench.server.edit(&CANCELLATIONS, name, |object| {
            object["spec"]["activeDeadlineSeconds"] = json!(7200)
        });
        pass(minutes(1)).await;
        let status = bench.status(name);
        assert_eq!(status["observedGeneration"], json!(2), "{name}");
        assert_eq!(status["completionTime"], ended, "{name}");
        assert_eq!(
            status["conditions"][0]["message"], ready[0]["message"],
            "{name}"
        );
        assert_eq!(bench.server.writes_of(name).len(), 2, "{name}");
        let reads = bench.server.reads_of(name).len();
        for value in 0..20 {
            bench.label(name, &value.to_string());
            pass(seconds(1)).await;
        }
        assert_eq!(bench.server.writes_of(name).len(), 2, "{name}");
        if *name == "malformed" {
            assert_eq!(bench.server.reads_of(name).len(), reads);
        }
        let events = bench.server.list(&EVENTS).into_iter();
        let events: Vec<_> = events
            .filter(|event| event["regarding"]["name"] == *name)
            .collect();
        assert_eq!(events.len(), 1, "{events:#?}");
        assert_eq!(events[0]["type"], "Warning");
        assert_eq!(events[0]["reason"], "InvalidSpec");
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_spec_with_malformed_ids_is_deleted_after_its_ttl() {
    let mut bench = Bench::new();
    bench.server.create(
        &CANCELLATIONS,
        json!({
            "metadata": {"name": "odd", "namespace": NAMESPACE},
            "spec": {
                "workspaceId": "../..", "itemId": "x", "jobInstanceId": "y",
                "ttlSecondsAfterFinished": 600,
            },
        }),
    );
    bench.start();
    bench.ended("odd", minutes(1)).await;
    pass(minutes(9)).await;
    assert!(bench.has_ended("odd"));
    pass(minutes(2)).await;
    assert_eq!(bench.server.get(&CANCELLATIONS, "odd"), None);
}
