//! Fabric itself: workspaces, items, rights and jobs, as pure state. Nothing here reads a clock,
//! waits or knows of HTTP.

pub(crate) mod error;
pub(crate) mod job;
pub(crate) mod quota;
mod spec;
pub(crate) mod wire;
mod workspace;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use self::{
    error::FabricError,
    job::Job,
    quota::{Bucket, Quota},
    workspace::{Item, Right, Workspace},
};
pub use self::{
    spec::{CancelEffect, FailureReason, JobChange, JobRef, JobSpec, JobStatus, JobView},
    workspace::{Access, WorkspaceSpec},
};
use crate::{
    entra::Identity,
    settings::{LookRetryAfter, Settings},
};

/// What the state machine says to a request that it processed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// 202, to a cancel or a run.
    Accepted {
        job: JobRef,
        retry_after: Option<u64>,
    },
    /// 200 with a body.
    Found {
        body: Value,
        retry_after: Option<u64>,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Fabric {
    pub(crate) settings: Settings,
    workspaces: BTreeMap<Uuid, Workspace>,
    jobs: HashMap<Uuid, Job>,
    jobs_created: usize,
    pub(crate) quota: Quota,
}

/// What is asked for and by whom, after the token was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) request_id: Uuid,
    pub(crate) now: Timestamp,
}

impl Fabric {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// \[DOC\] 200 calls a minute in each bucket; \[REC\] 429 `RequestBlocked`.
    pub(crate) fn spend(&mut self, caller: &Caller<'_>, bucket: Bucket) -> Result<(), FabricError> {
        let Some(limit) = self.settings.quota else {
            return Ok(());
        };
        self.quota
            .spend(caller.identity, bucket, limit, caller.now)
            .map_err(|blocked| FabricError::request_blocked(blocked.until, blocked.retry_after))
    }

    /// \[SPEC\] 202 with `Location` and `Retry-After`, or `JobAlreadyCompleted`.
    pub(crate) fn cancel(&mut self, caller: &Caller<'_>, at: JobRef) -> Result<Reply, FabricError> {
        self.allow(caller, at.workspace_id, at.item_id, Right::Execute)?;
        let (takes, repeated) = (self.settings.cancel_takes, self.settings.repeated_cancel);
        self.job_at(at)?
            .cancel(caller.now, takes, repeated)
            .map_err(|_| FabricError::job_already_completed())?;
        Ok(Reply::Accepted {
            job: at,
            retry_after: self.accepted_retry_after(),
        })
    }

    /// \[SPEC\] 200 with the instance; `Retry-After` stands in its prose only.
    pub(crate) fn look(&mut self, caller: &Caller<'_>, at: JobRef) -> Result<Reply, FabricError> {
        self.allow(caller, at.workspace_id, at.item_id, Right::Read)?;
        let settings = self.settings.clone();
        let job = self.job_at(at)?;
        let body = wire::instance(job, &settings, caller.request_id, caller.now);
        job.looks += 1;
        let ended = job
            .shown(caller.now, settings.view_refresh)
            .status
            .is_ended();
        let retry_after = match settings.look_retry_after {
            _ if ended => None,
            LookRetryAfter::Absent => None,
            LookRetryAfter::Seconds(seconds) => Some(seconds),
            LookRetryAfter::Countdown => job
                .next_refresh(caller.now, settings.view_refresh)
                .map(|left| left.as_secs()),
        };
        Ok(Reply::Found { body, retry_after })
    }

