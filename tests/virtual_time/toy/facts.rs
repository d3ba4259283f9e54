//! The facts of kube-apiserver that the operator's protocol rests on, as the bench copies them.

use std::time::Duration;

use fabric_job_operator::api::FabricJobCancellation;
use http::Request;
use jiff::SignedDuration;
use kube::{
    Api, Error,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::{Value, json};

use super::controller::{cancellation, status};
use virtual_cluster::{
    api_server::{ApiServer, CANCELLATIONS, Fault, NAMESPACE, OPERATOR, Rule, Schema, Verb},
    clock::{Calendar, pass},
};

fn bench() -> (ApiServer, Api<FabricJobCancellation>) {
    let server = ApiServer::new(Calendar::new());
    server.create(&CANCELLATIONS, cancellation("a"));
    let api = Api::namespaced(server.client(OPERATOR), NAMESPACE);
    (server, api)
}

fn own() -> PatchParams {
    PatchParams::apply("fabric-job-operator").force()
}

fn guarded(version: &str, body: &Value) -> Patch<Value> {
    let Patch::Apply(mut patch) = status(body) else {
        unreachable!("status() applies")
    };
    patch["metadata"] = json!({"resourceVersion": version});
    Patch::Apply(patch)
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> u16 {
    match result {
        Err(Error::Api(status)) => status.code,
        other => panic!("expected a refusal of the server, got {other:?}"),
    }
}

fn version(object: &FabricJobCancellation) -> String {
    object
        .metadata
        .resource_version
        .clone()
        .expect("a stored object has one")
}

#[tokio::test(start_paused = true)]
async fn a_fresh_object_never_looks_finished() {
    let (_, api) = bench();
    let status = api
        .get("a")
        .await
        .unwrap()
        .status
        .expect("the schema has a default");
    assert_eq!(status.observed_generation, Some(-1));
}

#[tokio::test(start_paused = true)]
async fn a_status_write_with_a_stale_resource_version_is_a_conflict() {
    let (_, api) = bench();
    let first = version(&api.get("a").await.unwrap());
    let stored = api
        .patch_status("a", &own(), &guarded(&first, &json!({"attempts": 1})))
        .await
        .unwrap();
    assert_ne!(version(&stored), first);
    let again = api
        .patch_status("a", &own(), &guarded(&first, &json!({"attempts": 2})))
        .await;
    assert_eq!(code(again), 409);
    let next = api
        .patch_status(
            "a",
            &own(),
            &guarded(&version(&stored), &json!({"attempts": 2})),
        )
        .await
        .unwrap();
    assert_eq!(next.status.map(|status| status.attempts), Some(2));
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_apply_keeps_the_resource_version() {
    let (server, api) = bench();
    let first = api
        .patch_status("a", &own(), &status(&json!({"attempts": 1})))
        .await
        .unwrap();
    pass(Duration::from_secs(5)).await;
    let again = api
        .patch_status("a", &own(), &status(&json!({"attempts": 1})))
        .await
        .unwrap();
    assert_eq!(version(&again), version(&first));
    assert_eq!(server.history("a").len(), 2, "created, and one status");
}

#[tokio::test(start_paused = true)]
async fn a_condition_or_field_left_out_is_removed_and_those_of_others_stay() {
    let (_, api) = bench();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-05T08:00:00Z"});
    let other = json!({"conditions": [condition("Foreign")]});
    api.patch_status(
        "a",
        &PatchParams::apply("somebody").force(),
        &status(&other),
    )
    .await
    .unwrap();
    let both = json!({"conditions": [condition("Ready"), condition("Stalled")], "requestId": "1", "attempts": 1});
    api.patch_status("a", &own(), &status(&both)).await.unwrap();
    let one = json!({"conditions": [condition("Ready")], "attempts": 1});
    let left = api
        .patch_status("a", &own(), &status(&one))
        .await
        .unwrap()
        .status
        .unwrap();
    let types: Vec<_> = left
        .conditions
        .into_iter()
        .map(|condition| condition.type_)
        .collect();
    assert_eq!(types, ["Ready", "Foreign"]);
    assert_eq!((left.request_id, left.attempts), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn a_status_write_never_creates_and_changes_nothing_but_the_status() {
    let (_, api) = bench();
    assert_eq!(
        code(api.patch_status("b", &own(), &status(&json!({}))).await),
        404
    );
    let patch = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"suspend": true}, "status": {"attempts": 3}});
    let stored = api
        .patch_status("a", &PatchParams::default(), &Patch::Merge(patch.clone()))
        .await
        .unwrap();
    assert_eq!((stored.metadata.labels, stored.spec.suspend), (None, false));
    let stored = api
        .patch("a", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    assert!(stored.spec.suspend && stored.metadata.labels.is_some());
    assert_eq!(
        stored.status.map(|status| status.attempts),
        Some(3),
        "a main write leaves the status"
    );
}

#[tokio::test(start_paused = true)]
async fn only_a_changed_spec_is_a_new_generation() {
    let (server, api) = bench();
    let generation =
        || server.get(&CANCELLATIONS, "a").expect("it exists")["metadata"]["generation"].clone();
    api.patch_status("a", &own(), &status(&json!({"attempts": 1})))
        .await
        .unwrap();
    server.edit(&CANCELLATIONS, "a", |object| {
        object["metadata"]["labels"] = json!({"a": "b"})
    });
    assert_eq!(generation(), json!(1));
    server.edit(&CANCELLATIONS, "a", |object| {
        object["spec"]["suspend"] = json!(true)
    });
    assert_eq!(generation(), json!(2));
}

#[tokio::test(start_paused = true)]
async fn a_delete_with_preconditions_hits_only_that_edition() {
    let (server, api) = bench();
    let object = api.get("a").await.unwrap();
    let only = |uid: &str, version: &str| DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.into()),
            resource_version: Some(version.into()),
        }),
        ..DeleteParams::default()
    };
    let uid = object
        .metadata
        .uid
        .clone()
        .expect("a stored object has one");
    assert_eq!(
        code(api.delete("a", &only("other", &version(&object))).await),
        409
    );
    assert_eq!(code(api.delete("a", &only(&uid, "1")).await), 409);
    api.delete("a", &only(&uid, &version(&object)))
        .await
        .unwrap();
    assert_eq!(server.get(&CANCELLATIONS, "a"), None);
    let codes: Vec<_> = server
        .writes_of("a")
        .into_iter()
        .map(|entry| entry.code)
        .collect();
    assert_eq!(codes, [Some(409), Some(409), Some(200)]);
    server.create(&CANCELLATIONS, cancellation("a"));
    assert_ne!(
        api.get("a").await.unwrap().metadata.uid,
        Some(uid),
        "a re-created object is another one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_holds_a_deleted_object_until_it_is_removed() {
    let (server, api) = bench();
    server.edit(&CANCELLATIONS, "a", |object| {
        object["metadata"]["finalizers"] = json!(["x/y"])
    });
    server.delete(&CANCELLATIONS, "a");
    assert!(
        api.get("a")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    );
    server.edit(&CANCELLATIONS, "a", |object| {
        object["metadata"]["finalizers"] = json!([])
    });
    assert_eq!(code(api.get("a").await), 404);
}

