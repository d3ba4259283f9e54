//! A Fabric and an Entra of memory: one answer, whatever is asked.

use std::cell::OnceCell;

use bytes::Bytes;
use fabric_job_operator::cancellation::{JobInstance, Observation};
use fabric_job_operator::entra::{
    AccessToken, Authority, Credential, EntraClient, Proof, SourceKey, TokenError,
};
use fabric_job_operator::fabric::{Endpoint, FabricClient};
use fabric_job_operator::outbound::{Origin, Transport};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use secrecy::SecretString;
use uuid::uuid;

/// The job that every target asks about.
pub(crate) const JOB: JobInstance = JobInstance {
    workspace_id: uuid!("11111111-aaaa-4aaa-8aaa-111111111111"),
    item_id: uuid!("22222222-bbbb-4bbb-8bbb-222222222222"),
    job_instance_id: uuid!("33333333-cccc-4ccc-8ccc-333333333333"),
};

/// The token that goes with each call, and must never come back in a text.
pub(crate) const TOKEN: &str =
    "eyJ0eXAiOiJKV1QifQ.eyJhdWQiOiJmYWJyaWMifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg";

/// The client secret, likewise.
pub(crate) const SECRET: &str = "vQ.x2Rk-LwT9_bHc4ZpF8sJd1GmA";

/// What is answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// Adds a header; one that cannot stand on the wire is left out, as a client would never
    /// see it.
    pub(crate) fn header(mut self, name: &'static str, value: &[u8]) -> Self {
        self.headers.push((name, value.to_vec()));
        self
    }

    fn response(
        self,
    ) -> Response<http_body_util::combinators::UnsyncBoxBody<Bytes, tower::BoxError>> {
        let body = Full::from(self.body).map_err(|never| match never {});
        let mut response = Response::new(body.boxed_unsync());
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or_default();
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                response
                    .headers_mut()
                    .append(HeaderName::from_static(name), value);
            }
        }
        response
    }

    fn transport(self) -> Transport {
        Transport::new(tower::service_fn(move |_request| {
            let answer = self.clone();
            async move { Ok(answer.response()) }
        }))
    }
}

/// When every answer arrives.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_770_366_600).expect("a time of this century")
}

fn origin() -> Origin {
    Origin::parse("https://memory.example", false).expect("a plain origin")
}

/// Asks Fabric to cancel the job.
pub(crate) fn cancel(answer: Answer) -> Observation {
    let client = FabricClient::new(answer.transport(), Endpoint::new(origin()));
    wait(client.cancel(&JOB, &token(), now()))
}

/// Asks Fabric how the job stands.
pub(crate) fn look(answer: Answer) -> Observation {
    let client = FabricClient::new(answer.transport(), Endpoint::new(origin()));
    wait(client.look(&JOB, &token(), now()))
}

/// Asks Entra for a token.
pub(crate) fn exchange(answer: Answer) -> Result<AccessToken, TokenError> {
    let credential = Credential {
        source: SourceKey {
            kind: "Secret",
            namespace: "team-a".to_owned(),
            name: "fabric-credentials".to_owned(),
            uid: "1".to_owned(),
            resource_version: "1".to_owned(),
        },
        tenant_id: JOB.workspace_id,
        client_id: JOB.item_id,
        proof: Proof::ClientSecret(SecretString::from(SECRET)),
    };
    let client = EntraClient::new(
        answer.transport(),
        Authority::new(origin()),
        "https://api.fabric.microsoft.com/.default".to_owned(),
    );
    wait(client.token(&credential, now()))
}

/// A token can only be had from Entra.
fn token() -> AccessToken {
    thread_local! {
        static TOKEN_OF_MEMORY: OnceCell<AccessToken> = const { OnceCell::new() };
    }
    TOKEN_OF_MEMORY.with(|cell| {
        let body =
            format!(r#"{{"token_type":"Bearer","expires_in":3599,"access_token":"{TOKEN}"}}"#);
        cell.get_or_init(|| exchange(Answer::new(200, body)).expect("a good answer"))
            .clone()
    })
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime without I/O");
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}
