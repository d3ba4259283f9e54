//! What the API server was asked, by whom, and what it answered: its audit log.
//!
//! kube-apiserver writes `RequestReceived` when a request arrives and `ResponseComplete` before the
//! response ends (mode "blocking"). So a reader that has seen a marker request of its own knows
//! every request that began earlier, and waits for those that are not answered yet. Source:
//! kubernetes.io, "Auditing"; apiserver `filters/audit.go`.

mod log;

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

pub(crate) use self::log::Logs;
use crate::clock;
use crate::error::Error;
use crate::plane::ControlPlane;
use crate::process::State;

/// One request, at the last stage that the log shows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// The API server's id of the request.
    pub id: String,
    /// How far the request got.
    pub stage: Stage,
    /// Who asked, for example `system:serviceaccount:team-a:operator`.
    pub user: String,
    /// As whom the user asked, with impersonation.
    pub impersonated_user: Option<String>,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the lower-case
    /// HTTP method when no resource was asked for.
    pub verb: String,
    /// The API group; empty for the core group and without a resource.
    pub group: String,
    /// The plural of the resource; empty without one (`/version`, discovery).
    pub resource: String,
    /// For example `status`; empty without one.
    pub subresource: String,
    /// Empty for cluster-scoped resources and all namespaces.
    pub namespace: String,
    /// Empty for lists and watches, and for a creation with a generated name.
    pub name: String,
    /// Path and query.
    pub request_uri: String,
    /// The HTTP status; `None` when the server ended before it answered.
    pub code: Option<u16>,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// When the request arrived.
    pub received: Timestamp,
    /// When the answer was complete; `None` for a watch that still runs.
    pub completed: Option<Timestamp>,
    /// The body of a write, for API group `fabricjobs.dev` only.
    pub request_object: Option<Value>,
}

/// How far a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Stage {
    /// It arrived and was never answered: the API server was killed.
    RequestReceived,
    /// A watch that is being served.
    ResponseStarted,
    /// It was answered.
    ResponseComplete,
    /// The API server panicked on it.
    Panic,
}

/// Requests in the order in which they arrived. Derefs to a slice; `Display` shows one line for each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Audit(Vec<AuditEntry>);

impl Audit {
    /// The requests of one user.
    #[must_use]
    pub fn by_user(&self, user: &str) -> Self {
        self.only(|entry| entry.user == user)
    }

    /// The requests with a property.
    #[must_use]
    pub fn only(&self, mut property: impl FnMut(&AuditEntry) -> bool) -> Self {
        Self(
            self.0
                .iter()
                .filter(|entry| property(entry))
                .cloned()
                .collect(),
        )
    }

    /// How many requests have a property.
    pub fn count(&self, mut property: impl FnMut(&AuditEntry) -> bool) -> usize {
        self.0.iter().filter(|entry| property(entry)).count()
    }
}

impl Deref for Audit {
    type Target = [AuditEntry];

    fn deref(&self) -> &[AuditEntry] {
        &self.0
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|entry| writeln!(f, "{entry}"))
    }
}

impl fmt::Display for AuditEntry {
    /// For a failed assertion: `12:00:00.123 system:admin patch status of fabricjobs.dev/... 200`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            received,
            user,
            verb,
            request_uri,
            ..
        } = self;
        write!(
            f,
            "{} {user} {verb} {request_uri}",
            received.strftime("%H:%M:%S%.3f")
        )?;
        match self.code {
            Some(code) => write!(f, " {code}"),
            None => write!(f, " (no answer)"),
        }
    }
}

impl ControlPlane {
    /// Every request so far, without health probes.
    ///
    /// Complete: it waits until every request that the API server received before this call is
    /// answered (a watch: begun). While kube-apiserver is killed or paused on purpose it returns
    /// what the log has, including requests without an answer.
    ///
    /// # Errors
    /// A request is not answered within 30 s, or the log cannot be read.
    pub async fn audit(&self) -> Result<Audit, Error> {
        if self.apiserver().state() == State::Running {
            self.drain().await?;
        } else {
            self.logs().read()?;
        }
        Ok(Audit(self.logs().entries()))
    }

    /// Waits until the log shows a request of ours, and an answer to each request before it.
    async fn drain(&self) -> Result<(), Error> {
        let marker = format!("{MARKER}{}", Uuid::new_v4());
        let request = http::Request::get(&marker)
            .body(Vec::new())
            .expect("a uuid fits into a URL");
        tokio::time::timeout(DRAIN_LIMIT, self.client().request_text(request))
            .await
            .map_err(|_| Error::Timeout {
                what: "an answer of kube-apiserver to the audit marker".to_owned(),
                limit: DRAIN_LIMIT,
            })?
            .map_err(Error::request("send the audit marker"))?;
        let mut open = String::new();
        clock::poll(DRAIN_PAUSE, DRAIN_LIMIT, async || {
            let mut logs = self.logs();
            if let Err(error) = logs.read() {
                return Some(Err(error));
            }
            match logs.unanswered_before(&marker) {
                Some(requests) if requests.is_empty() => Some(Ok(())),
                Some(requests) => {
                    open = format!("answers to these requests:\n{}", Audit(requests));
                    None
                }
                None => {
                    open = "the marker in the audit log".to_owned();
                    None
                }
            }
        })
        .await
        .unwrap_or_else(|| {
            Err(Error::Timeout {
                what: open,
                limit: DRAIN_LIMIT,
            })
        })
    }
}

/// `/version` is cheap and everybody may read it. The reader leaves these requests out.
const MARKER: &str = "/version?audit-marker=";

/// As long as kube-apiserver waits for etcd or a webhook at most.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

const DRAIN_PAUSE: Duration = Duration::from_millis(5);
