//! The operator's real controller between the API server in memory and the Fabric simulator in
//! memory, all on one virtual clock.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use fabric_job_operator::{
    controller::{Leadership, Settings},
    outbound::Transport,
};
use fabric_simulator::{Config, Entry, Identity, JobRef, JobSpec, Route, Simulator};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use serde_json::{Value, json};
use tower::{BoxError, ServiceExt};
use uuid::Uuid;

use crate::{
    api_server::{ApiServer, CANCELLATIONS, NAMESPACE, OPERATOR, SECRETS},
    clock::{Calendar, pass},
    process::{Broken, Process, Replicas},
};

/// How often a waiting test looks: fine enough to say when something happened, in seconds.
const GLANCE: Duration = Duration::from_secs(1);

/// Everything that a scenario needs.
pub struct Bench {
    /// What time it is.
    pub calendar: Calendar,
    /// The Kubernetes API.
    pub server: ApiServer,
    /// Fabric and Entra.
    pub fabric: Simulator,
    /// How many Fabric calls for a job instance will panic inside the operator.
    pub panics: Arc<Mutex<HashMap<Uuid, usize>>>,
    /// How many resources the operator that starts next works on at once.
    pub concurrency: u16,
    /// How many requests a minute the operator that starts next allows itself.
    pub requests_per_minute: NonZeroU32,
    running: Option<Process>,
}

/// Without an operator: [`Bench::start`] starts it.
impl Bench {
    /// With a Fabric that behaves as it does by default.
    pub fn new() -> Self {
        Self::with(fabric_simulator::Settings::default())
    }

    /// With a Fabric that behaves like this.
    pub fn with(settings: fabric_simulator::Settings) -> Self {
        let calendar = Calendar::new();
        let server = ApiServer::new(calendar);
        let fabric = Simulator::in_memory(Config {
            clock: fabric_simulator::Clock::starting_at(calendar.now()),
            settings,
            ..Config::default()
        });
        let bench = Self {
            calendar,
            server,
            fabric,
            panics: Arc::default(),
            concurrency: 32,
            requests_per_minute: NonZeroU32::new(200).expect("200 is not 0"),
            running: None,
        };
        bench.add_identity("fabric-credentials", 2);
        bench
    }

    /// One more application, and the Secret that names it.
    pub fn add_identity(&self, secret_name: &str, client: u128) -> Identity {
        self.add_identity_in(NAMESPACE, secret_name, client)
    }

    /// The same in another namespace.
    pub fn add_identity_in(&self, namespace: &str, secret_name: &str, client: u128) -> Identity {
        let identity = Identity::new(Uuid::from_u128(1), Uuid::from_u128(client));
        self.fabric.add_secret(&identity, "a-client-secret");
        let text = |text: &str| ByteString(text.as_bytes().to_vec());
        let data = BTreeMap::from([
            ("AZURE_TENANT_ID".to_owned(), text(&identity.tenant_id)),
            ("AZURE_CLIENT_ID".to_owned(), text(&identity.client_id)),
            ("AZURE_CLIENT_SECRET".to_owned(), text("a-client-secret")),
        ]);
        let secret = Secret {
            data: Some(data),
            type_: Some("Opaque".into()),
            ..Secret::default()
        };
        let mut secret = serde_json::to_value(secret).expect("a Secret is valid JSON");
        secret["metadata"] = json!({"name": secret_name, "namespace": namespace});
        self.server.create(&SECRETS, secret);
        identity
    }

    /// Starts the operator on a node whose clock is right.
    pub fn start(&mut self) {
        self.start_on_a_node_ahead_by(SignedDuration::ZERO);
    }

    /// Starts the operator on a node whose clock is wrong by this much.
    pub fn start_on_a_node_ahead_by(&mut self, ahead: SignedDuration) {
        self.start_as(Leadership::always(), ahead);
    }

    /// Starts the operator as one of several replicas.
    pub fn start_following(&mut self, leadership: Leadership) {
        self.start_as(leadership, SignedDuration::ZERO);
    }