#[tokio::test(start_paused = true)]
async fn an_older_crd_drops_the_fields_that_it_does_not_know() {
    let (server, api) = bench();
    server.install(Some(Schema::shipped().without_status_field("attempts")));
    let stored = api
        .patch_status(
            "a",
            &own(),
            &status(&json!({"attempts": 1, "requestId": "1"})),
        )
        .await
        .unwrap();
    let stored = stored.status.unwrap();
    assert_eq!(
        (stored.attempts, stored.request_id.as_deref()),
        (0, Some("1"))
    );
    let path = "/openapi/v3/apis/fabricjobs.dev/v1alpha1";
    let document: Value = server
        .client(OPERATOR)
        .request(Request::get(path).body(vec![]).unwrap())
        .await
        .unwrap();
    let fields = &document["components"]["schemas"]["dev.fabricjobs.v1alpha1.FabricJobCancellation"]
        ["properties"]["status"]["properties"];
    assert!(fields.get("requestId").is_some() && fields.get("attempts").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_leaves_the_write_done_and_a_hanging_one_undone() {
    let (server, api) = bench();
    let path = "fabricjobcancellations/status";
    server.inject(Rule::on(Verb::Patch, path, Fault::LoseAnswer).named("a"));
    let lost = api
        .patch_status("a", &own(), &status(&json!({"attempts": 1})))
        .await;
    assert!(matches!(lost, Err(Error::Service(_))), "{lost:?}");
    assert_eq!(api.get("a").await.unwrap().status.unwrap().attempts, 1);

    server.inject(Rule::on(Verb::Patch, path, Fault::Hang).always());
    let body = status(&json!({"attempts": 2}));
    let parameters = own();
    let hanging = api.patch_status("a", &parameters, &body);
    assert!(
        tokio::time::timeout(Duration::from_secs(3600), hanging)
            .await
            .is_err()
    );
    assert_eq!(api.get("a").await.unwrap().status.unwrap().attempts, 1);

    server.heal();
    server.inject(Rule::on(Verb::Patch, path, Fault::Delay(Duration::from_secs(7))).times(1));
    api.patch_status("a", &own(), &body).await.unwrap();
    let last = server.history("a").pop().expect("it has a history");
    assert_eq!(last.object["status"]["attempts"], json!(2));
    assert_eq!(
        last.time,
        virtual_cluster::clock::START
            .parse::<jiff::Timestamp>()
            .unwrap()
            + SignedDuration::from_secs(3607)
    );
}

#[tokio::test(start_paused = true)]
async fn the_date_header_shows_the_servers_own_clock() {
    let (server, _) = bench();
    server.skew_date(SignedDuration::from_hours(-1));
    let request = Request::get("/version")
        .body(kube::client::Body::empty())
        .unwrap();
    let answer = server.client(OPERATOR).send(request).await.unwrap();
    assert_eq!(answer.headers()["date"], "Mon, 05 Jan 2026 07:00:00 GMT");
}
