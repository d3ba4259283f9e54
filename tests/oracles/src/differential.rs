//! The end state against that of the run without faults.

use serde_json::Value;

use crate::property::{Property, Violation};

/// A field that faults may change, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Differs {
    /// A JSON pointer; `*` stands for any one element.
    pub field: &'static str,
    /// Why it may differ.
    pub why: &'static str,
}

/// Every field in which a run with faults may end otherwise than the run without.
///
/// `Accepted` is not among them: a fault that loses an answer for good makes it `AnswerLost`, and
/// a scenario with such a fault adds the condition to the list that it gives.
pub const DIFFERS: &[Differs] = &[
    Differs {
        field: "/metadata",
        why: "uid, resourceVersion and times belong to the run; the author's part has no faults",
    },
    Differs {
        field: "/status/startTime",
        why: "a fault before the first write delays it",
    },
    Differs {
        field: "/status/requestTime",
        why: "a fault delays the request, and each attempt stores it anew",
    },
    Differs {
        field: "/status/acceptedTime",
        why: "a fault delays the acceptance",
    },
    Differs {
        field: "/status/completionTime",
        why: "a fault delays the end",
    },
    Differs {
        field: "/status/notBeforeTime",
        why: "it follows the time of the answer, and a throttled run stores a longer one",
    },
    Differs {
        field: "/status/attempts",
        why: "a crash or a lost answer costs an attempt; S4 bounds them",
    },
    Differs {
        field: "/status/requestId",
        why: "Fabric gives every request its own",
    },
    Differs {
        field: "/status/lastError",
        why: "the fault stands there, and stays for support",
    },
    Differs {
        field: "/status/job/startTime",
        why: "each run has a job of its own",
    },
    Differs {
        field: "/status/job/endTime",
        why: "each run has a job of its own",
    },
    Differs {
        field: "/status/job/rootActivityId",
        why: "each run has a job of its own",
    },
    Differs {
        field: "/status/conditions/*/lastTransitionTime",
        why: "a fault delays the change",
    },
];

/// What an attempt changes besides, whose outcome stayed unknown.
const LOST_ANSWER: [Differs; 3] = [
    Differs {
        field: "/status/conditions/Accepted",
        why: "it is AnswerLost, and the job was over before another attempt",
    },
    Differs {
        field: "/status/conditions/*/message",
        why: "it says that the outcome is unknown",
    },
    Differs {
        field: "/status/location",
        why: "it stood in the answer",
    },
];

/// Compares the last stored object of a run with that of the run without faults, apart from
/// [`DIFFERS`]; and apart from what follows from an outcome that stayed unknown, where the faults
/// may have lost an answer.
#[must_use]
pub fn same_end(end: &Value, reference: &Value, may_lose_an_answer: bool) -> Vec<Violation> {
    let (end, mut reference) = (by_type(end), by_type(reference));
    let mut named = DIFFERS.to_vec();
    let unknown = end["status"]["conditions"]["Accepted"]["reason"] == "AnswerLost";
    if unknown && may_lose_an_answer {
        named.extend(LOST_ANSWER);
        for condition in ["Ready", "Cancelled"] {
            let reason = &mut reference["status"]["conditions"][condition]["reason"];
            // Who may have asked cannot say that somebody else had.
            if *reason == "JobAlreadyCancelled" {
                *reason = "JobCancelled".into();
            }
        }
    }
    equal_apart_from(&end, &reference, &named)
}

/// The object with its conditions by their types, whose order says nothing.
fn by_type(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(conditions) = object["status"]["conditions"].as_array() {
        let named = conditions.iter().map(|condition| {
            let name = condition["type"].as_str().unwrap_or_default();
            (name.to_owned(), condition.clone())
        });
        let named: serde_json::Map<String, Value> = named.collect();
        object["status"]["conditions"] = Value::Object(named);
    }
    object
}

/// Compares the last stored object of a run with that of the run without faults, apart from the
/// named fields. Each difference is one violation that names the field.
#[must_use]
pub fn equal_apart_from(end: &Value, reference: &Value, named: &[Differs]) -> Vec<Violation> {
    let mut found = Vec::new();
    compare(String::new(), end, reference, named, &mut found);
    let metadata = &end["metadata"];
    let title = format!(
        "{}/{}",
        metadata["namespace"].as_str().unwrap_or(""),
        metadata["name"].as_str().unwrap_or("")
    );
    found
        .into_iter()
        .map(|what| Violation::new(Property::Differential, title.clone(), [], what))
        .collect()
}

fn compare(
    path: String,
    end: &Value,
    reference: &Value,
    named: &[Differs],
    found: &mut Vec<String>,
) {
    if named.iter().any(|differs| matches(differs.field, &path)) {
        return;
    }
    match (end, reference) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let mut fields: Vec<_> = ours.keys().chain(theirs.keys()).collect();
            fields.sort_unstable();
            fields.dedup();
            for field in fields {
                let path = format!("{path}/{field}");
                compare(path, &end[field], &reference[field], named, found);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            for index in 0..ours.len().max(theirs.len()) {
                let path = format!("{path}/{index}");
                compare(path, &end[index], &reference[index], named, found);
            }
        }
        _ if end != reference => found.push(format!("{path} is {end}, without faults {reference}")),
        _ => {}
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) =
        (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern
            .iter()
            .zip(&path)
            .all(|(wanted, is)| *wanted == "*" || wanted == is)
}
