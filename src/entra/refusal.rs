//! What Entra's errors mean, and what to do about them.
//!
//! Sources: "Microsoft Entra authentication and authorization error codes" and RFC 6749, 5.2.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use super::{Authority, Credential, Proof, TokenError};
use crate::telemetry::text;

/// Entra's id of a request, when the body carries none.
const REQUEST_ID_HEADER: &str = "x-ms-request-id";

/// Where the part of a description begins that differs each time.
const FLEETING: [&str; 4] = ["Trace ID:", "Correlation ID:", "Timestamp:", "Request Id:"];

/// What an answer without a token says.
pub(super) struct Said {
    status: StatusCode,
    /// The OAuth error: `invalid_client`.
    error: Option<String>,
    /// The number of `AADSTS7000215`.
    number: Option<u64>,
    message: Option<String>,
    correlation_id: Option<String>,
}

impl Said {
    /// Reads an answer. A text that repeats the secret is withheld.
    pub(super) fn read(
        status: StatusCode,
        headers: &HeaderMap,
        body: &Map<String, Value>,
        credential: &Credential,
    ) -> Self {
        let string = |key: &str| body.get(key).and_then(Value::as_str);
        let description = string("error_description");
        Self {
            status,
            error: string("error").and_then(|error| shown(error, text::NAME, credential)),
            number: number(body.get("error_codes"), description),
            message: description.and_then(|text| shown(lasting(text), text::MESSAGE, credential)),
            correlation_id: string("correlation_id")
                .or_else(|| headers.get(REQUEST_ID_HEADER)?.to_str().ok())
                .and_then(|id| shown(id, text::NAME, credential))
                .filter(|id| id.len() <= 64 && id.bytes().all(|b| b.is_ascii_graphic())),
        }
    }

    fn code(&self) -> String {
        match (self.number, &self.error) {
            (Some(number), _) => format!("AADSTS{number}"),
            (None, Some(error)) => error.clone(),
            (None, None) => format!("Http{}", self.status.as_u16()),
        }
    }
}

/// Turns an answer without a token into who must act.
///
/// Refused is only what Entra itself calls an error of the request: anything else may be a
/// gateway on the way, and passes.
pub(super) fn classify(
    said: Said,
    retry_after: Option<Duration>,
    authority: &Authority,
    scope: &str,
    credential: &Credential,
) -> TokenError {
    let code = said.code();
    let http_status = Some(said.status.as_u16());
    let error = said.error.as_deref().unwrap_or_default();
    if said.status == StatusCode::TOO_MANY_REQUESTS {
        return TokenError::Throttled {
            code,
            message: said
                .message
                .unwrap_or_else(|| format!("{authority} asks to come back later")),
            retry_after,
            http_status,
            correlation_id: said.correlation_id,
        };
    }
    let passing = said.status.is_server_error()
        || matches!(error, "temporarily_unavailable" | "server_error");
    if said.status.is_client_error()
        && !passing
        && let Some(advice) = advice(said.number, error, scope, credential)
    {
        return TokenError::Refused {
            message: said.message.unwrap_or_else(|| code.clone()),
            code,
            advice,
            http_status,
            correlation_id: said.correlation_id,
        };
    }
    let (code, message) = if said.status.is_redirection() {
        (
            "Redirected".to_owned(),
            format!(
                "{authority} answers with a redirect, which is never followed; see --entra-authority"
            ),
        )
    } else if said.status.is_success() {
        (
            "UnreadableBody".to_owned(),
            format!(
                "{authority} sent no bearer token with its success: is it Microsoft Entra ID? see --entra-authority"
            ),
        )
    } else if let Some(message) = said.message {
        (code, message)
    } else if said.status == StatusCode::NOT_FOUND {
        (
            code,
            format!(
                "{authority} has no token endpoint: is it Microsoft Entra ID? see --entra-authority"
            ),
        )
    } else {
        let message = format!(
            "{authority} answered {} without an error",
            said.status.as_u16()
        );
        (code, message)
    };
    TokenError::Unavailable {
        code,
        message: text::clean(&message, text::MESSAGE),
        retry_after,
        http_status,
        correlation_id: said.correlation_id,
    }
}

