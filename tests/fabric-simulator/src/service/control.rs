//! `/_simulator/...`: everything that [`Handle`] does, over HTTP, for tests that run the simulator
//! as a process. Requests to these routes are not in the ledger.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    entra::Identity,
    fabric::{Access, JobChange, JobSpec, WorkspaceSpec},
    handle::Handle,
    script::Rule,
    settings::Settings,
};

pub(super) const PREFIX: &str = "/_simulator/";

pub(super) async fn serve(handle: &Handle, parts: &Parts, body: &Bytes) -> Response<Body> {
    let (status, value) = match route(handle, parts, body).await {
        Ok((status, value)) => (status, value),
        Err(problem) => (problem.status, json!({ "problem": problem.text })),
    };
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

struct Problem {
    status: StatusCode,
    text: String,
}

type Answered = Result<(StatusCode, Value), Problem>;

async fn route(handle: &Handle, parts: &Parts, body: &Bytes) -> Answered {
    let path = parts.uri.path().trim_start_matches(PREFIX);
    let segments: Vec<&str> = path.split('/').collect();
    match (parts.method.as_str(), segments.as_slice()) {
        ("GET", ["ledger"]) => ledger(handle, parts.uri.query().unwrap_or_default()).await,
        ("GET", ["clock"]) => found(&clock(handle)),
        ("POST", ["clock"]) => {
            let Advance { advance } = read(body)?;
            handle.clock().advance(advance);
            found(&clock(handle))
        }
        ("GET", ["settings"]) => found(&handle.settings()),
        ("PATCH", ["settings"]) => settings(handle, body),
        ("POST", ["seed"]) => created(&handle.seed()),
        ("GET", ["jobs"]) => found(&handle.jobs()),
        ("POST", ["jobs"]) => created(&handle.add_job(read::<JobSpec>(body)?)),
        ("GET", ["jobs", id]) => found(&handle.job(uuid(id)?).ok_or_else(|| no("job", id))?),
        ("PATCH", ["jobs", id]) => {
            let job = uuid(id)?;
            done(handle.change_job(job, read::<JobChange>(body)?), "job", id)
        }
        ("DELETE", ["jobs", id]) => done(handle.remove_job(uuid(id)?), "job", id),
        ("POST", ["workspaces"]) => {
            created(&json!({ "id": handle.add_workspace(read::<WorkspaceSpec>(body)?) }))
        }
        ("POST", ["workspaces", id, "items"]) => {
            let item: NewItem = read(body)?;
            let item_id = item.id.unwrap_or_else(Uuid::new_v4);
            handle.put_item(uuid(id)?, item_id, &item.display_name, &item.item_type);
            created(&json!({ "id": item_id }))
        }
        ("PATCH", ["workspaces", id]) => {
            let change: WorkspaceChange = read(body)?;
            let id = uuid(id)?;
            if let Some(access) = change.default_access {
                handle.set_default_access(id, access);
            }
            if let Some(paused) = change.capacity_paused {
                handle.set_capacity_paused(id, paused);
            }
            found(&json!({}))
        }
        ("POST", ["workspaces", id, "grants"]) => {
            let grant: Grant = read(body)?;
            handle.grant(uuid(id)?, &grant.identity.normalised(), grant.access);
            created(&json!({}))
        }
        ("POST", ["tenants"]) => {
            let Tenant { tenant_id } = read(body)?;
            handle.add_tenant(&tenant_id);
            created(&json!({}))
        }
        ("POST", ["applications"]) => application(handle, &read(body)?),
        ("DELETE", ["applications"]) => {
            let identity = read::<Identity>(body)?.normalised();
            done(
                handle.remove_application(&identity),
                "application",
                &identity.client_id,
            )
        }
        ("POST", ["applications", "expire-secrets"]) => {
            handle.expire_secrets(&read::<Identity>(body)?.normalised());
            found(&json!({}))
        }
        ("POST", ["applications", "revoke-tokens"]) => {
            let revoked = handle.revoke_tokens(&read::<Identity>(body)?.normalised());
            found(&json!({ "revoked": revoked }))
        }
        ("GET", ["script"]) => found(&handle.rules()),
        ("POST", ["script"]) => {
            let rule: Rule = read(body)?;
            let added = handle
                .try_script(rule)
                .map_err(|invalid| bad(invalid.to_string()))?;
            created(&added.state())
        }
        ("DELETE", ["script"]) => {
            handle.clear_script();
            found(&json!({}))
        }
        (method, ["script", id, rest @ ..]) => script(handle, method, id, rest),
        (method, _) => Err(Problem {
            status: StatusCode::NOT_FOUND,
            text: format!("there is no {method} {}; see the README", parts.uri.path()),
        }),
    }
}

/// `?after=N` leaves out the first N entries; `&waitSeconds=S` waits up to S real seconds for an
/// entry behind them.
async fn ledger(handle: &Handle, query: &str) -> Answered {
    let field = |name: &str| {
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.parse::<u64>())
            .transpose()
            .map_err(|_| bad(format!("`{name}` must be a whole number")))
    };
    let after = field("after")?.unwrap_or(0);
    if let Some(seconds) = field("waitSeconds")? {
        // Nothing within the time is an answer too: an empty list.
        let _ = handle
            .wait_for(Duration::from_secs(seconds), |entry| entry.sequence > after)
            .await;
    }
    let entries: Vec<_> = handle
        .ledger()
        .into_iter()
        .filter(|entry| entry.sequence > after)
        .collect();
    found(&json!({ "entries": entries }))
}

