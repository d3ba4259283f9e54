//! From a request to an answer: the thin HTTP shell around the state machines.

mod control;
mod entra;
mod fabric;
mod received;
mod render;

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, Request, Response, header, request::Parts};
use http_body_util::{BodyExt, Limited};
use tokio::sync::watch;

use self::received::Received;
use crate::{
    clock::Clock,
    entra::Entra,
    fabric::Fabric,
    handle::Handle,
    ids::Ids,
    ledger::{Ledger, Outcome},
    script::Script,
    settings::Settings,
};

/// A simulator as a [`tower::Service`]: one connection that never breaks, unless a script says so.
///
/// For clients that take a service instead of an address; no socket is involved, so it works under
/// tokio's paused time.
#[derive(Clone, Debug)]
pub struct Connection {
    state: Arc<State>,
    scheme: &'static str,
}

/// The connection was closed without an answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("read the answer: the simulator closed the connection, as its script says")]
pub struct ConnectionDropped;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) clock: Clock,
    pub(crate) ledger: Ledger,
    pub(crate) ids: Ids,
    pub(crate) script: Arc<Script>,
    world: Mutex<World>,
    /// `true` once the simulator is gone: nothing is held any longer.
    stopped: watch::Sender<bool>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) fabric: Fabric,
    pub(crate) entra: Entra,
}

impl State {
    pub(crate) fn new(clock: Clock, settings: Settings, seed: Option<u64>) -> Arc<Self> {
        let fabric = Fabric::new(settings);
        Arc::new(Self {
            clock,
            ledger: Ledger::new(),
            ids: Ids::new(seed),
            script: Arc::default(),
            world: Mutex::new(World {
                fabric,
                entra: Entra::default(),
            }),
            stopped: watch::Sender::new(false),
        })
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no holder of the lock panics")
    }

    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }
}

impl Connection {
    pub(crate) fn new(state: Arc<State>, scheme: &'static str) -> Self {
        Self { state, scheme }
    }

    /// The same as an [`axum::Router`]. A router cannot fail, so a dropped connection shows as a
    /// 502 whose body breaks off with an error.
    pub(crate) fn into_router(self) -> axum::Router {
        axum::Router::new().fallback_service(tower::service_fn(move |request: Request<Body>| {
            let connection = self.clone();
            async move {
                Ok::<_, Infallible>(connection.serve(request).await.unwrap_or_else(|dropped| {
                    let broken = futures::stream::once(async move {
                        Err::<Bytes, _>(io::Error::new(io::ErrorKind::ConnectionReset, dropped))
                    });
                    let mut response = Response::new(Body::from_stream(broken));
                    *response.status_mut() = http::StatusCode::BAD_GATEWAY;
                    response
                }))
            }
        }))
    }

    pub(crate) async fn serve(
        self,
        request: Request<Body>,
    ) -> Result<Response<Body>, ConnectionDropped> {
        let (parts, body) = request.into_parts();
        let origin = self.origin(&parts);
        let body = Limited::new(body, REQUEST_BODY_LIMIT).collect().await;
        if parts.uri.path().starts_with(control::PREFIX) {
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            let handle = Handle { state: self.state };
            return Ok(control::serve(&handle, &parts, &body).await);
        }
        let Ok(body) = body.map(|body| body.to_bytes()) else {
            // Too long or broken off; there is nobody, or nothing sensible, to answer.
            return Err(ConnectionDropped);
        };
        let received = Received::new(&self.state, parts, body, origin);
        let sequence = self.state.ledger.arrive(received.arrival(&self.state));
        let mut watcher = ClientWatcher {
            state: self.state.clone(),
            sequence,
            answered: false,
        };
        // A service goes on with a request whose sender has gone, so the work is not tied to the
        // connection: the connection only waits for it.
        let work = tokio::spawn(received.answer(self.state.clone(), sequence));
        let answer = work.await.unwrap_or(Err(ConnectionDropped));
        watcher.answered = true;
        answer
    }

    /// Scheme and host by which the client came.
    fn origin(&self, parts: &Parts) -> String {
        let scheme = parts.uri.scheme_str().unwrap_or(self.scheme);
        let host = text(&parts.headers, header::HOST)
            .or_else(|| parts.uri.authority().map(|authority| authority.as_str()))
            .unwrap_or("api.fabric.microsoft.com");
        format!("{scheme}://{host}")
    }
}

impl<B> tower::Service<Request<B>> for Connection
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response<Body>;
    type Error = ConnectionDropped;
    type Future = BoxFuture<'static, Result<Response<Body>, ConnectionDropped>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectionDropped>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.clone().serve(request.map(Body::new)).boxed()
    }
}

/// Writes down that the client went away before it was answered.
struct ClientWatcher {
    state: Arc<State>,
    sequence: u64,
    answered: bool,
}

impl Drop for ClientWatcher {
    fn drop(&mut self) {
        if !self.answered {
            self.state
                .ledger
                .update(self.sequence, |entry| entry.outcome = Outcome::ClientGone);
        }
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// More than any request of these APIs needs; \[DOC\] no limit is published.
const REQUEST_BODY_LIMIT: usize = 1 << 20;
