//! Where a secret may be sent to.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use url::{Host, Url};
use uuid::Uuid;

/// A place that is safe to send a secret to: scheme, host and port, nothing else.
///
/// Only https, except http on a loopback address when that was allowed explicitly: neither a
/// client secret nor a bearer token ever crosses a network in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Without a trailing slash.
    text: String,
}

/// Why a text is not an [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrigin {
    /// It is no absolute URL.
    #[error("not an absolute URL such as https://host.example")]
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

/// A piece of a path that needs no escaping.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// Words of this program's own, with slashes between them.
    Fixed(&'static str),
    /// An id.
    Id(Uuid),
}

impl Origin {
    /// Reads an origin such as `https://api.fabric.microsoft.com`; a trailing slash is allowed.
    ///
    /// # Errors
    /// [`InvalidOrigin`] says what is wrong; it does not repeat `text`, which may hold a
    /// password.
    pub fn parse(text: &str, allow_loopback_http: bool) -> Result<Self, InvalidOrigin> {
        let url = Url::parse(text).map_err(|_| InvalidOrigin::NotAUrl)?;
        let address = match url.host().ok_or(InvalidOrigin::NotAUrl)? {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
        };
        if !is_safe(url.scheme(), address, allow_loopback_http) {
            return Err(InvalidOrigin::Insecure);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidOrigin::UserInfo);
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidOrigin::NotAnOrigin);
        }
        let text = url.origin().ascii_serialization();
        // The URL standard allows marks in a host, such as `{`, that no request can be sent to.
        if text.parse::<Uri>().is_err() {
            return Err(InvalidOrigin::NotAUrl);
        }
        Ok(Self { text })
    }

    /// The URL of `path` on this origin, with a slash before each part.
    pub(crate) fn url(&self, path: &[Part]) -> Uri {
        let mut url = self.text.clone();
        for part in path {
            url.push('/');
            match part {
                Part::Fixed(words) => url.push_str(words),
                Part::Id(id) => url.push_str(&id.to_string()),
            }
        }
        url.parse()
            .expect("an origin followed by fixed words and UUIDs is a valid URI")
    }
}

/// The origin, as it is shown to people: `https://api.fabric.microsoft.com`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a request to `uri` may be sent: the rule of [`Origin`], for a URL that has a path.
pub(super) fn may_be_asked(uri: &Uri, allow_loopback_http: bool) -> bool {
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return false;
    };
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok();
    is_safe(scheme, address, allow_loopback_http)
}

/// https to any host, http to a loopback address where that was allowed. A name is no proof of
/// an address, not even `localhost`, so a host that is a name has none here.
fn is_safe(scheme: &str, address: Option<IpAddr>, allow_loopback_http: bool) -> bool {
    match scheme {
        "https" => true,
        "http" => allow_loopback_http && address.is_some_and(|address| address.is_loopback()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_allowed_loopback_http_are_origins() {
        let good = [
            (
                "https://api.fabric.microsoft.com",
                "https://api.fabric.microsoft.com",
            ),
            (
                "https://login.microsoftonline.us/",
                "https://login.microsoftonline.us",
            ),
            (
                "https://api.fabric.microsoft.com:443",
                "https://api.fabric.microsoft.com",
            ),
            (
                "HTTPS://API.Fabric.Microsoft.com:8443/",
                "https://api.fabric.microsoft.com:8443",
            ),
            ("https://127.0.0.1:1", "https://127.0.0.1:1"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://127.1.2.3", "http://127.1.2.3"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
        ];
        for (text, expected) in good {
            let origin = Origin::parse(text, true).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(origin.to_string(), expected);
            let refused = expected
                .starts_with("http:")
                .then_some(InvalidOrigin::Insecure);
            assert_eq!(Origin::parse(text, false).err(), refused, "{text}");
        }
        use InvalidOrigin::{Insecure, NotAUrl, NotAnOrigin, UserInfo};
        for (text, why) in [
            ("", NotAUrl),
            ("api.fabric.microsoft.com", NotAUrl),
            ("/v1", NotAUrl),
            ("https://", NotAUrl),
            ("data:text/plain,x", NotAUrl),
            ("http://api.fabric.microsoft.com", Insecure),
            ("http://localhost:8080", Insecure),
            ("http://127.0.0.1.evil.example", Insecure),
            ("http://0.0.0.0", Insecure),
            ("http://169.254.169.254", Insecure),
            ("http://[::ffff:127.0.0.1]", Insecure),
            ("ftp://api.fabric.microsoft.com", Insecure),
            ("https://user@api.fabric.microsoft.com", UserInfo),
            ("https://:secret@api.fabric.microsoft.com", UserInfo),
            ("https://u:secret@login.microsoftonline.com", UserInfo),
            ("https://api.fabric.microsoft.com/v1", NotAnOrigin),
            ("https://login.microsoftonline.com/common", NotAnOrigin),
            ("https://api.fabric.microsoft.com/?x=1", NotAnOrigin),
            ("https://api.fabric.microsoft.com#x", NotAnOrigin),
        ] {
            let refused = Origin::parse(text, true).unwrap_err();
            assert_eq!(refused, why, "{text}");
            assert!(!refused.to_string().contains("secret"));
        }
    }

    #[test]
    fn a_request_is_held_to_the_rule_that_its_origin_was() {
        for (origin, allow, asked) in [
            ("https://api.fabric.microsoft.com", false, true),
            ("http://api.fabric.microsoft.com", true, false),
            ("http://127.1.2.3:8080", true, true),
            ("http://127.1.2.3:8080", false, false),
            ("http://[::1]:8080", true, true),
            ("http://localhost:8080", true, false),
            ("http://[::ffff:127.0.0.1]", true, false),
        ] {
            let url: Uri = format!("{origin}/v1/x").parse().unwrap();
            assert_eq!(may_be_asked(&url, allow), asked, "{url}");
            assert_eq!(Origin::parse(origin, allow).is_ok(), asked, "{origin}");
        }
        assert!(!may_be_asked(&Uri::from_static("/v1/x"), true));
    }

    #[test]
    fn every_origin_can_be_asked_whatever_stands_in_its_host() {
        for odd in (0x21_u8..0x7f).map(char::from) {
            let text = format!("https://a{odd}b.example");
            if let Ok(origin) = Origin::parse(&text, false) {
                origin.url(&[Part::Fixed("v1"), Part::Id(Uuid::nil())]);
            }
        }
        for text in ["https://a{b.example", "https://a`b.example"] {
            assert_eq!(Origin::parse(text, false), Err(InvalidOrigin::NotAUrl));
        }
    }

    #[test]
    fn a_path_is_the_parts_with_a_slash_before_each() {
        let origin = Origin::parse("https://[::1]:8443/", false).unwrap();
        let url = origin.url(&[Part::Fixed("a/b.c"), Part::Id(Uuid::nil())]);
        assert_eq!(
            url,
            "https://[::1]:8443/a/b.c/00000000-0000-0000-0000-000000000000"
        );
    }
}