fn settings(handle: &Handle, body: &Bytes) -> Answered {
    let Value::Object(changes) = read::<Value>(body)? else {
        return Err(bad("the settings must be a JSON object"));
    };
    let mut settings = serde_json::to_value(handle.settings()).map_err(bad)?;
    for (name, value) in changes {
        settings[name] = value;
    }
    let settings: Settings = serde_json::from_value(settings).map_err(bad)?;
    handle.update_settings(|current| *current = settings);
    found(&handle.settings())
}

fn application(handle: &Handle, application: &Application) -> Answered {
    let identity = application.identity.normalised();
    match &application.client_secret {
        None => handle.add_application(&identity),
        Some(secret) if application.only => handle.rotate_secret(&identity, secret),
        Some(secret) => match application.secret_expires {
            None => handle.add_secret(&identity, secret),
            Some(expires) => handle.add_secret_until(&identity, secret, expires),
        },
    }
    created(&identity)
}

fn script(handle: &Handle, method: &str, id: &str, rest: &[&str]) -> Answered {
    let number = id
        .parse()
        .map_err(|_| bad(format!("{id:?} is not a rule's number")))?;
    let rule = handle
        .state
        .script
        .find(number)
        .ok_or_else(|| no("rule", id))?;
    match (method, rest) {
        ("GET", []) => {}
        ("DELETE", []) => rule.remove(),
        ("POST", ["release"]) => rule.release(),
        ("POST", ["drop"]) => rule.drop_connections(),
        _ => return Err(no("such call of rule", id)),
    }
    found(&rule.state())
}

fn clock(handle: &Handle) -> Value {
    json!({ "time": handle.clock().now(), "factor": handle.clock().factor() })
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(bad)
}

fn uuid(raw: &str) -> Result<Uuid, Problem> {
    Uuid::parse_str(raw).map_err(|_| bad(format!("{raw:?} is not a UUID")))
}

fn found(value: &impl Serialize) -> Answered {
    Ok((StatusCode::OK, serde_json::to_value(value).map_err(bad)?))
}

fn created(value: &impl Serialize) -> Answered {
    Ok((
        StatusCode::CREATED,
        serde_json::to_value(value).map_err(bad)?,
    ))
}

fn done(existed: bool, kind: &str, id: &str) -> Answered {
    if existed {
        found(&json!({}))
    } else {
        Err(no(kind, id))
    }
}

fn no(kind: &str, id: &str) -> Problem {
    Problem {
        status: StatusCode::NOT_FOUND,
        text: format!("there is no {kind} {id}"),
    }
}

fn bad(problem: impl std::fmt::Display) -> Problem {
    Problem {
        status: StatusCode::BAD_REQUEST,
        text: problem.to_string(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    #[serde(rename = "advanceSeconds", with = "crate::settings::seconds")]
    advance: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewItem {
    id: Option<Uuid>,
    display_name: String,
    #[serde(rename = "type")]
    item_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WorkspaceChange {
    default_access: Option<Access>,
    capacity_paused: Option<bool>,
}

#[derive(Deserialize)]
struct Grant {
    #[serde(flatten)]
    identity: Identity,
    access: Access,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Tenant {
    tenant_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Application {
    #[serde(flatten)]
    identity: Identity,
    client_secret: Option<String>,
    secret_expires: Option<Timestamp>,
    /// The secret replaces all others.
    #[serde(default)]
    only: bool,
}