/// What to do, when Entra's answer is a refusal that somebody can mend.
fn advice(
    number: Option<u64>,
    error: &str,
    scope: &str,
    credential: &Credential,
) -> Option<String> {
    let source = &credential.source;
    let object = if source.namespace.is_empty() {
        format!("{} {}", source.kind, source.name)
    } else {
        format!("{} {}/{}", source.kind, source.namespace, source.name)
    };
    let key = match &credential.proof {
        Proof::ClientSecret(_) => "AZURE_CLIENT_SECRET",
    };
    let client = credential.client_id;
    let tenant = credential.tenant_id;
    let advice = match (number, error) {
        (Some(7_000_215), _) => format!(
            "the client secret is wrong: put the value (not the id) of a secret of app registration {client} into key {key} of {object}"
        ),
        (Some(7_000_222), _) => format!(
            "the client secret has expired: add a new one to app registration {client} and put its value into key {key} of {object}"
        ),
        (Some(700_016 | 7_000_229), _) => format!(
            "tenant {tenant} has no application {client}: check AZURE_CLIENT_ID and AZURE_TENANT_ID in {object}"
        ),
        (Some(90_002 | 900_023 | 90_013), _) => format!(
            "there is no tenant {tenant}: check AZURE_TENANT_ID in {object}, and --entra-authority if it is in another cloud"
        ),
        (Some(7_000_112), _) => format!(
            "application {client} is disabled in tenant {tenant}: an administrator must enable it again"
        ),
        (Some(53_000..=53_011 | 530_032..=530_036), _) => format!(
            "a Conditional Access policy of tenant {tenant} blocks application {client}: an administrator must allow it from this cluster"
        ),
        (Some(65_001), _) | (_, "consent_required") => format!(
            "application {client} lacks consent in tenant {tenant}: an administrator must grant it"
        ),
        (Some(70_011 | 1_002_012), _) | (_, "invalid_scope") => format!(
            "the scope {scope} is not valid for this grant: check --fabric-scope, which must end in /.default"
        ),
        (Some(500_011 | 500_014), _) | (_, "invalid_resource" | "invalid_target") => format!(
            "tenant {tenant} does not know the resource of scope {scope} or has disabled it: check --fabric-scope, and that Fabric is enabled in the tenant"
        ),
        (_, "invalid_client" | "unauthorized_client" | "invalid_grant") => format!(
            "Entra does not accept this credential for application {client} in tenant {tenant}: check {object}"
        ),
        (_, "access_denied" | "interaction_required") => format!(
            "a policy of tenant {tenant} keeps application {client} from signing in: an administrator must allow it"
        ),
        (_, "invalid_request" | "unsupported_grant_type") => format!(
            "Entra does not understand the request: check AZURE_TENANT_ID and AZURE_CLIENT_ID in {object}, and --entra-authority"
        ),
        // A number of Entra's with another error word is still Entra's refusal.
        (Some(_), _) => format!(
            "Entra does not issue a token to application {client} in tenant {tenant}: look the code up and check {object}"
        ),
        (None, _) => return None,
    };
    Some(text::clean(&advice, text::ADVICE))
}

/// The first of `error_codes`, else the number that the description begins with.
fn number(codes: Option<&Value>, description: Option<&str>) -> Option<u64> {
    let listed = codes
        .and_then(Value::as_array)
        .and_then(|codes| codes.first()?.as_u64());
    listed.or_else(|| {
        let digits = description?.trim_start().strip_prefix("AADSTS")?;
        let end = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        digits[..end].parse().ok()
    })
}

/// The part of a description that is the same each time.
fn lasting(description: &str) -> &str {
    let end = FLEETING
        .iter()
        .filter_map(|mark| description.find(mark))
        .min()
        .unwrap_or(description.len());
    &description[..end]
}

fn shown(raw: &str, limit: usize, credential: &Credential) -> Option<String> {
    let secret = match &credential.proof {
        Proof::ClientSecret(secret) => secret.expose_secret(),
    };
    // Also where it only appears once the text is clean.
    let repeats = |text: &str| !secret.is_empty() && text.contains(secret);
    if repeats(raw) || repeats(&text::clean(raw, usize::MAX)) {
        return Some(text::WITHHELD.to_owned());
    }
    text::clean_some(raw, limit)
}
