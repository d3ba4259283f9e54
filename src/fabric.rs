//! The Fabric REST client: two calls, wire types, classification, the quota gate.
//!
//! Whatever Fabric says comes out as an [`Observation`]; nothing here waits, retries or reads a
//! clock. The room knows three things about the outside: the URLs are built from typed ids on
//! the one configured [`Endpoint`], a token goes to that endpoint only, and every answer is
//! bounded in size and time.

mod classify;
mod endpoint;
mod exchange;
mod gate;
mod meaning;
mod retry_after;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::combinators::UnsyncBoxBody;
use jiff::Timestamp;

use crate::cancellation::{JobInstance, Observation};
use crate::entra::AccessToken;

pub use endpoint::{Endpoint, InvalidEndpoint};
pub use gate::{Gate, GateKey, Held, Pass};

/// What carries a request to Fabric: one HTTP exchange, no redirect, no retry, no cookie.
///
/// The process builds it in `cli::outbound`; tests give an in-memory one. Its error is a
/// [`std::io::Error`] wherever it can be: the kind says what happened (`TimedOut`,
/// `ConnectionRefused`, `InvalidData` for TLS, ...), and its text is one stable sentence for
/// people.
pub type Transport = tower::util::BoxCloneSyncService<
    http::Request<Bytes>,
    http::Response<UnsyncBoxBody<Bytes, tower::BoxError>>,
    tower::BoxError,
>;

/// How long one call may take, from its start to the last byte of the answer. Connecting has a
/// shorter limit of its own in the transport. Design: an intent licenses one send, and its
/// answer is awaited this long.
pub const CALL_DEADLINE: Duration = Duration::from_secs(20);

/// The two calls that a cancellation needs. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub struct FabricClient {
    transport: Transport,
    endpoint: Endpoint,
    deadline: Duration,
}

impl FabricClient {
    /// A client for `endpoint`, with [`CALL_DEADLINE`].
    #[must_use]
    pub fn new(transport: Transport, endpoint: Endpoint) -> Self {
        Self {
            transport,
            endpoint,
            deadline: CALL_DEADLINE,
        }
    }

    /// The same client with another limit for a whole call.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Asks Fabric to cancel `job`: one POST, never repeated here.
    ///
    /// Every outcome is an observation: a definite "no" is `Refused` or `Throttled`, a lost or
    /// unclear answer is `Unknown`. `now` is used for a `Retry-After` given as a date by a
    /// server that sends no `Date`.
    ///
    /// Source: Fabric REST, Job Scheduler, "Cancel Item Job Instance".
    pub async fn cancel(
        &self,
        job: &JobInstance,
        token: &AccessToken,
        now: Timestamp,
    ) -> Observation {
        let asked = classify::Asked::new(classify::Call::Cancel, job, &self.endpoint, token, now);
        let request = exchange::request(Method::POST, &self.endpoint.cancel_url(job), token);
        asked.classify(&exchange::send(&self.transport, request, self.deadline).await)
    }

    /// Asks Fabric how `job` stands: one GET, never repeated here.
    ///
    /// A readable answer is `JobSeen`; whatever tells nothing about the job is `Inconclusive`.
    ///
    /// Source: Fabric REST, Job Scheduler, "Get Item Job Instance".
    pub async fn look(
        &self,
        job: &JobInstance,
        token: &AccessToken,
        now: Timestamp,
    ) -> Observation {
        let asked = classify::Asked::new(classify::Call::Look, job, &self.endpoint, token, now);
        let request = exchange::request(Method::GET, &self.endpoint.job_url(job), token);
        asked.classify(&exchange::send(&self.transport, request, self.deadline).await)
    }
}

#[cfg(test)]
mod bench;

#[cfg(test)]
mod tests;
