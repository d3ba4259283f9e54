//! What a test does to a simulator and learns from it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    clock::Clock,
    entra::Identity,
    fabric::{Access, JobChange, JobRef, JobSpec, JobStatus, JobView, WorkspaceSpec},
    ledger::{Entry, NothingMatched},
    route::Route,
    script::{InvalidRule, Rule, RuleState, ScriptHandle},
    service::State,
    settings::Settings,
};

/// Steers a simulator and reads its ledger. Clones steer the same one.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) state: Arc<State>,
}

/// What [`Handle::seed`] created: an application that may cancel one running job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seed {
    /// The application's tenant.
    pub tenant_id: String,
    /// The application.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The running job.
    #[serde(flatten)]
    pub job: JobRef,
}

impl Seed {
    /// The application.
    pub fn identity(&self) -> Identity {
        Identity::new(&self.tenant_id, &self.client_id)
    }
}

impl Handle {
    /// The simulator's clock.
    pub fn clock(&self) -> &Clock {
        &self.state.clock
    }

    /// How the service behaves now.
    pub fn settings(&self) -> Settings {
        self.state.world().fabric.settings.clone()
    }

    /// Changes how the service behaves from now on; quota windows begin anew.
    pub fn update_settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut world = self.state.world();
        change(&mut world.fabric.settings);
        world.fabric.quota.reset();
    }

    /// A tenant, application, secret, workspace, item and running job with random ids.
    pub fn seed(&self) -> Seed {
        let identity = Identity::new(Uuid::new_v4(), Uuid::new_v4());
        let client_secret = format!("secret-{}", Uuid::new_v4().simple());
        self.add_secret(&identity, &client_secret);
        let job = self.add_job(JobSpec::running(Uuid::new_v4(), Uuid::new_v4()));
        Seed {
            tenant_id: identity.tenant_id,
            client_id: identity.client_id,
            client_secret,
            job,
        }
    }

    // Jobs, workspaces and rights.

    /// Creates a job instance, with its workspace and item when they do not exist.
    pub fn add_job(&self, spec: JobSpec) -> JobRef {
        let id = spec.id.unwrap_or_else(|| self.state.ids.next());
        let now = self.clock().now();
        self.state
            .world()
            .fabric
            .insert(spec, id, self.state.ids.next(), now)
    }

    /// The job instance as it is now; `None` when there is none.
    pub fn job(&self, job_instance_id: Uuid) -> Option<JobView> {
        self.state
            .world()
            .fabric
            .view(job_instance_id, self.clock().now())
    }

    /// All job instances, oldest first.
    pub fn jobs(&self) -> Vec<JobView> {
        self.state.world().fabric.views(self.clock().now())
    }

    /// Changes a job instance from now on; `false` when there is none.
    pub fn change_job(&self, job_instance_id: Uuid, change: JobChange) -> bool {
        let now = self.clock().now();
        self.state
            .world()
            .fabric
            .change(job_instance_id, change, now)
    }

    /// The job instance has this status from now on, by itself; `false` when there is none.
    pub fn set_job_status(&self, job_instance_id: Uuid, status: JobStatus) -> bool {
        self.change_job(
            job_instance_id,
            JobChange {
                status: Some(status),
                ..JobChange::default()
            },
        )
    }

    /// Fabric forgets the job instance; `false` when there was none.
    pub fn remove_job(&self, job_instance_id: Uuid) -> bool {
        self.state.world().fabric.remove(job_instance_id)
    }

    /// Creates a workspace, or replaces one but for its items, jobs and grants.
    pub fn add_workspace(&self, spec: WorkspaceSpec) -> Uuid {
        let id = spec.id.unwrap_or_else(|| self.state.ids.next());
        self.state.world().fabric.put_workspace(id, spec);
        id
    }

    /// Creates an item, with its workspace when it does not exist.
    pub fn add_item(&self, workspace_id: Uuid, display_name: &str, item_type: &str) -> Uuid {
        let id = self.state.ids.next();
        self.put_item(workspace_id, id, display_name, item_type);
        id
    }

    /// Creates or renames an item of a known id.
    pub fn put_item(&self, workspace_id: Uuid, id: Uuid, display_name: &str, item_type: &str) {
        self.state
            .world()
            .fabric
            .put_item(workspace_id, id, display_name, item_type);
    }

    /// What this identity may do in the workspace from now on.
    pub fn grant(&self, workspace_id: Uuid, identity: &Identity, access: Access) {
        self.state
            .world()
            .fabric
            .grant(workspace_id, identity.clone(), access);
    }

    /// What identities without a grant may do in the workspace from now on.
    pub fn set_default_access(&self, workspace_id: Uuid, access: Access) {
        self.state
            .world()
            .fabric
            .set_default_access(workspace_id, access);
    }

    /// Pauses or resumes the workspace's capacity.
    pub fn set_capacity_paused(&self, workspace_id: Uuid, paused: bool) {
        self.state
            .world()
            .fabric
            .set_capacity_paused(workspace_id, paused);
    }

    // Identities.

    /// A tenant without applications.
    pub fn add_tenant(&self, tenant_id: &str) {
        self.state.world().entra.add_tenant(tenant_id);
    }

    /// An application without a secret, with its tenant.
    pub fn add_application(&self, identity: &Identity) {
        self.state.world().entra.add_application(identity);
    }

    /// Deletes an application; the tokens it has stay valid, as Entra's do.
    pub fn remove_application(&self, identity: &Identity) -> bool {
        self.state.world().entra.remove_application(identity)
    }

    /// One more secret, with tenant and application as needed; it does not expire.
    pub fn add_secret(&self, identity: &Identity, value: &str) {
        self.state.world().entra.add_secret(identity, value, None);
    }

    /// One more secret, which expires then (simulated time).
    pub fn add_secret_until(&self, identity: &Identity, value: &str, expires: Timestamp) {
        self.state
            .world()
            .entra
            .add_secret(identity, value, Some(expires));
    }

    /// This secret alone is valid from now on.
    pub fn rotate_secret(&self, identity: &Identity, value: &str) {
        let entra = &mut self.state.world().entra;
        entra.remove_secrets(identity);
        entra.add_secret(identity, value, None);
    }

    /// All secrets of the application expire now (`AADSTS7000222` from then on).
    pub fn expire_secrets(&self, identity: &Identity) {
        let now = self.clock().now();
        self.state.world().entra.expire_secrets(identity, now);
    }

    /// Fabric refuses (`InvalidToken`) every token given out to the identity so far; how many
    /// there were.
    pub fn revoke_tokens(&self, identity: &Identity) -> usize {
        self.state.world().entra.revoke_tokens(identity)
    }

    // Scripts.

    /// Adds a rule for requests to come.
    ///
    /// # Panics
    ///
    /// When the rule contradicts itself; its builder methods make no such rule but `times(0)`.
    pub fn script(&self, rule: Rule) -> ScriptHandle {
        self.try_script(rule)
            .expect("a rule of the builder is valid")
    }

    /// Adds a rule that may contradict itself.
    ///
    /// # Errors
    ///
    /// When it does.
    pub fn try_script(&self, rule: Rule) -> Result<ScriptHandle, InvalidRule> {
        self.state.script.add(rule)
    }

    /// The rules that wait for requests, and those that hold some.
    pub fn rules(&self) -> Vec<RuleState> {
        self.state.script.states()
    }

    /// Removes all rules; held requests stay held.
    pub fn clear_script(&self) {
        self.state.script.clear();
    }

    // The ledger.

    /// Every request so far, in the order of arrival.
    pub fn ledger(&self) -> Vec<Entry> {
        self.state.ledger.entries()
    }

    /// The requests of one route so far.
    pub fn requests(&self, route: Route) -> Vec<Entry> {
        self.ledger()
            .into_iter()
            .filter(|entry| entry.route == route)
            .collect()
    }

    /// How many cancels of this job instance took effect, whether or not their answer arrived.
    pub fn processed_cancels(&self, job_instance_id: Uuid) -> usize {
        let id = job_instance_id.to_string();
        self.requests(Route::Cancel)
            .iter()
            .filter(|entry| entry.processed)
            .filter(|entry| {
                entry
                    .job_instance_id
                    .as_ref()
                    .is_some_and(|raw| raw.eq_ignore_ascii_case(&id))
            })
            .count()
    }

    /// Waits for the first entry, earlier ones included, that the predicate accepts. Entries are
    /// shown again whenever they change, so a predicate may ask for an outcome.
    ///
    /// `deadline` is tokio's time, not simulated time.
    ///
    /// # Errors
    ///
    /// When none came within the deadline; the error shows the ledger.
    pub async fn wait_for(
        &self,
        deadline: Duration,
        mut predicate: impl FnMut(&Entry) -> bool,
    ) -> Result<Entry, NothingMatched> {
        self.wait_until(deadline, |entries| {
            entries.iter().find(|entry| predicate(entry)).cloned()
        })
        .await
    }

    /// Waits until a question about the whole ledger has an answer.
    ///
    /// # Errors
    ///
    /// When it has none within the deadline (tokio's time).
    pub async fn wait_until<T>(
        &self,
        deadline: Duration,
        question: impl FnMut(&[Entry]) -> Option<T>,
    ) -> Result<T, NothingMatched> {
        self.state.ledger.wait(deadline, question).await
    }
}
