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
    fields.retain(|_, schema| schema.get("default").is_none());

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
    kubectl(
        plane,
        &[
            "patch",
            &name,
            "--subresource=status",
            "--type=merge",
            "-p",
            accepted,
        ],
    )
    .await;
    let before = read(plane, &name).await;
    assert_eq!(
        before["spec"].get("suspend"),
        None,
        "the old CRD knows no suspend"
    );

    plane
        .install_crd(&new.to_string())
        .await
        .expect("the new CRD is valid");
    plane
        .apply(&manifest("runner"))
        .await
        .expect("the same manifest stays appliable");
    let after = read(plane, &name).await;
    assert_eq!(
        after["spec"]["suspend"], false,
        "the new defaults are there"
    );
    assert_eq!(after["metadata"]["generation"], 1, "and they are no edit");
    let refused = plane
        .apply(&manifest("other"))
        .await
        .expect_err("credentials stay fixed");
    assert!(
        refused
            .to_string()
            .contains("field is immutable once Fabric has accepted"),
        "{refused}"
    );
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
    let json = kubectl(plane, &["get", name, "-o", "json"]).await;
    serde_json::from_str(&json).expect("kubectl prints JSON")
}

async fn kubectl(plane: &ControlPlane, arguments: &[&str]) -> String {
    let output = plane.run_kubectl(arguments).await.expect("kubectl runs");
    assert!(output.is_success(), "kubectl {arguments:?}: {output:?}");
    output.stdout
}
