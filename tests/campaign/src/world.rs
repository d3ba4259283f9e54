//! What all plans share: one control plane, one authority, and one watch of everything stored.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use control_plane::ControlPlane;
use fault_proxy::{Authority, Upstream};
use futures::StreamExt;
use jiff::Timestamp;
use kube::api::{
    ApiResource, DynamicObject, GroupVersionKind, ListParams, WatchEvent, WatchParams,
};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::watch;

use crate::clock;

const CRD: &str = include_str!("../../../crds/fabricjobcancellations.yaml");

/// The longest that a plan waits for one thing to be stored.
const PATIENCE: Duration = Duration::from_secs(60);

/// One control plane for the whole campaign.
pub struct World {
    /// etcd and kube-apiserver, which end with it.
    _plane: ControlPlane,
    /// Signs what the proxies show.
    pub authority: Authority,
    /// The API server, as proxies reach it.
    pub api_server: Upstream,
    /// The operator's program.
    pub program: PathBuf,
    /// How many times faster than real the operator's clock runs.
    pub factor: u32,
    /// An admin's client.
    pub client: Client,
    /// Everything that was ever stored.
    pub stored: Stored,
}

impl World {
    /// Starts the control plane and installs what every installation has.
    ///
    /// # Panics
    /// When anything of it fails.
    pub async fn start(program: PathBuf, factor: u32) -> Self {
        let plane = ControlPlane::start()
            .await
            .expect("the control plane starts");
        plane
            .install_crd(CRD)
            .await
            .expect("the CRD can be installed");
        plane
            .apply(bench::CLUSTER_ROLE)
            .await
            .expect("the ClusterRole can be installed");
        let authority = Authority::new().expect("certificates can be made");
        let api_server = Upstream::new(&plane.url(), Some(&plane_ca(&plane)))
            .expect("the control plane's certificate can be used");
        let client = plane.client();
        let stored = Stored::watching(client.clone()).await;
        Self {
            _plane: plane,
            authority,
            api_server,
            program,
            factor,
            client,
            stored,
        }
    }
}

/// The certificate that the control plane's API server is to be trusted by, PEM.
fn plane_ca(plane: &ControlPlane) -> String {
    let path = plane.folder().join("ca.crt");
    std::fs::read_to_string(path).expect("the control plane keeps its authority's certificate")
}

/// One event of the watch.
#[derive(Clone, Debug)]
pub struct Edition {
    /// When it was seen (real time).
    pub seen: Timestamp,
    /// Whether the object was deleted with it.
    pub deleted: bool,
    /// The object.
    pub object: Value,
}

impl Edition {
    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.object["metadata"]["uid"].as_str().unwrap_or_default()
    }

    /// `metadata.resourceVersion`.
    #[must_use]
    pub fn resource_version(&self) -> &str {
        self.object["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default()
    }
}

/// Every stored edition of every cancellation, by namespace. Clones are the same.
#[derive(Clone, Default)]
pub struct Stored {
    editions: Arc<Mutex<HashMap<String, Vec<Edition>>>>,
    changed: Arc<watch::Sender<()>>,
}

impl Stored {
    async fn watching(client: Client) -> Self {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(
            "fabricjobs.dev",
            "v1alpha1",
            "FabricJobCancellation",
        ));
        let api: Api<DynamicObject> = Api::all_with(client, &kind);
        let stored = Self::default();
        let listed = api.list(&ListParams::default()).await;
        let version = listed
            .expect("the API server lists")
            .metadata
            .resource_version;
        tokio::spawn(stored.clone().follow(api, version.unwrap_or_default()));
        stored
    }

    async fn follow(self, api: Api<DynamicObject>, mut version: String) {
        loop {
            let opened = api.watch(&WatchParams::default(), &version).await;
            let Ok(events) = opened else {
                clock::pass(Duration::from_millis(50)).await;
                continue;
            };
            let mut events = std::pin::pin!(events);
            while let Some(Ok(event)) = events.next().await {
                let (object, deleted) = match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                    WatchEvent::Deleted(object) => (object, true),
                    WatchEvent::Bookmark(bookmark) => {
                        version = bookmark.metadata.resource_version;
                        continue;
                    }
                    WatchEvent::Error(_) => break,
                };
                version = object.metadata.resource_version.clone().unwrap_or(version);
                let namespace = object.metadata.namespace.clone().unwrap_or_default();
                let edition = Edition {
                    seen: clock::now(),
                    deleted,
                    object: serde_json::to_value(object).expect("an object is valid JSON"),
                };
                self.lock().entry(namespace).or_default().push(edition);
                self.changed.send_replace(());
            }
        }
    }

    /// Everything stored in a namespace so far, in order.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Vec<Edition> {
        self.lock().get(namespace).cloned().unwrap_or_default()
    }

    /// Waits until a question about a namespace has an answer; `None` when it has none in time.
    pub async fn wait<T>(
        &self,
        namespace: &str,
        question: impl Fn(&[Edition]) -> Option<T>,
    ) -> Option<T> {
        let mut changed = self.changed.subscribe();
        let asking = async {
            loop {
                changed.mark_unchanged();
                if let Some(answer) = question(&self.of(namespace)) {
                    return Some(answer);
                }
                changed.changed().await.ok()?;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.ok().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Edition>>> {
        self.editions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
