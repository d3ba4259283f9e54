//! What manifests speak of: applications and jobs, which a simulated Fabric is furnished with.

use fabric_simulator::{Handle, Identity, JobSpec};
use serde_json::Value;
use uuid::Uuid;

/// The objects of some YAML documents.
#[derive(Clone, Debug, Default)]
pub struct Manifests(Vec<Value>);

/// A `FabricJobCancellation` by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cancellation {
    /// Its namespace; `default` when the manifest names none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Manifests {
    /// Reads YAML documents; empty ones are left out.
    ///
    /// # Errors
    /// What is wrong with the YAML, and where.
    pub fn read(yaml: &str) -> Result<Self, String> {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(yaml).map_err(|error| error.to_string())?;
        let documents = documents.into_iter().filter(Value::is_object);
        Ok(Self(documents.collect()))
    }

    /// The objects.
    pub fn objects(&self) -> &[Value] {
        &self.0
    }

    /// The cancellations among them.
    pub fn cancellations(&self) -> Vec<Cancellation> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        self.of_kind("FabricJobCancellation")
            .map(|object| Cancellation {
                namespace: text(&object["metadata"]["namespace"])
                    .unwrap_or_else(|| "default".into()),
                name: text(&object["metadata"]["name"]).unwrap_or_default(),
            })
            .collect()
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }
}

/// Makes Entra know the application of each Secret, and Fabric run the job of each cancellation.
///
/// What is there already is left alone: a job of that id is not started again.
///
/// # Errors
/// An id that is not a UUID, with the object's name. A Secret without an application is no error.
pub fn furnish(fabric: &Handle, manifests: &Manifests) -> Result<(), String> {
    for secret in manifests.of_kind("Secret") {
        let entry = |key: &str| secret["stringData"][key].as_str();
        if let (Some(tenant), Some(client), Some(value)) = (
            entry("AZURE_TENANT_ID"),
            entry("AZURE_CLIENT_ID"),
            entry("AZURE_CLIENT_SECRET"),
        ) {
            fabric.add_secret(&Identity::new(tenant, client), value);
        }
    }
    for cancellation in manifests.of_kind("FabricJobCancellation") {
        let id = |field: &str| {
            let raw = cancellation["spec"][field].as_str().unwrap_or_default();
            raw.parse::<Uuid>().map_err(|error| {
                let name = &cancellation["metadata"]["name"];
                format!("spec.{field} of FabricJobCancellation {name} is {raw:?}: {error}")
            })
        };
        let job = id("jobInstanceId")?;
        if fabric.job(job).is_none() {
            let running = JobSpec::running(id("workspaceId")?, id("itemId")?);
            fabric.add_job(JobSpec {
                id: Some(job),
                ..running
            });
        }
    }
    Ok(())
}
