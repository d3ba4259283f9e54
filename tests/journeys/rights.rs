//! The operator's ClusterRole is exactly what it needs.

use std::collections::BTreeSet;
use std::time::Duration;

use bench::{CLUSTER_ROLE, Scene, condition, reason};
use control_plane::{Audit, ControlPlane, Suite};
use fabric_simulator::{Access, HoldPoint, Route, Rule};
use serde_json::{Value, json};

use crate::knobs::gone;
use crate::{CRD, operator_of, setup};

pub fn journeys(suite: Suite) -> Suite {
    suite
        .test(
            "the_cluster_role_is_what_the_operator_does_and_no_more",
            the_cluster_role_is_what_the_operator_does_and_no_more,
        )
        .test(
            "without_rights_the_operator_is_not_ready_and_names_the_cluster_role",
            without_rights_the_operator_is_not_ready_and_names_the_cluster_role,
        )
}

/// Group, resource with subresource, verb.
type Use = (String, String, String);

async fn the_cluster_role_is_what_the_operator_does_and_no_more(plane: &ControlPlane) {
    let mut scene = Scene::start(plane, setup().faster(30)).await;
    everything(&mut scene).await;
    let ended = scene.operator().terminate().await;
    assert!(ended.success());

    let audit = plane.audit().await.expect("the audit log");
    let ours = audit.by_user(&operator_of(&scene));
    let granted = granted();
    let used: BTreeSet<_> = ours
        .iter()
        .filter(|entry| !entry.resource.is_empty() && entry.code != Some(403))
        .map(usage)
        .collect();
    let needless: Vec<_> = granted.difference(&used).collect();
    assert!(needless.is_empty(), "granted and never used: {needless:?}");
    let more: Vec<_> = used.difference(&granted).collect();
    assert!(more.is_empty(), "used and not in the file: {more:?}");

    // And whatever the operators of other journeys have done so far: nothing is refused but a
    // Secret of another name, and nothing was asked for that the file does not grant.
    let operators = audit.only(|entry| {
        entry.user.starts_with("system:serviceaccount:scene-")
            && entry.user.ends_with(":fabric-job-operator")
    });
    let wrong: Audit = operators.only(|entry| {
        let other_secret = entry.resource == "secrets" && entry.name != "fabric-credentials";
        let refused = entry.code == Some(403) && !other_secret;
        refused || !(entry.resource.is_empty() || granted.contains(&usage(entry)))
    });
    assert!(wrong.is_empty(), "{wrong}");
    let refused = ours.only(|entry| entry.code == Some(403));
    assert!(
        !refused.is_empty(),
        "the Secret of another name was refused"
    );
}

/// On a control plane of its own: the journey above says that no operator is refused anything.
async fn without_rights_the_operator_is_not_ready_and_names_the_cluster_role(_: &ControlPlane) {
    let plane = ControlPlane::start().await.expect("a control plane");
    plane.install_crd(CRD).await.expect("the CRD");
    let mut scene = Scene::prepare(&plane, setup().without_rights()).await;
    scene.launch_operator();
    scene
        .operator()
        .wait_for_log("that it is refused", |log| log.contains("the watch failed"))
        .await;
    let (code, body) = scene
        .operator()
        .get("--health-probe-bind-address", "/readyz")
        .await;
    assert_eq!(code, 503, "{body}");
    assert!(
        body.contains("ClusterRole fabric-job-operator") && body.contains("forbidden"),
        "{body}"
    );
}

/// A scene in which the operator does everything that it ever does.
async fn everything(scene: &mut Scene) {
    // A label edited between the request and its record: the resource is read.
    let held = scene
        .fabric
        .script(Rule::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    scene
        .cancel("job", json!({ "ttlSecondsAfterFinished": 0 }))
        .await;
    held.wait_for_arrivals(1, Duration::from_secs(30))
        .await
        .expect("a request");
    let labels = json!({ "metadata": { "labels": { "edited": "meanwhile" } } });
    scene.edit("job", labels).await;
    held.release();
    gone(scene, "job").await;

    // A Secret that it may not read.
    let other = scene.another_job();
    let theirs = json!({ "credentials": { "secretRef": { "name": "theirs" } } });
    scene.cancel_job("theirs", &other, theirs).await;
    scene.wait_for_reason("theirs", "IdentityNotAllowed").await;

    // The same Event twice: the second time it is counted on the first.
    let workspace = scene.seed.job.workspace_id;
    let third = scene.another_job();
    scene.fabric.set_default_access(workspace, Access::Read);
    scene.cancel_job("twice", &third, json!({})).await;
    let stalled = |it: &Value| {
        reason(it, "Ready") == "PermissionDenied" && condition(it, "Stalled")["status"] == "True"
    };
    scene.wait("twice", "Stalled", stalled).await;
    scene.fabric.set_default_access(workspace, Access::Execute);
    scene.fabric.set_capacity_paused(workspace, true);
    touch(scene, 3_000).await;
    scene.wait_for_reason("twice", "CapacityPaused").await;
    scene.fabric.set_capacity_paused(workspace, false);
    scene.fabric.set_default_access(workspace, Access::Read);
    touch(scene, 3_001).await;
    scene.wait_for_reason("twice", "PermissionDenied").await;
    scene.wait("twice", "Stalled again", stalled).await;
}

async fn touch(scene: &Scene, seconds: u32) {
    let spec = json!({ "activeDeadlineSeconds": seconds });
    scene.edit("twice", json!({ "spec": spec })).await;
}

fn usage(entry: &control_plane::AuditEntry) -> Use {
    let resource = match entry.subresource.as_str() {
        "" => entry.resource.clone(),
        subresource => format!("{}/{subresource}", entry.resource),
    };
    (entry.group.clone(), resource, entry.verb.clone())
}

/// Everything that the file grants.
fn granted() -> BTreeSet<Use> {
    let role: Value = serde_saphyr::from_str(CLUSTER_ROLE).expect("the file is YAML");
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().expect("a list").iter();
        list.map(|text| text.as_str().expect("a text").to_owned())
            .collect()
    };
    let mut granted = BTreeSet::new();
    for rule in role["rules"].as_array().expect("rules") {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    assert!(!verb.contains('*') && !resource.contains('*'));
                    if resource == "secrets" {
                        assert_eq!(rule["resourceNames"], json!(["fabric-credentials"]));
                    }
                    granted.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    granted
}
