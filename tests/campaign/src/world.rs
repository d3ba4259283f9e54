//! What all plans share: one control plane, one authority, and one watch of everything stored.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use control_plane::{AnotherApiServer, ControlPlane};
use fault_proxy::{Authority, Upstream};
use futures::StreamExt;
use jiff::Timestamp;
use kube::api::{
    ApiResource, DynamicObject, GroupVersionKind, ListParams, WatchEvent, WatchParams,
};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::{OnceCell, watch};

use crate::clock;

const CRD: &str = include_str!("../../../crds/fabricjobcancellations.yaml");

/// The longest that a plan waits for one thing to be stored.
const PATIENCE: Duration = Duration::from_secs(60);

/// One control plane for the whole campaign.
pub struct World {
    /// A second API server, once it is needed.
    another: OnceCell<Arc<Another>>,
    /// etcd and kube-apiserver, which end with it.
    pub plane: Arc<ControlPlane>,
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

/// A second API server on the same etcd.
pub struct Another {
    /// The server.
    pub server: AnotherApiServer,
    /// The same, as proxies reach it.
    pub upstream: Upstream,
    /// An admin's client of it.
    pub client: Client,
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
        // For all namespaces at once, and bound in each.
        let lease = bench::LEASE_ROLE.replace("kind: Role", "kind: ClusterRole");
        plane
            .apply(&format!("{}\n---\n{lease}", bench::CLUSTER_ROLE))
            .await
            .expect("the ClusterRoles can be installed");
        let authority = Authority::new().expect("certificates can be made");
        let api_server = Upstream::new(&plane.url(), Some(&plane_ca(&plane)))
            .expect("the control plane's certificate can be used");
        let client = plane.client();
        let stored = Stored::watching(client.clone()).await;
        Self {
            another: OnceCell::new(),
            plane: Arc::new(plane),
            authority,
            api_server,
            program,
            factor,
            client,
            stored,
        }
    }

    /// The second API server, which is started first when there is none yet.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn another(&self) -> Arc<Another> {
        let start = async || {
            let server = self.plane.another_apiserver().await;
            let server = server.expect("another API server starts");
            let upstream = Upstream::new(&server.url(), Some(&plane_ca(&self.plane)))
                .expect("its certificate can be used");
            let client = server.client();
            self.stored.also_from(client.clone());
            Arc::new(Another {
                server,
                upstream,
                client,
            })
        };
        Arc::clone(self.another.get_or_init(start).await)
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
    /// The API servers that tell.
    sources: Arc<Mutex<Vec<Api<DynamicObject>>>>,
    editions: Arc<Mutex<HashMap<String, Vec<Edition>>>>,
    changed: Arc<watch::Sender<()>>,
}

impl Stored {
    async fn watching(client: Client) -> Self {
        let stored = Self::default();
        stored.also_from(client);
        let version = stored.list(&stored.source(0)).await;
        let version = version.expect("the API server lists");
        tokio::spawn(stored.clone().follow(version));
        stored
    }

    /// Another API server is asked, too, when one does not answer.
    fn also_from(&self, client: Client) {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(
            "fabricjobs.dev",
            "v1alpha1",
            "FabricJobCancellation",
        ));
        let api: Api<DynamicObject> = Api::all_with(client, &kind);
        self.sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(api);
    }

    /// The sources in turn.
    fn source(&self, turn: usize) -> Api<DynamicObject> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources[turn % sources.len()].clone()
    }

    async fn follow(self, mut version: String) {
        for turn in 0.. {
            let api = self.source(turn);
            let opened = api.watch(&WatchParams::default(), &version).await;
            let Ok(events) = opened else {
                clock::pass(Duration::from_millis(50)).await;
                continue;
            };
            let mut events = std::pin::pin!(events);
            while let Some(Ok(event)) = events.next().await {
                match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                        version = self.keep(object, false);
                    }
                    WatchEvent::Deleted(object) => version = self.keep(object, true),
                    WatchEvent::Bookmark(bookmark) => {
                        version = bookmark.metadata.resource_version;
                    }
                    // A server that was restarted remembers nothing from before.
                    WatchEvent::Error(_) => {
                        version = self.list(&api).await.unwrap_or(version);
                        break;
                    }
                }
            }
        }
    }

    /// Keeps what was not seen yet of a whole list; gives its version.
    async fn list(&self, api: &Api<DynamicObject>) -> Option<String> {
        let listed = api.list(&ListParams::default()).await.ok()?;
        for object in listed.items {
            let namespace = object.metadata.namespace.clone().unwrap_or_default();
            let version = object.metadata.resource_version.clone();
            let editions = self.of(&namespace);
            let is_known = |it: &Edition| Some(it.resource_version()) == version.as_deref();
            if !editions.iter().any(is_known) {
                self.keep(object, false);
            }
        }
        listed.metadata.resource_version
    }

    fn keep(&self, object: DynamicObject, deleted: bool) -> String {
        let version = object.metadata.resource_version.clone().unwrap_or_default();
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let edition = Edition {
            seen: clock::now(),
            deleted,
            object: serde_json::to_value(object).expect("an object is valid JSON"),
        };
        self.lock().entry(namespace).or_default().push(edition);
        self.changed.send_replace(());
        version
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
