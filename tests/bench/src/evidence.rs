//! What the simulated Fabric and the API server have seen, as journeys ask for it.

use control_plane::{Audit, ControlPlane};
use fabric_simulator::{Entry, JobRef, Route};
use jiff::SignedDuration;

use crate::Scene;

impl Scene {
    /// The requests of one route for one job, in the order of arrival.
    #[must_use]
    pub fn requests(&self, route: Route, job: &JobRef) -> Vec<Entry> {
        let id = job.job_instance_id.to_string();
        let mut entries = self.fabric.requests(route);
        entries.retain(|entry| entry.job_instance_id.as_deref() == Some(&id));
        entries
    }

    /// The cancel requests for the seed's job.
    #[must_use]
    pub fn cancels(&self) -> Vec<Entry> {
        self.requests(Route::Cancel, &self.seed.job)
    }

    /// The looks at the seed's job.
    #[must_use]
    pub fn looks(&self) -> Vec<Entry> {
        self.requests(Route::Job, &self.seed.job)
    }

    /// What the operator asked of the API server about cancellations.
    ///
    /// # Panics
    /// When the audit log cannot be read.
    pub async fn audit(&self, plane: &ControlPlane) -> Audit {
        let audit = plane.audit().await.expect("the audit log can be read");
        let user = self.operator_user();
        audit.only(|entry| entry.user == user && entry.resource == "fabricjobcancellations")
    }
}

/// Checks that a request was made at least this many (virtual) seconds after the answer to an
/// earlier one.
///
/// # Panics
/// When it came too early, or the earlier one was never answered.
pub fn assert_not_before(request: &Entry, earlier: &Entry, seconds: i64) {
    let answered = earlier.end_time.expect("the earlier request was answered");
    let waited = request.time.duration_since(answered);
    assert!(
        waited >= SignedDuration::from_secs(seconds),
        "asked again after {waited}, but not before {seconds} s was said:\n{earlier:#?}\n{request:#?}"
    );
}
