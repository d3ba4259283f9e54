//! Reads and writes of the resource: server-side apply, guarded by the resourceVersion.

use std::sync::Arc;

use jiff::Timestamp;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use crate::api::{FabricJobCancellation, FabricJobCancellationStatus};
use crate::cancellation::{Facts, invalid_spec, whole_second};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::WriteResult;

use super::kubernetes::{CallError, within_deadline};
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
    metrics: Arc<Metrics>,
}

impl Store {
    pub(super) fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self { client, metrics }
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
        let body = patch(&name, resource.resource_version(), document);
        let api = self.api(resource);
        let params = PatchParams::apply(MANAGER).force();
        let result = within_deadline(api.patch_status(&name, &params, &Patch::Apply(&body))).await;
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
        match within_deadline(api.get_opt(&resource.name_any())).await? {
            Some(found) if found.uid() == resource.uid() => Ok(Some(Arc::new(found))),
            _ => Ok(None),
        }
    }

    /// Deletes exactly this edition of the resource. Whether it did is not told: a conflict or
    /// an absence both mean that there is nothing more to do now.
    pub(super) async fn delete(&self, resource: &FabricJobCancellation) -> Result<(), CallError> {
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: resource.uid(),
            resource_version: resource.resource_version(),
        });
        let api = self.api(resource);
        match within_deadline(api.delete(&resource.name_any(), &params)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends a resource that cannot be decoded, or whose ids cannot be used. What it already
    /// says is kept; an end is not written twice.
    pub(super) async fn end_as_invalid(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        problem: &str,
        now: Timestamp,
    ) -> Result<bool, CallError> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(
            &FabricJobCancellation::group(&()),
            &FabricJobCancellation::version(&()),
            &FabricJobCancellation::kind(&()),
        ));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind);
        let Some(live) = within_deadline(api.get_opt(name)).await? else {
            return Ok(false);
        };
        let old = live.data.get("status").cloned().unwrap_or_default();
        if live.uid().as_deref() != Some(uid) || old.get("completionTime").is_some() {
            return Ok(false);
        }
        let mut shown = FabricJobCancellation::new(name, super::nothing());
        shown.metadata = live.metadata.clone();
        // A status that cannot be read either is replaced: it is not evidence of anything.
        shown.status = serde_json::from_value(old).ok();
        let mut facts = status::facts(&shown);
        facts.observed_generation = live.metadata.generation;
        facts.completion_time = Some(whole_second(now));
        facts.conditions = Some(invalid_spec(problem));
        let document = status::document(&facts, &shown, whole_second(now));
        let body = patch(name, live.resource_version(), &document);
        let params = PatchParams::apply(MANAGER).force();
        let result = within_deadline(api.patch_status(name, &params, &Patch::Apply(&body))).await;
        let written = self.sort(result.map(|_| Arc::new(shown)))?;
        Ok(matches!(written, Written::Stored(_)))
    }

    fn api(&self, resource: &FabricJobCancellation) -> Api<FabricJobCancellation> {
        let namespace = resource.namespace().unwrap_or_default();
        Api::namespaced(self.client.clone(), &namespace)
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
