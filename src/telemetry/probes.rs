//! The small HTTP servers that kubelet and Prometheus ask: `/livez`, `/readyz`, `/metrics`.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::metrics::{self, Metrics};

/// Where a server listens.
///
/// The address `[::]` means every interface: where the node has no IPv6, `0.0.0.0` is taken
/// instead. Port 0 picks a free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindAddress(SocketAddr);

impl BindAddress {
    /// Every interface, at this port.
    #[must_use]
    pub const fn any(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port))
    }

    /// Reads `ADDRESS:PORT` (an IPv6 address in brackets) or `:PORT`, which is every interface.
    #[must_use]
    pub fn parse(raw: &str) -> Option<Self> {
        match raw.strip_prefix(':') {
            Some(port) => port.parse().ok().map(Self::any),
            None => raw.parse().ok().map(Self),
        }
    }

    /// Begins to listen; connections wait until [`serve`] takes them.
    ///
    /// # Errors
    ///
    /// When the port is taken, or the address is not one of this machine.
    pub async fn listen(self) -> io::Result<TcpListener> {
        match TcpListener::bind(self.0).await {
            Err(_) if self.0.ip() == Ipv6Addr::UNSPECIFIED && !has_ipv6() => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, self.0.port())).await
            }
            outcome => outcome,
        }
    }
}

/// Whether this machine can listen on an IPv6 address at all; a kernel may be without it.
fn has_ipv6() -> bool {
    std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok()
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether the operator can do its work, and if not why: what `/readyz` answers. All clones
/// speak of the same thing.
#[derive(Clone, Debug)]
pub struct Readiness(watch::Sender<Hindrances>);

/// What stands in the way, by who says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hindrances {
    work: Option<String>,
    election: Option<String>,
}

impl Hindrances {
    fn reason(&self) -> Option<&String> {
        self.work.as_ref().or(self.election.as_ref())
    }
}

impl Readiness {
    /// Not ready from the start, for this reason.
    #[must_use]
    pub fn not_yet(reason: impl Into<String>) -> Self {
        Self(watch::Sender::new(Hindrances {
            work: Some(reason.into()),
            election: None,
        }))
    }

    /// From now on it can.
    pub fn ready(&self) {
        self.set(|hindrances| hindrances.work = None);
    }

    /// From now on it cannot. `reason` is one line for the person who asks why: what is wrong
    /// and what to do.
    pub fn not_ready(&self, reason: impl Into<String>) {
        let reason = Some(reason.into());
        self.set(|hindrances| hindrances.work = reason);
    }

    /// Whether this replica could lead, beside all else: `None` when it could, else why not, as
    /// in [`Self::not_ready`].
    pub fn could_lead(&self, hindrance: Option<String>) {
        self.set(|hindrances| hindrances.election = hindrance);
    }

    /// Why it cannot; `None` when it can.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.0.borrow().reason().cloned()
    }

    /// A change is worth a line in the log, the same news again is not.
    fn set(&self, change: impl FnOnce(&mut Hindrances)) {
        self.0.send_if_modified(|current| {
            let before = current.clone();
            change(current);
            if before.reason() == current.reason() {
                return before != *current;
            }
            match current.reason() {
                None => tracing::info!("ready"),
                Some(reason) => tracing::warn!(reason, "not ready"),
            }
            true
        });
    }
}

/// `/livez` (the process answers, nothing more: a restart heals nothing that is outside) and
/// `/readyz` (503 with one line why not).
pub fn health_routes(readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(readiness)
}

async fn readyz(State(readiness): State<Readiness>) -> impl IntoResponse {
    match readiness.reason() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {reason}\n"),
        ),
    }
}

/// `/metrics`, as OpenMetrics text.
pub fn metrics_routes(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .with_state(metrics)
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        metrics.to_open_metrics(),
    )
}

/// Answers on `listener` until `shutdown`, then finishes the answers that were begun.
///
/// # Errors
///
/// When the listening socket breaks.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    axum::serve(listener, routes)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::telemetry::metrics::WriteResult;

    struct Serving {
        address: SocketAddr,
        shutdown: CancellationToken,
        task: JoinHandle<io::Result<()>>,
    }

    impl Serving {
        async fn start(routes: Router) -> Self {
            let listener = BindAddress::parse("127.0.0.1:0")
                .unwrap()
                .listen()
                .await
                .unwrap();
            let address = listener.local_addr().unwrap();
            let shutdown = CancellationToken::new();
            let task = tokio::spawn(serve(listener, routes, shutdown.clone()));
            Self {
                address,
                shutdown,
                task,
            }
        }

        /// The whole answer to a GET, head and body.
        async fn get(&self, path: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let request =
                format!("GET {path} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    }

    #[tokio::test]
    async fn readyz_follows_the_readiness_and_says_why_not() {
        let readiness = Readiness::not_yet("the CRD is missing: kubectl apply -f crds/");
        let server = Serving::start(health_routes(readiness.clone())).await;

        let answer = server.get("/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(
            answer.ends_with("\r\n\r\nnot ready: the CRD is missing: kubectl apply -f crds/\n"),
            "{answer}"
        );

        readiness.ready();
        assert!(server.get("/readyz").await.starts_with("HTTP/1.1 200 "));

        readiness.not_ready("shutting down");
        let answer = server.get("/readyz").await;
        assert!(answer.ends_with("not ready: shutting down\n"), "{answer}");
    }

    #[tokio::test]
    async fn livez_does_not_depend_on_readiness() {
        let server = Serving::start(health_routes(Readiness::not_yet("starting"))).await;
        assert!(server.get("/livez").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn metrics_are_served_as_open_metrics() {
        let metrics = Arc::new(Metrics::new());
        let server = Serving::start(metrics_routes(metrics.clone())).await;
        metrics.status_written(WriteResult::Stored);

        let answer = server.get("/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(
            answer.contains(
                "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
            ),
            "{answer}"
        );
        assert!(answer.contains("fabric_status_writes_total{result=\"stored\"} 1\n"));
        assert!(answer.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn an_idle_connection_does_not_keep_the_server_alive() {
        let server = Serving::start(health_routes(Readiness::not_yet("starting"))).await;
        let mut kept_alive = TcpStream::connect(server.address).await.unwrap();
        kept_alive
            .write_all(b"GET /livez HTTP/1.1\r\nhost: probe\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0; 8];
        kept_alive.read_exact(&mut first).await.unwrap();

        server.shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), server.task).await;
        ended.expect("the server ends").unwrap().unwrap();
        assert!(TcpStream::connect(server.address).await.is_err());
    }

    #[tokio::test]
    async fn every_interface_can_be_listened_on_with_or_without_ipv6() {
        let listener = BindAddress::any(0).listen().await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
    }

    #[test]
    fn an_address_is_read_as_kubernetes_people_write_it() {
        let shown = |raw| BindAddress::parse(raw).map(|address| address.to_string());
        assert_eq!(shown(":8080").as_deref(), Some("[::]:8080"));
        assert_eq!(shown("[::]:8080").as_deref(), Some("[::]:8080"));
        assert_eq!(shown("127.0.0.1:0").as_deref(), Some("127.0.0.1:0"));
        for wrong in ["", "0", "8080", "localhost:8080", "::1:8080", ":70000"] {
            assert_eq!(shown(wrong), None, "{wrong}");
        }
    }
}
