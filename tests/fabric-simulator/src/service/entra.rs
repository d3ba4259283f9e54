//! Entra's two routes over HTTP.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::json;

use super::{
    State,
    received::{Processed, Received},
    text,
};
use crate::{
    entra::{EntraRefusal, TokenRequest},
    route::{Call, Route},
    script::Answer,
};

pub(super) fn process(received: &Received, state: &State) -> Processed {
    match (&received.token_request, received.call.route()) {
        (Some(request), Route::Token) => token(request, state),
        _ => discovery(received, state),
    }
}

/// Reads a token request: a form, as clients of all kinds send it. Unknown fields (`client_info`,
/// `claims`) are ignored, and the scope is read as a list.
pub(super) fn token_request(call: &Call, headers: &HeaderMap, body: &Bytes) -> TokenRequest {
    let mut request = TokenRequest {
        tenant: call.tenant.clone().unwrap_or_default(),
        ..TokenRequest::default()
    };
    if let Some((client, secret)) = basic(headers) {
        request.client_id = Some(client);
        request.client_secret = Some(secret);
    }
    for (name, value) in url::form_urlencoded::parse(body) {
        let value = value.into_owned();
        match &*name {
            "grant_type" => request.grant_type = Some(value),
            "client_id" => request.client_id = Some(value),
            "client_secret" => request.client_secret = Some(value),
            "client_assertion" => request.has_assertion = true,
            "scope" => request.scope = Some(value),
            _ => {}
        }
    }
    request
}

/// RFC 6749, section 2.3.1: both halves are form-encoded before they are joined.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, value) = text(headers, header::AUTHORIZATION)?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let joined = String::from_utf8(BASE64_STANDARD.decode(value.trim()).ok()?).ok()?;
    let (client, secret) = joined.split_once(':')?;
    let decode = |half: &str| {
        let pair = format!("half={half}");
        url::form_urlencoded::parse(pair.as_bytes())
            .next()
            .map(|(_, value)| value.into_owned())
    };
    Some((decode(client)?, decode(secret)?))
}

fn token(request: &TokenRequest, state: &State) -> Processed {
    // Opaque, and long enough that a client which cuts it is caught.
    let token = format!(
        "simulated.{}{}{}",
        state.ids.next().simple(),
        state.ids.next().simple(),
        state.ids.next().simple()
    );
    let now = state.clock.now();
    let mut world = state.world();
    let lifetime = world.fabric.settings.token_lifetime;
    let issued = world.entra.issue(request, token.clone(), lifetime, now);
    drop(world);
    let answer = match &issued {
        Err(refusal) => Answer::entra(refusal.clone()),
        // Both of Microsoft's client families fail when `expires_in` is missing.
        Ok(()) => Answer::new(200).json(json!({
            "token_type": "Bearer",
            "expires_in": lifetime.as_secs(),
            "ext_expires_in": lifetime.as_secs(),
            "access_token": token,
        })),
    };
    Processed {
        answer: answer
            .header("Cache-Control", "no-store, no-cache")
            .header("Pragma", "no-cache"),
        took_effect: issued.is_ok(),
        created: None,
    }
}

/// Microsoft's clients for Go and Python ask for it before their first token, and then send the
/// request to the `token_endpoint` that they find; `issuer` must be of the same scheme and host.
fn discovery(received: &Received, state: &State) -> Processed {
    let tenant = received.call.tenant.clone().unwrap_or_default();
    let answer = if state.world().entra.has_tenant(&tenant) {
        let base = format!("{}/{tenant}", received.origin);
        Answer::new(200).json(json!({
            "issuer": format!("{base}/v2.0"),
            "token_endpoint": format!("{base}/oauth2/v2.0/token"),
            "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
            "token_endpoint_auth_methods_supported":
                ["client_secret_post", "client_secret_basic"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "subject_types_supported": ["pairwise"],
        }))
    } else {
        Answer::entra(EntraRefusal::UnknownTenant)
    };
    Processed {
        answer,
        took_effect: false,
        created: None,
    }
}
