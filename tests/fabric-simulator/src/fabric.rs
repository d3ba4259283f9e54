//! Fabric itself: workspaces, items, rights and jobs, as pure state. Nothing here reads a clock,
//! waits or knows of HTTP.

pub(crate) mod error;
pub(crate) mod job;
pub(crate) mod quota;
pub(crate) mod wire;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

pub use self::job::{CancelEffect, FailureReason, JobChange, JobRef, JobSpec, JobStatus, JobView};
use self::{
    error::FabricError,
    job::Job,
    quota::{Bucket, Quota},
};
use crate::{
    entra::Identity,
    settings::{LookRetryAfter, Settings},
};

/// What an identity may do in a workspace.
///
/// When exactly Fabric answers 403 and when 404 to a caller without rights is not established, so
/// both are here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Look, run and cancel (\[SPEC\] item permission *Execute*, and *Read*).
    #[default]
    Execute,
    /// Look only: cancel and run answer 403 `InsufficientPrivileges`.
    Read,
    /// Everything answers 403 `InsufficientPrivileges`.
    Denied,
    /// Everything answers 404 `WorkspaceNotFound`.
    Hidden,
}

/// A workspace to be created, or to replace one of the same id (its items and jobs stay).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkspaceSpec {
    /// A random one when left out.
    #[serde(default)]
    pub id: Option<Uuid>,
    /// Shown in `GET /v1/workspaces`.
    #[serde(default)]
    pub display_name: String,
    /// What identities without a grant may do.
    #[serde(default)]
    pub default_access: Access,
    /// Its capacity is paused: every job route answers `CapacityNotActive`.
    #[serde(default)]
    pub capacity_paused: bool,
}

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

#[derive(Debug)]
struct Workspace {
    display_name: String,
    default_access: Access,
    grants: HashMap<Identity, Access>,
    capacity_paused: bool,
    items: BTreeMap<Uuid, Item>,
}

#[derive(Debug)]
struct Item {
    display_name: String,
    item_type: String,
}

/// What is asked for and by whom, after the token was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) request_id: Uuid,
    pub(crate) now: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Right {
    Read,
    Execute,
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
        let value: Vec<_> = self
            .workspaces
            .iter()
            .filter(|(_, workspace)| {
                matches!(workspace.access(identity), Access::Execute | Access::Read)
            })
            .map(|(id, workspace)| {
                json!({
                    "id": id,
                    "displayName": workspace.display_name,
                    "description": "",
                    "type": "Workspace",
                })
            })
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
        let value: Vec<_> = workspace
            .items
            .iter()
            .map(|(id, item)| {
                json!({
                    "id": id,
                    "displayName": item.display_name,
                    "description": "",
                    "type": item.item_type,
                    "workspaceId": workspace_id,
                })
            })
            .collect();
        Ok(Reply::Found {
            body: json!({ "value": value }),
            retry_after: None,
        })
    }

    pub(crate) fn put_workspace(&mut self, id: Uuid, spec: WorkspaceSpec) {
        let items = self
            .workspaces
            .remove(&id)
            .map(|old| (old.items, old.grants))
            .unwrap_or_default();
        self.workspaces.insert(
            id,
            Workspace {
                display_name: spec.display_name,
                default_access: spec.default_access,
                grants: items.1,
                capacity_paused: spec.capacity_paused,
                items: items.0,
            },
        );
    }

    pub(crate) fn put_item(&mut self, workspace: Uuid, id: Uuid, name: &str, item_type: &str) {
        self.workspace_mut(workspace).items.insert(
            id,
            Item {
                display_name: name.into(),
                item_type: item_type.into(),
            },
        );
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
            .or_insert_with(|| Item {
                display_name: format!("item {}", spec.item_id),
                item_type: item_type.into(),
            });
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
        match workspace.access(caller.identity) {
            Access::Execute => Ok(workspace),
            Access::Read if right == Right::Read => Ok(workspace),
            Access::Read | Access::Denied => Err(FabricError::insufficient_privileges()),
            Access::Hidden => Err(FabricError::workspace_not_found()),
        }
    }

    fn workspace_mut(&mut self, id: Uuid) -> &mut Workspace {
        self.workspaces.entry(id).or_insert_with(|| Workspace {
            display_name: format!("workspace {id}"),
            default_access: Access::default(),
            grants: HashMap::new(),
            capacity_paused: false,
            items: BTreeMap::new(),
        })
    }
}

impl Workspace {
    fn access(&self, identity: &Identity) -> Access {
        self.grants
            .get(identity)
            .copied()
            .unwrap_or(self.default_access)
    }
}

/// \[SPEC\] "Most items have a limit of 100 recently completed entities".
const COMPLETED_KEPT: usize = 100;

const TOKEN_PREFIX: &str = "page-";
