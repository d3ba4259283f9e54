//! The stage of one plan: a namespace, a simulated Fabric, and replicas of the operator.

use std::sync::Arc;
use std::time::Duration;

use fabric_simulator::{Clock, Config, Identity, JobRef, JobSpec, Settings, Simulator};
use fault_proxy::{Recorder, Step, Verb};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Api;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use oracles::Lifecycle;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::clock::{self, Pace};
use crate::label::LEASES;
use crate::replica::{FIRST, REPLICAS, Replica, Surroundings};
use crate::world::{Edition, World};

/// The plural of what the operator watches.
pub const PLURAL: &str = "fabricjobcancellations";

/// What the Lease needs, bound in each namespace.
const LEASE_ROLE: &str = "fabric-job-operator-lease";

const ACCOUNT: &str = "fabric-job-operator";

/// How a stage is set.
pub struct Setup {
    /// How the simulated Fabric behaves.
    pub settings: Settings,
    /// How many replicas of the operator there are; with more than one, a Lease decides who acts.
    pub replicas: usize,
    /// How many times faster than real the clocks run.
    pub factor: u32,
}

/// Everything of one plan. What runs ends when it is dropped, whoever holds a part of it.
pub struct Stage<'w> {
    /// What all plans share.
    pub world: &'w World,
    /// Virtual time.
    pub pace: Pace,
    /// The plan's namespace.
    pub namespace: String,
    /// Fabric and Entra.
    pub fabric: Simulator,
    /// What the proxies saw.
    pub recorder: Recorder,
    /// The operator's replicas.
    pub replicas: Vec<Arc<Replica>>,
    /// The identity of the namespace's Secret.
    pub identity: Identity,
    /// Every client secret that ever was in it.
    pub client_secrets: std::sync::Mutex<Vec<String>>,
    /// The operator's token for the API server.
    pub api_token: String,
    /// Starts ended processes anew, where there are several replicas.
    kubelets: std::sync::Mutex<JoinSet<()>>,
    _folder: TempDir,
}

/// A scene that cannot go on: what was waited for did not come.
pub type Stuck = String;

