//! The stage: control plane, simulated Fabric and operator, and what happens on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use control_plane::{ControlPlane, Tools};
use fabric_simulator::{
    Config, Entry, Handle, LookRetryAfter, Outcome, Route, Settings, Simulator,
};
use futures::StreamExt;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::{WatchStreamExt, watcher};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::kubectl::Apply;
use super::timeline::{Call, Columns, Timeline, say};
use super::traces::Traces;
use super::{Failure, Options};
use crate::{CLUSTER_ROLE, Cancellation, Manifests, Operator, OperatorOptions, furnish};

const CRD: &str = include_str!("../../../../crds/fabricjobcancellations.yaml");

/// Where the operator's ServiceAccount lives.
const NAMESPACE: &str = "fabric-job-operator";

/// Fabric says 60 s; nobody watches a demo for that long.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Long enough for a look at a job that still runs.
const CANCEL_TAKES: Duration = Duration::from_secs(5);

/// The operator is ready in a second; a busy machine takes longer.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// A process that is asked to end has this long before it is ended.
const FAREWELL: Duration = Duration::from_secs(10);

/// How many lines of the operator's log a failure shows.
const TAIL: usize = 30;

/// Everything that runs. Ends when it is dropped.
pub(super) struct Stage {
    operator: Operator,
    pub(super) fabric: Simulator,
    pub(super) plane: ControlPlane,
}

impl Stage {
    /// Starts everything and waits until the operator is ready.
    pub(super) async fn set(
        tools: Tools,
        manifests: &Manifests,
        program: &Path,
        traces: &Traces,
    ) -> Result<Self, Failure> {
        say("Starting etcd and kube-apiserver ...");
        let plane = ControlPlane::start_with(tools)
            .await
            .map_err(|error| Failure::to("start the control plane")(error.into()))?;
        for (name, pid) in ["etcd", "kube-apiserver"].into_iter().zip(plane.pids()) {
            traces.process(name, pid);
        }
        traces.folder(plane.folder().to_path_buf());
        say(&format!(
            "  Kubernetes {} at {}",
            version(&plane).await,
            plane.url()
        ));

        let fabric = Simulator::start(Config {
            settings: Settings {
                accepted_retry_after: Some(RETRY_AFTER),
                look_retry_after: LookRetryAfter::Seconds(RETRY_AFTER.as_secs()),
                cancel_takes: CANCEL_TAKES,
                ..Settings::default()
            },
            ..Config::default()
        })
        .await
        .map_err(|error| Failure::to("start the simulated Fabric")(error.into()))?;
        furnish(&fabric, manifests).map_err(Failure)?;
        say(&format!("  simulated Fabric and Entra at {}", fabric.url()));

        say("Installing the CustomResourceDefinition and the operator's rights ...");
        let kubeconfig = install(&plane).await?;

        let url = fabric.url();
        let arguments = ["--fabric-endpoint", &url, "--entra-authority", &url];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
        arguments.push("--allow-loopback-http".into());
        // One operator on a control plane of its own; the first wait for a new Lease is 15 s.
        arguments.push("--leader-elect=false".into());
        let operator = Operator::start(&OperatorOptions {
            program: program.to_path_buf(),
            kubeconfig,
            arguments,
            environment: Vec::new(),
        });
        traces.process("operator", operator.pid());
        let folder = operator.log_path().parent().map(Path::to_path_buf);
        folder.into_iter().for_each(|folder| traces.folder(folder));
        let mut stage = Self {
            operator,
            fabric,
            plane,
        };
        stage.ready().await?;
        Ok(stage)
    }

