//! A token that can be sent and compared, but not read.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

/// Parts of a token shorter than this are not looked for in a text: they would be found by
/// chance.
const SHORTEST_PART: usize = 16;

/// A bearer token for Fabric. `Debug` prints nothing of it; its memory is wiped when the last
/// clone goes.
#[derive(Clone)]
pub struct AccessToken {
    inner: Arc<Inner>,
}

struct Inner {
    secret: SecretString,
    expires_at: Timestamp,
}

impl AccessToken {
    /// Takes a token as Entra sent it. `None` when it is empty or cannot stand in a header.
    pub(crate) fn new(secret: SecretString, expires_at: Timestamp) -> Option<Self> {
        let raw = secret.expose_secret();
        if raw.is_empty() || !raw.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        Some(Self {
            inner: Arc::new(Inner { secret, expires_at }),
        })
    }

    /// When it ends, by Entra's word and our clock.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.inner.expires_at
    }

    /// The value of the `Authorization` header, marked as sensitive.
    pub(crate) fn authorization(&self) -> HeaderValue {
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", self.inner.secret.expose_secret()))
                .expect("a token of visible ASCII characters is a header value");
        value.set_sensitive(true);
        value
    }

    /// Whether `text` contains this token or one of the parts that make it up.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        let raw = self.inner.secret.expose_secret();
        text.contains(raw)
            || raw
                .split('.')
                .any(|part| part.len() >= SHORTEST_PART && text.contains(part))
    }

    /// Whether this is the very same token: another one with equal text is not.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("expires_at", &self.inner.expires_at)
            .finish_non_exhaustive()
    }
}
