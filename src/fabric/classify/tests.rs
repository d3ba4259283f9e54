//! The classification as a table: every behaviour of Fabric that a client can see.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

use jiff::Timestamp;

use super::super::bench::{Ending, JOB, OTHER_JOB, Reply, TOKEN, answer, client, now, token};
use super::Call::{self, Cancel, Look};
use crate::cancellation::{
    Job, JobFailure, JobStatus, Observation, Refusal, ServiceError, Source, Throttle,
};

/// One behaviour and what it means.
struct Row {
    /// The number in the list of recorded behaviours; 0 for one that is not in it.
    number: u8,
    situation: &'static str,
    call: Call,
    reply: Reply,
    expected: Observation,
    /// A part of the advice; `None` when there is none to give.
    advice: Option<&'static str>,
}

/// The behaviours that show in one answer of Fabric's. The rest of the list is about tokens
/// (56 to 59: `entra`), crashes and objects (60 to 62: the core), ids (63: `Uuid`).
const SEEN_IN_ONE_ANSWER: [std::ops::RangeInclusive<u8>; 2] = [1..=55, 64..=64];

fn row(
    number: u8,
    situation: &'static str,
    call: Call,
    reply: Reply,
    expected: Observation,
) -> Row {
    Row {
        number,
        situation,
        call,
        reply,
        expected,
        advice: None,
    }
}

impl Row {
    fn advice(mut self, part: &'static str) -> Self {
        self.advice = Some(part);
        self
    }
}

const ID: &str = "9d2b1c3e-0000-4000-8000-5f5f5f5f5f5f";
const PERMANENT: [&str; 10] = [
    "BadRequest",
    "InvalidInput",
    "InvalidParameter",
    "InvalidRequestUri",
    "InvalidItemType",
    "InvalidJobType",
    "UnsupportedItemType",
    "CorruptedPayload",
    "OperationNotSupportedForItem",
    "PrincipalTypeNotSupported",
];

fn secs(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

fn accepted(location: Option<&str>, retry_after: Option<Duration>) -> Observation {
    Observation::Accepted {
        location: location.map(str::to_owned),
        retry_after,
        request_id: None,
    }
}

/// An error as Fabric sends it: code and text in the body and the code in the header.
fn fabric_error(status: u16, code: &str) -> Reply {
    answer(status)
        .header("content-type", "application/json; charset=utf-8")
        .header("requestid", ID)
        .header("x-ms-public-api-error-code", code)
        .body(format!(
            r#"{{"requestId":"{ID}","errorCode":"{code}","message":"Fabric says {code}"}}"#
        ))
}

fn said(status: u16, code: &str) -> ServiceError {
    ServiceError {
        code: code.to_owned(),
        message: format!("Fabric says {code}"),
        http_status: Some(status),
        request_id: Some(ID.to_owned()),
    }
}

fn ours(status: impl Into<Option<u16>>, code: &str, message: &str) -> ServiceError {
    ServiceError {
        code: code.to_owned(),
        message: message.to_owned(),
        http_status: status.into(),
        request_id: None,
    }
}

fn refused(refusal: Refusal, error: ServiceError) -> Observation {
    Observation::Refused {
        refusal,
        retry_after: None,
        error,
        advice: None,
    }
}

fn unknown(error: ServiceError) -> Observation {
    Observation::Unknown {
        retry_after: None,
        error,
    }
}

fn inconclusive(error: ServiceError) -> Observation {
    Observation::Inconclusive {
        from: Source::Fabric,
        retry_after: None,
        error,
    }
}

fn throttled(by: Throttle, retry_after: Option<Duration>, error: ServiceError) -> Observation {
    Observation::Throttled {
        by,
        retry_after,
        error,
    }
}

const UNREADABLE: &str = "https://api.fabric.microsoft.com sent a body that is not this job instance: is it the Fabric API? see --fabric-endpoint";
const NO_ROUTE: &str = "https://api.fabric.microsoft.com does not know this route: is it the Fabric API? see --fabric-endpoint";
const REDIRECT: &str = "https://api.fabric.microsoft.com answers with a redirect, which is never followed; see --fabric-endpoint";
const HTML: &str = "<html><head><title>502 Bad Gateway</title></head></html>";

/// A job as Fabric shows it while it runs, with `more` instead of the fields it names.
fn job_body(status: &str, more: &str) -> String {
    format!(
        r#"{{"id":"{}","itemId":"{}","jobType":"Pipeline","invokeType":"Manual","status":{status},
           "rootActivityId":"{ID}","startTimeUtc":"2026-02-06T08:14:18.14"{more}}}"#,
        JOB.job_instance_id, JOB.item_id
    )
}

fn at(text: &str) -> Option<Timestamp> {
    Some(text.parse().unwrap())
}

fn job(status: JobStatus) -> Job {
    Job {
        status,
        job_type: Some("Pipeline".to_owned()),
        invoke_type: Some("Manual".to_owned()),
        start_time: at("2026-02-06T08:14:18.14Z"),
        end_time: None,
        root_activity_id: Some(ID.to_owned()),
        failure: None,
    }
}

