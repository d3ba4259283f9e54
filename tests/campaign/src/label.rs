//! What a step is called, so that the same step is found again in another run.

use fault_proxy::{Step, Verb};
use serde_json::Value;

use crate::replica::{FIRST, REPLICAS};
use crate::stage::PLURAL;

/// The step's name without its number: which replica where it is not the first, which kind of call,
/// for which object. Steps of one name are counted from 1. `None` for what no plan is about.
#[must_use]
pub fn label(step: &Step) -> Option<String> {
    let bare = bare(step)?;
    let (_, replica) = step.proxy.rsplit_once('-')?;
    Some(match replica {
        FIRST => bare,
        other => format!("{other}-{bare}"),
    })
}

/// The replica that a name is about, and the rest of the name.
#[must_use]
pub fn split(label: &str) -> (&str, &str) {
    match label.split_once('-') {
        Some((replica, bare)) if REPLICAS.contains(&replica) => (replica, bare),
        _ => (FIRST, label),
    }
}

fn bare(step: &Step) -> Option<String> {
    let call = &step.call;
    let ours = call.resource == PLURAL;
    let name = &call.name;
    Some(match call.verb {
        Verb::Event if call.subresource == "BOOKMARK" || !ours => return None,
        Verb::Event => format!("event-{}-{name}", call.subresource.to_lowercase()),
        Verb::List if ours => "list".into(),
        Verb::Watch if ours => "watch".into(),
        Verb::Get if ours => format!("read-{name}"),
        Verb::Get if call.resource == "secrets" => "secret".into(),
        Verb::Patch if ours => format!("write-{name}-{}", what_is_written(&step.json())),
        Verb::Create if call.resource == "events" => {
            let event = step.json();
            let about = event["regarding"]["name"].as_str().unwrap_or_default();
            let reason = event["reason"].as_str().unwrap_or_default();
            format!("publish-{about}-{}", reason.to_lowercase())
        }
        Verb::Create if call.resource == LEASES => "lease-create".into(),
        Verb::Update if call.resource == LEASES => {
            let spec = &step.json()["spec"];
            let what = match spec["holderIdentity"].as_str() {
                None | Some("") => "release",
                Some(_) if spec["acquireTime"] == spec["renewTime"] => "take",
                Some(_) => "renew",
            };
            format!("lease-{what}")
        }
        Verb::Token => "token".into(),
        Verb::Cancel => format!("cancel-{}", short(name)),
        Verb::Look => format!("look-{}", short(name)),
        Verb::Other if call.resource.starts_with("/openapi") => "schema".into(),
        Verb::Other if call.resource == "/version" => "clock".into(),
        _ => return None,
    })
}

/// The plural of Leases.
pub const LEASES: &str = "leases";

/// What a status write is for.
fn what_is_written(body: &Value) -> String {
    let status = &body["status"];
    if status["completionTime"].is_string() {
        return "end".into();
    }
    match bench::reason(body, "Ready") {
        "RequestingCancellation" => "intent".into(),
        "WaitingForCancellation" => "accepted".into(),
        other => other.to_lowercase(),
    }
}

/// The last digits of a job's id.
fn short(id: &str) -> &str {
    id.get(id.len().saturating_sub(2)..).unwrap_or(id)
}

/// Whether losing or repeating the step can have an effect on a server.
#[must_use]
pub fn has_effect(label: &str) -> bool {
    ["write-", "cancel-"].iter().any(|it| label.starts_with(it))
}
