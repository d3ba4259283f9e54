//! The facts about server-side apply on the status that the operator's write protocol rests on.

use control_plane::{ControlPlane, Suite};
use fabric_job_operator::api::{
    FabricJobCancellation, FabricJobCancellationSpec, FabricJobCancellationStatus, conditions,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::installed;

/// Adds these tests.
pub fn tests(suite: Suite) -> Suite {
    suite
        .test(
            "a_status_applied_with_a_stale_resource_version_is_a_conflict",
            stale_is_a_conflict,
        )
        .test(
            "a_status_applied_to_a_deleted_object_is_not_found",
            deleted_is_not_found,
        )
        .test(
            "a_status_applied_to_a_re_created_object_is_a_conflict",
            re_created_is_a_conflict,
        )
        .test(
            "an_applied_uid_is_not_what_protects_a_re_created_object",
            a_uid_alone,
        )
        .test(
            "an_unchanged_status_keeps_its_resource_version",
            unchanged_keeps_its_version,
        )
        .test(
            "a_condition_left_out_is_removed",
            a_condition_left_out_is_removed,
        )
        .test(
            "a_condition_added_later_takes_its_place_in_the_order",
            a_condition_added_later_takes_its_place,
        )
        .test("a_field_left_out_is_removed", a_field_left_out_is_removed)
        .test(
            "a_condition_of_another_manager_stays",
            a_condition_of_another_manager_stays,
        )
        .test(
            "an_applied_status_is_answered_as_it_was_sent",
            answered_as_it_was_sent,
        )
        .test(
            "an_edited_label_makes_the_version_stale",
            an_edited_label_makes_the_version_stale,
        )
}

async fn stale_is_a_conflict(plane: &ControlPlane) {
    let api = api(plane).await;
    let first = created(&api, "stale").await;
    let second = apply(&api, &first, &status(1))
        .await
        .expect("the first write is taken");
    assert_ne!(version(&first), version(&second));
    assert_eq!(
        apply(&api, &first, &status(2))
            .await
            .expect_err("the version is stale"),
        409
    );
    let third = apply(&api, &second, &status(2))
        .await
        .expect("the answer's version is good");
    assert_eq!(third.status.expect("a status").attempts, 2);
}

async fn deleted_is_not_found(plane: &ControlPlane) {
    let api = api(plane).await;
    let object = created(&api, "deleted").await;
    api.delete("deleted", &DeleteParams::default())
        .await
        .expect("it can be deleted");
    assert_eq!(
        apply(&api, &object, &status(1))
            .await
            .expect_err("it is gone"),
        404
    );
    assert!(
        api.get_opt("deleted")
            .await
            .expect("a read works")
            .is_none(),
        "nothing was created"
    );
}

async fn re_created_is_a_conflict(plane: &ControlPlane) {
    let api = api(plane).await;
    let old = created(&api, "again").await;
    api.delete("again", &DeleteParams::default())
        .await
        .expect("it can be deleted");
    let new = created(&api, "again").await;
    assert_eq!(
        apply(&api, &old, &status(1))
            .await
            .expect_err("it is another object"),
        409
    );
    assert_eq!(
        version(&api.get("again").await.expect("a read works")),
        version(&new)
    );
}

/// Why the protocol sends the resourceVersion: a wrong uid alone would be written through.
async fn a_uid_alone(plane: &ControlPlane) {
    let api = api(plane).await;
    created(&api, "uid").await;
    let mut body = body(&status(1));
    body["metadata"] = json!({"uid": "11111111-2222-3333-4444-555555555555"});
    let answer = api
        .patch_status("uid", &operator(), &Patch::Apply(&body))
        .await;
    assert!(
        answer.is_ok(),
        "the uid is checked after all, the protocol may use it: {answer:?}"
    );
}

async fn unchanged_keeps_its_version(plane: &ControlPlane) {
    let api = api(plane).await;
    let object = created(&api, "unchanged").await;
    let first = apply(&api, &object, &status(1))
        .await
        .expect("the first write is taken");
    let second = apply(&api, &first, &status(1))
        .await
        .expect("the second write is taken");
    assert_eq!(version(&first), version(&second));
}

async fn a_condition_left_out_is_removed(plane: &ControlPlane) {
    let api = api(plane).await;
    let object = created(&api, "left-out").await;
    let mut stalled = status(1);
    set(&mut stalled, conditions::STALLED, conditions::Status::True);
    let first = apply(&api, &object, &stalled)
        .await
        .expect("the first write is taken");
    assert_eq!(types(&first), [conditions::READY, conditions::STALLED]);
    conditions::remove(&mut stalled.conditions, conditions::STALLED);
    let second = apply(&api, &first, &stalled)
        .await
        .expect("the second write is taken");
    assert_eq!(types(&second), [conditions::READY]);
}

/// kstatus walks the list in order, so the stored order must be ours.
async fn a_condition_added_later_takes_its_place(plane: &ControlPlane) {
    let api = api(plane).await;
    let object = created(&api, "order").await;
    let mut working = status(1);
    for type_ in [
        conditions::RECONCILING,
        conditions::ACCEPTED,
        conditions::CANCELLED,
    ] {
        set(&mut working, type_, conditions::Status::Unknown);
    }
    let first = apply(&api, &object, &working)
        .await
        .expect("the first write is taken");
    conditions::remove(&mut working.conditions, conditions::RECONCILING);
    set(&mut working, conditions::STALLED, conditions::Status::True);
    let second = apply(&api, &first, &working)
        .await
        .expect("the second write is taken");
    let expected = [
        conditions::READY,
        conditions::STALLED,
        conditions::ACCEPTED,
        conditions::CANCELLED,
    ];
    assert_eq!(types(&second), expected);
}

async fn a_field_left_out_is_removed(plane: &ControlPlane) {
    let api = api(plane).await;
    let object = created(&api, "field").await;
    let mut started = status(1);
    started.start_time = Some(now());
    let first = apply(&api, &object, &started)
        .await
        .expect("the first write is taken");
    assert_eq!(
        first
            .status
            .as_ref()
            .and_then(|status| status.start_time.clone()),
        Some(now())
    );
    started.start_time = None;
    let second = apply(&api, &first, &started)
        .await
        .expect("the second write is taken");
    assert_eq!(second.status.and_then(|status| status.start_time), None);
}

async fn a_condition_of_another_manager_stays(plane: &ControlPlane) {
    let api = api(plane).await;
    let object = created(&api, "manager").await;
    let mut foreign = FabricJobCancellationStatus::default();
    set(
        &mut foreign,
        "example.com/Approved",
        conditions::Status::True,
    );
    let mut body = body(&foreign);
    body["status"]
        .as_object_mut()
        .expect("a status")
        .remove("attempts");
    api.patch_status(
        "manager",
        &PatchParams::apply("somebody"),
        &Patch::Apply(&body),
    )
    .await
    .expect("others may add a condition");
    let current = api.get("manager").await.expect("a read works");
    assert_ne!(version(&object), version(&current));
    let answer = apply(&api, &current, &status(1))
        .await
        .expect("the write is taken");
    assert_eq!(types(&answer), ["example.com/Approved", conditions::READY]);
}

/// What the response shows counts as stored, so it must equal what was sent.
async fn answered_as_it_was_sent(plane: &ControlPlane) {
    let api = api(plane).await;
    let object = created(&api, "answered").await;
    let mut sent = status(1);
    for type_ in conditions::ORDER {
        set(&mut sent, type_, conditions::Status::Unknown);
    }
    for time in [
        &mut sent.start_time,
        &mut sent.request_time,
        &mut sent.accepted_time,
        &mut sent.completion_time,
        &mut sent.not_before_time,
    ] {
        *time = Some(now());
    }
    sent.location = Some("https://api.fabric.microsoft.com/v1/x".into());
    sent.request_id = Some("b0b9a2c3-0000-0000-0000-000000000000".into());
    let answer = apply(&api, &object, &sent)
        .await
        .expect("the write is taken");
    assert_eq!(answer.status, Some(sent));
}

async fn an_edited_label_makes_the_version_stale(plane: &ControlPlane) {
    let api = api(plane).await;
    let object = created(&api, "label").await;
    let label = json!({"metadata": {"labels": {"team": "data"}}});
    api.patch("label", &PatchParams::default(), &Patch::Merge(&label))
        .await
        .expect("labels are free");
    assert_eq!(
        apply(&api, &object, &status(1))
            .await
            .expect_err("the version is stale"),
        409
    );
}

async fn api(plane: &ControlPlane) -> Api<FabricJobCancellation> {
    installed(plane).await;
    Api::namespaced(plane.client(), "default")
}

async fn created(api: &Api<FabricJobCancellation>, name: &str) -> FabricJobCancellation {
    let spec = FabricJobCancellationSpec::new(
        "cfafbeb1-8037-4d0c-896e-a46fb27ff229",
        "431e8d7b-4a95-4c02-8ccd-6faef5ba1bd7",
        "4b218778-e7a5-4d73-8187-f10824047715",
    );
    let object = FabricJobCancellation::new(name, spec.clone());
    let created = api
        .create(&PostParams::default(), &object)
        .await
        .expect("the object is valid");
    assert_eq!(
        created.spec, spec,
        "the defaults of the type are those of the schema"
    );
    created
}

/// Writes as the operator does; an error is the HTTP status.
async fn apply(
    api: &Api<FabricJobCancellation>,
    seen: &FabricJobCancellation,
    status: &FabricJobCancellationStatus,
) -> Result<FabricJobCancellation, u16> {
    let mut body = body(status);
    body["metadata"] = json!({"resourceVersion": version(seen)});
    let name = seen.metadata.name.as_deref().expect("objects have names");
    match api
        .patch_status(name, &operator(), &Patch::Apply(&body))
        .await
    {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) => Err(status.code),
        Err(error) => panic!("apply the status of {name}: {error}"),
    }
}

