//! Where Fabric is, and the only two URLs this program asks for there.

use std::fmt;

use http::Uri;

use crate::cancellation::JobInstance;
use crate::outbound::Part::{Fixed, Id};
use crate::outbound::{Origin, Part};

/// The origin of the Fabric API, the only one that bearer tokens go to. A type of its own, so
/// that it cannot be swapped with the one that client secrets go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Origin);

impl Endpoint {
    /// The Fabric API at `origin`.
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        Self(origin)
    }

    /// The job instance itself.
    pub(super) fn job_url(&self, job: &JobInstance) -> Uri {
        self.0.url(&path(job))
    }

    /// The request to cancel it.
    pub(super) fn cancel_url(&self, job: &JobInstance) -> Uri {
        self.0.url(&[&path(job)[..], &[Fixed("cancel")]].concat())
    }
}

fn path(job: &JobInstance) -> [Part; 6] {
    [
        Fixed("v1/workspaces"),
        Id(job.workspace_id),
        Fixed("items"),
        Id(job.item_id),
        Fixed("jobs/instances"),
        Id(job.job_instance_id),
    ]
}

/// The origin, as it is shown to people: `https://api.fabric.microsoft.com`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
