//! One seed: the plan carried out, to the end and a quiet hour beyond it.

use std::{collections::BTreeMap, time::Duration};

use fabric_simulator::{
    Access, Clock, Config, Identity, JobChange, JobRef, JobSpec, JobStatus, JobView, Simulator,
};
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use oracles::Violation;
use serde_json::{Map, Value, json};
use uuid::Uuid;
use virtual_cluster::{
    api_server::{ApiServer, CANCELLATIONS, NAMESPACE, SECRETS},
    clock::{Calendar, pass},
};

use crate::{
    cluster::Cluster,
    draw::Draw,
    history, log,
    plan::{Act, JobPlan, Plan, purpose},
    steady::is_steady,
    trace,
    wire::Wire,
};

/// How long nothing may happen after the end.
pub const QUIET: Duration = Duration::from_secs(3600);

/// What a run may take beyond the longest deadline: the last look, and a `Retry-After` that the
/// weather knows.
const BEYOND: Duration = Duration::from_secs(3 * 3600);

/// The name of each Secret, and the number of its application.
const SECRETS_OF: [(&str, u128); 2] = [("fabric-credentials", 2), ("other-credentials", 3)];

/// What came of a seed.
pub struct Report {
    pub violations: Vec<Violation>,
    /// What no oracle says: a process that ended by itself, a bug that was logged.
    pub problems: Vec<String>,
    /// Virtual time from the first start to the last look.
    pub lasted: Duration,
    /// The trace, if it was asked for.
    pub trace: Option<String>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.problems.is_empty()
    }
}

/// Everything that a run consists of.
pub struct World {
    pub plan: Plan,
    pub calendar: Calendar,
    pub server: ApiServer,
    pub fabric: Simulator,
    pub wire: Wire,
    pub cluster: Cluster,
    pub jobs: Vec<JobRef>,
    /// What was known of a job when Fabric forgot it.
    pub forgotten: BTreeMap<usize, JobView>,
    /// What happened, for the trace.
    pub acts: Vec<(Timestamp, String)>,
    /// Every client secret that there was.
    pub client_secrets: Vec<String>,
    /// The secret that each Secret object is to hold.
    current: BTreeMap<&'static str, String>,
}

/// Carries a seed's plan out and judges what was seen. `long`: as [`Plan::draw`] has it.
pub async fn run(seed: u64, long: bool, with_trace: bool) -> Report {
    let mut world = World::new(Plan::draw(seed, long));
    world.cluster.start_all();
    world.storm().await;
    world.calm();
    world.ends().await;
    world.quiet().await;
    let history = history::of(&world);
    let mut violations = oracles::judge(&history);
    violations.dedup();
    let lasted = world.calendar.elapsed();
    let mut problems = world.cluster.problems();
    problems.extend(log::bugs(&log::lines()));
    let trace = with_trace.then(|| trace::of(&world));
    world.close();
    if !long && is_steady(seed) {
        let mut other = World::new(Plan::draw(seed, long).without_faults());
        other.cluster.start_all();
        other.storm().await;
        other.ends().await;
        violations.extend(compared(&world, &other));
        other.close();
    }
    Report {
        violations,
        problems,
        lasted,
        trace,
    }
}

/// Where the ends differ from those of the run without faults.
fn compared(world: &World, without_faults: &World) -> Vec<Violation> {
    let end = |world: &World, name: &str| {
        let object = world.server.get(&CANCELLATIONS, name);
        object.unwrap_or_default()
    };
    let resources = world.plan.resources.iter();
    resources
        .flat_map(|planned| {
            let (end, reference) = (
                end(world, &planned.name),
                end(without_faults, &planned.name),
            );
            oracles::same_end(&end, &reference, true)
        })
        .collect()
}

impl World {
    fn new(plan: Plan) -> Self {
        let calendar = Calendar::new();
        log::begin(calendar);
        let server = ApiServer::new(calendar);
        let fabric = Simulator::in_memory(Config {
            clock: Clock::starting_at(calendar.now()),
            settings: plan.settings.clone(),
            seed: Some(plan.seed),
            ..Config::default()
        });
        let wire = Wire::new(calendar, fabric.connection());
        let cluster = Cluster::new(&plan, calendar, server.clone(), wire.clone());
        let jobs = plan
            .jobs
            .iter()
            .enumerate()
            .map(|(index, job)| fabric.add_job(job_spec(plan.seed, index, job)))
            .collect();
        let mut world = Self {
            plan,
            calendar,
            server,
            fabric,
            wire,
            cluster,
            jobs,
            forgotten: BTreeMap::new(),
            acts: Vec::new(),
            client_secrets: Vec::new(),
            current: BTreeMap::new(),
        };
        for (name, client) in SECRETS_OF {
            let secret = world.new_client_secret();
            world.fabric.add_secret(&identity(client), &secret);
            world.current.insert(name, secret);
            world.store_secret(name, client);
        }
        world
    }