    /// Applies the sample and tells what happens until every cancellation has ended.
    pub(super) async fn perform(
        &mut self,
        options: &Options,
        cancellations: &[Cancellation],
        timeline: &Timeline,
    ) -> Result<(), Failure> {
        let watch = watcher(self.resources(), watcher::Config::default());
        let mut watch = watch.default_backoff().applied_objects().boxed();
        let ledger = self.fabric.handle();
        let mut told = Told::default();
        let mut columns: BTreeMap<Cancellation, Columns> = BTreeMap::new();
        let mut waiting: BTreeSet<&Cancellation> = cancellations.iter().collect();

        let command = format!("kubectl apply -f {}", shown(&options.manifests));
        timeline.line(Call::Apply, &command, "");
        let mut kubectl = Apply::start(&self.plane, &options.manifests)?;
        let mut heartbeat = tokio::time::interval(Duration::from_millis(200));
        let watching = async {
            while !waiting.is_empty() {
                tokio::select! {
                    // A request is answered before the status that tells of it.
                    biased;
                    applied = kubectl.next(), if kubectl.is_running() => {
                        if let Some(line) = applied? {
                            timeline.line(Call::Apply, "", &line);
                        }
                    }
                    entry = next(&ledger, &told) => {
                        timeline.request(&entry);
                        told.request(entry);
                    }
                    event = watch.next() => {
                        let Some(Ok(object)) = event else { continue };
                        let (cancellation, resource) = read(&object);
                        told.intents(&resource);
                        let now = Columns::of(&resource);
                        if now.ready != "-" && columns.get(&cancellation) != Some(&now) {
                            timeline.columns(&cancellation.name, &now);
                            columns.insert(cancellation.clone(), now);
                        }
                        if resource["status"]["completionTime"].is_string() {
                            waiting.remove(&cancellation);
                        }
                    }
                    _ = heartbeat.tick() => {
                        if let Some(status) = self.operator.exit_status() {
                            return Err(Failure(format!("the operator ended by itself ({status})")));
                        }
                    }
                }
            }
            Ok(())
        };
        let ended = tokio::time::timeout(options.timeout, watching).await;
        ended.unwrap_or_else(|_| {
            let standing = |cancellation: &&Cancellation| {
                let columns = columns.get(cancellation).cloned().unwrap_or_default();
                let Columns { ready, reason, job } = columns;
                format!("{} ({ready}, {reason}, job {job})", cancellation.name)
            };
            let standing: Vec<_> = waiting.iter().map(standing).collect();
            Err(Failure(format!(
                "after {} s this has not ended: {}",
                options.timeout.as_secs(),
                standing.join(", ")
            )))
        })
    }

    /// The last lines of the operator's log, readable.
    pub(super) fn log_tail(&self) -> String {
        let log = self.operator.log();
        let lines: Vec<String> = log.lines().map(readable).collect();
        let tail = &lines[lines.len().saturating_sub(TAIL)..];
        format!("The end of the operator's log:\n{}", tail.join("\n"))
    }

    /// Says what to do with what keeps running.
    pub(super) fn invite(&self) {
        let job = self.fabric.jobs().first().map(|job| job.job);
        let (workspace, item) = job.map_or_else(
            || ("<uuid>".to_owned(), "<uuid>".to_owned()),
            |job| (job.workspace_id.to_string(), job.item_id.to_string()),
        );
        let url = self.fabric.url();
        let body = json!({ "workspaceId": workspace, "itemId": item });
        say(&format!(
            "
Kept running until Ctrl-C. In another terminal:

  export KUBECONFIG={kubeconfig}
  export PATH=$PATH:{tools}     # if you have no kubectl

  kubectl get fjc -A --watch                  # what you see while you try the rest
  kubectl explain fjc.spec                    # the manual
  kubectl describe fjc -A                     # with its Events
  curl -s {url}/_simulator/ledger             # every request that Fabric and Entra got
  curl -s {url}/_simulator/jobs -d '{body}'
                                              # one more running job; cancel it with a manifest like
                                              # docs/examples/first-cancellation/3-cancellation.yaml

The simulated Fabric is at {url}, the operator's log in {log}.",
            kubeconfig = self.plane.kubeconfig_admin().display(),
            tools = self.plane.tools().folder().display(),
            log = self.operator.log_path().display(),
        ));
    }

    /// Asks the operator to end; whatever does not is ended by the drop that follows.
    pub(super) async fn leave(mut self) {
        if self.operator.exit_status().is_none() {
            self.operator.signal(Signal::TERM);
            let ended = self.until(|stage| stage.operator.exit_status().is_some());
            let _ = tokio::time::timeout(FAREWELL, ended).await;
        }
    }

    /// The cancellations of all namespaces.
    fn resources(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("fabricjobs.dev", "v1alpha1", "FabricJobCancellation");
        Api::all_with(self.plane.client(), &ApiResource::from_gvk(&kind))
    }

    async fn ready(&mut self) -> Result<(), Failure> {
        say("Starting the operator ...");
        let ready = self.until(|stage| {
            stage.operator.exit_status().is_some()
                || stage
                    .operator
                    .log()
                    .contains("watching FabricJobCancellations")
        });
        let in_time = tokio::time::timeout(READY_LIMIT, ready).await.is_ok();
        let problem = match self.operator.exit_status() {
            Some(status) => format!("the operator ended by itself ({status})"),
            None if !in_time => {
                format!("the operator was not ready in {} s", READY_LIMIT.as_secs())
            }
            None => {
                say(&format!("  ready (process {})", self.operator.pid()));
                return Ok(());
            }
        };
        Err(Failure(format!("{problem}\n\n{}", self.log_tail())))
    }

