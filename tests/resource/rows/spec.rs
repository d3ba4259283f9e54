//! What users write: created objects, and edits of the spec.

use serde_json::{Value, json};

use crate::row::{Row, create, set, unset};

/// All rows about the spec.
pub fn rows() -> Vec<Row> {
    let groups = [
        ids(),
        credentials(),
        credentials_over_time(),
        comments(),
        numbers(),
        choices(),
        names_and_shapes(),
        knobs(),
    ];
    groups.into_iter().flatten().collect()
}

const OTHER: &str = "11111111-2222-3333-4444-555555555555";
const NOW: &str = "2026-11-23T10:00:00Z";

/// Each id with everything that is not one.
fn ids() -> Vec<Row> {
    let id = "4b218778-e7a5-4d73-8187-f10824047715";
    let shape = "must be a lower-case UUID with dashes, for example 4b218778-e7a5-4d73-8187-f10824047715; find it ";
    let bad = [
        ("in upper case", id.to_uppercase()),
        ("with one upper-case letter", id.replacen('b', "B", 1)),
        ("in braces", format!("{{{id}}}")),
        ("without dashes", id.replace('-', "")),
        ("that leaves its path", "../../workspaces".to_owned()),
        ("followed by a path", format!("{id}/../x")),
        ("after a space", format!(" {id}")),
        ("before a newline", format!("{id}\n")),
        ("after a newline", format!("\n{id}")),
        ("that is empty", String::new()),
        ("that is one digit short", id[..35].to_owned()),
        ("with a letter beyond f", id.replacen('b', "g", 1)),
        (
            "that is an address of the portal",
            format!("https://app.fabric.microsoft.com/groups/{id}/list"),
        ),
        (
            "that a substitution left over",
            "${JOB_INSTANCE_ID}".to_owned(),
        ),
    ];
    let mut rows = Vec::new();
    for (field, find_it) in [
        (
            "workspaceId",
            "in the address of the workspace in the Fabric portal, after /groups/",
        ),
        (
            "itemId",
            "in the address of the item in the Fabric portal, after the kind of item",
        ),
        (
            "jobInstanceId",
            "at the end of the Location header that answered the run request, or in the list GET /v1/workspaces/<workspaceId>/items/<itemId>/jobs/instances",
        ),
    ] {
        let pointer = format!("/spec/{field}");
        let path = format!("spec.{field}: ");
        for (what, value) in &bad {
            rows.push(
                create(
                    format!("the {field} {what} is refused"),
                    [set(&pointer, value.as_str())],
                )
                .refused([&path, shape, find_it]),
            );
        }
        rows.extend([
            create(
                format!("the {field} of 513 characters is refused"),
                [set(&pointer, "a".repeat(513))],
            )
            .refused([&path, "may not be more than 512"]),
            create(
                format!("the {field} that is missing is refused"),
                [unset(&pointer)],
            )
            .refused([&path, "Required value"]),
            create(
                format!("the {field} that is null is refused"),
                [set(&pointer, Value::Null)],
            )
            .refused([&path, "Required value"]),
            create(
                format!("the {field} that is a number is refused"),
                [set(&pointer, 12)],
            )
            .refused([&path, "must be of type string"]),
            create(format!("the {field} cannot be edited"), [])
                .edit([set(&pointer, OTHER)])
                .refused([
                    &path,
                    "field is immutable because it says which job is cancelled",
                    "create a new FabricJobCancellation for another job",
                ]),
            create(format!("the {field} cannot be removed"), [])
                .edit([unset(&pointer)])
                .refused([&path, "Required value"]),
        ]);
    }
    rows
}