    /// Ends its processes.
    fn close(&self) {
        self.cluster.end();
        // The server decides by asking the cluster, which holds the server: neither would be freed.
        self.server.heal();
    }

    /// Everything that the plan says, until its calm.
    async fn storm(&mut self) {
        let start = self.calendar.now();
        for index in 0..self.plan.acts.len() {
            let (at, act) = self.plan.acts[index].clone();
            self.calendar.sleep_until(start + at).await;
            self.acts.push((self.calendar.now(), format!("{act:?}")));
            self.perform(&act);
        }
        self.calendar.sleep_until(start + self.plan.calm).await;
    }

    /// Everything is well again, and stays so.
    fn calm(&mut self) {
        self.acts.push((self.calendar.now(), "Calm".to_owned()));
        self.server.lag_watches(Duration::ZERO);
        self.server.freeze_watches(false);
        self.server.fall_behind(false);
        self.perform(&Act::Access(Access::Execute));
        self.perform(&Act::CapacityPaused(false));
        for (name, client) in SECRETS_OF {
            let secret = self.current[name].clone();
            self.fabric.rotate_secret(&identity(client), &secret);
            if self.server.get(&SECRETS, name).is_some() {
                self.server.delete(&SECRETS, name);
            }
            self.store_secret(name, client);
        }
        self.cluster.calm();
    }

    /// Waits until every wanted cancellation has ended, or should have.
    async fn ends(&self) {
        let latest = self.calendar.elapsed() + self.plan.longest_deadline + BEYOND;
        let mut glance = Duration::from_secs(5);
        while self.calendar.elapsed() < latest {
            let open = self.server.list(&CANCELLATIONS).into_iter().any(|object| {
                !object["status"]["completionTime"].is_string()
                    && object["spec"]["suspend"] != json!(true)
            });
            if !open {
                return;
            }
            pass(glance).await;
            glance = (glance * 2).min(Duration::from_secs(60));
        }
    }

    /// Waits until nothing was stored for the quiet time.
    async fn quiet(&self) {
        for _ in 0..20 {
            let last = self.server.last_change(&CANCELLATIONS);
            let since = last.map_or(self.since_calm(), |last| last.max(self.since_calm()));
            if self.calendar.now() >= since + QUIET {
                return;
            }
            self.calendar.sleep_until(since + QUIET).await;
        }
    }

    fn since_calm(&self) -> Timestamp {
        self.calendar.start() + self.plan.calm
    }

    fn perform(&mut self, act: &Act) {
        match act {
            Act::Create(index) => self.create(*index),
            Act::Delete(index) => {
                if let Some(name) = self.existing(*index) {
                    self.server.delete(&CANCELLATIONS, &name);
                }
            }
            Act::Suspend(index, suspend) => self.edit(*index, "suspend", json!(suspend)),
            Act::Edit(index, field, value) => self.edit(*index, field, value.clone()),
            Act::Label(index) => {
                if let Some(name) = self.existing(*index) {
                    let edited = self.acts.len().to_string();
                    self.server.edit(&CANCELLATIONS, &name, |object| {
                        object["metadata"]["labels"] = json!({ "edited": edited });
                    });
                }
            }
            Act::Show(job, shown) => {
                self.show(*job, shown.as_object().cloned().unwrap_or_default())
            }
            Act::ShowTruth(job) => self.show(*job, Map::new()),
            Act::End(job, status) => {
                let id = self.jobs[*job].job_instance_id;
                if self
                    .fabric
                    .job(id)
                    .is_some_and(|job| !job.status.is_ended())
                {
                    self.fabric.set_job_status(id, status.clone());
                }
            }
            Act::Forget(job) => {
                let id = self.jobs[*job].job_instance_id;
                if let Some(view) = self.fabric.job(id) {
                    self.forgotten.insert(*job, view);
                    self.fabric.remove_job(id);
                }
            }
            Act::Access(access) => self.fabric.set_default_access(workspace(), *access),
            Act::CapacityPaused(paused) => self.fabric.set_capacity_paused(workspace(), *paused),
            Act::RevokeTokens => {
                for (_, client) in SECRETS_OF {
                    self.fabric.revoke_tokens(&identity(client));
                }
            }
            Act::RotateInEntra => {
                for (name, client) in SECRETS_OF {
                    let secret = self.new_client_secret();
                    self.fabric.rotate_secret(&identity(client), &secret);
                    self.current.insert(name, secret);
                }
            }
            Act::RotateInKubernetes => {
                for (name, client) in SECRETS_OF {
                    if self.server.get(&SECRETS, name).is_some() {
                        self.server.delete(&SECRETS, name);
                        self.store_secret(name, client);
                    }
                }
            }
            Act::ExpireSecrets => {
                for (_, client) in SECRETS_OF {
                    self.fabric.expire_secrets(&identity(client));
                }
            }
            Act::DeleteSecret => {
                if self.server.get(&SECRETS, SECRETS_OF[0].0).is_some() {
                    self.server.delete(&SECRETS, SECRETS_OF[0].0);
                }
            }
            Act::RestoreSecret => {
                let (name, client) = SECRETS_OF[0];
                if self.server.get(&SECRETS, name).is_none() {
                    self.store_secret(name, client);
                }
            }
            Act::LagWatches(lag) => self.server.lag_watches(*lag),
            Act::FreezeWatches(frozen) => self.server.freeze_watches(*frozen),
            Act::FallBehind(behind) => self.server.fall_behind(*behind),
            Act::CloseWatches => self.server.close_watches(),
            Act::ExpireWatches => self.server.expire_watches(),
            Act::RepeatEvent(before) => self.server.repeat_event(*before),
            Act::Crash(slot) => self.cluster.crash(*slot),
            Act::Terminate(slot) => self.cluster.terminate(*slot),
        }
    }

