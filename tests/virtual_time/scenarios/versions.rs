//! What another version of the operator stored, in the middle of its work, is carried on.

use std::collections::HashSet;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};

use virtual_cluster::{
    api_server::{NAMESPACE, Schema},
    clock::pass,
    operator::{Bench, hours},
};

use super::restored::{carried_on, lives, slow, statuses};

/// One status of each kind, as the first version stored them on this bench (commit 2dbc403).
const FIRST_VERSION: &str = include_str!("../stored/first_version.jsonl");

/// Some hours after everything that is stored.
async fn later() -> Bench {
    let bench = slow().await;
    pass(hours(3)).await;
    bench
}

#[tokio::test(start_paused = true)]
async fn what_the_first_version_stored_is_carried_on_from_each_state() {
    let mut kinds = 0;
    for (number, line) in FIRST_VERSION.lines().enumerate() {
        let status: Value = serde_json::from_str(line).expect("a line is JSON");
        let mut object = json!({"status": status});
        Schema::shipped().settle(&mut object);
        assert_eq!(object["status"], status, "a field of line {number} is gone");
        carried_on(&format!("line {number}"), &status, later).await;
        kinds += 1;
    }
    assert!(kinds >= 20, "only {kinds} kinds");
}

/// What makes a status another one: its conditions, and whether it was asked for at all.
fn kind(status: &Value) -> Vec<String> {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let mut kind: Vec<_> = conditions
        .map(|it| format!("{} {} {}", it["type"], it["status"], it["reason"]))
        .collect();
    kind.push((status["attempts"] == 0).to_string());
    kind
}

/// What a later version may have added: a field beside ours and within, a condition, words.
fn of_a_newer_version(mut status: Value) -> Value {
    status["drainedTime"] = json!("2026-01-05T08:00:00Z");
    if status["job"].is_object() {
        status["job"]["progress"] = json!("half");
    }
    let working = !status["completionTime"].is_string();
    if working && status["identity"].is_object() {
        status["identity"]["source"] = json!("Workload");
    }
    let conditions = status["conditions"].as_array_mut().expect("conditions");
    for condition in &mut *conditions {
        let kind = condition["type"].as_str().unwrap_or_default();
        if working && ["Ready", "Reconciling", "Stalled"].contains(&kind) {
            condition["reason"] = json!("AwaitingMoonrise");
        }
    }
    conditions.push(json!({
        "type": "Audited",
        "status": "True",
        "reason": "Written",
        "message": "",
        "lastTransitionTime": "2026-01-05T08:00:00Z",
    }));
    status
}

/// Under the newer version's CRD, which an administrator who goes back leaves in place.
async fn under_the_newer_crd() -> Bench {
    let bench = later().await;
    let text = json!({"type": "string"});
    let schema = Schema::shipped()
        .with_status_field("/drainedTime", text.clone())
        .with_status_field("/job/progress", text);
    bench.server.install(Some(schema));
    bench
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_version_stored_is_carried_on_from_each_state() {
    let mut kinds = HashSet::new();
    for (life, spec, rules) in lives() {
        for (number, status) in statuses(&spec, rules).await.into_iter().enumerate() {
            if !kinds.insert(kind(&status)) {
                continue;
            }
            let status = of_a_newer_version(status);
            let what = format!("{life}, status {number}");
            carried_on(&what, &status, under_the_newer_crd).await;
        }
    }
    assert!(kinds.len() >= 12, "only {} kinds", kinds.len());
}

#[tokio::test(start_paused = true)]
async fn a_condition_of_a_newer_version_stays_where_it_stood() {
    let mut bench = under_the_newer_crd().await;
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    // As that version writes: under the same name as this one, so that each owns what it wrote.
    let kind = GroupVersionKind::gvk("fabricjobs.dev", "v1alpha1", "FabricJobCancellation");
    let client = bench.server.client("the newer version");
    let api: Api<DynamicObject> =
        Api::namespaced_with(client, NAMESPACE, &ApiResource::from_gvk(&kind));
    let newer = of_a_newer_version(json!({"conditions": []}));
    let newer = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "status": newer});
    let how = PatchParams::apply("fabric-job-operator").force();
    api.patch_status("a", &how, &Patch::Apply(&newer))
        .await
        .expect("it can be written");
    assert_eq!(bench.condition("a", "Audited"), "True Written");

    bench.start();
    bench.ended("a", hours(1)).await;
    assert_eq!(bench.ready("a"), "True JobCancelled");
    assert_eq!(bench.condition("a", "Audited"), "True Written");
}
