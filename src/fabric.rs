//! The Fabric REST client: two calls, wire types, classification, the quota gate.
//!
//! Whatever Fabric says comes out as an [`Observation`]; nothing here waits, retries or reads a
//! clock. The room knows three things about the outside: the URLs are built from typed ids on
//! the one configured [`Endpoint`], a token goes to that endpoint only, and every answer is
//! bounded in size and time.

mod classify;
mod endpoint;
mod gate;
mod meaning;
mod retry_after;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderValue, Method, Uri};
use jiff::Timestamp;

use crate::cancellation::{JobInstance, Observation};
use crate::entra::AccessToken;
use crate::outbound::Transport;
use crate::outbound::exchange::{self, Failure, Reply};

pub use endpoint::Endpoint;
pub use gate::{Answer, Caller, Gate, GateKey, Held, Pace, Pass, PassId, Rank};

/// How long one call may take, from its start to the last byte of the answer. Connecting has a
/// shorter limit of its own in the transport. Design: an intent licenses one send, and its
/// answer is awaited this long.
pub const CALL_DEADLINE: Duration = Duration::from_secs(20);

/// The largest body that is read. A job instance takes about a kilobyte; the rest is room for
/// an item type that adds properties of its own.
const MAX_BODY_BYTES: usize = 256 * 1024;

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
        let url = self.endpoint.cancel_url(job);
        asked.classify(&self.send(Method::POST, url, token).await)
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
        let url = self.endpoint.job_url(job);
        asked.classify(&self.send(Method::GET, url, token).await)
    }

    /// One exchange without a body of ours, the token in a header that is marked as sensitive.
    async fn send(&self, method: Method, url: Uri, token: &AccessToken) -> Result<Reply, Failure> {
        let posts = method == Method::POST;
        let mut request = exchange::request(method, url, Bytes::new());
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, token.authorization());
        if posts {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        exchange::send_within(&self.transport, request, MAX_BODY_BYTES, self.deadline).await
    }
}

#[cfg(test)]
mod bench;

#[cfg(test)]
mod tests;
