//! The custom resource: what users write, what the operator answers, and how both are described.
//!
//! Data only: nothing here does I/O, reads a clock or imports another room.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;

pub mod conditions;
pub mod v1alpha1;

pub use v1alpha1::{
    Credentials, FabricJobCancellation, FabricJobCancellationSpec, FabricJobCancellationStatus,
    FailureReason, FinishedJobPolicy, Identity, IdentitySource, JobSummary, LastError,
    MissingJobPolicy, SecretReference,
};

/// The CustomResourceDefinition that the operator needs, as `crds/` holds it.
///
/// Use this instead of the derived [`CustomResourceExt::crd`], which differs in two ways. It lets
/// `status` be null: the rule that guards `spec.credentials` looks into the old status, and
/// evaluating it on a null one would fail every later edit of that object. And it keeps the line
/// breaks of the source in every description, which `kubectl explain` then shows.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = FabricJobCancellation::crd();
    for version in &mut crd.spec.versions {
        let root = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .expect("the derived version has a schema");
        root.properties
            .as_mut()
            .and_then(|properties| properties.get_mut("status"))
            .expect("the derived schema describes the status")
            .nullable = None;
        flow_descriptions(root);
    }
    crd
}

/// The CustomResourceDefinition as the YAML text that `fabric-job-operator crd` prints.
///
/// The same binary always prints the same bytes, with one newline at the end.
pub fn crd_yaml() -> String {
    let mut value = serde_json::to_value(crd()).expect("a CustomResourceDefinition is valid JSON");
    integers_as_written_by_hand(&mut value);
    let mut yaml = serde_saphyr::to_string(&value).expect("every JSON value is valid YAML");
    yaml.truncate(yaml.trim_end().len());
    yaml.push('\n');
    yaml
}

/// Joins the lines of each paragraph, so that the reader's terminal decides where lines end.
fn flow_descriptions(schema: &mut JSONSchemaProps) {
    if let Some(text) = &mut schema.description {
        let paragraphs: Vec<_> = text
            .split("\n\n")
            .map(|paragraph| paragraph.replace('\n', " "))
            .collect();
        *text = paragraphs.join("\n\n");
    }
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
    {
        flow_descriptions(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        flow_descriptions(items);
    }
}

/// Turns `60.0` into `60`: the API types hold bounds as floating point numbers, and a diff in a
/// user's repository should not show that.
fn integers_as_written_by_hand(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Number(number) => {
            let whole = number
                .as_f64()
                .filter(|n| n.fract() == 0.0 && n.abs() < 9e15);
            if let (false, Some(whole)) = (number.is_i64(), whole) {
                *number = serde_json::Number::from(whole as i64);
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(integers_as_written_by_hand),
        serde_json::Value::Object(fields) => {
            fields.values_mut().for_each(integers_as_written_by_hand);
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::String(_) => {}
    }
}