    /// \[SPEC\] a page of instances: all active ones and the 100 that completed last, newest first
    /// (the order is inferred). `next` builds the absolute URI of the page behind a token.
    pub(crate) fn list(
        &mut self,
        caller: &Caller<'_>,
        workspace: Uuid,
        item: Uuid,
        token: Option<&str>,
        next: impl Fn(&str) -> String,
    ) -> Result<Reply, FabricError> {
        self.allow(caller, workspace, item, Right::Read)?;
        let refresh = self.settings.view_refresh;
        let mut jobs: Vec<&Job> = self
            .jobs
            .values()
            .filter(|job| job.at.workspace_id == workspace && job.at.item_id == item)
            .collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.ordinal));
        let mut ended = 0;
        jobs.retain(|job| {
            let over = job.shown(caller.now, refresh).status.is_ended();
            ended += usize::from(over);
            !over || ended <= COMPLETED_KEPT
        });
        let start = match token {
            None | Some("") => 0,
            Some(token) => token
                .strip_prefix(TOKEN_PREFIX)
                .and_then(|offset| offset.parse().ok())
                .filter(|offset| *offset <= jobs.len())
                .ok_or_else(|| {
                    FabricError::new(400, "InvalidInput", "The continuation token is invalid")
                })?,
        };
        let end = jobs.len().min(start + self.settings.list_page_size.max(1));
        let mut body = json!({
            "value": jobs[start..end]
                .iter()
                .map(|job| wire::instance(job, &self.settings, caller.request_id, caller.now))
                .collect::<Vec<_>>(),
        });
        if end < jobs.len() {
            let token = format!("{TOKEN_PREFIX}{end}");
            body["continuationUri"] = next(&token).into();
            body["continuationToken"] = token.into();
        } else if self.settings.null_continuation_token {
            body["continuationToken"] = Value::Null;
        }
        Ok(Reply::Found {
            body,
            retry_after: None,
        })
    }

    /// \[SPEC\] 202 with `Location` and `Retry-After`. \[REC\] the instance's `rootActivityId` is the
    /// `RequestId` of this request.
    pub(crate) fn run(
        &mut self,
        caller: &Caller<'_>,
        workspace: Uuid,
        item: Uuid,
        job_type: &str,
        id: Uuid,
    ) -> Result<Reply, FabricError> {
        self.allow(caller, workspace, item, Right::Execute)?;
        if job_type.is_empty() {
            return Err(FabricError::invalid_job_type());
        }
        let starts_after = self.settings.run_starts_after;
        let spec = JobSpec {
            id: Some(id),
            job_type: job_type.to_owned(),
            status: JobStatus::NotStarted,
            starts_after: Some(starts_after),
            ends_after: self
                .settings
                .run_lasts
                .map(|lasts| starts_after.saturating_add(lasts)),
            ..JobSpec::running(workspace, item)
        };
        let job = self.insert(spec, id, caller.request_id, caller.now);
        Ok(Reply::Accepted {
            job,
            retry_after: self.accepted_retry_after(),
        })
    }

    /// `GET /v1/workspaces`: what the caller may see.
    pub(crate) fn list_workspaces(&self, identity: &Identity) -> Reply {
        let visible = self
            .workspaces
            .iter()
            .filter(|(_, workspace)| workspace.allow(identity, Right::Read).is_ok());
        let value: Vec<_> = visible
            .map(|(id, workspace)| workspace.summary(*id))
            .collect();
        Reply::Found {
            body: json!({ "value": value }),
            retry_after: None,
        }
    }

    /// `GET /v1/workspaces/{id}/items`.
    pub(crate) fn list_items(
        &self,
        caller: &Caller<'_>,
        workspace_id: Uuid,
    ) -> Result<Reply, FabricError> {
        let workspace = self.workspace_for(caller, workspace_id, Right::Read)?;
        Ok(Reply::Found {
            body: json!({ "value": workspace.item_summaries(workspace_id) }),
            retry_after: None,
        })
    }

    pub(crate) fn put_workspace(&mut self, id: Uuid, spec: WorkspaceSpec) {
        let (items, grants) = self
            .workspaces
            .remove(&id)
            .map(|old| (old.items, old.grants))
            .unwrap_or_default();
        self.workspaces.insert(
            id,
            Workspace {
                items,
                grants,
                ..Workspace::new(spec)
            },
        );
    }

    pub(crate) fn put_item(&mut self, workspace: Uuid, id: Uuid, name: &str, item_type: &str) {
        self.workspace_mut(workspace)
            .items
            .insert(id, Item::new(name, item_type));
    }

    pub(crate) fn grant(&mut self, workspace: Uuid, identity: Identity, access: Access) {
        self.workspace_mut(workspace)
            .grants
            .insert(identity, access);
    }

    pub(crate) fn set_default_access(&mut self, workspace: Uuid, access: Access) {
        self.workspace_mut(workspace).default_access = access;
    }

    pub(crate) fn set_capacity_paused(&mut self, workspace: Uuid, paused: bool) {
        self.workspace_mut(workspace).capacity_paused = paused;
    }

    pub(crate) fn insert(
        &mut self,
        spec: JobSpec,
        id: Uuid,
        root_activity_id: Uuid,
        now: Timestamp,
    ) -> JobRef {
        let item_type = if spec.job_type == "Pipeline" {
            "DataPipeline"
        } else {
            "Notebook"
        };
        self.workspace_mut(spec.workspace_id)
            .items
            .entry(spec.item_id)
            .or_insert_with(|| Item::new(&format!("item {}", spec.item_id), item_type));
        let job = Job::new(spec, id, root_activity_id, self.jobs_created, now);
        self.jobs_created += 1;
        let at = job.at;
        self.jobs.insert(id, job);
        at
    }

    pub(crate) fn view(&self, id: Uuid, now: Timestamp) -> Option<JobView> {
        self.jobs
            .get(&id)
            .map(|job| job.view(now, self.settings.view_refresh))
    }

    pub(crate) fn views(&self, now: Timestamp) -> Vec<JobView> {
        let mut jobs: Vec<_> = self.jobs.values().collect();
        jobs.sort_by_key(|job| job.ordinal);
        jobs.iter()
            .map(|job| job.view(now, self.settings.view_refresh))
            .collect()
    }

    pub(crate) fn change(&mut self, id: Uuid, change: JobChange, now: Timestamp) -> bool {
        self.jobs
            .get_mut(&id)
            .map(|job| job.change(change, now))
            .is_some()
    }

    pub(crate) fn remove(&mut self, id: Uuid) -> bool {
        self.jobs.remove(&id).is_some()
    }

    fn accepted_retry_after(&self) -> Option<u64> {
        self.settings
            .accepted_retry_after
            .map(|after| after.as_secs())
    }

    fn job_at(&mut self, at: JobRef) -> Result<&mut Job, FabricError> {
        self.jobs
            .get_mut(&at.job_instance_id)
            .filter(|job| job.at == at)
            .ok_or_else(FabricError::job_instance_not_found)
    }

    fn allow(
        &self,
        caller: &Caller<'_>,
        workspace_id: Uuid,
        item: Uuid,
        right: Right,
    ) -> Result<(), FabricError> {
        let workspace = self.workspace_for(caller, workspace_id, right)?;
        if workspace.capacity_paused {
            return Err(FabricError::capacity_not_active());
        }
        if !workspace.items.contains_key(&item) {
            return Err(FabricError::item_not_found());
        }
        Ok(())
    }

    fn workspace_for(
        &self,
        caller: &Caller<'_>,
        id: Uuid,
        right: Right,
    ) -> Result<&Workspace, FabricError> {
        let workspace = self
            .workspaces
            .get(&id)
            .ok_or_else(FabricError::workspace_not_found)?;
        workspace.allow(caller.identity, right)?;
        Ok(workspace)
    }

    fn workspace_mut(&mut self, id: Uuid) -> &mut Workspace {
        self.workspaces.entry(id).or_insert_with(|| {
            Workspace::new(WorkspaceSpec {
                id: Some(id),
                display_name: format!("workspace {id}"),
                default_access: Access::default(),
                capacity_paused: false,
            })
        })
    }
}

/// \[SPEC\] "Most items have a limit of 100 recently completed entities".
const COMPLETED_KEPT: usize = 100;

const TOKEN_PREFIX: &str = "page-";