    fn create(&self, index: usize) {
        let planned = &self.plan.resources[index];
        if self.existing(index).is_some() {
            return;
        }
        let job = self.jobs[planned.job];
        let mut spec = planned.spec.clone();
        spec["workspaceId"] = json!(job.workspace_id);
        spec["itemId"] = json!(job.item_id);
        spec["jobInstanceId"] = json!(job.job_instance_id);
        let metadata = json!({"name": planned.name, "namespace": NAMESPACE});
        self.server
            .create(&CANCELLATIONS, json!({"metadata": metadata, "spec": spec}));
    }

    fn existing(&self, index: usize) -> Option<String> {
        let name = &self.plan.resources[index].name;
        let found = self.server.get(&CANCELLATIONS, name);
        found.map(|_| name.clone())
    }

    fn edit(&self, index: usize, field: &str, value: Value) {
        if let Some(name) = self.existing(index) {
            self.server.edit(&CANCELLATIONS, &name, |object| {
                object["spec"][field] = value;
            });
        }
    }

    fn show(&self, job: usize, overlay: Map<String, Value>) {
        let change = JobChange {
            overlay: Some(overlay),
            ..JobChange::default()
        };
        // Forgotten jobs show nothing.
        let _ = self
            .fabric
            .change_job(self.jobs[job].job_instance_id, change);
    }

    fn new_client_secret(&mut self) -> String {
        let number = self.client_secrets.len() as u64;
        let mut draw = Draw::new(self.plan.seed, purpose::SECRETS + number);
        let secret: String = (0..40).map(|_| draw.letter()).collect();
        self.client_secrets.push(secret.clone());
        secret
    }

    fn store_secret(&self, name: &str, client: u128) {
        let identity = identity(client);
        let text = |text: &str| ByteString(text.as_bytes().to_vec());
        let data = BTreeMap::from([
            ("AZURE_TENANT_ID".to_owned(), text(&identity.tenant_id)),
            ("AZURE_CLIENT_ID".to_owned(), text(&identity.client_id)),
            ("AZURE_CLIENT_SECRET".to_owned(), text(&self.current[name])),
        ]);
        let secret = Secret {
            data: Some(data),
            type_: Some("Opaque".into()),
            ..Secret::default()
        };
        let mut secret = serde_json::to_value(secret).expect("a Secret is valid JSON");
        secret["metadata"] = json!({"name": name});
        self.server.create(&SECRETS, secret);
    }

    /// The two identities of the namespace.
    pub fn identities() -> Vec<oracles::Identity> {
        SECRETS_OF
            .iter()
            .map(|(_, client)| identity(*client))
            .map(|identity| oracles::Identity {
                tenant_id: identity.tenant_id,
                client_id: identity.client_id,
            })
            .collect()
    }
}

fn identity(client: u128) -> Identity {
    Identity::new(Uuid::from_u128(1), Uuid::from_u128(client))
}

fn workspace() -> Uuid {
    Uuid::from_u128(10)
}

fn job_spec(seed: u64, index: usize, plan: &JobPlan) -> JobSpec {
    let mut spec = JobSpec::with_status(workspace(), Uuid::from_u128(11), plan.status.clone());
    spec.id = Some(Uuid::from_u128(mix(u128::from(seed) << 4 | index as u128)));
    if plan.status == JobStatus::NotStarted {
        spec.starts_after = plan.starts_after;
    }
    spec.ends_after = plan.ends_after;
    spec.ends_as = plan.ends_as.clone();
    spec.cancel_takes = Some(plan.cancel_takes);
    spec.cancel_effect = plan.effect.clone();
    spec.null_end_time = plan.null_end_time;
    spec
}

/// As random as Fabric's ids, and the same in every run.
fn mix(number: u128) -> u128 {
    (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}