    fn start_as(&mut self, leadership: Leadership, ahead: SignedDuration) {
        let settings = Settings {
            namespace: None,
            concurrency: self.concurrency,
            requests_per_minute: self.requests_per_minute,
        };
        self.running = Some(Process::start(
            self.server.client(OPERATOR),
            (self.transport(), self.transport()),
            settings,
            self.calendar.now() + ahead,
            Replicas::Following(leadership),
        ));
    }

    /// Ends the operator as SIGKILL does: in the middle of whatever it does.
    pub fn kill(&mut self) {
        self.running
            .take()
            .expect("the operator runs")
            .signals()
            .kill();
    }

    /// Ends the operator as SIGTERM does.
    pub async fn shut_down(&mut self) -> Result<(), Broken> {
        let running = self.running.take().expect("the operator runs");
        running.signals().terminate();
        running
            .ended()
            .await
            .expect("the controller does not panic")
    }

    /// Tells the operator to end, as SIGTERM does, and does not wait for it.
    pub fn begin_shutdown(&self) {
        self.process().signals().terminate();
    }

    /// Whether the operator has ended.
    pub fn is_shut_down(&self) -> bool {
        self.process().has_ended()
    }

    /// Why the operator is not ready, if it is not.
    pub fn not_ready(&self) -> Option<String> {
        self.process().not_ready()
    }

    fn process(&self) -> &Process {
        self.running.as_ref().expect("the operator was started")
    }

    /// What the running operator's `/metrics` says.
    pub fn metrics(&self) -> String {
        self.process().metrics()
    }

    fn transport(&self) -> Transport {
        let (connection, panics) = (self.fabric.connection(), Arc::clone(&self.panics));
        let service = tower::service_fn(move |request: http::Request<Bytes>| {
            let (connection, panics) = (connection.clone(), Arc::clone(&panics));
            async move {
                if is_due(&panics, request.uri().path()) {
                    // Without the hook, whose backtrace would only hide the test's own output.
                    std::panic::resume_unwind(Box::new("the test asked for this panic"));
                }
                let answer = connection
                    .oneshot(request.map(axum::body::Body::from))
                    .await;
                let answer = answer.map_err(|dropped| {
                    BoxError::from(std::io::Error::new(
                        std::io::ErrorKind::ConnectionReset,
                        dropped,
                    ))
                })?;
                Ok(answer.map(|body| body.map_err(BoxError::from).boxed_unsync()))
            }
        });
        Transport::new(service)
    }
}

/// What people do.
impl Bench {
    /// A running job, the same for the same number in every run.
    pub fn job(&self, number: u32) -> JobRef {
        self.job_like(number, |_| {})
    }

    /// The job of this number, with something special.
    pub fn job_like(&self, number: u32, special: impl FnOnce(&mut JobSpec)) -> JobRef {
        let mut spec = JobSpec::running(Uuid::from_u128(10), Uuid::from_u128(11));
        spec.id = Some(job_id(number));
        special(&mut spec);
        self.fabric.add_job(spec)
    }

    /// Applies a FabricJobCancellation for this job; `spec` holds the fields beside the ids.
    pub fn cancel(&self, name: &str, job: JobRef, spec: Value) -> Value {
        self.cancel_in(NAMESPACE, name, job, spec)
    }

    /// The same in another namespace.
    pub fn cancel_in(&self, namespace: &str, name: &str, job: JobRef, mut spec: Value) -> Value {
        spec["workspaceId"] = json!(job.workspace_id);
        spec["itemId"] = json!(job.item_id);
        spec["jobInstanceId"] = json!(job.job_instance_id);
        let object = json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec});
        self.server.create(&CANCELLATIONS, object)
    }

    /// Changes a label to this value.
    pub fn label(&self, name: &str, value: &str) {
        self.server.edit(&CANCELLATIONS, name, |object| {
            object["metadata"]["labels"] = json!({"edited": value})
        });
    }
}