fn failed(code: &str, message: Option<&str>, end_time: Option<Timestamp>) -> Job {
    Job {
        end_time,
        failure: Some(JobFailure {
            code: code.to_owned(),
            message: message.map(str::to_owned),
            request_id: (code == "JobInstanceStatusFailed").then(|| "x".to_owned()),
        }),
        ..job(JobStatus::Failed)
    }
}

fn seen(job: Job, retry_after: Option<Duration>) -> Observation {
    Observation::JobSeen { job, retry_after }
}

/// A look that shows `body`.
fn shows(number: u8, situation: &'static str, body: String, expected: Job) -> Row {
    row(
        number,
        situation,
        Look,
        answer(200).body(body),
        seen(expected, None),
    )
}

fn other(raw: &str) -> JobStatus {
    JobStatus::Other(raw.to_owned())
}

fn own_location() -> String {
    format!(
        "https://api.fabric.microsoft.com/v1/workspaces/{}/items/{}/jobs/instances/{}",
        JOB.workspace_id, JOB.item_id, JOB.job_instance_id
    )
}

fn acceptances() -> Vec<Row> {
    let mut rows = vec![
        row(
            1,
            "the cancel request is accepted",
            Cancel,
            answer(202)
                .header("location", own_location())
                .header("retry-after", 60)
                .header("requestid", ID),
            Observation::Accepted {
                location: Some(own_location()),
                retry_after: secs(60),
                request_id: Some(ID.to_owned()),
            },
        ),
        row(
            2,
            "accepted without Location and Retry-After",
            Cancel,
            answer(202),
            accepted(None, None),
        ),
        row(
            7,
            "accepted with an empty body declared as gzip",
            Cancel,
            answer(202)
                .header("content-encoding", "gzip")
                .header("content-length", 0)
                .header("content-type", "application/octet-stream")
                .header("retry-after", 60),
            accepted(None, secs(60)),
        ),
        row(
            8,
            "200 without a body instead of 202",
            Cancel,
            answer(200),
            accepted(None, None),
        ),
        row(
            8,
            "200 with the job in its body",
            Cancel,
            answer(200).body(job_body(r#""InProgress""#, "")),
            accepted(None, None),
        ),
        row(
            8,
            "200 with JSON that is no object",
            Cancel,
            answer(200).body("null"),
            accepted(None, None),
        ),
        row(
            8,
            "204 instead of 202",
            Cancel,
            answer(204),
            accepted(None, None),
        ),
        row(
            8,
            "200 with another job in its body",
            Cancel,
            answer(200).body(format!(r#"{{"id":"{OTHER_JOB}"}}"#)),
            unknown(ours(200, "UnreadableBody", UNREADABLE)),
        ),
        row(
            8,
            "200 with HTML to a cancel request",
            Cancel,
            answer(200).body("<html>Sign in to the network</html>"),
            unknown(ours(200, "UnreadableBody", UNREADABLE)),
        ),
        row(
            8,
            "201, which is documented nowhere",
            Cancel,
            answer(201),
            unknown(ours(201, "Http201", "HTTP status 201 without a message")),
        ),
        row(
            9,
            "accepted with Retry-After as a date, measured against the server's clock",
            Cancel,
            answer(202)
                .header("date", "Fri, 06 Feb 2026 09:30:00 GMT")
                .header("retry-after", "Fri, 06 Feb 2026 09:30:45 GMT"),
            accepted(None, secs(45)),
        ),
        row(
            64,
            "Retry-After as a date from a server without Date",
            Cancel,
            answer(202).header("retry-after", "Fri, 06 Feb 2026 08:30:45 GMT"),
            accepted(None, secs(45)),
        ),
        row(
            10,
            "two Retry-After headers",
            Cancel,
            answer(202)
                .header("retry-after", 5)
                .header("retry-after", 50),
            accepted(None, secs(50)),
        ),
        row(
            13,
            "a second request while the first is in progress",
            Cancel,
            answer(202).header("retry-after", 60),
            accepted(None, secs(60)),
        ),
        row(
            0,
            "accepted, then the connection is reset in the body",
            Cancel,
            answer(202).ending(Ending::Reset),
            accepted(None, None),
        ),
        row(
            0,
            "200 whose body is cut off",
            Cancel,
            answer(200).body("{").ending(Ending::Reset),
            unknown(ours(200, "ConnectionClosed", "connection reset")),
        ),
    ];
    for (number, situation, location) in [
        (
            3,
            "Location on a cluster host",
            "https://wabi-us-central-b-primary-redirect.analysis.windows.net/v1/workspaces/x",
        ),
        (4, "Location on a foreign host", "https://evil.example/v1/"),
        (
            4,
            "Location of another scheme",
            "ftp://api.fabric.microsoft.com/",
        ),
        (4, "relative Location", "/v1/workspaces"),
        (4, "Location that is no URL", "string"),
        (
            4,
            "Location with user info",
            "https://user@api.fabric.microsoft.com/",
        ),
        (
            5,
            "Location without instance id",
            "https://api.fabric.microsoft.com/v1/workspaces/x/items/y/jobs/instances?jobType=Execute",
        ),
        (
            6,
            "Location of another instance",
            "https://api.fabric.microsoft.com/v1/workspaces/x/items/y/jobs/instances/44444444-dddd-4ddd-8ddd-444444444444",
        ),
    ] {
        rows.push(row(
            number,
            situation,
            Cancel,
            answer(202).header("location", location),
            accepted(Some(location), None),
        ));
    }
    for (value, expected) in [
        ("0", secs(0)),
        ("-5", secs(0)),
        ("1.5", Some(Duration::from_millis(1500))),
        ("soon", None),
        ("99999999", secs(7 * 24 * 3600)),
        ("99999999999999999999999999", secs(7 * 24 * 3600)),
    ] {
        rows.push(row(
            10,
            "odd Retry-After",
            Cancel,
            answer(202).header("retry-after", value),
            accepted(None, expected),
        ));
    }
    rows
}

fn throttles() -> Vec<Row> {
    let blocked = |retry_after: Option<u32>| {
        let reply = fabric_error(429, "RequestBlocked");
        match retry_after {
            Some(seconds) => reply.header("retry-after", seconds),
            None => reply,
        }
    };
    let identity = |after| throttled(Throttle::Identity, after, said(429, "RequestBlocked"));
    vec![
        row(
            15,
            "blocked by the identity's quota",
            Cancel,
            blocked(Some(50)),
            identity(secs(50)),
        ),
        row(
            16,
            "blocked without Retry-After",
            Cancel,
            blocked(None),
            identity(None),
        ),
        row(
            17,
            "blocked for an hour",
            Cancel,
            blocked(Some(3600)),
            identity(secs(3600)),
        ),
        row(
            54,
            "blocked on a look",
            Look,
            blocked(Some(7)),
            identity(secs(7)),
        ),
        row(
            16,
            "429 with nothing in it",
            Cancel,
            answer(429),
            throttled(
                Throttle::Identity,
                None,
                ours(429, "Http429", "HTTP status 429 without a message"),
            ),
        ),
        row(
            16,
            "429 whose body is cut off",
            Cancel,
            answer(429)
                .header("retry-after", 9)
                .body("{")
                .ending(Ending::Reset),
            throttled(
                Throttle::Identity,
                secs(9),
                ours(429, "Http429", "HTTP status 429 without a message"),
            ),
        ),
        row(
            18,
            "430",
            Cancel,
            answer(430),
            throttled(
                Throttle::Capacity,
                None,
                ours(430, "Http430", "HTTP status 430 without a message"),
            ),
        ),
        row(
            18,
            "430 with a code that also stands for the identity's quota",
            Cancel,
            fabric_error(430, "TooManyRequests").header("retry-after", 90),
            throttled(Throttle::Capacity, secs(90), said(430, "TooManyRequests")),
        ),
        row(
            18,
            "the identity's code with another status",
            Cancel,
            fabric_error(503, "RequestBlocked").header("retry-after", 55),
            throttled(Throttle::Identity, secs(55), said(503, "RequestBlocked")),
        ),
        row(
            18,
            "the capacity's code with the identity's status",
            Look,
            fabric_error(429, "TooManyRequestsForCapacity"),
            throttled(
                Throttle::Capacity,
                None,
                said(429, "TooManyRequestsForCapacity"),
            ),
        ),
    ]
}

fn refusals() -> Vec<Row> {
    use Refusal::{
        AuthenticationFailed, CapacityPaused, JobNotFound, PermissionDenied, RequestRejected,
        TargetNotFound,
    };
    let mut rows = Vec::new();
    for (number, situation, status, code, refusal, advice) in [
        (
            28,
            "the token has expired",
            401,
            "TokenExpired",
            AuthenticationFailed,
            None,
        ),
        (
            29,
            "a fresh token is not accepted",
            401,
            "Unauthorized",
            AuthenticationFailed,
            None,
        ),
        (
            29,
            "the token is invalid",
            401,
            "InvalidToken",
            AuthenticationFailed,
            None,
        ),
        (
            29,
            "the token is missing",
            401,
            "TokenIsMissing",
            AuthenticationFailed,
            None,
        ),
        (
            29,
            "the tenant is not allowed",
            401,
            "TenantNotAllowed",
            AuthenticationFailed,
            Some("identity of the tenant"),
        ),
        (
            29,
            "the user has no licence",
            401,
            "UserNotLicensed",
            AuthenticationFailed,
            Some("licence"),
        ),
        (
            30,
            "no privileges",
            403,
            "InsufficientPrivileges",
            PermissionDenied,
            Some("Contributor, Member or Admin"),
        ),
        (
            30,
            "forbidden",
            403,
            "Forbidden",
            PermissionDenied,
            Some("role on workspace 11111111"),
        ),
        (
            30,
            "no role on the workspace",
            403,
            "InsufficientWorkspaceRole",
            PermissionDenied,
            Some("role on workspace"),
        ),
        (
            30,
            "hidden behind a 404",
            404,
            "MissingMinimalPermissions",
            PermissionDenied,
            Some("role on workspace"),
        ),
        (
            30,
            "no scope",
            403,
            "InsufficientScopes",
            PermissionDenied,
            Some("--fabric-scope"),
        ),
        (
            31,
            "the tenant setting is off",
            403,
            "TenantSwitchDisabled",
            PermissionDenied,
            Some("tenant setting"),
        ),
        (
            31,
            "the feature is off",
            403,
            "FeatureNotAvailable",
            PermissionDenied,
            Some("tenant settings and the capacity"),
        ),
        (
            32,
            "item unknown",
            404,
            "ItemNotFound",
            TargetNotFound,
            None,
        ),
        (
            32,
            "workspace unknown",
            404,
            "WorkspaceNotFound",
            TargetNotFound,
            None,
        ),
        (
            33,
            "job instance unknown",
            404,
            "JobInstanceNotFound",
            JobNotFound,
            None,
        ),
        (
            35,
            "capacity paused, as a 404",
            404,
            "CapacityNotActive",
            CapacityPaused,
            None,
        ),
        (
            35,
            "capacity paused, as a 503",
            503,
            "CapacityNotActive",
            CapacityPaused,
            None,
        ),
        (
            35,
            "no capacity assigned",
            400,
            "WorkspaceHasNoCapacityAssigned",
            CapacityPaused,
            Some("assign one"),
        ),
        (
            52,
            "job instance aged out of the history",
            404,
            "JobInstanceNotFound",
            JobNotFound,
            None,
        ),
        (
            52,
            "item deleted after the cancel request",
            404,
            "ItemNotFound",
            TargetNotFound,
            None,
        ),
    ] {
        for call in [Cancel, Look] {
            let mut row = row(
                number,
                situation,
                call,
                fabric_error(status, code),
                refused(refusal, said(status, code)),
            );
            row.advice = advice;
            rows.push(row);
        }
    }
    for code in PERMANENT {
        let mut no = row(
            24,
            "a permanent error",
            Cancel,
            fabric_error(400, code),
            refused(RequestRejected, said(400, code)),
        );
        if code == "PrincipalTypeNotSupported" {
            no = no.advice("another one");
        }
        rows.push(no);
        rows.push(row(
            23,
            "a permanent error that Fabric calls retriable",
            Cancel,
            answer(400).body(format!(
                r#"{{"errorCode":"{code}","message":"later","isRetriable":true}}"#
            )),
            unknown(ours(400, code, "later")),
        ));
    }
    rows.extend([
        row(
            29,
            "401 with nothing in it",
            Cancel,
            answer(401),
            refused(
                AuthenticationFailed,
                ours(401, "Http401", "HTTP status 401 without a message"),
            ),
        ),
        row(
            30,
            "403 as HTML",
            Look,
            answer(403).body(HTML),
            refused(
                PermissionDenied,
                ours(403, "Http403", "HTTP status 403 without a message"),
            ),
        )
        .advice("role on workspace"),
        row(
            30,
            "a code in the header alone",
            Cancel,
            answer(409).header("x-ms-public-api-error-code", "InsufficientPrivileges"),
            refused(
                PermissionDenied,
                ours(
                    409,
                    "InsufficientPrivileges",
                    "HTTP status 409 without a message",
                ),
            ),
        )
        .advice("role on workspace"),
        row(
            30,
            "the body's code wins over the header's",
            Cancel,
            answer(404)
                .header("x-ms-public-api-error-code", "CapacityNotActive")
                .body(r#"{"errorCode":"ItemNotFound"}"#),
            refused(
                TargetNotFound,
                ours(404, "ItemNotFound", "HTTP status 404 without a message"),
            ),
        ),
        row(
            28,
            "an error nested as the gateways of the same house do",
            Look,
            answer(401)
                .body(r#"{"error":{"code":"TokenExpired","message":"Access token has expired"}}"#),
            refused(
                AuthenticationFailed,
                ours(401, "TokenExpired", "Access token has expired"),
            ),
        ),
        row(
            35,
            "an error code with a 200 to a cancel request",
            Cancel,
            fabric_error(200, "CapacityNotActive"),
            refused(CapacityPaused, said(200, "CapacityNotActive")),
        ),
        row(
            35,
            "an error code with a 200 to a look",
            Look,
            fabric_error(200, "CapacityNotActive"),
            refused(CapacityPaused, said(200, "CapacityNotActive")),
        ),
        row(
            35,
            "a refusal with Retry-After",
            Look,
            fabric_error(503, "CapacityNotActive").header("retry-after", 30),
            Observation::Refused {
                refusal: CapacityPaused,
                retry_after: secs(30),
                error: said(503, "CapacityNotActive"),
                advice: None,
            },
        ),
    ]);
    rows
}

fn already_over() -> Vec<Row> {
    let over = Observation::AlreadyCompleted { retry_after: None };
    vec![
        row(
            11,
            "the job is already over",
            Cancel,
            fabric_error(400, "JobAlreadyCompleted"),
            over.clone(),
        ),
        row(
            14,
            "already over, at a second request",
            Cancel,
            fabric_error(400, "JobAlreadyCompleted"),
            over.clone(),
        ),
        row(
            11,
            "already over, with another status",
            Cancel,
            fabric_error(409, "JobAlreadyCompleted"),
            over.clone(),
        ),
        row(
            11,
            "already over, with a 200",
            Cancel,
            fabric_error(200, "JobAlreadyCompleted"),
            over.clone(),
        ),
        row(
            11,
            "already over, and called retriable",
            Cancel,
            answer(400).body(r#"{"errorCode":"JobAlreadyCompleted","isRetriable":true}"#),
            over,
        ),
        row(
            11,
            "already over, with Retry-After",
            Cancel,
            fabric_error(400, "JobAlreadyCompleted").header("retry-after", 20),
            Observation::AlreadyCompleted {
                retry_after: secs(20),
            },
        ),
        row(
            11,
            "already over, said to a look",
            Look,
            fabric_error(400, "JobAlreadyCompleted"),
            inconclusive(said(400, "JobAlreadyCompleted")),
        ),
        shows(
            12,
            "a look that is not up to date after that",
            job_body(r#""InProgress""#, ""),
            job(JobStatus::InProgress),
        ),
        shows(
            14,
            "the look after that says Cancelled",
            job_body(r#""Cancelled""#, ""),
            job(JobStatus::Cancelled),
        ),
    ]
}

fn unclear() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut both = |number, situation, reply: Reply, error: ServiceError| {
        rows.push(row(
            number,
            situation,
            Cancel,
            reply.clone(),
            unknown(error.clone()),
        ));
        rows.push(row(number, situation, Look, reply, inconclusive(error)));
    };
    both(
        19,
        "500",
        fabric_error(500, "InternalServerError"),
        said(500, "InternalServerError"),
    );
    for status in [502, 503, 504] {
        both(
            20,
            "HTML from a gateway",
            answer(status)
                .header("content-type", "text/html")
                .body(HTML),
            ours(
                status,
                &format!("Http{status}"),
                &format!("HTTP status {status} without a message"),
            ),
        );
    }
    both(
        22,
        "400 UnknownError",
        fabric_error(400, "UnknownError"),
        said(400, "UnknownError"),
    );
    both(
        23,
        "an unlisted 400 that Fabric calls retriable",
        answer(400).body(r#"{"errorCode":"Hiccup","message":"later","isRetriable":true}"#),
        ours(400, "Hiccup", "later"),
    );
    both(
        23,
        "an unlisted 400 that is not retriable",
        answer(400).body(r#"{"errorCode":"Hiccup","message":"never","isRetriable":false}"#),
        ours(400, "Hiccup", "never"),
    );
    both(
        24,
        "400 without a code",
        answer(400).body(HTML),
        ours(400, "Http400", "HTTP status 400 without a message"),
    );
    both(
        22,
        "409 Conflict",
        fabric_error(409, "EntityConflict"),
        said(409, "EntityConflict"),
    );
    both(
        34,
        "the route is unknown",
        fabric_error(404, "EntityNotFound"),
        ServiceError {
            message: NO_ROUTE.to_owned(),
            ..said(404, "EntityNotFound")
        },
    );
    both(
        34,
        "the endpoint is unknown",
        fabric_error(404, "EndpointNotFound"),
        ServiceError {
            message: NO_ROUTE.to_owned(),
            ..said(404, "EndpointNotFound")
        },
    );
    both(
        36,
        "404 without a body",
        answer(404),
        ours(404, "Http404", NO_ROUTE),
    );
    both(
        36,
        "404 NotFound, which names nothing",
        fabric_error(404, "NotFound"),
        said(404, "NotFound"),
    );
    for (status, target) in [
        (301, "https://evil.example/"),
        (302, "/sign-in"),
        (303, "//evil.example"),
        (307, "https://evil.example/"),
        (308, "https://evil.example/"),
    ] {
        both(
            27,
            "a redirect",
            answer(status).header("location", target),
            ours(status, "Redirected", REDIRECT),
        );
    }
    both(
        25,
        "the connection is reset",
        Reply::Fails(ErrorKind::ConnectionReset),
        ours(
            None,
            "ConnectionClosed",
            "https://api.fabric.microsoft.com: it failed",
        ),
    );
    both(
        25,
        "no answer in time",
        Reply::Hangs,
        ours(
            None,
            "Timeout",
            "https://api.fabric.microsoft.com: no complete answer in time",
        ),
    );
    both(
        55,
        "a body that never ends, slowly",
        answer(200).body("{").ending(Ending::Hangs),
        ours(200, "Timeout", "no complete answer in time"),
    );
    both(
        55,
        "a body that never ends, fast",
        answer(200).ending(Ending::Endless),
        ours(
            200,
            "BodyTooLarge",
            "the answer is larger than 262144 bytes",
        ),
    );
    both(
        26,
        "no name, no route",
        Reply::Fails(ErrorKind::AddrNotAvailable),
        ours(
            None,
            "ConnectionFailed",
            "https://api.fabric.microsoft.com: it failed",
        ),
    );
    both(
        26,
        "refused",
        Reply::Fails(ErrorKind::ConnectionRefused),
        ours(
            None,
            "ConnectionFailed",
            "https://api.fabric.microsoft.com: it failed",
        ),
    );
    both(
        26,
        "TLS fails",
        Reply::Fails(ErrorKind::InvalidData),
        ours(
            None,
            "TlsFailed",
            "https://api.fabric.microsoft.com: it failed",
        ),
    );
    both(
        0,
        "418",
        answer(418).body("{}"),
        ours(418, "Http418", "HTTP status 418 without a message"),
    );
    let busy = || answer(503).header("retry-after", 120);
    let error = || ours(503, "Http503", "HTTP status 503 without a message");
    rows.extend([
        row(
            21,
            "503 with Retry-After",
            Cancel,
            busy(),
            Observation::Unknown {
                retry_after: secs(120),
                error: error(),
            },
        ),
        row(
            21,
            "503 with Retry-After to a look",
            Look,
            busy(),
            Observation::Inconclusive {
                from: Source::Fabric,
                retry_after: secs(120),
                error: error(),
            },
        ),
    ]);
    for (situation, body) in [
        ("HTML with 200 to a look", "<html>Welcome</html>".to_owned()),
        ("an empty body", String::new()),
        ("JSON that is no object", "[]".to_owned()),
        ("JSON that is no job", r#"{"hello":"world"}"#.to_owned()),
        ("JSON that is cut off", r#"{"id":"#.to_owned()),
        ("JSON nested a million times", "[".repeat(200_000)),
        (
            "another job",
            format!(r#"{{"id":"{OTHER_JOB}","status":"Cancelled"}}"#),
        ),
        (
            "an id that is none",
            r#"{"id":"string","status":"Cancelled"}"#.to_owned(),
        ),
        (
            "an id that is a number",
            r#"{"id":7,"status":"Cancelled"}"#.to_owned(),
        ),
    ] {
        rows.push(row(
            0,
            situation,
            Look,
            answer(200).body(body),
            inconclusive(ours(200, "UnreadableBody", UNREADABLE)),
        ));
    }
    rows.push(row(
        0,
        "202 to a look",
        Look,
        answer(202),
        inconclusive(ours(202, "Http202", "HTTP status 202 without a message")),
    ));
    rows
}

fn looks() -> Vec<Row> {
    let cancelled = || job_body(r#""Cancelled""#, r#","endTimeUtc":"2026-02-06T08:20:00.3""#);
    let mut rows = vec![
        row(37, "it runs, with Retry-After", Look, answer(200).header("retry-after", 29).body(job_body(r#""InProgress""#, "")), seen(job(JobStatus::InProgress), secs(29))),
        row(37, "it has not started", Look, answer(200).header("retry-after", 29).body(job_body(r#""NotStarted""#, "")), seen(job(JobStatus::NotStarted), secs(29))),
        shows(38, "it runs, without Retry-After", job_body(r#""InProgress""#, ""), job(JobStatus::InProgress)),
        shows(53, "it runs for ever", job_body(r#""InProgress""#, ""), job(JobStatus::InProgress)),
        row(39, "it runs, with a Retry-After of zero", Look, answer(200).header("retry-after", 0).body(job_body(r#""InProgress""#, "")), seen(job(JobStatus::InProgress), secs(0))),
        shows(40, "cancelled", cancelled(), Job { end_time: at("2026-02-06T08:20:00.3Z"), ..job(JobStatus::Cancelled) }),
        shows(41, "cancelled without an end time", job_body(r#""Cancelled""#, r#","endTimeUtc":null"#), job(JobStatus::Cancelled)),
        shows(40, "cancelled, spelled in lower case", job_body(r#""cancelled""#, ""), job(JobStatus::Cancelled)),
        shows(42, "completed", job_body(r#""Completed""#, r#","endTimeUtc":"2026-02-06T08:20:00""#), Job { end_time: at("2026-02-06T08:20:00Z"), ..job(JobStatus::Completed) }),
        shows(43, "failed", job_body(r#""Failed""#, r#","endTimeUtc":"2026-02-06T08:20:00","failureReason":{"requestId":"x","errorCode":"JobInstanceStatusFailed","message":"Job instance failed without detail error","isRetriable":false}"#), failed("JobInstanceStatusFailed", Some("Job instance failed without detail error"), at("2026-02-06T08:20:00Z"))),
        shows(44, "failed because not found, without an end time", job_body(r#""Failed""#, r#","failureReason":{"errorCode":"NotFound"}"#), failed("NotFound", None, None)),
        shows(44, "failed because its execution was not found", job_body(r#""Failed""#, r#","failureReason":{"errorCode":"RequestExecutionFailed"}"#), failed("RequestExecutionFailed", None, None)),
        shows(45, "deduped", job_body(r#""Deduped""#, ""), job(JobStatus::Deduped)),
        shows(48, "a start time that was corrected", job_body(r#""InProgress""#, r#","startTimeUtc":"2026-02-06T08:14:51.0539716""#), Job { start_time: at("2026-02-06T08:14:51.0539716Z"), ..job(JobStatus::InProgress) }),
        shows(50, "no reason for the failure", job_body(r#""Failed""#, r#","failureReason":null"#), job(JobStatus::Failed)),
        shows(50, "an empty reason", job_body(r#""Failed""#, r#","failureReason":{}"#), job(JobStatus::Failed)),
        shows(50, "a reason of a wrong type", job_body(r#""Failed""#, r#","failureReason":"because""#), job(JobStatus::Failed)),
        shows(50, "a reason without a code and empty details", job_body(r#""Failed""#, r#","failureReason":{"message":"no luck","moreDetails":[{}]}"#), failed("", Some("no luck"), None)),
        shows(51, "fields that are not in the schema", job_body(r#""InProgress""#, r#","properties":{"exitValue":"1","compute":null},"workspaceId":"x","invokeType":"OnDemand""#), Job { invoke_type: Some("OnDemand".to_owned()), ..job(JobStatus::InProgress) }),
        shows(51, "a byte order mark before the body", format!("\u{FEFF}{}", job_body(r#""Cancelled""#, "")), job(JobStatus::Cancelled)),
        row(
            51,
            "the error code's header beside a job",
            Look,
            answer(200)
                .header("x-ms-public-api-error-code", "ItemNotFound")
                .body(job_body(r#""Cancelled""#, "")),
            seen(job(JobStatus::Cancelled), None),
        ),
        shows(0, "ids in upper case", job_body(r#""Cancelled""#, "").replace(&JOB.job_instance_id.to_string(), &JOB.job_instance_id.to_string().to_uppercase()), job(JobStatus::Cancelled)),
        shows(0, "no id at all", r#"{"status":"Cancelled"}"#.to_owned(), Job { job_type: None, invoke_type: None, start_time: None, root_activity_id: None, ..job(JobStatus::Cancelled) }),
        shows(0, "every field null", r#"{"id":null,"itemId":null,"jobType":null,"invokeType":null,"status":null,"rootActivityId":null,"startTimeUtc":null,"endTimeUtc":null,"failureReason":null}"#.to_owned(), Job { status: other(""), job_type: None, invoke_type: None, start_time: None, end_time: None, root_activity_id: None, failure: None }),
    ];
    for raw in ["DeadLettered", "OwnerUserMissing", "Duplicate", "NotFound"] {
        rows.push(shows(
            46,
            "an unknown status that may be an end",
            job_body(&format!("\"{raw}\""), ""),
            job(other(raw)),
        ));
    }
    for (json, raw) in [
        (r#""Cancelling""#, "Cancelling"),
        (r#""Dehydrated""#, "Dehydrated"),
        (r#""""#, ""),
        ("null", ""),
        ("3", "3"),
        ("true", "true"),
        ("[]", ""),
        ("{}", ""),
    ] {
        rows.push(shows(
            47,
            "a status that is no known word",
            job_body(json, ""),
            job(other(raw)),
        ));
    }
    rows.push(shows(
        47,
        "no status",
        format!(r#"{{"id":"{}"}}"#, JOB.job_instance_id),
        Job {
            job_type: None,
            invoke_type: None,
            start_time: None,
            root_activity_id: None,
            ..job(other(""))
        },
    ));
    for (json, expected) in [
        (r#""2025-09-07T14:59:18.14""#, at("2025-09-07T14:59:18.14Z")),
        (
            r#""2025-09-07T14:59:18.1400000""#,
            at("2025-09-07T14:59:18.14Z"),
        ),
        (r#""2025-09-07T14:59:18""#, at("2025-09-07T14:59:18Z")),
        (
            r#""2025-09-07T14:59:18.123456789""#,
            at("2025-09-07T14:59:18.123456789Z"),
        ),
        (r#""2025-09-07T14:59:18Z""#, at("2025-09-07T14:59:18Z")),
        (r#""2025-09-07T16:59:18+02:00""#, at("2025-09-07T14:59:18Z")),
        (r#""2025-09-07T14:59:18+00:00""#, at("2025-09-07T14:59:18Z")),
        (r#""0001-01-01T00:00:00""#, None),
        (r#""yesterday""#, None),
        (r#""""#, None),
        ("null", None),
        ("1757257158", None),
    ] {
        rows.push(shows(
            49,
            "a time",
            job_body(r#""Completed""#, &format!(r#","endTimeUtc":{json}"#)),
            Job {
                end_time: expected,
                ..job(JobStatus::Completed)
            },
        ));
    }
    rows
}

fn texts() -> Vec<Row> {
    let says =
        |message: &str| answer(500).body(format!(r#"{{"errorCode":"X","message":{message}}}"#));
    let withheld = "(withheld: the text carries a secret)";
    let mut rows = vec![
        row(
            0,
            "a long message",
            Cancel,
            says(&format!("\"{}\"", "ä".repeat(400))),
            unknown(ours(500, "X", &"ä".repeat(256))),
        ),
        row(
            0,
            "control characters in a message",
            Cancel,
            says(r#""a\u001b[31m\r\n\tb\u0000c\u202ed""#),
            unknown(ours(500, "X", "a[31m bcd")),
        ),
        row(
            0,
            "a message of a wrong type",
            Cancel,
            says("[1]"),
            unknown(ours(500, "X", "HTTP status 500 without a message")),
        ),
        row(
            0,
            "a code of a wrong type",
            Cancel,
            answer(500).body(r#"{"errorCode":7,"message":"m"}"#),
            unknown(ours(500, "Http500", "m")),
        ),
        row(
            0,
            "our token in the message",
            Cancel,
            says(&format!("\"Authorization was {TOKEN}\"")),
            unknown(ours(500, "X", withheld)),
        ),
        row(
            0,
            "a part of our token far behind in the message",
            Cancel,
            says(&format!("\"{} {}\"", "x".repeat(250), &TOKEN[20..])),
            unknown(ours(500, "X", withheld)),
        ),
        row(
            0,
            "a part of our token with an invisible character in it",
            Cancel,
            says(&format!("\"{}\u{200b}{}\"", &TOKEN[42..60], &TOKEN[60..])),
            unknown(ours(500, "X", withheld)),
        ),
        row(
            0,
            "another token in the message",
            Cancel,
            says("\"got Bearer abcdefghijklmnop1234\""),
            unknown(ours(500, "X", withheld)),
        ),
        row(
            0,
            "our token in Location",
            Cancel,
            answer(202).header("location", format!("https://evil.example/?t={TOKEN}")),
            accepted(None, None),
        ),
        row(
            0,
            "our token in a job's failure",
            Look,
            answer(200).body(job_body(
                r#""Failed""#,
                &format!(r#","failureReason":{{"errorCode":"E","message":"{TOKEN}"}}"#),
            )),
            seen(failed("E", Some(withheld), None), None),
        ),
    ];
    for (id, kept) in [(ID, true), ("a b", false), ("<script>", false), ("", false)] {
        rows.push(row(
            0,
            "Fabric's id of the request",
            Cancel,
            answer(202).header("RequestId", id),
            Observation::Accepted {
                location: None,
                retry_after: None,
                request_id: kept.then(|| id.to_owned()),
            },
        ));
    }
    rows.push(row(
        0,
        "an id of the request that is too long",
        Cancel,
        answer(202).header("RequestId", "a".repeat(65)),
        accepted(None, None),
    ));
    rows
}

#[tokio::test(start_paused = true)]
async fn every_answer_of_fabrics_is_classified_as_the_table_says() {
    let rows: Vec<Row> = [
        acceptances(),
        throttles(),
        refusals(),
        already_over(),
        unclear(),
        looks(),
        texts(),
    ]
    .into_iter()
    .flatten()
    .collect();

    let mut wrong = Vec::new();
    for row in &rows {
        let (client, asked) = client(row.reply.clone());
        let mut observed = match row.call {
            Cancel => client.cancel(&JOB, &token(), now()).await,
            Look => client.look(&JOB, &token(), now()).await,
        };
        assert_eq!(
            asked.lock().unwrap().len(),
            1,
            "one request: {}",
            row.situation
        );
        let advice = match &mut observed {
            Observation::Refused { advice, .. } => advice.take(),
            _ => None,
        };
        let advised = match (row.advice, &advice) {
            (Some(part), Some(advice)) => advice.contains(part),
            (None, None) => true,
            _ => false,
        };
        if observed != row.expected || !advised {
            wrong.push(format!(
                "{} ({:?}, {}):\n  expected {:?} {:?}\n  observed {observed:?} {advice:?}",
                row.situation, row.call, row.number, row.expected, row.advice
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let covered: BTreeSet<u8> = rows.iter().map(|row| row.number).collect();
    let missing: Vec<u8> = SEEN_IN_ONE_ANSWER
        .into_iter()
        .flatten()
        .filter(|number| !covered.contains(number))
        .collect();
    assert!(missing.is_empty(), "behaviours without a row: {missing:?}");
    println!("classification table: {} rows", rows.len());
}
