//! What carries requests to Fabric and to Entra.
//!
//! Each call of [`transport`] makes a client with a pool of its own, so that no token class
//! ever shares a connection with another. No redirect is followed, nothing is repeated or
//! decompressed, there are no cookies, and the proxy variables of the environment mean nothing.

use std::error::Error as StdError;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use reqwest::{Certificate, Client, ClientBuilder, NoProxy, Proxy};
use rustls::{AlertDescription, CertificateError, PeerIncompatible};
use tower::util::BoxCloneSyncService;
use url::Url;

use super::{Transport, origin};

/// How long a connection may take, with name lookup, proxy and TLS.
///
/// The fence before a cancel request counts on it: a request is on its way after this long, or
/// never sent. That holds because only HTTP/1 is spoken. A request gets a connection of its own
/// for the time of the exchange, and is written to it at once, in one piece that any socket buffer
/// takes. On HTTP/2 it would share one, and wait behind the server's limit of streams for as long
/// as the whole call may take. (A kept connection that turns out to be closed is replaced by a
/// new one before anything was written. Should both have been slow, which takes two accidents,
/// the next leader's grace for a found intent, 25 s, still covers it.)
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// How long an unused connection is kept. Azure's front ends close theirs after four minutes;
/// a request that races with that loses its answer.
const IDLE_DEADLINE: Duration = Duration::from_secs(60);

/// An answer has a status line and some 20 headers; a server that sends more is not one of ours.
const MAX_HEADERS: usize = 100;

/// How to reach Fabric and Entra. `Debug` does not print a proxy's password.
#[derive(Clone, Default)]
pub struct Settings {
    /// A PEM file of certificates that are trusted beside the system's roots.
    pub ca_bundle: Option<PathBuf>,
    /// The proxy for https; without one, connections are direct.
    pub https_proxy: Option<Url>,
    /// Hosts that are reached without the proxy: names, addresses and networks with commas.
    pub no_proxy: Option<String>,
    /// Whether http is spoken with 127.0.0.0/8 and ::1.
    pub allow_loopback_http: bool,
}

/// Why no way out can be set up. Each text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of `--ca-bundle` cannot be read.
    #[error("cannot read the CA bundle {}: give a readable PEM file with --ca-bundle", path.display())]
    ReadBundle {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file of `--ca-bundle` holds no usable certificate.
    #[error("the CA bundle {} holds no certificate: --ca-bundle wants PEM blocks \"BEGIN CERTIFICATE\"", path.display())]
    EmptyBundle {
        /// The file.
        path: PathBuf,
    },
    /// A certificate of `--ca-bundle` is damaged.
    #[error("the CA bundle {} holds a certificate that cannot be read: check the file of --ca-bundle", path.display())]
    DamagedBundle {
        /// The file.
        path: PathBuf,
        /// Why.
        source: reqwest::Error,
    },
    /// `--https-proxy` cannot be used.
    #[error(
        "the proxy cannot be used: --https-proxy wants a URL such as http://proxy.example:3128"
    )]
    Proxy {
        /// Why.
        source: reqwest::Error,
    },
    /// Nothing is trusted.
    #[error(
        "no trusted root certificates: this system has none (looked where OpenSSL does, and in SSL_CERT_FILE and SSL_CERT_DIR) and --ca-bundle gives none; install the package ca-certificates or name a PEM file with --ca-bundle"
    )]
    NoRoots {
        /// Why.
        source: reqwest::Error,
    },
    /// The client cannot be built for another reason.
    #[error("cannot set up the connection to Fabric and Entra")]
    Build {
        /// Why.
        source: reqwest::Error,
    },
}

/// A new way out, with connections of its own.
///
/// The same type serves `fabric` and `entra`; give each its own.
///
/// # Errors
/// [`Error`] when a setting cannot be used, or nothing is trusted.
pub fn transport(settings: &Settings) -> Result<Transport, Error> {
    Ok(service(build(builder(settings)?, settings)?, settings))
}

fn service(client: Client, settings: &Settings) -> Transport {
    let loopback_http = settings.allow_loopback_http;
    BoxCloneSyncService::new(tower::service_fn(move |request: Request<Bytes>| {
        let client = client.clone();
        async move { exchange(&client, request, loopback_http).await }
    }))
}

/// Everything that the settings say. Names are looked up as the system does it; tests of that
/// put another resolver into what this returns.
fn builder(settings: &Settings) -> Result<ClientBuilder, Error> {
    let mut builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        // The default repeats what a server declares unprocessed; one intent is one request.
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .https_only(!settings.allow_loopback_http)
        .tls_version_min(reqwest::tls::Version::TLS_1_2)
        .connect_timeout(CONNECT_DEADLINE)
        .pool_idle_timeout(IDLE_DEADLINE)
        .http1_only()
        .http1_max_headers(MAX_HEADERS);
    if let Some(url) = &settings.https_proxy {
        let proxy = Proxy::https(url.clone()).map_err(|source| Error::Proxy {
            source: source.without_url(),
        })?;
        builder = builder
            .proxy(proxy.no_proxy(settings.no_proxy.as_deref().and_then(NoProxy::from_string)));
    }
    if let Some(path) = &settings.ca_bundle {
        builder = builder.tls_certs_merge(bundle(path)?);
    }
    Ok(builder)
}

