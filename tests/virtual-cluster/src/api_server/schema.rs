//! What the CustomResourceDefinition does to an object on its way into the store: unknown fields
//! are dropped, absent ones get their defaults. Values are not judged: the real kube-apiserver
//! does that in the tests of the resource.

use fabric_job_operator::api;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use super::request::CANCELLATIONS;

/// The schema of the one version that is served.
#[derive(Clone, Debug)]
pub struct Schema(Value);

impl Schema {
    /// What the operator ships.
    pub fn shipped() -> Self {
        Self::of(&api::crd())
    }

    /// What this CustomResourceDefinition says.
    pub fn of(crd: &CustomResourceDefinition) -> Self {
        let schema = &crd.spec.versions[0].schema;
        Self(
            serde_json::to_value(schema).expect("a schema is valid JSON")["openAPIV3Schema"].take(),
        )
    }

    /// That of an older edition, which lacks this field of the status.
    pub fn without_status_field(mut self, field: &str) -> Self {
        self.0["properties"]["status"]["properties"]
            .as_object_mut()
            .expect("the schema describes the status")
            .remove(field)
            .expect("the field to leave out exists");
        self
    }

    /// That of a newer edition, which has this field of the status as well: `/job/progress` is
    /// one of `job`.
    pub fn with_status_field(mut self, path: &str, schema: Value) -> Self {
        let (parents, field) = path.rsplit_once('/').expect("a path begins with a slash");
        let mut parent = &mut self.0["properties"]["status"];
        for name in parents.split('/').skip(1) {
            parent = &mut parent["properties"][name];
        }
        parent["properties"][field] = schema;
        self
    }

    /// The object as it is stored.
    pub fn settle(&self, object: &mut Value) {
        for (field, schema) in properties(&self.0) {
            if ["apiVersion", "kind", "metadata"].contains(&field.as_str()) {
                continue;
            }
            if object.get(field).is_none()
                && let Some(default) = schema.get("default")
            {
                object[field] = default.clone();
            }
            if let Some(value) = object.get_mut(field) {
                settle(value, schema);
            }
        }
    }

    /// What `/openapi/v3/apis/<group>/<version>` says, as far as clients look for the fields of a
    /// kind in it.
    pub fn document(&self) -> Value {
        let mut schema = self.0.clone();
        schema["x-kubernetes-group-version-kind"] = json!([{
            "group": CANCELLATIONS.group,
            "kind": CANCELLATIONS.kind,
            "version": CANCELLATIONS.version,
        }]);
        json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "v1.37.2"},
            "paths": {},
            "components": {"schemas": {"dev.fabricjobs.v1alpha1.FabricJobCancellation": schema}},
        })
    }
}

fn settle(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(fields) if schema.get("properties").is_some() => {
            if schema["x-kubernetes-preserve-unknown-fields"] != json!(true) {
                fields.retain(|field, _| schema["properties"].get(field).is_some());
            }
            for (field, schema) in properties(schema) {
                match (fields.get_mut(field), schema.get("default")) {
                    (Some(value), _) => settle(value, schema),
                    (None, Some(default)) => {
                        fields.insert(field.clone(), default.clone());
                    }
                    (None, None) => {}
                }
            }
        }
        Value::Array(elements) => {
            for element in elements {
                settle(element, &schema["items"]);
            }
        }
        _ => {}
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}
