//! One scene: a namespace, a simulated Fabric with one application, and an operator for both.

use std::path::PathBuf;
use std::time::Duration;

use control_plane::ControlPlane;
use fabric_simulator::{Clock, Config, JobRef, JobSpec, Seed, Settings, Simulator};
use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{CLUSTER_ROLE, LEASE_ROLE, Operator, OperatorOptions};

/// The longest that a test waits for one thing.
const PATIENCE: Duration = Duration::from_secs(45);

/// What a scene starts with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The operator's program.
    pub program: PathBuf,
    /// How much faster than real the clocks of operator and simulator run.
    pub factor: u32,
    /// How the simulated Fabric behaves.
    pub settings: Settings,
    /// Whether the namespace has its Secret `fabric-credentials`.
    pub secret: bool,
    /// Whether the operator gets its rights.
    pub rights: bool,
    /// Whether the operator takes the Lease before it acts. Most scenes have one operator and a
    /// fast clock, which makes the Lease's deadlines shorter than this machine's hiccups.
    pub elected: bool,
    /// Flags of the operator beside those that the scene needs.
    pub arguments: Vec<String>,
    /// Environment variables of the operator.
    pub environment: Vec<(String, String)>,
}

impl Setup {
    /// Real time, a quick Fabric (`Retry-After: 1`, a cancel takes no time), a Secret.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            factor: 1,
            settings: Settings {
                accepted_retry_after: Some(Duration::from_secs(1)),
                cancel_takes: Duration::ZERO,
                ..Settings::default()
            },
            secret: true,
            rights: true,
            elected: false,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// The same with clocks that run this many times faster.
    #[must_use]
    pub fn faster(mut self, factor: u32) -> Self {
        self.factor = factor;
        self
    }

    /// The same without a Secret.
    #[must_use]
    pub fn without_secret(mut self) -> Self {
        self.secret = false;
        self
    }

    /// The same, with a ServiceAccount that may do nothing.
    #[must_use]
    pub fn without_rights(mut self) -> Self {
        self.rights = false;
        self
    }

    /// The same with leader election, so that [`Scene::another_operator`] makes sense.
    #[must_use]
    pub fn elected(mut self) -> Self {
        self.elected = true;
        self
    }

    /// The same with other behaviour of Fabric.
    #[must_use]
    pub fn fabric(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }
}

/// One scene. Everything in it ends when it is dropped; the namespace stays.
pub struct Scene {
    /// The namespace that the operator watches.
    pub namespace: String,
    /// Fabric and Entra.
    pub fabric: Simulator,
    /// The application that the namespace's Secret names, and its running job.
    pub seed: Seed,
    /// The operator, while it runs.
    pub operator: Option<Operator>,
    /// What the operators before this one logged.
    earlier_logs: String,
    options: OperatorOptions,
    client: Client,
}

impl Scene {
    /// Sets the scene and waits until the operator is ready.
    ///
    /// # Panics
    /// When anything of it fails.
    pub async fn start(plane: &ControlPlane, setup: Setup) -> Self {
        let mut scene = Self::prepare(plane, setup).await;
        scene.start_operator().await;
        scene
    }