fn build(builder: ClientBuilder, settings: &Settings) -> Result<Client, Error> {
    builder.build().map_err(|source| {
        let tls = causes(&source).find_map(|cause| cause.downcast_ref::<rustls::Error>());
        match (tls, &settings.ca_bundle) {
            (Some(rustls::Error::InvalidCertificate(_)), Some(path)) => Error::DamagedBundle {
                path: path.clone(),
                source,
            },
            // With a bundle there is something to trust, so only then can it be this.
            (Some(rustls::Error::General(_)), None) => Error::NoRoots { source },
            _ => Error::Build { source },
        }
    })
}

fn bundle(path: &PathBuf) -> Result<Vec<Certificate>, Error> {
    let pem = fs::read(path).map_err(|source| Error::ReadBundle {
        path: path.clone(),
        source,
    })?;
    let certificates =
        Certificate::from_pem_bundle(&pem).map_err(|source| Error::DamagedBundle {
            path: path.clone(),
            source,
        })?;
    if certificates.is_empty() {
        return Err(Error::EmptyBundle { path: path.clone() });
    }
    Ok(certificates)
}

async fn exchange(
    client: &Client,
    request: Request<Bytes>,
    loopback_http: bool,
) -> Result<Response<UnsyncBoxBody<Bytes, tower::BoxError>>, tower::BoxError> {
    if !origin::may_be_asked(request.uri(), loopback_http) {
        // An origin was checked when it was parsed; this holds for every other caller too.
        return Err(Box::new(io::Error::new(
            ErrorKind::PermissionDenied,
            "only https is allowed, and http for a loopback address with --allow-loopback-http",
        )));
    }
    let request = reqwest::Request::try_from(request).map_err(explained)?;
    let response = client.execute(request).await.map_err(explained)?;
    Ok(
        Response::<reqwest::Body>::from(response)
            .map(|body| body.map_err(explained).boxed_unsync()),
    )
}

/// Puts an error into the words of the transport's contract: the kind says what happened, the
/// text is one stable sentence without URL, time or address.
fn explained(error: reqwest::Error) -> tower::BoxError {
    tracing::debug!(error = &error as &dyn StdError, "an HTTP exchange failed");
    let tls = causes(&error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
    let (kind, text) = if error.is_timeout() {
        (ErrorKind::TimedOut, "no connection in time")
    } else if let Some(tls) = tls {
        (ErrorKind::InvalidData, tls_text(tls))
    } else if error.is_dns() {
        (
            ErrorKind::AddrNotAvailable,
            "the host name cannot be resolved",
        )
    } else if error.is_connect() {
        connect_text(&error)
    } else {
        (
            ErrorKind::ConnectionAborted,
            "the connection ended before the answer was complete",
        )
    };
    Box::new(io::Error::new(kind, Explained { text, error }))
}

fn tls_text(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => {
            "the server's certificate is not trusted: if its issuer is a CA of your own, add that with --ca-bundle"
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the server's certificate is for another host",
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "the server's certificate has expired, or this node's clock is wrong",
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "the server's certificate is not valid yet, or this node's clock is wrong",
        // A self-signed one that calls itself an authority is among these, in any bundle.
        rustls::Error::InvalidCertificate(_) => {
            "the server's certificate is not accepted: it has to be a server's, issued by a trusted CA"
        }
        rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)
        | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "no secure connection: the server offers neither TLS 1.2 nor TLS 1.3"
        }
        _ => "no secure connection: the TLS handshake failed",
    }
}

fn connect_text(error: &reqwest::Error) -> (ErrorKind, &'static str) {
    let kind = causes(error)
        .find_map(|cause| cause.downcast_ref::<io::Error>())
        .map(io::Error::kind);
    match kind {
        Some(ErrorKind::ConnectionRefused) => {
            (ErrorKind::ConnectionRefused, "the connection was refused")
        }
        Some(
            ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::AddrNotAvailable,
        ) => (ErrorKind::HostUnreachable, "there is no route to the host"),
        _ => (ErrorKind::NotConnected, "no connection could be made"),
    }
}

/// An error and all its causes. An [`io::Error`] hides the error that it carries from
/// `source`, so that one is opened.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    fn next<'a>(error: &&'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
        let error: &'a (dyn StdError + 'static) = *error;
        match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    }
    std::iter::successors(Some(error), next)
}

/// A stable sentence, with the error that it explains as its source.
#[derive(Debug)]
struct Explained {
    text: &'static str,
    error: reqwest::Error,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl StdError for Explained {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.error)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxy = self.https_proxy.as_ref().map(|url| {
            let mut shown = url.clone();
            // Fails for URLs that cannot have either, and these have none.
            let _ = shown.set_username("");
            let _ = shown.set_password(None);
            shown.to_string()
        });
        f.debug_struct("Settings")
            .field("ca_bundle", &self.ca_bundle)
            .field("https_proxy", &proxy)
            .field("no_proxy", &self.no_proxy)
            .field("allow_loopback_http", &self.allow_loopback_http)
            .finish()
    }
}

#[cfg(test)]
mod tests;
