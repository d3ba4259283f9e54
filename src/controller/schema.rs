//! Whether the cluster knows the custom resource as this binary does.
//!
//! Seen in the published OpenAPI document, which every authenticated user may read: no right on
//! CustomResourceDefinitions is needed.

use kube::{Client, Resource};
use serde::Deserialize;
use serde_json::Value;

use crate::api::{self, FabricJobCancellation};

use super::kubernetes::{CallError, within_deadline};

/// The command that mends whatever is wrong with the schema.
const FIX: &str = "fabric-job-operator crd | kubectl apply --server-side -f -";

/// What stands in the way of starting.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaProblem {
    #[error("the Kubernetes API cannot be reached: {0}")]
    Unreachable(#[source] CallError),
    #[error("the CustomResourceDefinition is missing; install it: {FIX}")]
    Missing,
    #[error(
        "the CustomResourceDefinition is older than this operator (it lacks {0}); update it: {FIX}"
    )]
    Outdated(String),
}

/// Compares the schema that the API server publishes with the one of this binary.
pub(super) async fn check(client: &Client) -> Result<(), SchemaProblem> {
    let (group, version) = (
        FabricJobCancellation::group(&()),
        FabricJobCancellation::version(&()),
    );
    let request = http::Request::get(format!("/openapi/v3/apis/{group}/{version}"))
        .body(Vec::new())
        .expect("a path of fixed parts is a valid URI");
    let document: Value = match within_deadline(client.request(request)).await {
        Ok(document) => document,
        Err(error) if error.is_not_found() => return Err(SchemaProblem::Missing),
        Err(error) => return Err(SchemaProblem::Unreachable(error)),
    };
    let published = document["components"]["schemas"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(_, schema)| schema)
        .find(|schema| is_ours(schema))
        .ok_or(SchemaProblem::Missing)?;
    match first_missing(&own(), published, "") {
        Some(field) => Err(SchemaProblem::Outdated(field)),
        None => Ok(()),
    }
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

fn is_ours(schema: &Value) -> bool {
    schema["x-kubernetes-group-version-kind"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|kind| Kind::deserialize(kind).ok())
        .any(|kind| kind.kind == FabricJobCancellation::kind(&()))
}

fn own() -> Value {
    let version = api::crd().spec.versions.swap_remove(0);
    let schema = version.schema.and_then(|schema| schema.open_api_v3_schema);
    serde_json::to_value(schema).expect("a schema is valid JSON")
}

/// The first property of `own` that `published` lacks, as a path.
fn first_missing(own: &Value, published: &Value, path: &str) -> Option<String> {
    let properties = own["properties"].as_object()?;
    properties.iter().find_map(|(name, schema)| {
        let path = format!("{path}.{name}");
        match published["properties"].get(name) {
            None => Some(path),
            // What the API server adds to metadata is its own business.
            Some(_) if path == ".metadata" => None,
            Some(theirs) => first_missing(schema, theirs, &path),
        }
    })
}

/// The API server's clock, read from the `Date` of an answer that everybody may have.
pub(super) async fn date(client: &Client) -> Result<Option<jiff::Timestamp>, CallError> {
    let request = http::Request::get("/version")
        .body(kube::client::Body::empty())
        .expect("a fixed path is a valid URI");
    let answer = within_deadline(client.send(request)).await?;
    Ok(answer
        .headers()
        .get(http::header::DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
        .map(|date| date.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_the_cluster_lacks_is_named() {
        let own = own();
        assert_eq!(first_missing(&own, &own, ""), None);
        let mut older = own.clone();
        older["properties"]["status"]["properties"]["job"]["properties"]
            .as_object_mut()
            .expect("job has properties")
            .remove("status");
        assert_eq!(
            first_missing(&own, &older, ""),
            Some(".status.job.status".to_owned())
        );
    }
}
