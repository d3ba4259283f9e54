//! Tokens: the grant, its client authentication and caching.
//!
//! Nothing else knows how a token is made. A token leaves this room as an [`AccessToken`],
//! which can be sent and compared but not read.

mod authority;
mod cache;
mod grant;
mod refusal;
mod token;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use uuid::Uuid;

use crate::outbound::Transport;
use crate::outbound::exchange::Failure;

pub use authority::Authority;
pub use token::AccessToken;

/// How long a caller waits for a token, whether it makes the exchange or waits for another's.
pub const EXCHANGE_DEADLINE: Duration = Duration::from_secs(20);

/// Where a credential came from: the object that a person can mend, and the version that was
/// read. A changed object is another key, so that a rotated secret is used at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceKey {
    /// The kind of the object: `Secret`, `ServiceAccount`, or `Operator` for the operator's own.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: a re-created object is another one.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
}

/// An identity and the proof of it. `Debug` prints nothing secret.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Where it came from.
    pub source: SourceKey,
    /// The Entra tenant.
    pub tenant_id: Uuid,
    /// The application (client) id.
    pub client_id: Uuid,
    /// What proves the identity.
    pub proof: Proof,
}

/// How a client proves to Entra who it is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Proof {
    /// A client secret of the app registration: its value, not its id.
    ClientSecret(SecretString),
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Entra refuses this credential. Somebody must act.
    #[error("Entra refuses the credential: {code}: {message}")]
    Refused {
        /// `AADSTS7000215` and its like, else the OAuth error (`invalid_client`).
        code: String,
        /// What Entra said, without trace ids and times: at most 256 characters.
        message: String,
        /// What to do about it: names the object, the key and the fix. Stable.
        advice: String,
        /// The HTTP status.
        http_status: Option<u16>,
        /// Entra's id of the request.
        correlation_id: Option<String>,
    },
    /// Entra asks to come back later.
    #[error("Entra throttles: {code}: {message}")]
    Throttled {
        /// As above.
        code: String,
        /// As above.
        message: String,
        /// `Retry-After`, when sent and readable.
        retry_after: Option<Duration>,
        /// The HTTP status.
        http_status: Option<u16>,
        /// Entra's id of the request.
        correlation_id: Option<String>,
    },
    /// No answer, or none that can be used. Nobody needs to act if it passes.
    #[error("no token from Entra: {code}: {message}")]
    Unavailable {
        /// As above, or a stable name of ours (`Timeout`, `ConnectionFailed`, ...).
        code: String,
        /// As above.
        message: String,
        /// `Retry-After`, when sent and readable.
        retry_after: Option<Duration>,
        /// The HTTP status, when there was an answer.
        http_status: Option<u16>,
        /// Entra's id of the request.
        correlation_id: Option<String>,
    },
}

/// Gets tokens and keeps them. Cheap to clone; clones share the cache and the connections.
#[derive(Clone)]
pub struct EntraClient {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Transport,
    authority: Authority,
    scope: String,
    deadline: Duration,
    cache: cache::Cache,
}

impl EntraClient {
    /// A client that asks `authority` for tokens for `scope`.
    #[must_use]
    pub fn new(transport: Transport, authority: Authority, scope: String) -> Self {
        Self::with_deadline(transport, authority, scope, EXCHANGE_DEADLINE)
    }

    /// The same with another limit than [`EXCHANGE_DEADLINE`].
    #[must_use]
    pub fn with_deadline(
        transport: Transport,
        authority: Authority,
        scope: String,
        deadline: Duration,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                transport,
                authority,
                scope,
                deadline,
                cache: cache::Cache::default(),
            }),
        }
    }

    /// A token that can be used without asking anybody: good for at least a minute more (a
    /// call takes up to 20 s, and clocks differ), and not yet due for its renewal.
    ///
    /// `None` means: call [`token`](Self::token), which still uses a token that is due for its
    /// renewal when Entra cannot be reached.
    #[must_use]
    pub fn cached(&self, credential: &Credential, now: Timestamp) -> Option<AccessToken> {
        self.inner.cache.fresh(credential, now)
    }

    /// A kept token that is still good, although its renewal may be due.
    #[must_use]
    pub fn usable(&self, credential: &Credential, now: Timestamp) -> Option<AccessToken> {
        self.inner.cache.usable(credential, now)
    }

    /// A token for `credential`: the kept one, or a new one. At most one exchange per
    /// credential is in flight; others wait for its result.
    ///
    /// # Errors
    /// [`TokenError`] says who must act, if anybody. While a kept token is still good, a
    /// renewal that fails for a passing reason is no error.
    pub async fn token(
        &self,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<AccessToken, TokenError> {
        let inner = &*self.inner;
        // The exchange has the limit too, so that its timeout is a result that is shared:
        // otherwise those who wait would ask one after the other.
        let exchange = || async {
            let exchange = grant::exchange(
                &inner.transport,
                &inner.authority,
                &inner.scope,
                credential,
                now,
            );
            tokio::time::timeout(inner.deadline, exchange)
                .await
                .unwrap_or_else(|_| Err(inner.timed_out()))
        };
        let shared = inner.cache.get_or_exchange(credential, now, exchange);
        match tokio::time::timeout(inner.deadline, shared).await {
            Ok(result) => result,
            Err(_) => inner
                .cache
                .usable(credential, now)
                .ok_or_else(|| inner.timed_out()),
        }
    }

    /// Fabric answered 401 to `token`: it is dropped, so that the next call gets another one.
    /// A newer token of the same credential is not touched.
    pub fn reject(&self, token: &AccessToken) {
        self.inner.cache.reject(token);
    }
}

impl Inner {
    fn timed_out(&self) -> TokenError {
        grant::unavailable(Failure::timeout(), &self.authority)
    }
}

impl fmt::Debug for EntraClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntraClient")
            .field("authority", &self.inner.authority)
            .field("scope", &self.inner.scope)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
