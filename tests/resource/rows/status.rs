//! What the operator writes: the subresource, and values of Fabric that nothing may refuse.

use serde_json::{Value, json};

use crate::row::{Row, create, set, unset};

/// All rows about the status.
pub fn rows() -> Vec<Row> {
    let groups = [door(), what_fabric_says(), operators_own(), conditions()];
    groups.into_iter().flatten().collect()
}

const NOW: &str = "2026-11-23T10:00:00Z";

/// The subresource is the only door.
fn door() -> Vec<Row> {
    vec![
        create("a fresh object does not look finished", [])
            .shows("/status", json!({"observedGeneration": -1, "attempts": 0})),
        create(
            "a status in a manifest is ignored",
            [set("/status/completionTime", NOW)],
        )
        .lacks("/status/completionTime")
        .shows("/status/observedGeneration", -1),
        create(
            "a status of null in a manifest is ignored",
            [set("/status", Value::Null)],
        )
        .shows("/status/observedGeneration", -1),
        create("an edit of the object does not write the status", [])
            .edit([set("/status/completionTime", NOW)])
            .lacks("/status/completionTime"),
        create("a write of the status does not edit the spec", [])
            .status([
                set("/spec/suspend", true),
                set("/status/observedGeneration", 1),
            ])
            .shows("/spec/suspend", false)
            .shows("/status/observedGeneration", 1)
            .shows("/metadata/generation", 1),
        create("a status taken away becomes the default again", [])
            .status([set("/status/observedGeneration", 1)])
            .status([unset("/status")])
            .shows("/status/observedGeneration", -1),
        create(
            "a status of null becomes the default again and breaks no later edit",
            [],
        )
        .status([set("/status", Value::Null)])
        .edit([set("/spec/suspend", true)])
        .shows("/status/observedGeneration", -1),
        create("a misspelt field of the status is refused by name", [])
            .status([set("/status/completedTime", NOW)])
            .refused_with(400, ["unknown field \"status.completedTime\""]),
    ]
}

/// The schema must never refuse what Fabric says, or the record of an accepted request is lost.
fn what_fabric_says() -> Vec<Row> {
    let mut rows = Vec::new();
    let text = [
        ("is unknown", json!("Whatever😀")),
        ("is empty", json!("")),
        ("has 32 kB", json!("ä".repeat(16 * 1024))),
        ("has 256 kB", json!("x".repeat(256 * 1024))),
        (
            "has control characters",
            json!("a\u{0}b\u{1b}[31m\r\n\u{202e}"),
        ),
        ("is null", Value::Null),
    ];
    for pointer in [
        "/status/job/status",
        "/status/job/jobType",
        "/status/job/invokeType",
        "/status/job/rootActivityId",
        "/status/job/startTime",
        "/status/job/endTime",
        "/status/job/failureReason/code",
        "/status/job/failureReason/message",
        "/status/job/failureReason/requestId",
        "/status/lastError/code",
        "/status/lastError/message",
        "/status/lastError/requestId",
        "/status/location",
        "/status/requestId",
    ] {
        let field = pointer.trim_start_matches("/status/").replace('/', ".");
        for (what, value) in &text {
            let row = create(format!("{field} that {what} is accepted"), [])
                .status([set(pointer, value.clone())]);
            rows.push(row.shows(pointer, value.clone()));
        }
    }
    rows.extend([
        create("a failureReason of null is accepted", [])
            .status([set("/status/job/failureReason", Value::Null)])
            .shows("/status/job/failureReason", Value::Null),
        create("an empty failureReason is accepted", [])
            .status([set("/status/job/failureReason", json!({}))])
            .shows("/status/job/failureReason", json!({})),
        create("an empty job is accepted", [])
            .status([set("/status/job", json!({}))])
            .shows("/status/job", json!({})),
        create("a time of the year 1 is accepted", [])
            .status([set("/status/job/endTime", "0001-01-01T00:00:00Z")])
            .shows("/status/job/endTime", "0001-01-01T00:00:00Z"),
    ]);
    for code in [0, -1, 202, 430, 999, i32::MAX] {
        rows.push(
            create(format!("an HTTP status of {code} is accepted"), [])
                .status([set("/status/lastError/httpStatus", code)])
                .shows("/status/lastError/httpStatus", code),
        );
    }
    rows
}

