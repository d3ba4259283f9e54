//! Reads and writes of the resource: server-side apply, guarded by the resourceVersion.

use std::sync::Arc;

use jiff::Timestamp;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};

use crate::api::{FabricJobCancellation, FabricJobCancellationStatus};
use crate::cancellation::{Facts, invalid_spec, whole_second};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::WriteResult;

use super::kubernetes::CallError;
use super::reach::Reach;
use super::status;

/// The field manager of everything that the operator writes.
pub(super) const MANAGER: &str = "fabric-job-operator";

/// How a guarded write ended.
pub(super) enum Written {
    /// Stored; this is the resource as it now stands.
    Stored(Arc<FabricJobCancellation>),
    /// Somebody else wrote in between: nothing was stored.
    Conflict,
    /// The object no longer exists.
    Gone,
}

/// Where the resources are kept.
pub(super) struct Store {
    client: Client,
    reach: Reach,
    metrics: Arc<Metrics>,
}

impl Store {
    pub(super) fn new(client: Client, reach: Reach, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            reach,
            metrics,
        }
    }

    /// Writes the status on top of exactly this edition of the resource.
    pub(super) async fn write(
        &self,
        resource: &FabricJobCancellation,
        facts: &Facts,
        now: Timestamp,
    ) -> Result<Written, CallError> {
        let document = status::document(facts, resource, whole_second(now));
        self.apply(resource, &document).await
    }

    async fn apply(
        &self,
        resource: &FabricJobCancellation,
        document: &FabricJobCancellationStatus,
    ) -> Result<Written, CallError> {
        let name = resource.name_any();
        let version = resource.resource_version();
        let api = self.api(resource);
        let result = if somebody_else_wrote_status(resource) {
            let old = serde_json::to_value(&resource.status).unwrap_or_default();
            let body = replacement(version, &old, document);
            let patch = Patch::Merge(&body);
            self.reach
                .call(api.patch_status(&name, &replacing(), &patch))
                .await
        } else {
            let body = patch(&name, version, document);
            let params = PatchParams::apply(MANAGER).force();
            self.reach
                .call(api.patch_status(&name, &params, &Patch::Apply(&body)))
                .await
        };
        self.sort(result.map(Arc::new))
    }

    fn sort(
        &self,
        result: Result<Arc<FabricJobCancellation>, CallError>,
    ) -> Result<Written, CallError> {
        let (written, counted) = match result {
            Ok(stored) => (Ok(Written::Stored(stored)), WriteResult::Stored),
            Err(error) if error.is_conflict() => (Ok(Written::Conflict), WriteResult::Conflict),
            Err(error) if error.is_not_found() => (Ok(Written::Gone), WriteResult::Gone),
            Err(error) => (Err(error), WriteResult::Failed),
        };
        self.metrics.status_written(counted);
        written
    }

    /// Reads the resource from the API server; `None` when this very object no longer exists.
    pub(super) async fn read(
        &self,
        resource: &FabricJobCancellation,
    ) -> Result<Option<Arc<FabricJobCancellation>>, CallError> {
        let api = self.api(resource);
        match self.reach.call(api.get_opt(&resource.name_any())).await? {
            Some(found) if found.uid() == resource.uid() => Ok(Some(Arc::new(found))),
            _ => Ok(None),
        }
    }

    /// Deletes exactly this edition of the resource. False: it was edited or deleted meanwhile.
    pub(super) async fn delete(&self, resource: &FabricJobCancellation) -> Result<bool, CallError> {
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: resource.uid(),
            resource_version: resource.resource_version(),
        });
        let api = self.api(resource);
        match self
            .reach
            .call(api.delete(&resource.name_any(), &params))
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends a resource that cannot be decoded, or whose ids cannot be used. What it already
    /// says is kept; an end is not written twice, but follows a new generation. Gives the facts of
    /// an end that was written now.
    pub(super) async fn end_as_invalid(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        problem: &str,
        now: Timestamp,
    ) -> Result<Option<Facts>, CallError> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(
            &FabricJobCancellation::group(&()),
            &FabricJobCancellation::version(&()),
            &FabricJobCancellation::kind(&()),
        ));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind);
        let Some(live) = self.reach.call(api.get_opt(name)).await? else {
            return Ok(None);
        };
        let old = live.data.get("status").cloned().unwrap_or_default();
        let generation = live.metadata.generation;
        let ended = old.get("completionTime").is_some();
        let seen = old.get("observedGeneration").and_then(|seen| seen.as_i64());
        if live.uid().as_deref() != Some(uid) || (ended && seen == generation) {
            return Ok(None);
        }
        let mut shown = FabricJobCancellation::new(name, super::nothing());
        shown.metadata = live.metadata.clone();
        // A status that cannot be read either is replaced: it is not evidence of anything.
        shown.status = serde_json::from_value(old.clone()).ok();
        let mut facts = status::facts(&shown);
        facts.observed_generation = generation;
        if !ended {
            facts.completion_time = Some(whole_second(now));
            facts.conditions = Some(invalid_spec(&facts, problem));
        }
        let document = status::document(&facts, &shown, whole_second(now));
        // Not an apply: the API server answers that with 500 when a value of the spec has another
        // type than the schema says.
        let body = replacement(live.resource_version(), &old, &document);
        let patch = Patch::Merge(&body);
        let result = self
            .reach
            .call(api.patch_status(name, &replacing(), &patch))
            .await;
        let written = self.sort(result.map(|_| Arc::new(shown)))?;
        let newly = matches!(written, Written::Stored(_)) && !ended;
        Ok(newly.then_some(facts))
    }

    fn api(&self, resource: &FabricJobCancellation) -> Api<FabricJobCancellation> {
        let namespace = resource.namespace().unwrap_or_default();
        Api::namespaced(self.client.clone(), &namespace)
    }
}

