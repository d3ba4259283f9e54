//! Where Fabric and Entra are.

use std::fmt;

use url::{Host, Url};

/// Scheme, host and port of a service, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Reads an origin such as `https://api.fabric.microsoft.com`; a trailing slash is allowed.
    ///
    /// # Errors
    ///
    /// The rule that `raw` breaks, without a word of `raw`, which may hold a password.
    pub fn parse(raw: &str, allow_loopback_http: bool) -> Result<Self, &'static str> {
        const NOT_A_URL: &str = "it must be a URL such as https://api.fabric.microsoft.com";
        let url = Url::parse(raw).map_err(|_| NOT_A_URL)?;
        let loopback = match url.host().ok_or(NOT_A_URL)? {
            // A name is no proof of an address, not even `localhost`.
            Host::Domain(_) => false,
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        match url.scheme() {
            "https" => {}
            "http" if loopback && allow_loopback_http => {}
            _ => {
                return Err(
                    "it must be https; http is accepted for 127.0.0.0/8 and [::1] only, \
                     with --allow-loopback-http",
                );
            }
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it must not hold a user name or password");
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err("it must be scheme, host and port, without path, query or fragment");
        }
        Ok(Self(url.origin().ascii_serialization()))
    }

    /// As it is shown and as paths are added to: without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