impl<'w> Stage<'w> {
    /// Sets the stage; no operator runs yet.
    ///
    /// # Panics
    /// When anything of it fails.
    pub async fn set(world: &'w World, setup: Setup) -> Stage<'w> {
        let namespace = format!("plan-{}", &Uuid::new_v4().simple().to_string()[..12]);
        let pace = Pace::from_now(setup.factor);
        let fabric = Simulator::start(Config {
            clock: Clock::accelerated(f64::from(pace.factor), Some(pace.epoch))
                .expect("a factor above zero"),
            settings: setup.settings,
            ..Config::default()
        })
        .await
        .expect("the simulator starts");
        // The same ids in each run, so that ends can be compared.
        let identity = Identity::new(Uuid::from_u128(1), Uuid::from_u128(2));
        let api_token = furnish(world, &namespace).await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let recorder = Recorder::new();
        let mut replicas = Vec::new();
        for name in REPLICAS.iter().take(setup.replicas) {
            let around = Surroundings {
                world,
                pace,
                namespace: &namespace,
                token: &api_token,
                simulator: &fabric.url(),
                folder: folder.path(),
                recorder: &recorder,
                elected: setup.replicas > 1,
            };
            replicas.push(Arc::new(Replica::prepare(name, &around).await));
        }
        let stage = Self {
            world,
            pace,
            namespace,
            fabric,
            recorder,
            replicas,
            identity,
            client_secrets: std::sync::Mutex::default(),
            api_token,
            kubelets: std::sync::Mutex::default(),
            _folder: folder,
        };
        let secret = bench::new_secret();
        stage.fabric.add_secret(&stage.identity, &secret);
        stage.put_secret(&secret).await;
        stage
    }

    /// Starts all replicas, one after the other, and waits until each watches. The first one is the
    /// first to ask for the Lease.
    ///
    /// # Errors
    /// They do not in time.
    pub async fn start(&self) -> Result<(), Stuck> {
        for replica in &self.replicas {
            replica.start();
            if self.is_elected() {
                let replica = Arc::clone(replica);
                let mut kubelets = self.kubelets.lock().expect("no holder of the lock panics");
                kubelets.spawn(async move { replica.keep_alive().await });
            }
            let opened = |step: &Step, verb, resource| {
                let ours = (step.call.verb, step.call.resource.as_str()) == (verb, resource);
                ours && step.proxy == format!("api-{}", replica.name())
            };
            self.steps("an open watch", |step| {
                opened(step, Verb::Watch, PLURAL) && step.status() == Some(200)
            })
            .await?;
            if self.is_elected() && replica.name() == FIRST {
                self.steps("Lease", |step| opened(step, Verb::Create, LEASES))
                    .await?;
            }
        }
        Ok(())
    }

    /// Whether a Lease decides who acts.
    #[must_use]
    pub fn is_elected(&self) -> bool {
        self.replicas.len() > 1
    }

    /// The replica whose process has the Lease, as far as its writes tell; `None` when that process
    /// is gone.
    #[must_use]
    pub fn leader(&self) -> Option<&Arc<Replica>> {
        let steps = self.recorder.steps();
        let taken = steps.iter().rev().find(|step| {
            let is_write = matches!(step.call.verb, Verb::Create | Verb::Update);
            let is_stored = matches!(step.status(), Some(200 | 201));
            is_write && is_stored && step.call.resource == LEASES
        })?;
        let name = taken.proxy.strip_prefix("api-")?;
        let leader = self.replicas.iter().find(|it| it.name() == name)?;
        let events = leader.events();
        let is_start = |(.., what): &&(_, _, Lifecycle)| *what == Lifecycle::Started;
        let (_, started, _) = events.iter().rfind(is_start)?;
        (*started < taken.time).then_some(leader)
    }

    /// The first replica.
    #[must_use]
    pub fn operator(&self) -> &Arc<Replica> {
        &self.replicas[0]
    }

    /// A running job of a fixed id; `change` says how it differs.
    pub fn job(&self, number: u128, change: impl FnOnce(&mut JobSpec)) -> JobRef {
        let mut spec = JobSpec::running(Uuid::from_u128(3), Uuid::from_u128(4));
        spec.id = Some(Uuid::from_u128(0x10 + number));
        change(&mut spec);
        self.fabric.add_job(spec)
    }

    /// Creates a cancellation; `more` adds to its spec. Gives its uid.
    ///
    /// # Panics
    /// When the API server refuses.
    pub async fn create(&self, name: &str, job: &JobRef, more: Value) -> String {
        let mut spec = json!({
            "workspaceId": job.workspace_id,
            "itemId": job.item_id,
            "jobInstanceId": job.job_instance_id,
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        let resource = json!({
            "apiVersion": "fabricjobs.dev/v1alpha1",
            "kind": "FabricJobCancellation",
            "metadata": { "name": name },
            "spec": spec,
        });
        let resource = serde_json::from_value(resource).expect("a resource");
        self.cancellations()
            .create(&PostParams::default(), &resource)
            .await
            .expect("the cancellation can be created")
            .metadata
            .uid
            .expect("the API server gives uids")
    }

    /// Changes a cancellation as a user would.
    ///
    /// # Panics
    /// When the API server refuses.
    pub async fn edit(&self, name: &str, patch: Value) {
        self.cancellations()
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .expect("the cancellation can be edited");
    }

    /// Deletes a cancellation.
    ///
    /// # Panics
    /// When the API server refuses.
    pub async fn delete(&self, name: &str) {
        self.cancellations()
            .delete(name, &DeleteParams::default())
            .await
            .expect("the cancellation can be deleted");
    }

    /// Writes the namespace's Secret with this client secret.
    ///
    /// # Panics
    /// When the API server refuses.
    pub async fn put_secret(&self, client_secret: &str) {
        self.client_secrets
            .lock()
            .expect("no holder of the lock panics")
            .push(client_secret.to_owned());
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Secret"));
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.world.client.clone(), &self.namespace, &kind);
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "fabric-credentials" },
            "type": "Opaque",
            "stringData": {
                "AZURE_TENANT_ID": self.identity.tenant_id,
                "AZURE_CLIENT_ID": self.identity.client_id,
                "AZURE_CLIENT_SECRET": client_secret,
            },
        });
        let apply = PatchParams::apply("campaign").force();
        api.patch("fabric-credentials", &apply, &Patch::Apply(&secret))
            .await
            .expect("the Secret can be written");
    }

    /// Waits until the newest edition of an object satisfies `enough`.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn wait(
        &self,
        name: &str,
        what: &str,
        enough: impl Fn(&Value) -> bool,
    ) -> Result<Value, Stuck> {
        let question = |editions: &[Edition]| {
            let newest = editions.iter().rev().find(|it| it.name() == name)?;
            (!newest.deleted && enough(&newest.object)).then(|| newest.object.clone())
        };
        let stored = &self.world.stored;
        stored
            .wait(&self.namespace, question)
            .await
            .ok_or_else(|| format!("{name} did not come to {what}"))
    }

    /// Waits until the object has ended.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn wait_for_end(&self, name: &str) -> Result<Value, Stuck> {
        self.wait(name, "its end", has_ended).await
    }

    /// Waits for a step, earlier ones included.
    ///
    /// # Errors
    /// It does not come in time.
    pub async fn steps(&self, what: &str, matches: impl Fn(&Step) -> bool) -> Result<Step, Stuck> {
        self.recorder
            .wait_until(Duration::from_secs(40), |steps| {
                steps.iter().find(|step| matches(step)).cloned()
            })
            .await
            .ok_or_else(|| format!("there was no {what}"))
    }

    /// Lets so much virtual time pass.
    pub async fn pass(&self, virtual_time: Duration) {
        clock::pass(self.pace.real(virtual_time)).await;
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.pace.at(clock::now())
    }

    fn cancellations(&self) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(
            "fabricjobs.dev",
            "v1alpha1",
            "FabricJobCancellation",
        ));
        Api::namespaced_with(self.world.client.clone(), &self.namespace, &kind)
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        for replica in &self.replicas {
            replica.close();
        }
    }
}

