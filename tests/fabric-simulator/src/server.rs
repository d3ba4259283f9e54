//! The listener: HTTP/1.1, with or without TLS.

mod tls;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use self::tls::Authority;
use crate::service::Connection;

/// The simulator could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or is not one of this machine's.
    #[error("listen on {address}: choose another address, or port 0 for a free one")]
    Listen {
        /// The refused address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No certificate could be made.
    #[error("make a certificate for {address}")]
    Certificate {
        /// The address that it was for.
        address: SocketAddr,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

#[derive(Debug)]
pub(crate) struct Listening {
    address: SocketAddr,
    ca_pem: Option<String>,
    wanted: watch::Sender<bool>,
    online: watch::Receiver<bool>,
    accepted: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Listening {
    pub(crate) async fn start(
        address: SocketAddr,
        tls: bool,
        connection: Connection,
    ) -> Result<Self, StartError> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| StartError::Listen { address, source })?;
        let address = listener
            .local_addr()
            .map_err(|source| StartError::Listen { address, source })?;
        let authority = tls
            .then(|| Authority::new(address.ip()))
            .transpose()
            .map_err(|source| StartError::Certificate { address, source })?;
        let (ca_pem, acceptor) = authority
            .map(|authority| {
                (
                    authority.ca_pem,
                    TlsAcceptor::from(Arc::new(authority.server)),
                )
            })
            .unzip();
        let (wanted, wishes) = watch::channel(true);
        let (reports, online) = watch::channel(true);
        let accepted = Arc::new(AtomicU64::new(0));
        let serving = Serving {
            accepted: accepted.clone(),
            address,
            acceptor,
            connection,
            wishes,
            reports,
        };
        let task = tokio::spawn(serving.run(listener));
        Ok(Self {
            address,
            ca_pem,
            wanted,
            online,
            accepted,
            task,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.ca_pem.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    pub(crate) fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Returns when it is so.
    pub(crate) async fn set_online(&self, online: bool) {
        self.wanted.send_replace(online);
        // An error means that the task has ended; then nobody listens any more.
        let _ = self.online.clone().wait_for(|now| *now == online).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Serving {
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    connection: Connection,
    wishes: watch::Receiver<bool>,
    reports: watch::Sender<bool>,
    accepted: Arc<AtomicU64>,
}

impl Serving {
    async fn run(mut self, first: TcpListener) {
        let mut listener = Some(first);
        let mut connections = JoinSet::new();
        loop {
            let Some(open) = &listener else {
                connections.shutdown().await;
                self.reports.send_replace(false);
                if self.wishes.wait_for(|online| *online).await.is_err() {
                    return;
                }
                match TcpListener::bind(self.address).await {
                    Ok(again) => listener = Some(again),
                    // Another process took the port meanwhile; whoever waits will see its own
                    // deadline pass, with this line to explain it.
                    Err(error) => {
                        tracing::error!(address = %self.address, %error, "cannot listen again");
                        return;
                    }
                }
                self.reports.send_replace(true);
                continue;
            };
            tokio::select! {
                accepted = open.accept() => match accepted {
                    Ok((stream, _)) => {
                        self.accepted.fetch_add(1, Ordering::Relaxed);
                        let connection = self.connection.clone();
                        connections.spawn(serve(stream, self.acceptor.clone(), connection));
                    }
                    Err(error) => tracing::warn!(%error, "a connection could not be accepted"),
                },
                wish = self.wishes.wait_for(|online| !*online) => {
                    if wish.is_err() {
                        return;
                    }
                    drop(wish);
                    listener = None;
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn serve(stream: TcpStream, acceptor: Option<TlsAcceptor>, connection: Connection) {
    // Small answers at once: a test measures what the client does, not Nagle's algorithm.
    let _ = stream.set_nodelay(true);
    match acceptor {
        None => speak(stream, connection).await,
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => speak(stream, connection).await,
            Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
        },
    }
}

async fn speak<S>(stream: S, connection: Connection)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    // An error of the service closes the connection without an answer, which is what a script's
    // `drop` asks for.
    let service = service_fn(move |request: Request<Incoming>| {
        connection.clone().serve(request.map(axum::body::Body::new))
    });
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}
