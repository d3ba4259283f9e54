//! The server behind a proxy.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Method, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

type Connector = HttpsConnector<HttpConnector>;

/// Where requests go. Clones share their connections.
#[derive(Clone)]
pub struct Upstream {
    origin: Arc<Uri>,
    client: Client<Connector, Full<Bytes>>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upstream").field(&self.origin).finish()
    }
}

impl Upstream {
    /// A server at `http://HOST:PORT` or `https://HOST:PORT`; for https, `ca_pem` says whom to trust.
    ///
    /// # Errors
    /// The origin or the certificates cannot be read.
    pub fn new(origin: &str, ca_pem: Option<&str>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut roots = rustls::RootCertStore::empty();
        if let Some(pem) = ca_pem {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                roots.add(certificate?)?;
            }
        }
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let tls = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            // The client's `Host` is kept: Fabric builds `Location` from it.
            .set_host(false)
            .retry_canceled_requests(false)
            .pool_max_idle_per_host(4)
            .build(connector);
        Ok(Self {
            origin: Arc::new(origin.parse()?),
            client,
        })
    }

    pub(crate) async fn send(
        &self,
        request: &Received,
    ) -> Result<Response<Incoming>, Box<dyn Error + Send + Sync>> {
        let mut parts = (*self.origin).clone().into_parts();
        let path = request.uri.path_and_query().cloned();
        parts.path_and_query = path.or(Some(PathAndQuery::from_static("/")));
        let mut forwarded = Request::new(Full::new(request.body.clone()));
        *forwarded.method_mut() = request.method.clone();
        *forwarded.uri_mut() = Uri::from_parts(parts)?;
        *forwarded.headers_mut() = request.headers.clone();
        for name in HOP_BY_HOP {
            forwarded.headers_mut().remove(name);
        }
        Ok(self.client.request(forwarded).await?)
    }
}

/// A request as the client sent it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What belongs to one connection and is not passed on.
pub(crate) const HOP_BY_HOP: [HeaderName; 4] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::UPGRADE,
];
