//! From an HTTP request to an answer.

use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::BoxError;

use super::{
    Shared,
    answer::{Refusal, respond},
    fault::Fault,
    patch,
    request::{CANCELLATIONS, Info, Kind, Verb},
    store::{Cause, Key, Part, Preconditions},
    watch,
};
use crate::clock::pass;

/// Answers one request of this user, or does what a fault says.
pub async fn serve(
    shared: Arc<Shared>,
    user: &str,
    request: Request<kube::client::Body>,
) -> Result<Response<Body>, BoxError> {
    let (head, body) = request.into_parts();
    let info = Info::read(&head.method, &head.uri);
    let body = body.collect().await?.to_bytes();
    let fault = shared.faults.take(user, &info);
    let arrived = shared.calendar.now();
    let number = (shared.ledger).arrive(arrived, user, &info, body.clone(), fault);
    let media_type = head
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let edited = Key {
        kind: info.kind.unwrap_or(&CANCELLATIONS),
        namespace: info.namespace.clone().unwrap_or_default(),
        name: info.name.clone().unwrap_or_default(),
    };
    let lost = || Err("connection closed before message completed".into());
    let carry_out = {
        let shared = Arc::clone(&shared);
        move || {
            let request = Asked {
                number,
                info: &info,
                media_type: &media_type,
                body: &body,
            };
            let answer = dispatch(&shared, &request);
            answer.unwrap_or_else(|refusal| refusal.response())
        }
    };
    let mut answer = match fault {
        None => carry_out(),
        Some(Fault::Answer(code)) => {
            Refusal::new(code, "the test asked for this answer").response()
        }
        Some(Fault::LoseRequest) => return lost(),
        Some(Fault::LoseAfter(time)) => {
            pass(time).await;
            return lost();
        }
        Some(Fault::Hang) => return std::future::pending().await,
        Some(Fault::Delay(delay)) => {
            pass(delay).await;
            carry_out()
        }
        Some(Fault::Slow(before, after)) => {
            pass(before).await;
            let answer = carry_out();
            pass(after).await;
            answer
        }
        Some(Fault::Late(delay)) => {
            let work = tokio::spawn(async move {
                pass(delay).await;
                carry_out()
            });
            work.await?
        }
        Some(Fault::LoseAnswer) => {
            carry_out();
            return lost();
        }
        Some(Fault::HangAfterwards) => {
            carry_out();
            return std::future::pending().await;
        }
        Some(Fault::EditedFirst) => {
            shared.edit_label(&edited);
            carry_out()
        }
    };
    let now = shared.calendar.now();
    shared
        .ledger
        .answered(number, answer.status().as_u16(), now);
    let skew = *shared.skew.lock().expect("no holder of the lock panics");
    let date = (now + skew)
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    answer.headers_mut().insert(
        header::DATE,
        date.parse().expect("a date is a header value"),
    );
    Ok(answer)
}

/// A request that is carried out.
struct Asked<'a> {
    /// Its number in the ledger.
    number: usize,
    info: &'a Info,
    media_type: &'a str,
    body: &'a [u8],
}

