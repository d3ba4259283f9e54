//! What Fabric's client sends, and how it bears what comes back.

use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::Endpoint;
use super::bench::{JOB, Reply, TOKEN, answer, client, now, token};
use crate::cancellation::Observation;
use crate::outbound::Origin;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn a_cancel_request_is_an_empty_post_with_the_token_in_a_sensitive_header() {
    let (client, asked) = client(answer(202));
    block_on(client.cancel(&JOB, &token(), now()));
    let asked = asked.lock().unwrap();
    let request = &asked[0];
    let mut headers: Vec<(&str, &[u8])> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    headers.sort_unstable();
    let authorization = format!("Bearer {TOKEN}");
    let agent = format!("fabric-job-operator/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        headers,
        [
            ("accept", b"application/json".as_slice()),
            ("accept-encoding", b"identity"),
            ("authorization", authorization.as_bytes()),
            ("content-length", b"0"),
            ("user-agent", agent.as_bytes()),
        ]
    );
    assert!(request.headers()["authorization"].is_sensitive());
    assert!(request.body().is_empty());
    assert_eq!(request.method(), http::Method::POST);
    assert_eq!(
        request.uri(),
        "https://api.fabric.microsoft.com/v1/workspaces/11111111-aaaa-4aaa-8aaa-111111111111/items/22222222-bbbb-4bbb-8bbb-222222222222/jobs/instances/33333333-cccc-4ccc-8ccc-333333333333/cancel"
    );
}

#[test]
fn a_look_is_a_get_of_the_instance_without_a_body() {
    let (client, asked) = client(answer(200));
    block_on(client.look(&JOB, &token(), now()));
    let asked = asked.lock().unwrap();
    assert_eq!(asked[0].method(), http::Method::GET);
    assert!(!asked[0].headers().contains_key("content-length"));
    assert!(
        asked[0]
            .uri()
            .path()
            .ends_with(&JOB.job_instance_id.to_string())
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline_and_not_before() {
    let (client, _) = client(Reply::Hangs);
    let begun = tokio_now();
    let observed = client.cancel(&JOB, &token(), now()).await;
    assert_eq!(begun.elapsed(), super::CALL_DEADLINE);
    assert!(matches!(observed, Observation::Unknown { error, .. } if error.code == "Timeout"));

    let begun = tokio_now();
    client
        .with_deadline(Duration::from_secs(2))
        .look(&JOB, &token(), now())
        .await;
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
}

#[test]
fn a_body_is_read_up_to_256_kib_and_not_a_byte_further() {
    let sized = |bytes: usize| {
        let job = format!(r#"{{"id":"{}","status":"Cancelled"}}"#, JOB.job_instance_id);
        let (client, _) = client(answer(200).body(job.clone() + &" ".repeat(bytes - job.len())));
        block_on(client.look(&JOB, &token(), now()))
    };
    assert!(matches!(sized(256 * 1024), Observation::JobSeen { .. }));
    let observed = sized(256 * 1024 + 1);
    assert!(
        matches!(&observed, Observation::Inconclusive { error, .. } if error.code == "BodyTooLarge"),
        "{observed:?}"
    );
}

#[expect(clippy::disallowed_methods, reason = "measures paused time")]
fn tokio_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[test]
fn debug_of_client_and_token_prints_no_part_of_the_token() {
    let (client, asked) = client(answer(202));
    let token = token();
    block_on(client.cancel(&JOB, &token, now()));
    let shown = format!("{client:?} {token:?} {:?}", asked.lock().unwrap());
    for part in TOKEN.split('.') {
        assert!(!shown.contains(part), "{shown}");
    }
}

/// Whatever comes back, every text in an observation is short and clean.
fn assert_bounded(observed: &Observation) {
    let shown = format!("{observed:?}");
    assert!(shown.len() < 20_000, "{} bytes", shown.len());
    let texts: Vec<&str> = match observed {
        Observation::Accepted {
            location,
            request_id,
            ..
        } => [location, request_id]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect(),
        Observation::JobSeen { job, .. } => {
            let mut texts = vec![job.status.as_str()];
            texts.extend(job.job_type.as_deref());
            texts.extend(job.invoke_type.as_deref());
            texts.extend(job.root_activity_id.as_deref());
            if let Some(failure) = &job.failure {
                texts.push(&failure.code);
                texts.extend(failure.message.as_deref());
            }
            texts
        }
        Observation::Throttled { error, .. }
        | Observation::Refused { error, .. }
        | Observation::Unknown { error, .. }
        | Observation::Inconclusive { error, .. } => {
            assert!(error.message.chars().count() <= 256);
            assert!(!error.message.is_empty() && !error.code.is_empty());
            vec![&error.code, &error.message]
        }
        Observation::AlreadyCompleted { .. }
        | Observation::Held { .. }
        | Observation::DeadlinePassed => Vec::new(),
    };
    for text in texts {
        assert!(text.chars().count() <= 512);
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".{0,400}".prop_map(Into::into),
        "(Cancelled|Failed|ItemNotFound|BadRequest|TokenExpired)".prop_map(Into::into),
        Just(JOB.job_instance_id.to_string().into()),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(
                "(id|status|jobType|invokeType|startTimeUtc|endTimeUtc|failureReason|errorCode|message|requestId|isRetriable|error|code|x)",
                inner,
                0..8
            )
            .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn header_value() -> impl Strategy<Value = String> {
    "[\\x20-\\x7e\u{e4}\u{20ac}\t]{0,600}"
}

proptest! {
    #[test]
    fn any_body_and_any_headers_make_a_bounded_observation(
        status in 200_u16..600,
        body in prop_oneof![
            json().prop_map(|value| value.to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..2_000),
        ],
        headers in prop::collection::vec(
            (
                prop::sample::select(vec!["location", "retry-after", "requestid", "date", "x-ms-public-api-error-code"]),
                header_value(),
            ),
            0..5,
        ),
        cancels in any::<bool>(),
    ) {
        let mut reply = answer(status).body(body);
        for (name, value) in headers {
            reply = reply.header(name, value);
        }
        let (client, _) = client(reply);
        let observed = block_on(async {
            if cancels {
                client.cancel(&JOB, &token(), now()).await
            } else {
                client.look(&JOB, &token(), now()).await
            }
        });
        assert_bounded(&observed);
        // A look never accepts anything, and a cancel request never shows a job.
        let possible = match &observed {
            Observation::Accepted { .. }
            | Observation::AlreadyCompleted { .. }
            | Observation::Unknown { .. } => cancels,
            Observation::JobSeen { .. } | Observation::Inconclusive { .. } => !cancels,
            Observation::Throttled { .. } | Observation::Refused { .. } => true,
            Observation::Held { .. } | Observation::DeadlinePassed => false,
        };
        prop_assert!(possible, "{:?}", observed);
    }

    #[test]
    fn any_ids_make_a_canonical_path(w in any::<u128>(), i in any::<u128>(), j in any::<u128>()) {
        let job = crate::cancellation::JobInstance {
            workspace_id: Uuid::from_u128(w),
            item_id: Uuid::from_u128(i),
            job_instance_id: Uuid::from_u128(j),
        };
        let endpoint = Endpoint::new(Origin::parse("https://[::1]:8443", false).unwrap());
        let url = endpoint.cancel_url(&job);
        prop_assert_eq!(url.authority().unwrap().as_str(), "[::1]:8443");
        prop_assert_eq!(url.query(), None);
        let path = url.path();
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'/');
        prop_assert!(path.bytes().all(is_plain));
        prop_assert_eq!(path.split('/').count(), 10);
    }
}
