//! Reading a stored object, tolerantly: what is missing or of another type is `None`.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::history::{Facts, Identity, JobIds, Resource, Version, Writer};

impl Resource {
    /// `namespace/name (uid)`.
    pub(crate) fn title(&self) -> String {
        format!("{}/{} ({})", self.namespace, self.name, self.uid)
    }

    /// The job that it names; the ids never change.
    pub(crate) fn job(&self) -> Option<JobIds> {
        let spec = &self.versions.first()?.object["spec"];
        let id = |field: &str| spec[field].as_str().map(str::to_owned);
        Some(JobIds {
            workspace_id: id("workspaceId")?,
            item_id: id("itemId")?,
            job_instance_id: id("jobInstanceId")?,
        })
    }

    pub(crate) fn created(&self) -> Option<Timestamp> {
        self.versions.first().map(|version| version.stored)
    }

    /// The first version with a stored end.
    pub(crate) fn end(&self) -> Option<&Version> {
        self.versions.iter().find(|version| version.is_over())
    }

    /// What was stored at this moment.
    pub(crate) fn at(&self, time: Timestamp) -> Option<&Version> {
        self.versions.iter().rev().find(|it| it.stored <= time)
    }

    /// Each version that the operator wrote, with what was stored before.
    pub(crate) fn writes(&self) -> impl Iterator<Item = (&Version, &Version)> {
        self.versions
            .windows(2)
            .map(|pair| (&pair[0], &pair[1]))
            .filter(|(_, after)| after.is_operators())
    }
}

impl Version {
    pub(crate) fn is_operators(&self) -> bool {
        matches!(self.writer, Writer::Operator(_))
    }

    pub(crate) fn process(&self) -> Option<&str> {
        match &self.writer {
            Writer::Operator(process) => process.as_deref(),
            Writer::Other(_) => None,
        }
    }

    pub(crate) fn status(&self) -> &Value {
        &self.object["status"]
    }

    pub(crate) fn time(&self, field: &str) -> Option<Timestamp> {
        self.status()[field].as_str()?.parse().ok()
    }

    pub(crate) fn attempts(&self) -> u64 {
        self.status()["attempts"].as_u64().unwrap_or(0)
    }

    pub(crate) fn is_over(&self) -> bool {
        !self.status()["completionTime"].is_null()
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.object["spec"]["suspend"].as_bool().unwrap_or(false)
    }

    pub(crate) fn is_deleting(&self) -> bool {
        !self.object["metadata"]["deletionTimestamp"].is_null()
    }

    pub(crate) fn generation(&self) -> Option<i64> {
        self.object["metadata"]["generation"].as_i64()
    }

    pub(crate) fn job_status(&self) -> Option<&str> {
        self.status()["job"]["status"].as_str()
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        let identity = &self.status()["identity"];
        Some(Identity {
            tenant_id: identity["tenantId"].as_str()?.to_owned(),
            client_id: identity["clientId"].as_str()?.to_owned(),
        })
    }

    pub(crate) fn conditions(&self) -> &[Value] {
        self.status()["conditions"]
            .as_array()
            .map_or(&[], Vec::as_slice)
    }

    pub(crate) fn condition(&self, type_: &str) -> Option<&Value> {
        self.conditions().iter().find(|it| it["type"] == type_)
    }

    /// The condition's value; empty when it is absent.
    pub(crate) fn value(&self, type_: &str) -> &str {
        self.word(type_, "status")
    }

    /// The condition's reason; empty when it is absent.
    pub(crate) fn reason(&self, type_: &str) -> &str {
        self.word(type_, "reason")
    }

    fn word(&self, type_: &str, field: &str) -> &str {
        self.condition(type_)
            .and_then(|it| it[field].as_str())
            .unwrap_or("")
    }
}

impl Facts {
    /// `early` is certainly before `late`.
    pub(crate) fn before(&self, early: Timestamp, late: Timestamp) -> bool {
        late.duration_since(early) > signed(self.tolerance)
    }
}

/// Whether two senders may be the same: where one is not known, they may.
pub(crate) fn may_be_same(one: Option<&str>, other: Option<&str>) -> bool {
    one.zip(other).is_none_or(|(one, other)| one == other)
}

pub(crate) fn signed(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// `time` plus `by`; the end of time where that does not fit.
pub(crate) fn plus(time: Timestamp, by: std::time::Duration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}
