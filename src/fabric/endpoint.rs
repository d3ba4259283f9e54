//! Where Fabric is, and the only two URLs this program asks for there.

use std::fmt;

use http::Uri;
use url::{Host, Url};

use crate::cancellation::JobInstance;

/// The origin of the Fabric API: scheme, host and port, nothing else.
///
/// Only https, except http on a loopback address when that was allowed explicitly: a bearer
/// token never crosses a network in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Without a trailing slash.
    origin: String,
}

/// Why a text is not an [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// It is no absolute URL.
    #[error("not an absolute URL such as https://api.fabric.microsoft.com")]
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
    #[error("only scheme, host and port are allowed, without path, query or fragment")]
    NotAnOrigin,
}

impl Endpoint {
    /// Reads an origin such as `https://api.fabric.microsoft.com`; a trailing slash is allowed.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] says what is wrong; it does not repeat `text`, which may hold a
    /// password.
    pub fn parse(text: &str, allow_loopback_http: bool) -> Result<Self, InvalidEndpoint> {
        let url = Url::parse(text).map_err(|_| InvalidEndpoint::NotAUrl)?;
        let host = url.host().ok_or(InvalidEndpoint::NotAUrl)?;
        let loopback = match host {
            // A name is no proof of an address, not even `localhost`.
            Host::Domain(_) => false,
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        match url.scheme() {
            "https" => {}
            "http" if loopback && allow_loopback_http => {}
            _ => return Err(InvalidEndpoint::Insecure),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidEndpoint::UserInfo);
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidEndpoint::NotAnOrigin);
        }
        Ok(Self {
            origin: url.origin().ascii_serialization(),
        })
    }

    /// The job instance itself.
    pub(super) fn job_url(&self, job: &JobInstance) -> Uri {
        self.url(job, "")
    }

    /// The request to cancel it.
    pub(super) fn cancel_url(&self, job: &JobInstance) -> Uri {
        self.url(job, "/cancel")
    }

    fn url(&self, job: &JobInstance, verb: &str) -> Uri {
        let JobInstance {
            workspace_id,
            item_id,
            job_instance_id,
        } = job;
        // The ids are UUIDs, so nothing in this path can need escaping.
        format!(
            "{}/v1/workspaces/{workspace_id}/items/{item_id}/jobs/instances/{job_instance_id}{verb}",
            self.origin
        )
        .parse()
        .expect("an origin followed by UUIDs is a valid URI")
    }
}

/// The origin, as it is shown to people: `https://api.fabric.microsoft.com`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}
