//! From a request to an answer: the thin HTTP shell around the state machines.

mod control;
mod entra;
mod fabric;
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
use uuid::Uuid;

use crate::{
    clock::Clock,
    entra::{Entra, Identity},
    fabric::{Fabric, error::FabricError},
    handle::Handle,
    ledger::{Entry, Ledger, Outcome},
    route::{Call, Route},
    script::{Answer, Applied, HoldPoint, Script, ScriptedReply, Subject},
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
    pub(crate) fn new(clock: Clock, settings: Settings) -> Arc<Self> {
        let fabric = Fabric::new(settings);
        Arc::new(Self {
            clock,
            ledger: Ledger::new(),
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
        let sequence = self.state.ledger.arrive(received.entry());
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

/// A request that has arrived completely.
struct Received {
    parts: Parts,
    body: Bytes,
    origin: String,
    call: Call,
    request_id: Uuid,
    bearer: Option<String>,
    token_request: Option<crate::entra::TokenRequest>,
    identity: Option<Identity>,
    misplaced_credentials: Vec<String>,
    entry: Option<Entry>,
}

/// What processing a request has led to.
struct Processed {
    answer: Answer,
    took_effect: bool,
    /// The instance that a run request created.
    created: Option<Uuid>,
}

impl Processed {
    fn refused(error: FabricError) -> Self {
        Self {
            answer: error.into(),
            took_effect: false,
            created: None,
        }
    }
}

impl Received {
    fn new(state: &State, parts: Parts, body: Bytes, origin: String) -> Self {
        let call = Call::parse(&parts.method, parts.uri.path(), parts.uri.query());
        let route = call.route();
        let bearer = text(&parts.headers, header::AUTHORIZATION)
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim().to_owned());
        let token_request =
            (route == Route::Token).then(|| entra::token_request(&call, &parts.headers, &body));
        let world = state.world();
        let identity = match &token_request {
            Some(request) => request
                .client_id
                .as_ref()
                .map(|client| Identity::new(request.tenant.clone(), client.clone())),
            None => bearer
                .as_deref()
                .and_then(|token| world.entra.owner(token))
                .cloned(),
        };
        let misplaced_credentials = misplaced(&world.entra, route, &parts, bearer.as_deref());
        drop(world);
        let mut received = Self {
            parts,
            body,
            origin,
            call,
            request_id: Uuid::new_v4(),
            bearer,
            token_request,
            identity,
            misplaced_credentials,
            entry: None,
        };
        received.entry = Some(received.arrival(state));
        received
    }

    fn entry(&self) -> Entry {
        self.entry
            .clone()
            .expect("set when the request was received")
    }

    fn arrival(&self, state: &State) -> Entry {
        let world = state.world();
        let clean = |text: &str| world.entra.without_credentials(text);
        Entry {
            sequence: 0,
            time: state.clock.now(),
            end_time: None,
            method: self.parts.method.to_string(),
            path: clean(self.parts.uri.path()),
            route: self.call.route(),
            identity: self.identity.clone(),
            workspace_id: self.call.workspace_id.as_deref().map(clean),
            item_id: self.call.item_id.as_deref().map(clean),
            job_instance_id: self.call.job_instance_id.as_deref().map(clean),
            outcome: Outcome::Pending,
            status: None,
            error_code: None,
            retry_after: None,
            request_id: self.request_id,
            processed: false,
            fault: None,
            user_agent: text(&self.parts.headers, header::USER_AGENT).map(clean),
            misplaced_credentials: self.misplaced_credentials.clone(),
        }
    }

    async fn answer(
        self,
        state: Arc<State>,
        sequence: u64,
    ) -> Result<Response<Body>, ConnectionDropped> {
        let mut stopped = state.stopped.subscribe();
        let work = self.follow(&state, sequence);
        tokio::select! {
            answer = work => answer,
            _ = stopped.wait_for(|stopped| *stopped) => Err(ConnectionDropped),
        }
    }

    /// Script, processing, reply.
    async fn follow(
        self,
        state: &Arc<State>,
        sequence: u64,
    ) -> Result<Response<Body>, ConnectionDropped> {
        let applied = state.script.take(&Subject {
            route: self.call.route(),
            job_instance_id: self.call.job_instance_id.as_deref(),
            client_id: self
                .identity
                .as_ref()
                .map(|identity| identity.client_id.as_str()),
        });
        let Some(applied) = applied else {
            let processed = self.process(state, sequence);
            return Ok(self.send(state, sequence, &processed.answer));
        };
        state
            .ledger
            .update(sequence, |entry| entry.fault = Some(applied.label.clone()));
        if let Some(delay) = applied.rule.delay {
            state.clock.sleep(delay).await;
        }
        if !applied.passes(HoldPoint::BeforeProcessing).await {
            return Err(self.close(state, sequence));
        }
        let processed = (!applied.rule.skip_processing).then(|| self.process(state, sequence));
        if !applied.passes(HoldPoint::AfterProcessing).await {
            return Err(self.close(state, sequence));
        }
        self.reply(state, sequence, applied, processed)
    }

    fn reply(
        &self,
        state: &State,
        sequence: u64,
        applied: Applied,
        processed: Option<Processed>,
    ) -> Result<Response<Body>, ConnectionDropped> {
        let answer = match (applied.rule.reply, processed) {
            (ScriptedReply::Answer(answer), _) => answer,
            (ScriptedReply::Drop, _) | (_, None) => return Err(self.close(state, sequence)),
            (ScriptedReply::Normal, Some(processed)) => processed.answer,
            (ScriptedReply::Overlay(fields), Some(processed)) => {
                let context = self.context(state);
                render::overlaid(processed.answer, fields, &context)
            }
        };
        Ok(self.send(state, sequence, &answer))
    }

    fn process(&self, state: &State, sequence: u64) -> Processed {
        let processed = match self.call.route() {
            Route::Token | Route::OpenIdConfiguration => entra::process(self, state),
            Route::Unknown => Processed::refused(FabricError::unknown_route()),
            Route::Cancel
            | Route::Job
            | Route::JobList
            | Route::Run
            | Route::Workspaces
            | Route::Items => fabric::process(self, state),
        };
        state.ledger.update(sequence, |entry| {
            entry.processed = processed.took_effect;
            if let Some(id) = processed.created {
                entry.job_instance_id = Some(id.to_string());
            }
        });
        processed
    }

    fn send(&self, state: &State, sequence: u64, answer: &Answer) -> Response<Body> {
        let context = self.context(state);
        let response = render::response(answer, &context);
        state.ledger.update(sequence, |entry| {
            entry.end_time = Some(context.now);
            entry.status = Some(answer.status);
            entry.error_code = render::error_code(answer);
            entry.retry_after = text(response.headers(), header::RETRY_AFTER).map(str::to_owned);
            if entry.outcome == Outcome::Pending {
                entry.outcome = Outcome::Answered;
            }
        });
        response
    }

    fn close(&self, state: &State, sequence: u64) -> ConnectionDropped {
        let now = state.clock.now();
        state.ledger.update(sequence, |entry| {
            entry.end_time = Some(now);
            if entry.outcome == Outcome::Pending {
                entry.outcome = Outcome::Dropped;
            }
        });
        ConnectionDropped
    }

    fn context(&self, state: &State) -> render::Context {
        let request = self.token_request.as_ref();
        render::Context {
            request_id: self.request_id,
            now: state.clock.now(),
            discovery: self.call.route() == Route::OpenIdConfiguration,
            subject: crate::entra::refusal::Subject {
                tenant: self.call.tenant.clone().unwrap_or_default(),
                client: request
                    .and_then(|request| request.client_id.clone())
                    .unwrap_or_default(),
                scope: request
                    .and_then(|request| request.scope.clone())
                    .unwrap_or_default(),
            },
        }
    }
}

/// Credentials where they do not belong, in words.
fn misplaced(entra: &Entra, route: Route, parts: &Parts, bearer: Option<&str>) -> Vec<String> {
    let mut found = Vec::new();
    let authorization = parts.headers.contains_key(header::AUTHORIZATION);
    if Route::ENTRA.contains(&route) && bearer.is_some() {
        found.push("access token in a request to Entra".to_owned());
    }
    if route == Route::Unknown && authorization {
        found.push("Authorization header on an unknown route".to_owned());
    }
    if Route::FABRIC.contains(&route) && authorization && bearer.is_none() {
        found.push("Authorization header without a bearer token in a request to Fabric".to_owned());
    }
    if bearer.is_some_and(|token| entra.is_secret(token)) {
        found.push("client secret sent as an access token".to_owned());
    }
    for (name, value) in &parts.headers {
        let leaks = value
            .to_str()
            .is_ok_and(|value| entra.without_credentials(value) != value);
        if name != header::AUTHORIZATION && leaks {
            found.push(format!("credential in the header {name}"));
        }
    }
    let target = parts.uri.to_string();
    let query = parts.uri.query().unwrap_or_default();
    let named = url::form_urlencoded::parse(query.as_bytes())
        .any(|(key, _)| ["client_secret", "access_token", "client_assertion"].contains(&&*key));
    if named || entra.without_credentials(&target) != target {
        found.push("credential in the URL".to_owned());
    }
    found
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// More than any request of these APIs needs; \[DOC\] no limit is published.
const REQUEST_BODY_LIMIT: usize = 1 << 20;