fn operator() -> PatchParams {
    PatchParams::apply("fabric-job-operator").force()
}

fn body(status: &FabricJobCancellationStatus) -> Value {
    json!({"apiVersion": "fabricjobs.dev/v1alpha1", "kind": "FabricJobCancellation", "status": status})
}

fn status(attempts: i32) -> FabricJobCancellationStatus {
    let mut status = FabricJobCancellationStatus {
        observed_generation: Some(1),
        attempts,
        ..FabricJobCancellationStatus::default()
    };
    set(&mut status, conditions::READY, conditions::Status::Unknown);
    status
}

fn set(status: &mut FabricJobCancellationStatus, type_: &str, value: conditions::Status) {
    conditions::upsert(
        &mut status.conditions,
        type_,
        value,
        "Pending",
        "Waiting.",
        Some(1),
        now(),
    );
}

fn now() -> Time {
    Time(jiff::Timestamp::from_second(1_795_428_000).expect("a valid time"))
}

fn version(object: &FabricJobCancellation) -> &str {
    object
        .metadata
        .resource_version
        .as_deref()
        .expect("stored objects have a version")
}

fn types(object: &FabricJobCancellation) -> Vec<&str> {
    let conditions = object
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    conditions
        .iter()
        .map(|condition| condition.type_.as_str())
        .collect()
}