    /// Sets the scene without starting the operator.
    ///
    /// # Panics
    /// When anything of it fails.
    pub async fn prepare(plane: &ControlPlane, setup: Setup) -> Self {
        let namespace = format!("scene-{}", &Uuid::new_v4().simple().to_string()[..8]);
        let epoch = whole_second_now();
        let clock = if setup.factor == 1 {
            Clock::real()
        } else {
            Clock::accelerated(f64::from(setup.factor), Some(epoch)).expect("a sensible factor")
        };
        let fabric = Simulator::start(Config {
            clock,
            settings: setup.settings,
            ..Config::default()
        })
        .await
        .expect("the simulator starts");
        let seed = fabric.seed();
        plane
            .apply(&format!(
                "{CLUSTER_ROLE}\n---\n{}",
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } })
            ))
            .await
            .expect("the namespace can be made");
        let kubeconfig = plane
            .kubeconfig_service_account(&namespace, "fabric-job-operator")
            .await
            .expect("the operator's ServiceAccount can be made");
        if setup.rights {
            let binding = |kind: &str, role: &str| {
                json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "RoleBinding",
                    "metadata": { "name": role, "namespace": namespace },
                    "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
                    "subjects": [{ "kind": "ServiceAccount", "name": "fabric-job-operator", "namespace": namespace }],
                })
            };
            let here = format!("metadata:\n  namespace: {namespace}\n");
            plane
                .apply(&format!(
                    "{}\n---\n{}\n---\n{}",
                    LEASE_ROLE.replace("metadata:\n", &here),
                    binding("Role", "fabric-job-operator-lease"),
                    binding("ClusterRole", "fabric-job-operator"),
                ))
                .await
                .expect("the operator's rights can be given");
        }
        let mut arguments: Vec<String> = [
            "--namespace",
            &namespace,
            "--fabric-endpoint",
            &fabric.url(),
            "--entra-authority",
            &fabric.url(),
            "--allow-loopback-http",
        ]
        .map(str::to_owned)
        .into();
        arguments.push(format!("--leader-elect={}", setup.elected));
        arguments.extend(["--lease-namespace".to_owned(), namespace.clone()]);
        arguments.extend(setup.arguments);
        let mut environment = setup.environment;
        if setup.factor != 1 {
            environment.push(("FABRIC_TEST_CLOCK_FACTOR".into(), setup.factor.to_string()));
            environment.push((
                "FABRIC_TEST_CLOCK_EPOCH".into(),
                epoch.as_second().to_string(),
            ));
        }
        let scene = Self {
            namespace,
            seed,
            fabric,
            operator: None,
            earlier_logs: String::new(),
            options: OperatorOptions {
                program: setup.program,
                kubeconfig,
                arguments,
                environment,
            },
            client: plane.client(),
        };
        if setup.secret {
            scene
                .put_secret("fabric-credentials", &scene.seed.client_secret)
                .await;
        }
        scene
    }

    /// Starts the operator, again or for the first time, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn start_operator(&mut self) {
        self.launch_operator().ready().await;
    }

    /// Starts the operator without waiting for anything; one that still runs is killed.
    pub fn launch_operator(&mut self) -> &mut Operator {
        if let Some(earlier) = self.operator.take() {
            self.earlier_logs.push_str(&earlier.log());
        }
        self.operator.insert(Operator::start(&self.options))
    }

    /// One more operator, which runs beside the scene's own.
    #[must_use]
    pub fn another_operator(&self) -> Operator {
        Operator::start(&self.options)
    }

    /// What all operators of this scene have logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        let running = self.operator.as_ref().map(Operator::log);
        format!("{}{}", self.earlier_logs, running.unwrap_or_default())
    }

    /// The user that the operator is for the API server, as the audit log names it.
    #[must_use]
    pub fn operator_user(&self) -> String {
        format!(
            "system:serviceaccount:{}:fabric-job-operator",
            self.namespace
        )
    }

    /// How the operator is started; changes take effect with the next start.
    pub fn options(&mut self) -> &mut OperatorOptions {
        &mut self.options
    }

    /// The operator.
    ///
    /// # Panics
    /// When it was not started.
    pub fn operator(&mut self) -> &mut Operator {
        self.operator.as_mut().expect("the operator was started")
    }

    /// A client with all rights.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The cancellations of the namespace, with all rights.
    #[must_use]
    pub fn cancellations(&self) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(
            "fabricjobs.dev",
            "v1alpha1",
            "FabricJobCancellation",
        ));
        Api::namespaced_with(self.client(), &self.namespace, &kind)
    }

    /// Creates or changes a Secret with the application's ids and this client secret.
    ///
    /// # Panics
    /// When the API server refuses.
    pub async fn put_secret(&self, name: &str, client_secret: &str) {
        let (tenant, client) = (&self.seed.tenant_id, &self.seed.client_id);
        self.put_secret_with(
            name,
            json!({ "AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": client, "AZURE_CLIENT_SECRET": client_secret }),
        )
        .await;
    }

    /// Creates or replaces a Secret with these entries.
    ///
    /// # Panics
    /// When the API server refuses.
    pub async fn put_secret_with(&self, name: &str, entries: Value) {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Secret"));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client(), &self.namespace, &kind);
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name },
            "type": "Opaque", "stringData": entries,
        });
        api.patch(
            name,
            &PatchParams::apply("bench").force(),
            &Patch::Apply(&secret),
        )
        .await
        .expect("the Secret can be written");
    }

    /// A further running job that the application may cancel.
    #[must_use]
    pub fn another_job(&self) -> JobRef {
        let job = &self.seed.job;
        self.fabric
            .add_job(JobSpec::running(job.workspace_id, job.item_id))
    }

    /// Creates a cancellation of the seed's job; `more` adds to its spec.
    ///
    /// # Panics
    /// When the API server refuses.
    pub async fn cancel(&self, name: &str, more: Value) -> DynamicObject {
        self.cancel_job(name, &self.seed.job.clone(), more).await
    }

    /// Creates a cancellation of `job`; `more` adds to its spec.
    ///
    /// # Panics
    /// When the API server refuses.
    pub async fn cancel_job(&self, name: &str, job: &JobRef, more: Value) -> DynamicObject {
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
    }

    /// Changes a cancellation as a user would, with a merge patch.
    ///
    /// # Panics
    /// When the API server refuses.
    pub async fn edit(&self, name: &str, patch: Value) -> DynamicObject {
        self.cancellations()
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .expect("the cancellation can be edited")
    }

    /// Waits until the cancellation satisfies `enough`; gives it as it then was.
    ///
    /// # Panics
    /// When it does not in time, with the resource.
    pub async fn wait(
        &self,
        name: &str,
        what: &str,
        enough: impl Fn(&Value) -> bool + Clone,
    ) -> Value {
        let api = self.cancellations();
        let holds = |object: Option<&DynamicObject>| object.is_some_and(|o| enough(&value(o)));
        let found = tokio::time::timeout(PATIENCE, await_condition(api.clone(), name, holds));
        match found.await {
            Ok(Ok(Some(object))) => value(&object),
            other => {
                let now = api.get_opt(name).await.expect("the API server answers");
                panic!(
                    "{name} did not come to {what} ({other:?}); it is\n{}",
                    serde_json::to_string_pretty(&now).expect("JSON")
                )
            }
        }
    }

    /// Waits until Ready has this reason.
    ///
    /// # Panics
    /// When it has not in time.
    pub async fn wait_for_reason(&self, name: &str, expected: &'static str) -> Value {
        self.wait(name, expected, move |resource| {
            reason(resource, "Ready") == expected
        })
        .await
    }

    /// Waits for the end, and checks its reason.
    ///
    /// # Panics
    /// When it does not end in time, or otherwise.
    pub async fn wait_for_end(&self, name: &str, expected: &str) -> Value {
        let resource = self
            .wait(name, "its end", |resource| {
                resource["status"]["completionTime"].is_string()
            })
            .await;
        assert_eq!(reason(&resource, "Ready"), expected, "{resource:#}");
        resource
    }

    /// The cancellation as it is.
    ///
    /// # Panics
    /// When it does not exist.
    pub async fn get(&self, name: &str) -> Value {
        let object = self.cancellations().get(name).await;
        value(&object.expect("the cancellation exists"))
    }

    /// How many cancel requests Fabric processed for the seed's job.
    #[must_use]
    pub fn processed(&self) -> usize {
        self.fabric.processed_cancels(self.seed.job.job_instance_id)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "faster clocks count from the moment at which the scene is set"
)]
fn whole_second_now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).expect("a valid time")
}

fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).expect("a resource is valid JSON")
}

/// The condition of this type; null when there is none.
#[must_use]
pub fn condition<'a>(resource: &'a Value, type_: &str) -> &'a Value {
    resource["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == type_)
        .unwrap_or(&Value::Null)
}

/// The reason of the condition of this type; empty when there is none.
#[must_use]
pub fn reason<'a>(resource: &'a Value, type_: &str) -> &'a str {
    condition(resource, type_)["reason"].as_str().unwrap_or("")
}
