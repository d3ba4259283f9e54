//! The committed CustomResourceDefinition, without a cluster.

use std::path::Path;

use fabric_job_operator::api;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

#[test]
fn the_committed_crd_is_what_the_binary_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/fabricjobcancellations.yaml");
    let printed = api::crd_yaml();
    if std::env::var_os("UPDATE_CRDS").is_some() {
        std::fs::write(&path, &printed).expect("crds/ can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == printed,
        "crds/fabricjobcancellations.yaml is stale: run `make crds` and commit the result"
    );
}

#[test]
fn the_printed_yaml_says_what_the_types_say() {
    let read: CustomResourceDefinition =
        serde_saphyr::from_str(&api::crd_yaml()).expect("the YAML can be read");
    assert_eq!(read, api::crd());
}

/// Flux would put its own values into `${...}`, which the manual may contain one day.
#[test]
fn flux_is_told_not_to_substitute_in_it() {
    let annotations = api::crd().metadata.annotations.expect("annotations");
    assert_eq!(
        annotations["kustomize.toolkit.fluxcd.io/substitute"],
        "disabled"
    );
}

#[test]
fn every_field_is_described_and_uses_what_kubernetes_knows() {
    let crd = serde_json::to_value(api::crd()).expect("a CRD is valid JSON");
    let root = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut fields = Vec::new();
    collect("fjc", root, &mut fields);
    assert!(
        fields.len() > 40,
        "only {} fields were looked at",
        fields.len()
    );
    for (path, schema) in fields {
        assert!(
            schema["description"].is_string(),
            "{path} has no description"
        );
        match schema["type"]
            .as_str()
            .expect("structural schemas have types")
        {
            "integer" => assert!(
                schema["format"] == "int32" || schema["format"] == "int64",
                "{path} has the format {}",
                schema["format"]
            ),
            "number" => panic!("{path} is a floating point number"),
            _ => {}
        }
        if let Some(values) = schema["enum"].as_array() {
            assert!(
                values.iter().all(Value::is_string),
                "{path} is a nullable enum"
            );
        }
    }
}

/// Every field below a schema, with its path.
fn collect<'a>(path: &str, schema: &'a Value, fields: &mut Vec<(String, &'a Value)>) {
    let below = schema["properties"].as_object().into_iter().flatten();
    let items = schema["items"]["properties"]
        .as_object()
        .into_iter()
        .flatten();
    for (name, field) in below.chain(items) {
        let path = format!("{path}.{name}");
        collect(&path, field, fields);
        fields.push((path, field));
    }
}