/// What there is to see.
impl Bench {
    /// The status of a cancellation that exists, as it is stored.
    pub fn status(&self, name: &str) -> Value {
        let object = self.server.get(&CANCELLATIONS, name);
        object.expect("the test asks for what exists")["status"].take()
    }

    /// The `resourceVersion` of a cancellation that exists.
    pub fn resource_version(&self, name: &str) -> Value {
        let object = self.server.get(&CANCELLATIONS, name);
        object.expect("the test asks for what exists")["metadata"]["resourceVersion"].take()
    }

    /// Ready's status and reason, for example `True JobCancelled`.
    pub fn ready(&self, name: &str) -> String {
        self.condition(name, "Ready")
    }

    /// A condition's status and reason, for example `True JobCancelled`; empty when it is absent.
    pub fn condition(&self, name: &str, kind: &str) -> String {
        let status = self.status(name);
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions
            .into_iter()
            .find(|condition| condition["type"] == kind);
        found.map_or_else(String::new, |condition| {
            format!(
                "{} {}",
                text(&condition["status"]),
                text(&condition["reason"])
            )
        })
    }

    /// Whether the status shows an end.
    pub fn has_ended(&self, name: &str) -> bool {
        self.status(name)["completionTime"].is_string()
    }

    /// Lets time pass until the cancellation has ended, at most so long.
    pub async fn ended(&self, name: &str, within: Duration) {
        self.wait(within, &format!("{name} has ended"), || {
            self.has_ended(name)
        })
        .await;
    }

    /// Lets time pass until something is so, at most so long.
    pub async fn wait(&self, within: Duration, what: &str, is_so: impl Fn() -> bool) {
        let end = self.calendar.elapsed() + within;
        while !is_so() {
            assert!(
                self.calendar.elapsed() < end,
                "not within {within:?}: {what}\nobjects: {:#?}\nFabric: {:#?}",
                self.server.list(&CANCELLATIONS),
                self.fabric.ledger(),
            );
            pass(GLANCE).await;
        }
    }

    /// Every call of Fabric's own routes so far, in order.
    pub fn calls(&self) -> Vec<Entry> {
        let mut calls = self.fabric.ledger();
        calls.retain(|entry| Route::FABRIC.contains(&entry.route));
        calls
    }

    /// When the cancel requests for this job arrived, in whole seconds since the start.
    pub fn cancels(&self, job: JobRef) -> Vec<i64> {
        self.seconds(Route::Cancel, job)
    }

    /// When the looks at this job arrived, in whole seconds since the start.
    pub fn looks(&self, job: JobRef) -> Vec<i64> {
        self.seconds(Route::Job, job)
    }

    fn seconds(&self, route: Route, job: JobRef) -> Vec<i64> {
        let id = job.job_instance_id.to_string();
        let calls = self.fabric.requests(route).into_iter();
        calls
            .filter(|entry| entry.job_instance_id.as_ref() == Some(&id))
            .map(|entry| since_start(entry.time).as_secs())
            .collect()
    }
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.signals().kill();
        }
    }
}

/// Whether the call of this path is to panic; it is counted.
fn is_due(panics: &Mutex<HashMap<Uuid, usize>>, path: &str) -> bool {
    let mut panics = panics.lock().expect("no holder of the lock panics");
    let planned = panics
        .iter_mut()
        .find(|(job, left)| **left > 0 && path.contains(&job.to_string()));
    planned.map(|(_, left)| *left -= 1).is_some()
}

/// Time since every test's start.
pub fn since_start(time: Timestamp) -> SignedDuration {
    time.duration_since(
        crate::clock::START
            .parse()
            .expect("the constant is a timestamp"),
    )
}

/// So many seconds.
pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// So many minutes.
pub fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// So many hours.
pub fn hours(hours: u64) -> Duration {
    minutes(60 * hours)
}

/// As random as those of Fabric, and the same in every run: what spreads by the id spreads.
fn job_id(number: u32) -> Uuid {
    Uuid::from_u128(
        (u128::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
    )
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
