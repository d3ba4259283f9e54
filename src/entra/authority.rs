//! Where tokens are asked for.

use std::fmt;

use http::Uri;
use uuid::Uuid;

use crate::outbound::Origin;
use crate::outbound::Part::{Fixed, Id};

/// The origin of Microsoft Entra ID's token endpoint, the only one that client secrets go to. A
/// type of its own, so that it cannot be swapped with the one that bearer tokens go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority(Origin);

impl Authority {
    /// Microsoft Entra ID at `origin`.
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        Self(origin)
    }

    /// The token endpoint of a tenant.
    pub(super) fn token_url(&self, tenant_id: Uuid) -> Uri {
        self.0.url(&[Id(tenant_id), Fixed("oauth2/v2.0/token")])
    }
}

/// The origin, as it is shown to people: `https://login.microsoftonline.com`.
impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