fn credentials() -> Vec<Row> {
    let one = "must set exactly one of `serviceAccountName` and `secretRef`; leave `credentials` out to use the namespace's default identity";
    let account = "/spec/credentials/serviceAccountName";
    let secret = "/spec/credentials/secretRef/name";
    let name = "in the same namespace: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit";
    vec![
        create("no credentials are accepted", []).lacks("/spec/credentials"),
        create(
            "credentials that name a ServiceAccount are accepted",
            [set(account, "runner")],
        )
        .shows(account, "runner"),
        create(
            "credentials that name a Secret are accepted",
            [set(secret, "fabric.credentials-2")],
        )
        .shows(secret, "fabric.credentials-2"),
        create(
            "a name of 253 characters is accepted",
            [set(account, "a".repeat(253))],
        )
        .shows(account, "a".repeat(253)),
        create(
            "credentials that name nothing are refused",
            [set("/spec/credentials", json!({}))],
        )
        .refused(["spec.credentials: ", one]),
        create(
            "credentials that name both are refused",
            [set(account, "a"), set(secret, "b")],
        )
        .refused(["spec.credentials: ", one]),
        create(
            "a secretRef without a name is refused",
            [set("/spec/credentials/secretRef", json!({}))],
        )
        .refused(["spec.credentials.secretRef.name: ", "Required value"]),
        create("an empty Secret name is refused", [set(secret, "")]).refused([
            "spec.credentials.secretRef.name: ",
            "must be the name of a Secret",
            name,
        ]),
        create(
            "a Secret of another namespace is refused",
            [set(secret, "other/fabric-credentials")],
        )
        .refused([
            "spec.credentials.secretRef.name: ",
            "must be the name of a Secret",
            name,
        ]),
        create(
            "a Secret name in upper case is refused",
            [set(secret, "Fabric")],
        )
        .refused([
            "spec.credentials.secretRef.name: ",
            "must be the name of a Secret",
            name,
        ]),
        create(
            "a Secret name of 254 characters is refused",
            [set(secret, "a".repeat(254))],
        )
        .refused([
            "spec.credentials.secretRef.name: ",
            "may not be more than 253",
        ]),
        create(
            "a ServiceAccount written as a user is refused",
            [set(account, "system:serviceaccount:a:b")],
        )
        .refused([
            "spec.credentials.serviceAccountName: ",
            "must be the name of a ServiceAccount",
            name,
        ]),
        create(
            "a ServiceAccount that ends in a dot is refused",
            [set(account, "runner.")],
        )
        .refused(["spec.credentials.serviceAccountName: ", name]),
        create(
            "a ServiceAccount name of 254 characters is refused",
            [set(account, "a".repeat(254))],
        )
        .refused([
            "spec.credentials.serviceAccountName: ",
            "may not be more than 253",
        ]),
        create(
            "credentials that are a name only are refused",
            [set("/spec/credentials", "fabric-credentials")],
        )
        .refused(["spec.credentials: ", "must be of type object"]),
    ]
}

/// Before Fabric accepted, credentials can be corrected; afterwards they are part of the record.
fn credentials_over_time() -> Vec<Row> {
    let account = "/spec/credentials/serviceAccountName";
    let secret_ref = "/spec/credentials/secretRef";
    let accepted = || set("/status/acceptedTime", NOW);
    let intent = || set("/status/requestTime", NOW);
    let fixed = [
        "spec.credentials: ",
        "field is immutable once Fabric has accepted the cancel request (status.acceptedTime is set)",
        "another identity can ask in a new FabricJobCancellation",
    ];
    vec![
        create("credentials can be added before Fabric accepted", [])
            .edit([set(account, "b")])
            .shows(account, "b"),
        create(
            "credentials can be edited before Fabric accepted",
            [set(account, "a")],
        )
        .edit([set(account, "b")])
        .shows(account, "b"),
        create(
            "credentials can be removed before Fabric accepted",
            [set(account, "a")],
        )
        .edit([unset("/spec/credentials")])
        .lacks("/spec/credentials"),
        create(
            "credentials can change their kind before Fabric accepted",
            [set(account, "a")],
        )
        .edit([unset(account), set("/spec/credentials/secretRef/name", "b")])
        .shows("/spec/credentials/secretRef/name", "b")
        .lacks(account),
        create(
            "credentials can be edited after an intent that was not accepted",
            [set(account, "a")],
        )
        .status([intent()])
        .edit([set(account, "b")])
        .shows(account, "b"),
        create("credentials cannot be added once Fabric accepted", [])
            .status([accepted()])
            .edit([set(account, "b")])
            .refused(fixed),
        create(
            "credentials cannot be edited once Fabric accepted",
            [set(account, "a")],
        )
        .status([accepted()])
        .edit([set(account, "b")])
        .refused(fixed),
        create(
            "credentials cannot be removed once Fabric accepted",
            [set(account, "a")],
        )
        .status([accepted()])
        .edit([unset("/spec/credentials")])
        .refused(fixed),
        create(
            "credentials cannot change their kind once Fabric accepted",
            [set(account, "a")],
        )
        .status([accepted()])
        .edit([unset(account), set(secret_ref, json!({"name": "b"}))])
        .refused(fixed),
        create(
            "a Secret cannot be swapped once Fabric accepted",
            [set(secret_ref, json!({"name": "a"}))],
        )
        .status([accepted()])
        .edit([set(secret_ref, json!({"name": "b"}))])
        .refused(fixed),
        create(
            "the other knobs can be edited once Fabric accepted",
            [set(account, "a")],
        )
        .status([accepted()])
        .edit([
            set("/spec/activeDeadlineSeconds", 7200),
            set("/spec/finishedJobPolicy", "Fail"),
        ])
        .shows("/spec/activeDeadlineSeconds", 7200)
        .shows(account, "a"),
        create(
            "the status can be written on after Fabric accepted",
            [set(account, "a")],
        )
        .status([accepted()])
        .status([set("/status/completionTime", NOW)])
        .shows("/status/completionTime", NOW),
    ]
}