fn dispatch(shared: &Arc<Shared>, request: &Asked<'_>) -> Result<Response<Body>, Refusal> {
    let &Asked {
        number,
        info,
        media_type,
        body,
    } = request;
    let Some(kind) = info.kind else {
        return discovery(shared, info);
    };
    if !shared.store().serves(kind) {
        return Err(Refusal::unknown_resource());
    }
    let part = match info.subresource.as_deref() {
        None => Part::Main,
        Some("status") if kind.has_status => Part::Status,
        Some(_) => return Err(Refusal::unknown_resource()),
    };
    let body: Value = match body {
        [] => Value::Null,
        text => serde_json::from_slice(text)
            .map_err(|error| Refusal::new(400, format!("the body is not JSON: {error}")))?,
    };
    let namespace = info.namespace.clone().unwrap_or_default();
    let name = info
        .name
        .as_deref()
        .or(body["metadata"]["name"].as_str())
        .unwrap_or_default();
    let key = Key {
        kind,
        namespace,
        name: name.to_owned(),
    };
    let found = match info.verb {
        Verb::Watch => return watch::body(Arc::clone(shared), kind, info).map(Response::new),
        Verb::List => return list(shared, kind, info),
        Verb::Get => return shared.store().get(&key).map(|object| respond(200, object)),
        Verb::Create => {
            let cause = Cause::of(number, &body);
            let created =
                shared.change_because(cause, |store, now| store.create(key, body, now))?;
            return Ok(respond(201, &created));
        }
        Verb::Patch => match media_type {
            "application/apply-patch+yaml" => {
                let Some(manager) = info.query.get("fieldManager") else {
                    return Err(Refusal::new(
                        400,
                        "fieldManager is required for apply patch",
                    ));
                };
                if info.query.get("force").map(String::as_str) != Some("true") {
                    return Err(Refusal::new(400, "this server applies with force only"));
                }
                if body["kind"] != kind.kind || body["apiVersion"] != kind.api_version() {
                    return Err(Refusal::new(
                        400,
                        "apiVersion and kind must be those of the resource",
                    ));
                }
                let cause = Cause::of(number, &body);
                shared.change_because(cause, |store, now| {
                    store.apply(&key, part, manager, body, now)
                })
            }
            "application/merge-patch+json" => {
                let cause = Cause::of(number, &body);
                shared.change_because(cause, |store, now| {
                    store.update(&key, part, now, |object| patch::merge(object, &body))
                })
            }
            other => Err(Refusal::new(
                415,
                format!("this server knows no patch of type {other}"),
            )),
        },
        Verb::Delete => {
            let precondition =
                |field: &str| body["preconditions"][field].as_str().map(str::to_owned);
            let only = Preconditions {
                uid: precondition("uid"),
                version: precondition("resourceVersion"),
            };
            let cause = Cause {
                request: number,
                guard: only.version.clone(),
            };
            shared.change_because(cause, |store, now| store.delete(&key, &only, now))?;
            Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
        }
        Verb::Update => {
            let cause = Cause::of(number, &body);
            shared.change_because(cause, |store, now| {
                store.update(&key, part, now, |object| *object = body)
            })
        }
    };
    found.map(|object| respond(200, &object))
}

fn list(shared: &Shared, kind: &'static Kind, info: &Info) -> Result<Response<Body>, Refusal> {
    let mood = *shared.mood.borrow();
    let store = shared.store();
    let any = info
        .query
        .get("resourceVersion")
        .is_some_and(|version| version == "0");
    let version = match (any, mood.frozen) {
        (false, _) => store.version(),
        // An API server that fell behind answers from what it has.
        (true, _) if mood.stale.is_some() => mood.stale.unwrap_or(store.version()),
        // "Any version" is answered from the same memory that feeds the watches.
        (true, true) => return Err(Refusal::new(504, "the watch cache is not up to date")),
        (true, false) => {
            let visible = shared.calendar.now() - mood.lag;
            let unseen = store.log().iter().find(|event| event.time > visible);
            unseen.map_or(store.version(), |event| event.version - 1)
        }
    };
    let name = watch::selected_name(info)?;
    let mut items = store.list_at(version, kind, info.namespace.as_deref());
    items.retain(|item| {
        name.as_ref()
            .is_none_or(|name| item["metadata"]["name"] == json!(name))
    });
    Ok(respond(
        200,
        &json!({
            "apiVersion": kind.api_version(),
            "kind": format!("{}List", kind.kind),
            "metadata": {"resourceVersion": version.to_string()},
            "items": items,
        }),
    ))
}

/// The paths that describe the server.
fn discovery(shared: &Shared, info: &Info) -> Result<Response<Body>, Refusal> {
    let group = format!("apis/{}", CANCELLATIONS.api_version());
    let schema = shared.store().schema.clone();
    match (info.path.trim_matches('/'), schema) {
        ("version", _) => Ok(respond(
            200,
            &json!({
                "major": "1", "minor": "37", "gitVersion": "v1.37.2", "gitCommit": "", "gitTreeState": "clean",
                "buildDate": "2026-11-01T00:00:00Z", "goVersion": "go1.26", "compiler": "gc", "platform": "linux/amd64",
            }),
        )),
        ("openapi/v3", Some(_)) => {
            let url = format!("/openapi/v3/{group}");
            Ok(respond(
                200,
                &json!({"paths": {group: {"serverRelativeURL": url}}}),
            ))
        }
        ("openapi/v3", None) => Ok(respond(200, &json!({"paths": {}}))),
        (path, Some(schema)) if path == format!("openapi/v3/{group}") => {
            Ok(respond(200, &schema.document()))
        }
        (path, Some(_)) if path == group => Ok(respond(
            200,
            &json!({
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": CANCELLATIONS.api_version(),
                "resources": [{
                    "name": CANCELLATIONS.plural, "singularName": "fabricjobcancellation", "namespaced": true,
                    "kind": CANCELLATIONS.kind, "shortNames": ["fjc"], "categories": ["fabric"],
                    "verbs": ["delete", "get", "list", "patch", "create", "watch"],
                }],
            }),
        )),
        _ => Err(Refusal::unknown_resource()),
    }
}
