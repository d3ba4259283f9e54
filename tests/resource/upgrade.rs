//! A new version of the CRD brings new fields with defaults; objects of before must stay usable.

use control_plane::{ControlPlane, Suite};
use fabric_job_operator::api;
use serde_json::{Value, json};

/// Adds these tests.
pub fn tests(suite: Suite) -> Suite {
    suite.test(
        "an_object_of_an_older_crd_can_be_applied_again_after_new_defaults_came",
        an_object_of_an_older_crd_can_be_applied_again_after_new_defaults_came,
    )
}

/// In a group of its own, so that the tests beside it are not disturbed.
const GROUP: &str = "upgrade.example.com";

async fn an_object_of_an_older_crd_can_be_applied_again_after_new_defaults_came(
    plane: &ControlPlane,
) {
    let new = crd();
    let mut old = new.clone();
    let spec = &mut old["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let fields = spec["properties"]
        .as_object_mut()
        .expect("the spec has fields");
    fields
        .retain(|name, schema| schema.get("default").is_none() || name == "activeDeadlineSeconds");
    fields["activeDeadlineSeconds"]["default"] = json!(600);

    plane
        .install_crd(&old.to_string())
        .await
        .expect("the old CRD is valid");
    plane
        .apply(&manifest("runner"))
        .await
        .expect("the manifest is valid");
    let accepted = r#"{"status":{"acceptedTime":"2026-11-23T10:00:00Z"}}"#;
    let name = format!("fabricjobcancellations.{GROUP}/x");
    let patch = [
        "patch",
        &name,
        "--subresource=status",
        "--type=merge",
        "-p",
        accepted,
    ];
    kubectl(plane, &patch, None).await;
    let before = read(plane, &name).await;
    assert_eq!(
        before["spec"].get("suspend"),
        None,
        "the old CRD knows no suspend"
    );
    assert_eq!(before["spec"]["activeDeadlineSeconds"], 600);

    plane
        .install_crd(&new.to_string())
        .await
        .expect("the new CRD is valid");
    plane
        .apply(&manifest("runner"))
        .await
        .expect("the same manifest stays appliable");
    let applied = read(plane, &name).await;
    assert_eq!(
        applied["spec"]["suspend"], false,
        "the new field has its default"
    );
    assert_eq!(
        applied["spec"]["activeDeadlineSeconds"], 600,
        "what was written stays"
    );
    assert_eq!(
        applied["metadata"]["generation"], 1,
        "a new default is no edit"
    );

    // Argo CD's Replace=true does this. It writes the new defaults over the old ones, which a rule
    // on the whole spec would refuse.
    kubectl(plane, &["replace", "-f", "-"], Some(&manifest("runner"))).await;
    assert_eq!(
        read(plane, &name).await["spec"]["activeDeadlineSeconds"],
        3600
    );

    let refused = plane
        .apply(&manifest("other"))
        .await
        .expect_err("credentials stay fixed");
    let says = "field is immutable once Fabric has accepted";
    assert!(refused.to_string().contains(says), "{refused}");
}

fn crd() -> Value {
    let mut crd = serde_json::to_value(api::crd()).expect("a CRD is valid JSON");
    crd["metadata"]["name"] = json!(format!("fabricjobcancellations.{GROUP}"));
    crd["spec"]["group"] = json!(GROUP);
    let names = crd["spec"]["names"]
        .as_object_mut()
        .expect("a CRD has names");
    names.retain(|name, _| name != "shortNames" && name != "categories");
    crd
}

fn manifest(account: &str) -> String {
    json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "FabricJobCancellation",
        "metadata": {"name": "x", "namespace": "default"},
        "spec": {
            "workspaceId": "cfafbeb1-8037-4d0c-896e-a46fb27ff229",
            "itemId": "431e8d7b-4a95-4c02-8ccd-6faef5ba1bd7",
            "jobInstanceId": "4b218778-e7a5-4d73-8187-f10824047715",
            "credentials": {"serviceAccountName": account},
            "comment": "the lake is full",
        },
    })
    .to_string()
}

async fn read(plane: &ControlPlane, name: &str) -> Value {
    let json = kubectl(plane, &["get", name, "-o", "json"], None).await;
    serde_json::from_str(&json).expect("kubectl prints JSON")
}

async fn kubectl(plane: &ControlPlane, arguments: &[&str], stdin: Option<&str>) -> String {
    let mut command = plane.kubectl();
    command.args(arguments);
    let output = plane.run(command, stdin).await.expect("kubectl runs");
    assert!(output.is_success(), "kubectl {arguments:?}: {output:?}");
    output.stdout
}