fn comments() -> Vec<Row> {
    let comment = "/spec/comment";
    let fixed = [
        "spec.comment: ",
        "field is immutable (it cannot be added or removed either) because it is part of the record",
        "create a new FabricJobCancellation with the right comment",
    ];
    vec![
        create(
            "a comment of 512 characters is accepted",
            [set(comment, "x".repeat(512))],
        )
        .shows(comment, "x".repeat(512)),
        create(
            "a comment of 512 characters of four bytes is accepted",
            [set(comment, "😀".repeat(512))],
        )
        .shows(comment, "😀".repeat(512)),
        create("an empty comment is accepted", [set(comment, "")]).shows(comment, ""),
        create(
            "a comment of 513 characters is refused",
            [set(comment, "x".repeat(513))],
        )
        .refused(["spec.comment: ", "may not be more than 512"]),
        create(
            "a comment that is a list is refused",
            [set(comment, json!(["x"]))],
        )
        .refused(["spec.comment: ", "must be of type string"]),
        create("a comment cannot be edited", [set(comment, "a")])
            .edit([set(comment, "b")])
            .refused(fixed),
        create("a comment cannot be added", [])
            .edit([set(comment, "b")])
            .refused(fixed),
        create("an empty comment cannot be added", [])
            .edit([set(comment, "")])
            .refused(fixed),
        create("a comment cannot be removed", [set(comment, "a")])
            .edit([unset(comment)])
            .refused(fixed),
        create(
            "a comment stays while a knob is edited",
            [set(comment, "a")],
        )
        .edit([set("/spec/suspend", true)])
        .shows(comment, "a")
        .shows("/spec/suspend", true),
    ]
}

fn numbers() -> Vec<Row> {
    let deadline = "/spec/activeDeadlineSeconds";
    let ttl = "/spec/ttlSecondsAfterFinished";
    let low = [
        "spec.activeDeadlineSeconds: ",
        "should be greater than or equal to 60",
    ];
    let high = [
        "spec.activeDeadlineSeconds: ",
        "should be less than or equal to 604800",
    ];
    let negative = [
        "spec.ttlSecondsAfterFinished: ",
        "should be greater than or equal to 0",
    ];
    vec![
        create("a deadline of 59 s is refused", [set(deadline, 59)]).refused(low),
        create("a deadline of 60 s is accepted", [set(deadline, 60)]).shows(deadline, 60),
        create("a deadline of a week is accepted", [set(deadline, 604_800)])
            .shows(deadline, 604_800),
        create(
            "a deadline of a week and a second is refused",
            [set(deadline, 604_801)],
        )
        .refused(high),
        create("a deadline of 0 s is refused", [set(deadline, 0)]).refused(low),
        create("a deadline of -1 s is refused", [set(deadline, -1)]).refused(low),
        create(
            "a deadline beyond 32 bits is refused",
            [set(deadline, 4_294_967_296_i64)],
        )
        .refused(high),
        create("a deadline as text is refused", [set(deadline, "3600")])
            .refused(["spec.activeDeadlineSeconds: ", "must be of type integer"]),
        create(
            "a deadline with a fraction is refused",
            [set(deadline, 60.5)],
        )
        .refused(["spec.activeDeadlineSeconds: ", "must be of type integer"]),
        create(
            "a deadline of null becomes the default",
            [set(deadline, Value::Null)],
        )
        .shows(deadline, 3600),
        create("a deadline can be edited", [])
            .edit([set(deadline, 120)])
            .shows(deadline, 120),
        create("a deadline cannot be edited to 59 s", [])
            .edit([set(deadline, 59)])
            .refused(low),
        create("a time to live of 0 s is accepted", [set(ttl, 0)]).shows(ttl, 0),
        create(
            "a time to live of 68 years is accepted",
            [set(ttl, i32::MAX)],
        )
        .shows(ttl, i32::MAX),
        create("a time to live of -1 s is refused", [set(ttl, -1)]).refused(negative),
        create(
            "a time to live beyond 32 bits is refused",
            [set(ttl, 2_147_483_648_i64)],
        )
        .refused([
            "spec.ttlSecondsAfterFinished: ",
            "should be less than or equal to 2147483647",
        ]),
        create("a time to live as text is refused", [set(ttl, "1h")])
            .refused(["spec.ttlSecondsAfterFinished: ", "must be of type integer"]),
        create("a time to live with a fraction is refused", [set(ttl, 1.5)])
            .refused(["spec.ttlSecondsAfterFinished: ", "must be of type integer"]),
        create("no time to live stays none", []).lacks(ttl),
    ]
}

