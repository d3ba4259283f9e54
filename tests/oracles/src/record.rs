//! The record itself: S6 and S11.

use std::time::Duration;

use serde_json::Value;

use crate::history::{Facts, Guard, History, Resource, Version};
use crate::property::{Property, Violation};
use crate::status::plus;

/// Reasons of an end, each of which comes with `completionTime`. `JobNotFound` also stands while
/// a second answer is waited for.
const ENDS: [&str; 8] = [
    "JobCancelled",
    "JobAlreadyCancelled",
    "JobAlreadyFinished",
    "JobEndedOtherwise",
    "JobNotFound",
    "RequestRejected",
    "DeadlineExceeded",
    "InvalidSpec",
];

/// Reasons that a person must act upon; only with these can it be stalled and go on.
pub(crate) const PERSON_MUST_ACT: [&str; 8] = [
    "CredentialsNotFound",
    "CredentialsInvalid",
    "IdentityNotAllowed",
    "WorkspaceNotAllowed",
    "AuthenticationFailed",
    "PermissionDenied",
    "TargetNotFound",
    "CapacityPaused",
];

/// Facts that never change once they are stored.
const ONCE: [&str; 4] = ["acceptedTime", "completionTime", "location", "requestId"];

/// Stored times are whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// S6: nothing goes back, an end never changes, conditions agree with each other.
#[must_use]
pub fn s6_never_back(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    for resource in &history.resources {
        for (before, after) in resource.writes() {
            let wrong = [went_back(before, after), contradictions(after)].concat();
            found.extend(wrong.into_iter().map(|what| {
                Violation::new(
                    Property::S6,
                    resource.title(),
                    [after.stored, before.stored],
                    format!("resourceVersion {}: {what}", after.resource_version),
                )
            }));
        }
    }
    found
}

fn went_back(before: &Version, after: &Version) -> Vec<String> {
    let mut wrong = Vec::new();
    let (was, is) = (before.status(), after.status());
    if after.attempts() < before.attempts() {
        wrong.push(format!(
            "attempts went back from {} to {}",
            before.attempts(),
            after.attempts()
        ));
    }
    if after.attempts() > before.attempts() + 1 {
        wrong.push(format!(
            "attempts jumped from {} to {}",
            before.attempts(),
            after.attempts()
        ));
    }
    for field in ONCE {
        if !was[field].is_null() && was[field] != is[field] {
            wrong.push(format!(
                "{field} changed from {} to {}",
                was[field], is[field]
            ));
        }
    }
    if after.attempts() == before.attempts() && was["requestTime"] != is["requestTime"] {
        wrong.push("requestTime changed without a new attempt".into());
    }
    // Suspending before the first attempt clears the deadline's clock.
    if !was["startTime"].is_null() && was["startTime"] != is["startTime"] && before.attempts() > 0 {
        wrong.push("startTime changed after the first attempt".into());
    }
    if before.is_over() && frozen(was) != frozen(is) {
        wrong.push("the status of an ended resource changed".into());
    }
    wrong
}

/// The status without the generation that it speaks of, which alone may change after the end.
fn frozen(status: &Value) -> Value {
    let mut status = status.clone();
    if let Some(fields) = status.as_object_mut() {
        fields.remove("observedGeneration");
    }
    if let Some(conditions) = status["conditions"].as_array_mut() {
        for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
            condition.remove("observedGeneration");
        }
    }
    status
}