/// Whether an object has its end.
#[must_use]
pub fn has_ended(object: &Value) -> bool {
    object["status"]["completionTime"].is_string()
}

/// The namespace with the operator's rights; gives its token.
async fn furnish(world: &World, namespace: &str) -> String {
    let client = &world.client;
    let create = PostParams::default();
    let mut space = Namespace::default();
    space.metadata.name = Some(namespace.to_owned());
    let spaces: Api<Namespace> = Api::all(client.clone());
    spaces
        .create(&create, &space)
        .await
        .expect("the namespace can be made");
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let mut account = ServiceAccount::default();
    account.metadata.name = Some(ACCOUNT.to_owned());
    accounts
        .create(&create, &account)
        .await
        .expect("the ServiceAccount can be made");
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: Some(6 * 60 * 60),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(ACCOUNT, &create, &request)
        .await
        .expect("the ServiceAccount can have a token");
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(
        "rbac.authorization.k8s.io",
        "v1",
        "RoleBinding",
    ));
    let bindings: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    for role in [ACCOUNT, LEASE_ROLE] {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": { "name": role },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace }],
        });
        let binding = serde_json::from_value(binding).expect("a RoleBinding");
        bindings
            .create(&create, &binding)
            .await
            .expect("the operator can be given its rights");
    }
    let token = answer.status.and_then(|status| status.token);
    token.expect("a TokenRequest is answered with a token")
}
