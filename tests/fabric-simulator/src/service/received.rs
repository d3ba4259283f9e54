//! One request: what it is, what the script and the state machines make of it, what is sent.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{Response, header, request::Parts};
use uuid::Uuid;

use super::{ConnectionDropped, State, entra, fabric, render, text};
use crate::{
    entra::{Entra, Identity},
    fabric::error::FabricError,
    ledger::{Entry, Outcome},
    route::{Call, Route},
    script::{Answer, Applied, HoldPoint, ScriptedReply, Subject},
};

/// A request that has arrived completely.
pub(super) struct Received {
    parts: Parts,
    pub(super) body: Bytes,
    pub(super) origin: String,
    pub(super) call: Call,
    pub(super) request_id: Uuid,
    pub(super) bearer: Option<String>,
    pub(super) token_request: Option<crate::entra::TokenRequest>,
    identity: Option<Identity>,
    misplaced_credentials: Vec<String>,
}

/// What processing a request has led to.
pub(super) struct Processed {
    pub(super) answer: Answer,
    pub(super) took_effect: bool,
    /// The instance that a run request created.
    pub(super) created: Option<Uuid>,
}

impl Processed {
    pub(super) fn refused(error: FabricError) -> Self {
        Self {
            answer: error.into(),
            took_effect: false,
            created: None,
        }
    }
}

impl Received {
    pub(super) fn new(state: &State, parts: Parts, body: Bytes, origin: String) -> Self {
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
        Self {
            parts,
            body,
            origin,
            call,
            request_id: state.ids.next(),
            bearer,
            token_request,
            identity,
            misplaced_credentials,
        }
    }

    /// What the ledger says about it for a start.
    pub(super) fn arrival(&self, state: &State) -> Entry {
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

    pub(super) async fn answer(
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
            correlation_id: state.ids.next(),
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