fn contradictions(version: &Version) -> Vec<String> {
    if version.conditions().is_empty() {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    let mut rule = |holds: bool, text: &str| {
        if !holds {
            wrong.push(text.to_owned());
        }
    };
    let value = |type_: &str| version.value(type_);
    let (ready, over) = (value("Ready"), version.is_over());
    let types: Vec<_> = version.conditions().iter().map(|it| &it["type"]).collect();
    let unique = types
        .iter()
        .enumerate()
        .all(|(index, type_)| !types[..index].contains(type_));
    rule(unique, "a condition stands twice");
    rule(
        matches!(ready, "True" | "False" | "Unknown"),
        "Ready is missing",
    );
    rule(
        (value("Stalled") == "True") == (ready == "False"),
        "Stalled is True exactly with Ready False",
    );
    rule(
        (value("Reconciling") == "True") == (ready == "Unknown"),
        "Reconciling is True exactly with Ready Unknown",
    );
    for type_ in ["Stalled", "Reconciling"] {
        let present = version.condition(type_).is_some();
        rule(
            !present || value(type_) == "True",
            "Stalled and Reconciling are present only when True",
        );
        rule(
            !present || version.reason(type_) == version.reason("Ready"),
            "Stalled and Reconciling carry Ready's reason",
        );
    }
    rule(
        !over || matches!(ready, "True" | "False"),
        "an end says whether the goal is reached",
    );
    rule(over || ready != "True", "Ready is True only at the end");
    let reason = version.reason("Ready");
    rule(
        !over || ENDS.contains(&reason),
        "completionTime comes with the reason of an end",
    );
    rule(
        over || !ENDS.contains(&reason) || (reason == "JobNotFound" && ready == "Unknown"),
        "the reason of an end comes with completionTime",
    );
    rule(
        over || ready != "False" || PERSON_MUST_ACT.contains(&reason),
        "only what a person must act upon stalls without an end",
    );
    rule(
        (value("Accepted") == "True") == version.time("acceptedTime").is_some(),
        "Accepted is True exactly with acceptedTime",
    );
    rule(
        value("Cancelled") != "True" || (over && version.job_status() == Some("Cancelled")),
        "Cancelled is True only at the end and with that job status",
    );
    rule(
        value("Cancelled") == "True" || !reason.ends_with("Cancelled"),
        "Ready's reason says cancelled, and Cancelled does not",
    );
    rule(
        over || value("Cancelled") != "False",
        "Cancelled is False only at the end",
    );
    wrong
}

/// S11: each write names the version it follows, of the same uid, and brings no facts that are
/// older than the object.
#[must_use]
pub fn s11_right_object(history: &History) -> Vec<Violation> {
    history
        .resources
        .iter()
        .flat_map(|resource| {
            resource.writes().filter_map(|(before, after)| {
                let what = foreign_guard(history, resource, before, after)
                    .or_else(|| foreign_facts(&history.facts, resource, before, after))?;
                let times = [after.stored];
                Some(Violation::new(Property::S11, resource.title(), times, what))
            })
        })
        .collect()
}

fn foreign_guard(
    history: &History,
    resource: &Resource,
    before: &Version,
    after: &Version,
) -> Option<String> {
    match &after.guard {
        Guard::NotSeen => None,
        Guard::ResourceVersion(named) if *named == before.resource_version => None,
        Guard::Unguarded => Some("the write named no resourceVersion".into()),
        Guard::ResourceVersion(named) => {
            let meant = history.resources.iter().find(|other| {
                other
                    .versions
                    .iter()
                    .any(|it| it.resource_version == *named)
            });
            Some(match meant {
                Some(other) if other.uid != resource.uid => {
                    format!("the write was meant for {}", other.title())
                }
                _ => format!("the write named resourceVersion {named}, which it did not follow"),
            })
        }
    }
}

/// A fact that the operator wrote and that is older than the object was learned of another.
fn foreign_facts(
    facts: &Facts,
    resource: &Resource,
    before: &Version,
    after: &Version,
) -> Option<String> {
    let created = resource.created()?;
    ["startTime", "requestTime", "acceptedTime", "completionTime"]
        .into_iter()
        .filter(|field| before.status()[field] != after.status()[field])
        .find(|field| {
            after
                .time(field)
                .is_some_and(|time| facts.before(plus(time, SECOND), created))
        })
        .map(|field| format!("the write brought a {field} from before the object was created"))
}