    /// A file and a process cannot be awaited.
    async fn until(&mut self, done: impl Fn(&mut Self) -> bool) {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while !done(self) {
            tick.tick().await;
        }
    }
}

/// A path as people write it: below the current folder where it is.
fn shown(path: &Path) -> String {
    let below = || {
        let path = path.canonicalize().ok()?;
        let here = std::env::current_dir().ok()?.canonicalize().ok()?;
        path.strip_prefix(here).ok().map(Path::to_path_buf)
    };
    below()
        .unwrap_or_else(|| path.to_path_buf())
        .display()
        .to_string()
}

/// Installs what the operator needs; gives the kubeconfig of its ServiceAccount.
async fn install(plane: &ControlPlane) -> Result<PathBuf, Failure> {
    let failed = || Failure::to("install the operator");
    let rights = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": "fabric-job-operator" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "fabric-job-operator" },
        "subjects": [{ "kind": "ServiceAccount", "name": "fabric-job-operator", "namespace": NAMESPACE }],
    });
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    plane
        .install_crd(CRD)
        .await
        .map_err(|error| failed()(error.into()))?;
    plane
        .apply(&format!("{CLUSTER_ROLE}\n---\n{rights}\n---\n{namespace}"))
        .await
        .map_err(|error| failed()(error.into()))?;
    plane
        .kubeconfig_service_account(NAMESPACE, "fabric-job-operator")
        .await
        .map_err(|error| failed()(error.into()))
}

async fn version(plane: &ControlPlane) -> String {
    let version = plane.client().apiserver_version().await;
    version.map_or_else(|_| "of an unknown version".into(), |info| info.git_version)
}

/// What the timeline has told.
#[derive(Default)]
struct Told {
    requests: BTreeSet<u64>,
    /// Cancel requests told, and attempts seen in the status, by job instance.
    cancels: BTreeMap<String, (i64, i64)>,
}

impl Told {
    fn request(&mut self, entry: Entry) {
        self.requests.insert(entry.sequence);
        if let (Route::Cancel, Some(job)) = (entry.route, entry.job_instance_id) {
            self.cancels.entry(job).or_default().0 += 1;
        }
    }

    fn intents(&mut self, resource: &Value) {
        let job = resource["spec"]["jobInstanceId"]
            .as_str()
            .unwrap_or_default();
        let seen = &mut self.cancels.entry(job.to_owned()).or_default().1;
        *seen = resource["status"]["attempts"]
            .as_i64()
            .unwrap_or(0)
            .max(*seen);
    }

    /// Whether it is this request's turn: answered, and a cancel request after its intent, which
    /// comes from another source and may arrive later.
    fn is_next(&self, entry: &Entry) -> bool {
        let job = entry.job_instance_id.as_ref();
        let (told, intents) = job
            .and_then(|job| self.cancels.get(job))
            .copied()
            .unwrap_or_default();
        entry.outcome != Outcome::Pending
            && !self.requests.contains(&entry.sequence)
            && (entry.route != Route::Cancel || told < intents)
    }
}

/// The next request to tell.
async fn next(ledger: &Handle, told: &Told) -> Entry {
    loop {
        let next = |entries: &[Entry]| entries.iter().find(|entry| told.is_next(entry)).cloned();
        // The ledger's own limit says nothing here; the caller has one.
        if let Ok(entry) = ledger.wait_until(Duration::from_secs(3_600), next).await {
            return entry;
        }
    }
}

fn read(object: &DynamicObject) -> (Cancellation, Value) {
    let cancellation = Cancellation {
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
    };
    let resource = serde_json::to_value(object).expect("a resource is valid JSON");
    (cancellation, resource)
}

/// A JSON line of the operator's log as text.
fn readable(line: &str) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
        return line.to_owned();
    };
    let mut take = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let mut text = format!(
        "{} {:>5} {}",
        take("timestamp"),
        take("level"),
        take("message")
    );
    for (name, value) in &fields {
        let is_empty = value.as_str().is_some_and(str::is_empty);
        if name != "target" && !is_empty {
            text.push_str(&format!(" {name}={value}"));
        }
    }
    text
}
