//! Workspaces, their items, and who may do what there.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::FabricError;
use crate::entra::Identity;

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

#[derive(Debug)]
pub(super) struct Workspace {
    pub(super) display_name: String,
    pub(super) default_access: Access,
    pub(super) grants: HashMap<Identity, Access>,
    pub(super) capacity_paused: bool,
    pub(super) items: BTreeMap<Uuid, Item>,
}

#[derive(Debug)]
pub(super) struct Item {
    display_name: String,
    item_type: String,
}

/// What a call needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Read,
    Execute,
}

impl Workspace {
    pub(super) fn new(spec: WorkspaceSpec) -> Self {
        Self {
            display_name: spec.display_name,
            default_access: spec.default_access,
            grants: HashMap::new(),
            capacity_paused: spec.capacity_paused,
            items: BTreeMap::new(),
        }
    }

    pub(super) fn allow(&self, identity: &Identity, right: Right) -> Result<(), FabricError> {
        let access = self.grants.get(identity).unwrap_or(&self.default_access);
        match access {
            Access::Execute => Ok(()),
            Access::Read if right == Right::Read => Ok(()),
            Access::Read | Access::Denied => Err(FabricError::insufficient_privileges()),
            Access::Hidden => Err(FabricError::workspace_not_found()),
        }
    }

    /// As `GET /v1/workspaces` shows it.
    pub(super) fn summary(&self, id: Uuid) -> Value {
        json!({
            "id": id,
            "displayName": self.display_name,
            "description": "",
            "type": "Workspace",
        })
    }

    /// As `GET /v1/workspaces/{id}/items` shows them.
    pub(super) fn item_summaries(&self, workspace_id: Uuid) -> Vec<Value> {
        let summary = |(id, item): (&Uuid, &Item)| {
            json!({
                "id": id,
                "displayName": item.display_name,
                "description": "",
                "type": item.item_type,
                "workspaceId": workspace_id,
            })
        };
        self.items.iter().map(summary).collect()
    }
}

impl Item {
    pub(super) fn new(display_name: &str, item_type: &str) -> Self {
        Self {
            display_name: display_name.into(),
            item_type: item_type.into(),
        }
    }
}