fn choices() -> Vec<Row> {
    let mut rows = Vec::new();
    for field in ["finishedJobPolicy", "missingJobPolicy"] {
        let pointer = format!("/spec/{field}");
        let path = format!("spec.{field}: ");
        for value in ["Succeed", "Fail"] {
            rows.push(
                create(
                    format!("the {field} {value} is accepted"),
                    [set(&pointer, value)],
                )
                .shows(&pointer, value),
            );
        }
        for (what, value) in [
            ("in lower case", "fail"),
            ("Ignore", "Ignore"),
            ("that is empty", ""),
        ] {
            rows.push(
                create(
                    format!("the {field} {what} is refused"),
                    [set(&pointer, value)],
                )
                .refused([&path, "supported values: ", "\"Succeed\"", "\"Fail\""]),
            );
        }
        rows.push(
            create(
                format!("the {field} can be edited"),
                [set(&pointer, "Succeed")],
            )
            .edit([set(&pointer, "Fail")])
            .shows(&pointer, "Fail"),
        );
    }
    rows.push(
        create("suspend as text is refused", [set("/spec/suspend", "true")])
            .refused(["spec.suspend: ", "must be of type boolean"]),
    );
    rows
}

fn names_and_shapes() -> Vec<Row> {
    vec![
        create("the defaults are written into the object", [])
            .shows("/spec/activeDeadlineSeconds", 3600)
            .shows("/spec/finishedJobPolicy", "Succeed")
            .shows("/spec/missingJobPolicy", "Fail")
            .shows("/spec/suspend", false)
            .lacks("/spec/ttlSecondsAfterFinished")
            .lacks("/spec/comment"),
        create(
            "a name of 63 characters is accepted",
            [set("/metadata/name", "n".repeat(63))],
        ),
        create(
            "a name of 64 characters is refused",
            [set("/metadata/name", "n".repeat(64))],
        )
        .refused(["metadata.name must be at most 63 characters"]),
        create(
            "a long generateName is accepted because the API server cuts it",
            [set(
                "/metadata/generateName",
                format!("{}-", "g".repeat(70)),
            )],
        ),
        create("no spec is refused", [unset("/spec")]).refused(["spec: ", "Required value"]),
        create("a spec of null is refused", [set("/spec", Value::Null)])
            .refused(["spec: ", "Required value"]),
        create(
            "a misspelt field is refused by name",
            [set("/spec/jobInstanceID", OTHER)],
        )
        .refused_with(400, ["unknown field \"spec.jobInstanceID\""]),
        create(
            "a misspelt field of the credentials is refused by name",
            [set("/spec/credentials/secret", "x")],
        )
        .refused_with(400, ["unknown field \"spec.credentials.secret\""]),
        create(
            "an unknown field is dropped where the client does not ask for more",
            [set("/spec/url", "https://x")],
        )
        .not_strict()
        .lacks("/spec/url"),
        create(
            "a field beside the spec is refused by name",
            [set("/jobInstanceId", OTHER)],
        )
        .refused_with(400, ["unknown field \"jobInstanceId\""]),
    ]
}

/// What may be edited at any time, after the end included.
fn knobs() -> Vec<Row> {
    let ttl = "/spec/ttlSecondsAfterFinished";
    let ended = || set("/status/completionTime", NOW);
    vec![
        create(
            "suspend can be set and taken back",
            [set("/spec/suspend", true)],
        )
        .edit([set("/spec/suspend", false)])
        .shows("/spec/suspend", false)
        .shows("/metadata/generation", 2),
        create("a time to live can be added", [])
            .edit([set(ttl, 60)])
            .shows(ttl, 60),
        create("a time to live can be added after the end", [])
            .status([ended()])
            .edit([set(ttl, 60)])
            .shows(ttl, 60)
            .shows("/status/completionTime", NOW),
        create(
            "a time to live can be removed after the end",
            [set(ttl, 60)],
        )
        .status([ended()])
        .edit([unset(ttl)])
        .lacks(ttl),
        create("an edited label starts no new generation", [])
            .edit([set("/metadata/labels/team", "data")])
            .shows("/metadata/generation", 1),
    ]
}
