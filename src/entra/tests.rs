//! Tokens over an Entra of memory.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::util::BoxCloneSyncService;
use uuid::uuid;

use super::*;
use crate::outbound::Origin;

const SCOPE: &str = "https://api.fabric.microsoft.com/.default";
const SECRET: &str = "s3cret~value/with+signs&all";

fn credential() -> Credential {
    Credential {
        source: SourceKey {
            kind: "Secret",
            namespace: "team-a".to_owned(),
            name: "fabric-credentials".to_owned(),
            uid: "u1".to_owned(),
            resource_version: "100".to_owned(),
        },
        tenant_id: uuid!("aaaaaaaa-0000-4000-8000-000000000001"),
        client_id: uuid!("bbbbbbbb-0000-4000-8000-000000000000"),
        proof: Proof::ClientSecret(SecretString::from(SECRET)),
    }
}

fn numbered(n: usize) -> Credential {
    let mut credential = credential();
    credential.source.name = format!("secret-{n}");
    credential
}

fn start() -> Timestamp {
    "2026-02-06T08:30:00Z".parse().unwrap()
}

fn after(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

/// What the next exchanges get.
#[derive(Clone)]
enum Script {
    /// A token `token-<number of the exchange>`, with this answer beside it.
    Token(Value),
    Answer(u16, Vec<(&'static str, &'static str)>, Vec<u8>),
    Fails(ErrorKind),
    Hangs,
    Endless,
}

#[derive(Clone)]
struct Entra {
    client: EntraClient,
    script: Arc<Mutex<Script>>,
    exchanges: Arc<AtomicUsize>,
    last: Arc<Mutex<Option<Request<Bytes>>>>,
}

impl Entra {
    fn new(script: Script) -> Self {
        let script = Arc::new(Mutex::new(script));
        let exchanges = Arc::new(AtomicUsize::new(0));
        let last = Arc::new(Mutex::new(None));
        let (scripted, counted, kept) = (script.clone(), exchanges.clone(), last.clone());
        let transport = BoxCloneSyncService::new(tower::service_fn(move |request| {
            let script = scripted.lock().unwrap().clone();
            let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
            *kept.lock().unwrap() = Some(request);
            async move {
                // Others get their turn before the answer comes.
                tokio::task::yield_now().await;
                reply(script, number).await
            }
        }));
        let origin = Origin::parse("https://login.microsoftonline.com", false).unwrap();
        let authority = Authority::new(origin);
        Self {
            client: EntraClient::new(transport, authority, SCOPE.to_owned()),
            script,
            exchanges,
            last,
        }
    }

    /// Tokens that live an hour.
    fn hourly() -> Self {
        Self::new(Script::Token(json!({ "expires_in": 3600 })))
    }

    fn now_answers(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    fn exchanges(&self) -> usize {
        self.exchanges.load(Ordering::SeqCst)
    }

    async fn token(&self, now: Timestamp) -> Result<AccessToken, TokenError> {
        self.client.token(&credential(), now).await
    }
}

async fn reply(
    script: Script,
    number: usize,
) -> Result<Response<UnsyncBoxBody<Bytes, tower::BoxError>>, tower::BoxError> {
    let (status, headers, body) = match script {
        Script::Token(mut answer) => {
            answer["access_token"] = format!("token-{number}").into();
            (200, Vec::new(), Body::from(answer.to_string()))
        }
        Script::Answer(status, headers, body) => (status, headers, Body::from(body)),
        Script::Fails(kind) => return Err(Box::new(io::Error::new(kind, "it failed"))),
        Script::Hangs => std::future::pending().await,
        Script::Endless => {
            let blank = || Ok::<_, io::Error>(Bytes::from_static(&[b' '; 4096]));
            (
                200,
                Vec::new(),
                Body::from_stream(stream::repeat_with(blank).boxed()),
            )
        }
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    Ok(response
        .body(body.map_err(axum::Error::into_inner).boxed_unsync())
        .unwrap())
}

/// Which token it is, told by the header that is sent.
fn text(token: &AccessToken) -> String {
    let header = token.authorization();
    header.to_str().unwrap().replace("Bearer ", "")
}

fn refusal(number: u32, error: &str, text: &str) -> Script {
    let body = json!({
        "error": error,
        "error_description": format!("AADSTS{number}: {text} Trace ID: 5f6e Correlation ID: c0ffee Timestamp: 2026-02-06 08:30:00Z"),
        "error_codes": [number],
        "timestamp": "2026-02-06 08:30:00Z",
        "trace_id": "5f6e",
        "correlation_id": "c0ffee-1",
    });
    Script::Answer(401, Vec::new(), body.to_string().into_bytes())
}

#[tokio::test]
async fn a_token_is_asked_for_with_one_form_post_to_the_tenants_endpoint() {
    let entra = Entra::hourly();
    entra.token(start()).await.unwrap();
    let request = entra.last.lock().unwrap().take().unwrap();
    assert_eq!(request.method(), http::Method::POST);
    assert_eq!(
        request.uri(),
        "https://login.microsoftonline.com/aaaaaaaa-0000-4000-8000-000000000001/oauth2/v2.0/token"
    );
    assert_eq!(
        request.headers()["content-type"],
        "application/x-www-form-urlencoded"
    );
    let form: Vec<(String, String)> = url::form_urlencoded::parse(request.body())
        .into_owned()
        .collect();
    let expected = [
        ("grant_type", "client_credentials"),
        ("client_id", "bbbbbbbb-0000-4000-8000-000000000000"),
        ("scope", SCOPE),
        ("client_secret", SECRET),
    ];
    assert_eq!(
        form,
        expected.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec()
    );
}

#[tokio::test]
async fn fifty_callers_at_once_make_one_exchange() {
    let entra = Entra::hourly();
    let tokens = join_all((0..50).map(|_| entra.token(start()))).await;
    assert!(
        tokens
            .iter()
            .all(|token| text(token.as_ref().unwrap()) == "token-1")
    );
    assert_eq!(entra.exchanges(), 1);
}

#[tokio::test]
async fn fifty_callers_at_once_share_a_failure_too() {
    let entra = Entra::new(refusal(
        7_000_215,
        "invalid_client",
        "Invalid client secret.",
    ));
    let results = join_all((0..50).map(|_| entra.token(start()))).await;
    assert!(
        results
            .iter()
            .all(|result| matches!(result, Err(TokenError::Refused { .. })))
    );
    assert_eq!(entra.exchanges(), 1);
    // It is not kept: whoever asks later asks Entra.
    entra.token(start()).await.unwrap_err();
    assert_eq!(entra.exchanges(), 2);
}

#[tokio::test]
async fn callers_that_wait_go_on_when_the_one_that_asks_goes_away() {
    let entra = Entra::new(Script::Hangs);
    let mut asking = Box::pin(entra.token(start()));
    assert!(futures::poll!(asking.as_mut()).is_pending());
    entra.now_answers(Script::Token(json!({ "expires_in": 3600 })));
    let mut waiting = Box::pin(entra.token(start()));
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    assert_eq!(entra.exchanges(), 1);
    drop(asking);
    assert_eq!(text(&waiting.await.unwrap()), "token-2");
}

#[tokio::test]
async fn a_rejected_token_is_dropped_once_and_a_newer_one_is_not() {
    let entra = Entra::hourly();
    let first = entra.token(start()).await.unwrap();
    let copy = first.clone();
    entra.client.reject(&first);
    assert!(entra.client.cached(&credential(), start()).is_none());
    let second = entra.token(start()).await.unwrap();
    assert_eq!(text(&second), "token-2");
    entra.client.reject(&copy);
    assert_eq!(text(&entra.token(start()).await.unwrap()), "token-2");
    assert_eq!(entra.exchanges(), 2);
}

#[tokio::test]
async fn any_changed_input_is_another_token() {
    type Change = fn(&mut Credential);
    let changes: [(&str, Change); 7] = [
        ("version", |c| c.source.resource_version = "101".to_owned()),
        ("uid", |c| c.source.uid = "u2".to_owned()),
        ("name", |c| c.source.name = "other".to_owned()),
        ("namespace", |c| c.source.namespace = "team-b".to_owned()),
        ("tenant", |c| c.tenant_id = Uuid::from_u128(1)),
        ("client", |c| c.client_id = Uuid::from_u128(2)),
        ("secret", |c| {
            c.proof = Proof::ClientSecret(SecretString::from("other"))
        }),
    ];
    let entra = Entra::hourly();
    entra.token(start()).await.unwrap();
    for (n, (what, change)) in changes.into_iter().enumerate() {
        let mut changed = credential();
        change(&mut changed);
        assert!(entra.client.cached(&changed, start()).is_none(), "{what}");
        let token = entra.client.token(&changed, start()).await.unwrap();
        assert_eq!(text(&token), format!("token-{}", n + 2), "{what}");
        assert!(entra.client.cached(&changed, start()).is_some(), "{what}");
    }
    assert_eq!(text(&entra.token(start()).await.unwrap()), "token-1");
}

#[tokio::test]
async fn a_token_is_renewed_some_minutes_before_its_end() {
    let entra = Entra::hourly();
    assert_eq!(
        entra.token(start()).await.unwrap().expires_at(),
        after(3600)
    );
    // This client's share of the spread is known, so that the limit can be tested.
    let spread = i64::try_from(credential().client_id.as_u128() % 60).unwrap();
    let due = 3300 - spread;
    assert_eq!(text(&entra.token(after(due - 1)).await.unwrap()), "token-1");
    assert!(entra.client.cached(&credential(), after(due - 1)).is_some());
    assert!(entra.client.cached(&credential(), after(due)).is_none());
    assert_eq!(text(&entra.token(after(due)).await.unwrap()), "token-2");
}

#[tokio::test]
async fn a_renewal_that_fails_for_a_passing_reason_keeps_the_old_token_to_its_last_minute() {
    for trouble in [
        Script::Answer(503, Vec::new(), Vec::new()),
        Script::Answer(429, vec![("retry-after", "5")], Vec::new()),
        Script::Fails(ErrorKind::ConnectionRefused),
    ] {
        let entra = Entra::hourly();
        entra.token(start()).await.unwrap();
        entra.now_answers(trouble);
        assert_eq!(text(&entra.token(after(3400)).await.unwrap()), "token-1");
        assert_eq!(entra.exchanges(), 2);
        // Not again for half a minute.
        assert_eq!(text(&entra.token(after(3429)).await.unwrap()), "token-1");
        assert_eq!(entra.exchanges(), 2);
        assert_eq!(text(&entra.token(after(3430)).await.unwrap()), "token-1");
        assert_eq!(entra.exchanges(), 3);
        assert_eq!(text(&entra.token(after(3540)).await.unwrap()), "token-1");
        entra.token(after(3541)).await.unwrap_err();
        entra.now_answers(Script::Token(json!({ "expires_in": 3600 })));
        assert_eq!(text(&entra.token(after(3542)).await.unwrap()), "token-6");
    }
}

#[tokio::test]
async fn a_renewal_that_is_refused_ends_the_old_token() {
    let entra = Entra::hourly();
    entra.token(start()).await.unwrap();
    entra.now_answers(refusal(
        7_000_222,
        "invalid_client",
        "The secret has expired.",
    ));
    let refused = entra.token(after(3400)).await.unwrap_err();
    assert!(matches!(refused, TokenError::Refused { code, .. } if code == "AADSTS7000222"));
    assert!(entra.client.cached(&credential(), after(3400)).is_none());
    entra.token(after(3401)).await.unwrap_err();
}

#[tokio::test]
async fn callers_go_on_with_the_old_token_while_it_is_renewed() {
    let entra = Entra::hourly();
    entra.token(start()).await.unwrap();
    entra.now_answers(Script::Hangs);
    let mut renewing = Box::pin(entra.token(after(3400)));
    assert!(futures::poll!(renewing.as_mut()).is_pending());
    assert_eq!(text(&entra.token(after(3400)).await.unwrap()), "token-1");
    assert_eq!(entra.exchanges(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_hangs_ends_at_the_deadline() {
    let entra = Entra::new(Script::Hangs);
    let begun = tokio_now();
    let waiting = join_all((0..5).map(|_| entra.token(start()))).await;
    assert_eq!(begun.elapsed(), EXCHANGE_DEADLINE);
    for result in waiting {
        assert!(matches!(result, Err(TokenError::Unavailable { code, .. }) if code == "Timeout"));
    }
    assert_eq!(entra.exchanges(), 1);

    // With a token that is still good, the deadline of its renewal is no trouble.
    entra.now_answers(Script::Token(json!({ "expires_in": 3600 })));
    entra.token(start()).await.unwrap();
    entra.now_answers(Script::Hangs);
    assert_eq!(text(&entra.token(after(3400)).await.unwrap()), "token-2");
}

#[expect(clippy::disallowed_methods, reason = "measures paused time")]
fn tokio_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[tokio::test]
async fn a_lifetime_is_read_in_every_form_and_bounded() {
    for (answer, seconds) in [
        (json!({ "expires_in": 3599 }), 3599),
        (json!({ "expires_in": "3599" }), 3599),
        (
            json!({ "expires_in": 3599.5, "token_type": "bearer" }),
            3599,
        ),
        (json!({ "token_type": "Bearer" }), 300),
        (json!({ "expires_in": null }), 300),
        (json!({ "expires_in": "soon" }), 300),
        (json!({ "expires_in": 0 }), 300),
        (json!({ "expires_in": -1 }), 300),
        (json!({ "expires_in": [] }), 300),
        (json!({ "expires_in": 1e300 }), 86_400),
        (json!({ "expires_in": "99999999999999999999" }), 86_400),
    ] {
        let entra = Entra::new(Script::Token(answer.clone()));
        let token = entra.token(start()).await.unwrap();
        let life = token.expires_at().duration_since(start());
        assert_eq!(life.as_secs(), seconds, "{answer}");
    }
}

#[tokio::test]
async fn a_token_too_short_to_keep_is_still_given_to_all_who_waited_for_it() {
    let entra = Entra::new(Script::Token(json!({ "expires_in": 30 })));
    let tokens = join_all((0..10).map(|_| entra.token(start()))).await;
    assert!(
        tokens
            .iter()
            .all(|token| text(token.as_ref().unwrap()) == "token-1")
    );
    assert_eq!(text(&entra.token(start()).await.unwrap()), "token-2");
}

/// Situation, answer, expected code, part of the message, part of the advice.
type Row = (&'static str, Script, &'static str, &'static str, Expect);

enum Expect {
    Refused(&'static str),
    Throttled(Option<u64>),
    Unavailable(Option<u64>),
}

fn html(status: u16) -> Script {
    Script::Answer(
        status,
        vec![("content-type", "text/html")],
        b"<html>".to_vec(),
    )
}

fn body(status: u16, body: &Value) -> Script {
    Script::Answer(status, Vec::new(), body.to_string().into_bytes())
}

fn rows() -> Vec<Row> {
    use Expect::{Refused, Throttled, Unavailable};
    let named = "Secret team-a/fabric-credentials";
    vec![
        (
            "wrong secret",
            refusal(
                7_000_215,
                "invalid_client",
                "Invalid client secret provided.",
            ),
            "AADSTS7000215",
            "Invalid client secret",
            Refused("key AZURE_CLIENT_SECRET of Secret team-a/fabric-credentials"),
        ),
        (
            "expired secret",
            refusal(
                7_000_222,
                "invalid_client",
                "The provided client secret keys are expired.",
            ),
            "AADSTS7000222",
            "expired",
            Refused("add a new one"),
        ),
        (
            "unknown client",
            refusal(
                700_016,
                "unauthorized_client",
                "Application not found in the directory.",
            ),
            "AADSTS700016",
            "not found",
            Refused("check AZURE_CLIENT_ID and AZURE_TENANT_ID"),
        ),
        (
            "client without a service principal",
            refusal(7_000_229, "invalid_client", "Missing service principal."),
            "AADSTS7000229",
            "Missing",
            Refused("has no application"),
        ),
        (
            "unknown tenant",
            refusal(90_002, "invalid_request", "Tenant not found."),
            "AADSTS90002",
            "Tenant",
            Refused("there is no tenant aaaaaaaa"),
        ),
        (
            "disabled application",
            refusal(7_000_112, "unauthorized_client", "Application is disabled."),
            "AADSTS7000112",
            "disabled",
            Refused("enable it again"),
        ),
        (
            "conditional access",
            refusal(53_003, "access_denied", "Access has been blocked."),
            "AADSTS53003",
            "blocked",
            Refused("Conditional Access"),
        ),
        (
            "no consent",
            refusal(
                65_001,
                "invalid_grant",
                "The user or administrator has not consented.",
            ),
            "AADSTS65001",
            "consented",
            Refused("consent"),
        ),
        (
            "wrong scope",
            refusal(70_011, "invalid_scope", "The provided scope is not valid."),
            "AADSTS70011",
            "scope",
            Refused("--fabric-scope"),
        ),
        (
            "scope without .default",
            refusal(
                1_002_012,
                "invalid_scope",
                "The provided value for scope is not valid.",
            ),
            "AADSTS1002012",
            "scope",
            Refused("/.default"),
        ),
        (
            "unknown resource",
            refusal(
                500_011,
                "invalid_resource",
                "The resource principal was not found.",
            ),
            "AADSTS500011",
            "resource",
            Refused("does not know the resource"),
        ),
        (
            "wrong certificate",
            refusal(
                700_027,
                "invalid_client",
                "Client assertion failed signature validation.",
            ),
            "AADSTS700027",
            "signature",
            Refused(named),
        ),
        (
            "stale assertion",
            refusal(
                700_024,
                "invalid_client",
                "Client assertion is not within its valid time range.",
            ),
            "AADSTS700024",
            "time range",
            Refused(named),
        ),
        (
            "no federated identity",
            refusal(
                70_021,
                "invalid_client",
                "No matching federated identity record found.",
            ),
            "AADSTS70021",
            "federated",
            Refused(named),
        ),
        (
            "a number that is not listed",
            refusal(999_999, "novel_error", "Something new."),
            "AADSTS999999",
            "new",
            Refused(named),
        ),
        (
            "no error_codes",
            body(
                400,
                &json!({ "error": "unauthorized_client", "error_description": "AADSTS700016: Application not found." }),
            ),
            "AADSTS700016",
            "not found",
            Refused("AZURE_CLIENT_ID"),
        ),
        (
            "an OAuth error alone",
            body(401, &json!({ "error": "invalid_client" })),
            "invalid_client",
            "invalid_client",
            Refused(named),
        ),
        (
            "the secret in the text",
            body(
                401,
                &json!({ "error": "invalid_client", "error_description": format!("AADSTS7000215: {SECRET} is wrong") }),
            ),
            "AADSTS7000215",
            "withheld",
            Refused("AZURE_CLIENT_SECRET"),
        ),
        (
            "the secret with an invisible character in the text",
            body(
                401,
                &json!({
                    "error": "invalid_client",
                    "error_description": format!(
                        "AADSTS7000215: {}\u{200b}{} is wrong", &SECRET[..5], &SECRET[5..]
                    ),
                }),
            ),
            "AADSTS7000215",
            "withheld",
            Refused("AZURE_CLIENT_SECRET"),
        ),
        (
            "throttled",
            Script::Answer(
                429,
                vec![("retry-after", "17")],
                br#"{"error":"temporarily_unavailable"}"#.to_vec(),
            ),
            "temporarily_unavailable",
            "later",
            Throttled(Some(17)),
        ),
        (
            "throttled without a number",
            html(429),
            "Http429",
            "later",
            Throttled(None),
        ),
        (
            "throttled for ages",
            Script::Answer(
                429,
                vec![("retry-after", "99999999999999999999999")],
                Vec::new(),
            ),
            "Http429",
            "later",
            Throttled(Some(604_800)),
        ),
        (
            "throttled until soon",
            Script::Answer(429, vec![("retry-after", "soon")], Vec::new()),
            "Http429",
            "later",
            Throttled(None),
        ),
        (
            "500",
            html(500),
            "Http500",
            "answered 500",
            Unavailable(None),
        ),
        (
            "503 with a number",
            Script::Answer(503, vec![("retry-after", "9")], Vec::new()),
            "Http503",
            "answered 503",
            Unavailable(Some(9)),
        ),
        (
            "temporarily unavailable",
            body(
                400,
                &json!({ "error": "temporarily_unavailable", "error_description": "AADSTS90033: A transient error has occurred." }),
            ),
            "AADSTS90033",
            "transient",
            Unavailable(None),
        ),
        (
            "403 of a gateway",
            html(403),
            "Http403",
            "answered 403",
            Unavailable(None),
        ),
        (
            "404 of another host",
            html(404),
            "Http404",
            "--entra-authority",
            Unavailable(None),
        ),
        (
            "redirect",
            Script::Answer(302, vec![("location", "https://evil.example/")], Vec::new()),
            "Redirected",
            "--entra-authority",
            Unavailable(None),
        ),
        (
            "HTML with 200",
            html(200),
            "UnreadableBody",
            "--entra-authority",
            Unavailable(None),
        ),
        (
            "an empty token",
            body(200, &json!({ "access_token": "", "expires_in": 3600 })),
            "UnreadableBody",
            "no bearer token",
            Unavailable(None),
        ),
        (
            "no token",
            body(200, &json!({ "expires_in": 3600 })),
            "UnreadableBody",
            "no bearer token",
            Unavailable(None),
        ),
        (
            "a token that is a number",
            body(200, &json!({ "access_token": 7 })),
            "UnreadableBody",
            "no bearer token",
            Unavailable(None),
        ),
        (
            "a token with a line break",
            body(200, &json!({ "access_token": "a\r\nX: y" })),
            "UnreadableBody",
            "no bearer token",
            Unavailable(None),
        ),
        (
            "a token of another type",
            body(200, &json!({ "access_token": "a", "token_type": "pop" })),
            "UnreadableBody",
            "no bearer token",
            Unavailable(None),
        ),
        (
            "refused connection",
            Script::Fails(ErrorKind::ConnectionRefused),
            "ConnectionFailed",
            "https://login.microsoftonline.com: it failed",
            Unavailable(None),
        ),
        (
            "reset connection",
            Script::Fails(ErrorKind::ConnectionReset),
            "ConnectionClosed",
            "it failed",
            Unavailable(None),
        ),
        (
            "TLS",
            Script::Fails(ErrorKind::InvalidData),
            "TlsFailed",
            "it failed",
            Unavailable(None),
        ),
        (
            "no connection in time",
            Script::Fails(ErrorKind::TimedOut),
            "Timeout",
            "it failed",
            Unavailable(None),
        ),
        (
            "an endless body",
            Script::Endless,
            "BodyTooLarge",
            "65536",
            Unavailable(None),
        ),
    ]
}

#[tokio::test]
async fn every_answer_of_entras_is_classified_as_the_table_says() {
    let rows = rows();
    let count = rows.len();
    for (situation, script, expected_code, part, expect) in rows {
        let error = Entra::new(script).token(start()).await.unwrap_err();
        let shown = format!("{error:?} {error}");
        for fleeting in ["Trace", "5f6e", "Timestamp", "08:30", SECRET] {
            assert!(!shown.contains(fleeting), "{situation}: {shown}");
        }
        let wait = |seconds: Option<u64>| seconds.map(Duration::from_secs);
        let (code, message, matches) = match (&error, expect) {
            (
                TokenError::Refused {
                    code,
                    message,
                    advice,
                    correlation_id,
                    ..
                },
                Expect::Refused(part),
            ) => {
                assert!(shown.contains("c0ffee-1") == correlation_id.is_some());
                (code, message, advice.contains(part))
            }
            (
                TokenError::Throttled {
                    code,
                    message,
                    retry_after,
                    ..
                },
                Expect::Throttled(seconds),
            )
            | (
                TokenError::Unavailable {
                    code,
                    message,
                    retry_after,
                    ..
                },
                Expect::Unavailable(seconds),
            ) => (code, message, *retry_after == wait(seconds)),
            _ => panic!("{situation}: {shown}"),
        };
        assert!(
            matches && code == expected_code && message.contains(part),
            "{situation}: {shown}"
        );
    }
    println!("Entra's classification table: {count} rows");
}

#[tokio::test]
async fn entras_id_of_the_request_is_kept() {
    let refused = Entra::new(refusal(
        7_000_215,
        "invalid_client",
        "Invalid client secret.",
    ))
    .token(start())
    .await
    .unwrap_err();
    assert_eq!(
        refused,
        TokenError::Refused {
            code: "AADSTS7000215".to_owned(),
            message: "AADSTS7000215: Invalid client secret.".to_owned(),
            advice: "the client secret is wrong: put the value (not the id) of a secret of app registration bbbbbbbb-0000-4000-8000-000000000000 into key AZURE_CLIENT_SECRET of Secret team-a/fabric-credentials".to_owned(),
            http_status: Some(401),
            correlation_id: Some("c0ffee-1".to_owned()),
        }
    );
}

#[tokio::test]
async fn debug_prints_no_secret() {
    let entra = Entra::hourly();
    let credential = credential();
    let token = entra.client.token(&credential, start()).await.unwrap();
    let shown = format!("{:?} {credential:?} {token:?}", entra.client);
    assert!(
        !shown.contains(SECRET) && !shown.contains("token-1"),
        "{shown}"
    );
    assert!(shown.contains("fabric-credentials"));
}

#[tokio::test]
async fn the_cache_is_bounded_and_forgets_what_has_ended() {
    let entra = Entra::hourly();
    for n in 0..3_000 {
        entra
            .client
            .token(&numbered(n), after(i64::try_from(n / 100).unwrap()))
            .await
            .unwrap();
        assert!(entra.client.inner.cache.len() <= 1_024);
    }
    // The youngest are still there.
    assert!(entra.client.cached(&numbered(2_999), after(30)).is_some());
    entra
        .client
        .token(&numbered(0), after(4_000))
        .await
        .unwrap();
    assert_eq!(entra.client.inner.cache.len(), 1);
}

#[tokio::test]
async fn refused_credentials_do_not_fill_the_cache() {
    let entra = Entra::new(refusal(
        7_000_215,
        "invalid_client",
        "Invalid client secret.",
    ));
    for n in 0..3_000 {
        entra.client.token(&numbered(n), start()).await.unwrap_err();
    }
    assert_eq!(entra.client.inner.cache.len(), 1);
}

proptest! {
    #[test]
    fn any_answer_is_a_token_or_a_bounded_error(
        status in 200_u16..600,
        text in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..500),
            (any::<Option<i64>>(), ".{0,500}", "[a-z_]{0,30}|invalid_client", prop::collection::vec(any::<u32>(), 0..3)).prop_map(
                |(expires_in, description, error, codes)| {
                    json!({ "expires_in": expires_in, "error": error, "error_description": description, "error_codes": codes, "correlation_id": description, "access_token": error })
                        .to_string()
                        .into_bytes()
                }
            ),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let entra = Entra::new(Script::Answer(status, Vec::new(), text));
        match runtime.block_on(entra.token(start())) {
            Ok(token) => prop_assert!(token.expires_at() > start()),
            Err(error) => {
                let shown = error.to_string();
                prop_assert!(shown.chars().count() <= 500, "{}", shown);
                prop_assert!(!shown.chars().any(char::is_control));
            }
        }
    }
}