/// Whether anything of the status belongs to another writer, for example to a restore from a
/// backup. An apply would leave that writer's fields standing: of a condition that it leaves out,
/// `type` and `status` would stay behind, and the schema would refuse every write for ever.
fn somebody_else_wrote_status(resource: &FabricJobCancellation) -> bool {
    resource.managed_fields().iter().any(|entry| {
        let ours = entry.manager.as_deref() == Some(MANAGER)
            && entry.operation.as_deref() == Some("Apply");
        entry.subresource.as_deref() == Some("status") && !ours
    })
}

fn replacing() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// A merge patch that makes the status what `document` says, guarded like [`patch`].
fn replacement(
    resource_version: Option<String>,
    old: &Value,
    document: &FabricJobCancellationStatus,
) -> Value {
    let mut status = serde_json::to_value(document).unwrap_or_default();
    remove_what_is_left_out(old, &mut status);
    json!({ "metadata": { "resourceVersion": resource_version }, "status": status })
}

/// A merge patch keeps what it does not mention; null removes.
fn remove_what_is_left_out(old: &Value, new: &mut Value) {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return;
    };
    for (field, old) in old {
        remove_what_is_left_out(old, new.entry(field.clone()).or_insert(Value::Null));
    }
}

/// A server-side apply of the status alone. The resourceVersion is what protects: a re-created
/// object never has the old one, while `metadata.uid` in a patch is not checked.
fn patch(
    name: &str,
    resource_version: Option<String>,
    document: &FabricJobCancellationStatus,
) -> serde_json::Value {
    json!({
        "apiVersion": FabricJobCancellation::api_version(&()),
        "kind": FabricJobCancellation::kind(&()),
        "metadata": { "name": name, "resourceVersion": resource_version },
        "status": document,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_removes_what_the_new_status_leaves_out() {
        let old = json!({
            "attempts": 1,
            "startTime": "2026-01-01T00:00:00Z",
            "job": { "status": "InProgress", "endTime": "2026-01-01T00:00:00Z" },
            "conditions": [{ "type": "Reconciling" }],
        });
        let mut new = json!({
            "attempts": 2,
            "job": { "status": "Cancelled" },
            "conditions": [],
        });
        remove_what_is_left_out(&old, &mut new);
        let wanted = json!({
            "attempts": 2,
            "startTime": null,
            "job": { "status": "Cancelled", "endTime": null },
            "conditions": [],
        });
        assert_eq!(new, wanted);
    }
}