/// Values of the operator itself may be strict: a wrong one is a bug that must show.
fn operators_own() -> Vec<Row> {
    let mut rows = vec![
        create("attempts below 0 are refused", [])
            .status([set("/status/attempts", -1)])
            .refused(["status.attempts: ", "should be greater than or equal to 0"]),
        create("attempts of null become 0", [])
            .status([set("/status/attempts", Value::Null)])
            .shows("/status/attempts", 0),
        create(
            "a source of an identity that is not known yet is accepted",
            [],
        )
        .status([set(
            "/status/identity",
            json!({"source": "Certificate", "name": "x"}),
        )])
        .shows("/status/identity/source", "Certificate"),
    ];
    for time in [
        "2026-11-23T10:00:00.123456789Z",
        "2026-11-23T11:00:00+01:00",
        "2026-11-23t10:00:00z",
    ] {
        rows.push(
            create(
                format!("a completionTime written as {time} can be read"),
                [],
            )
            .status([set("/status/completionTime", time)])
            .shows("/status/completionTime", time),
        );
    }
    for field in [
        "startTime",
        "requestTime",
        "acceptedTime",
        "completionTime",
        "notBeforeTime",
    ] {
        let pointer = format!("/status/{field}");
        rows.extend([
            create(format!("the {field} in whole seconds is accepted"), [])
                .status([set(&pointer, NOW)])
                .shows(&pointer, NOW),
            create(format!("the {field} that is no time is refused"), [])
                .status([set(&pointer, "soon")])
                .refused([&format!("status.{field}: "), "must be of type date-time"]),
            create(format!("the {field} without a zone is refused"), [])
                .status([set(&pointer, "2026-11-23T10:00:00")])
                .refused([&format!("status.{field}: "), "must be of type date-time"]),
        ]);
    }
    rows
}

fn conditions() -> Vec<Row> {
    let condition = |type_: &str, status: &str, reason: &str, message: &str| {
        json!({"type": type_, "status": status, "reason": reason, "message": message,
               "lastTransitionTime": NOW, "observedGeneration": 1})
    };
    let with = |name: &str, list: Value| create(name, []).status([set("/status/conditions", list)]);
    let ready = condition("Ready", "Unknown", "Pending", "");
    let many = |count: usize| -> Value {
        (0..count)
            .map(|i| condition(&format!("Type{i}"), "True", "Reason", ""))
            .collect()
    };
    vec![
        with("a condition is accepted", json!([ready]))
            .shows("/status/conditions/0", ready.clone()),
        with(
            "a condition message of 32768 characters is accepted",
            json!([condition("Ready", "True", "X", &"ä".repeat(32_768))]),
        ),
        with(
            "a condition message of 32769 characters is refused",
            json!([condition("Ready", "True", "X", &"x".repeat(32_769))]),
        )
        .refused([
            "status.conditions[0].message: ",
            "may not be more than 32768",
        ]),
        with(
            "a condition that is neither is refused",
            json!([condition("Ready", "Maybe", "X", "")]),
        )
        .refused([
            "status.conditions[0].status: ",
            "supported values: \"True\", \"False\", \"Unknown\"",
        ]),
        with(
            "a condition without a reason is refused",
            json!([condition("Ready", "True", "", "")]),
        )
        .refused([
            "status.conditions[0].reason: ",
            "should be at least 1 chars long",
        ]),
        with(
            "a reason of two words is refused",
            json!([condition("Ready", "True", "Two words", "")]),
        )
        .refused(["status.conditions[0].reason: ", "should match"]),
        with(
            "two conditions of one type are refused",
            json!([ready, ready]),
        )
        .refused(["status.conditions[1]: ", "Duplicate value"]),
        with("sixteen conditions are accepted", many(16)),
        with("seventeen conditions are refused", many(17))
            .refused(["status.conditions: ", "must have at most 16 items"]),
    ]
}
