//! The client-credentials grant: one form POST, and what its answer is.
//!
//! Source: "Microsoft identity platform and the OAuth 2.0 client credentials flow".

use std::io::{self, ErrorKind};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use tower::ServiceExt;
use url::form_urlencoded;

use super::refusal::{self, Said};
use super::{AccessToken, Authority, Credential, Proof, TokenError, Transport};
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

const AGENT: &str = concat!("fabric-job-operator/", env!("CARGO_PKG_VERSION"));

/// Asks for a token once. The caller sets the time limit.
pub(super) async fn exchange(
    transport: &Transport,
    authority: &Authority,
    scope: &str,
    credential: &Credential,
    now: Timestamp,
) -> Result<AccessToken, TokenError> {
    let request = request(authority, scope, credential);
    let result = match send(transport, request).await {
        Ok(answer) => read(&answer, authority, scope, credential, now),
        Err(failure) => Err(failure.unavailable(authority)),
    };
    if let Err(error) = &result {
        log(credential, error);
    }
    result
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Why there is no complete answer.
struct Failure {
    code: &'static str,
    message: String,
}

impl Failure {
    fn unavailable(self, authority: &Authority) -> TokenError {
        TokenError::Unavailable {
            code: self.code.to_owned(),
            message: text::clean(&format!("{authority}: {}", self.message), text::MESSAGE),
            retry_after: None,
            http_status: None,
            correlation_id: None,
        }
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
    let mut request = Request::new(Bytes::from(form.finish()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = authority.token_url(credential.tenant_id);
    let headers = request.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    request
}

async fn send(transport: &Transport, request: Request<Bytes>) -> Result<Answer, Failure> {
    let response = transport.clone().oneshot(request).await.map_err(failure)?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_BODY_BYTES)
        .collect()
        .await
        .map_err(failure)?
        .to_bytes();
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
    })
}

/// Names a failure of the transport, as Fabric's client does for its own.
#[expect(clippy::needless_pass_by_value, reason = "used as `map_err(failure)`")]
fn failure(error: tower::BoxError) -> Failure {
    if error.is::<LengthLimitError>() {
        return Failure {
            code: "BodyTooLarge",
            message: format!("the answer is larger than {MAX_BODY_BYTES} bytes"),
        };
    }
    let Some(error) = error.downcast_ref::<io::Error>() else {
        return Failure {
            code: "ConnectionFailed",
            message: "the connection failed".to_owned(),
        };
    };
    let code = match error.kind() {
        ErrorKind::TimedOut => "Timeout",
        ErrorKind::InvalidData => "TlsFailed",
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => "ConnectionClosed",
        _ => "ConnectionFailed",
    };
    Failure {
        code,
        message: error.to_string(),
    }
}

fn read(
    answer: &Answer,
    authority: &Authority,
    scope: &str,
    credential: &Credential,
    now: Timestamp,
) -> Result<AccessToken, TokenError> {
    let mut body = match serde_json::from_slice(&answer.body) {
        Ok(Value::Object(body)) => body,
        Ok(_) | Err(_) => Map::new(),
    };
    if answer.status == StatusCode::OK
        && let Some(token) = granted(&mut body, now)
    {
        return Ok(token);
    }
    let said = Said::read(answer.status, &answer.headers, &body, credential);
    Err(refusal::classify(
        said,
        retry_after(&answer.headers),
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
