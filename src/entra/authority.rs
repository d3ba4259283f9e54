//! Where tokens are asked for.

use std::fmt;

use http::Uri;
use url::{Host, Url};
use uuid::Uuid;

/// The origin of Microsoft Entra ID's token endpoint: scheme, host and port, nothing else.
///
/// The rule is that of Fabric's endpoint, kept here once more because the two rooms do not know
/// each other: only https, except http on a loopback address when that was allowed explicitly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Without a trailing slash.
    origin: String,
}

/// Why a text is not an [`Authority`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuthority {
    /// It is no absolute URL.
    #[error("not an absolute URL such as https://login.microsoftonline.com")]
    NotAUrl,
    /// Neither https, nor http where that is allowed.
    #[error(
        "only https is allowed; http only for 127.0.0.0/8 and [::1], and only with --allow-loopback-http"
    )]
    Insecure,
    /// It carries a user name or a password.
    #[error("a user name or password in the URL is not allowed")]
    UserInfo,
    /// It carries more than an origin.
    #[error(
        "only scheme, host and port are allowed, without path (the tenant is added), query or fragment"
    )]
    NotAnOrigin,
}

impl Authority {
    /// Reads an origin such as `https://login.microsoftonline.com`; a trailing slash is allowed.
    ///
    /// # Errors
    /// [`InvalidAuthority`] says what is wrong; it does not repeat `text`, which may hold a
    /// password.
    pub fn parse(text: &str, allow_loopback_http: bool) -> Result<Self, InvalidAuthority> {
        let url = Url::parse(text).map_err(|_| InvalidAuthority::NotAUrl)?;
        let host = url.host().ok_or(InvalidAuthority::NotAUrl)?;
        let loopback = match host {
            Host::Domain(_) => false,
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        match url.scheme() {
            "https" => {}
            "http" if loopback && allow_loopback_http => {}
            _ => return Err(InvalidAuthority::Insecure),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidAuthority::UserInfo);
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidAuthority::NotAnOrigin);
        }
        Ok(Self {
            origin: url.origin().ascii_serialization(),
        })
    }

    /// The token endpoint of a tenant.
    pub(super) fn token_url(&self, tenant_id: Uuid) -> Uri {
        format!("{}/{tenant_id}/oauth2/v2.0/token", self.origin)
            .parse()
            .expect("an origin followed by a UUID is a valid URI")
    }
}

/// The origin, as it is shown to people: `https://login.microsoftonline.com`.
impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}
