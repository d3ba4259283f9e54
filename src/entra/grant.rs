//! The client-credentials grant: one form POST, and what its answer is.
//!
//! Source: "Microsoft identity platform and the OAuth 2.0 client credentials flow".

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, response};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::refusal::{self, Said};
use super::{AccessToken, Authority, Credential, Proof, TokenError};
use crate::outbound::Transport;
use crate::outbound::exchange::{self, Failure, Reply};
use crate::telemetry::text;

/// The largest body that is read. A token with many groups takes some kilobytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// How long a token without a readable `expires_in` is kept. Entra's live an hour; too short
/// costs an exchange, too long costs a 401.
const DEFAULT_LIFE: Duration = Duration::from_secs(300);

/// No token is kept longer than this, whatever `expires_in` says.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// The longest `Retry-After` that is believed.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Asks for a token once. The caller sets the time limit.
pub(super) async fn exchange(
    transport: &Transport,
    authority: &Authority,
    scope: &str,
    credential: &Credential,
    now: Timestamp,
) -> Result<AccessToken, TokenError> {
    let request = request(authority, scope, credential);
    let result = match exchange::send(transport, request, MAX_BODY_BYTES).await {
        Ok(Reply {
            head,
            body: Ok(body),
        }) => read(&head, &body, authority, scope, credential, now),
        Err(failure)
        | Ok(Reply {
            body: Err(failure), ..
        }) => Err(unavailable(failure, authority)),
    };
    if let Err(error) = &result {
        log(credential, error);
    }
    result
}

/// No complete answer.
pub(super) fn unavailable(failure: Failure, authority: &Authority) -> TokenError {
    let Failure { code, message } = failure;
    TokenError::Unavailable {
        code: code.to_owned(),
        message: text::clean(&format!("{authority}: {message}"), text::MESSAGE),
        retry_after: None,
        http_status: None,
        correlation_id: None,
    }
}

fn request(authority: &Authority, scope: &str, credential: &Credential) -> Request<Bytes> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials")
        .append_pair("client_id", &credential.client_id.to_string())
        .append_pair("scope", scope);
    match &credential.proof {
        Proof::ClientSecret(secret) => {
            form.append_pair("client_secret", secret.expose_secret());
        }
    }
    let url = authority.token_url(credential.tenant_id);
    let mut request = exchange::request(Method::POST, url, Bytes::from(form.finish()));
    request.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    request
}

fn read(
    head: &response::Parts,
    body: &[u8],
    authority: &Authority,
    scope: &str,
    credential: &Credential,
    now: Timestamp,
) -> Result<AccessToken, TokenError> {
    let mut body = match serde_json::from_slice(body) {
        Ok(Value::Object(body)) => body,
        Ok(_) | Err(_) => Map::new(),
    };
    if head.status == StatusCode::OK
        && let Some(token) = granted(&mut body, now)
    {
        return Ok(token);
    }
    let said = Said::read(head.status, &head.headers, &body, credential);
    Err(refusal::classify(
        said,
        retry_after(&head.headers),
        authority,
        scope,
        credential,
    ))
}

/// The token of a 200, when there is one that can be sent as a bearer token.
fn granted(body: &mut Map<String, Value>, now: Timestamp) -> Option<AccessToken> {
    if let Some(Value::String(kind)) = body.get("token_type")
        && !kind.eq_ignore_ascii_case("bearer")
    {
        return None;
    }
    let life = life(body.get("expires_in"));
    let Some(Value::String(secret)) = body.remove("access_token") else {
        return None;
    };
    let expires_at = SignedDuration::try_from(life)
        .ok()
        .and_then(|life| now.checked_add(life).ok())?;
    AccessToken::new(SecretString::from(secret), expires_at)
}

/// A number, or a number in a string, as the older endpoint sends it.
fn life(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds > 0.0 => Duration::try_from_secs_f64(seconds)
            .unwrap_or(LONGEST_LIFE)
            .min(LONGEST_LIFE),
        _ => DEFAULT_LIFE,
    }
}

/// Entra sends whole seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if seconds.is_empty() || !seconds.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // More digits than fit into the number are a very long wait too.
    Some(
        seconds
            .parse()
            .map_or(LONGEST_WAIT, Duration::from_secs)
            .min(LONGEST_WAIT),
    )
}

fn log(credential: &Credential, error: &TokenError) {
    let (TokenError::Refused {
        code,
        message,
        http_status,
        correlation_id,
        ..
    }
    | TokenError::Throttled {
        code,
        message,
        http_status,
        correlation_id,
        ..
    }
    | TokenError::Unavailable {
        code,
        message,
        http_status,
        correlation_id,
        ..
    }) = error;
    tracing::info!(
        tenant_id = %credential.tenant_id,
        client_id = %credential.client_id,
        source = credential.source.kind,
        namespace = credential.source.namespace,
        name = credential.source.name,
        code,
        message,
        http_status,
        correlation_id,
        "Entra issued no token"
    );
}
