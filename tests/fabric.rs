//! The clients of Fabric and Entra over real sockets, judged by the simulator's ledger.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::io::ErrorKind;
use std::net::TcpListener;
use std::num::NonZeroU32;
use std::time::Duration;

use fabric_job_operator::cancellation::{
    JobInstance, JobStatus, Observation, Refusal, Source, Throttle,
};
use fabric_job_operator::entra::{
    AccessToken, Authority, Credential, EntraClient, Proof, SourceKey, TokenError,
};
use fabric_job_operator::fabric::{Caller, Endpoint, FabricClient, Gate, GateKey, Rank};
use fabric_job_operator::outbound::Origin;
use fabric_job_operator::outbound::client::{Settings, transport};
use fabric_simulator::{
    Access, Answer, Config, Entry, HoldPoint, LookRetryAfter, Outcome, QuotaLimit, Route, Rule,
    Seed, Simulator,
};
use jiff::Timestamp;
use secrecy::SecretString;

#[path = "fabric/answers.rs"]
mod answers;
#[path = "fabric/tls.rs"]
mod tls;

const SCOPE: &str = "https://api.fabric.microsoft.com/.default";

/// Longer than anything takes here; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A simulator with one job that this identity may cancel, and clients that talk to it.
struct Bench {
    simulator: Simulator,
    seed: Seed,
    job: JobInstance,
    credential: Credential,
    fabric: FabricClient,
    entra: EntraClient,
    /// Holds the CA bundle while the bench lives.
    _folder: Option<Folder>,
}

impl Bench {
    async fn http() -> Self {
        Self::start(false, fabric_simulator::Settings::default()).await
    }

    async fn start(tls: bool, settings: fabric_simulator::Settings) -> Self {
        let simulator = Simulator::start(Config {
            tls,
            settings,
            ..Config::default()
        })
        .await
        .unwrap();
        let folder = simulator.ca_pem().map(Folder::with_bundle);
        let settings = Settings {
            ca_bundle: folder.as_ref().map(Folder::bundle),
            allow_loopback_http: !tls,
            ..Settings::default()
        };
        let seed = simulator.seed();
        let job = JobInstance {
            workspace_id: seed.job.workspace_id,
            item_id: seed.job.item_id,
            job_instance_id: seed.job.job_instance_id,
        };
        let credential = Credential {
            source: SourceKey {
                kind: "Secret",
                namespace: "team-a".to_owned(),
                name: "fabric-credentials".to_owned(),
                uid: "1".to_owned(),
                resource_version: "1".to_owned(),
            },
            tenant_id: seed.tenant_id.parse().unwrap(),
            client_id: seed.client_id.parse().unwrap(),
            proof: Proof::ClientSecret(SecretString::from(seed.client_secret.clone())),
        };
        let (fabric, entra) = clients(&simulator.url(), &settings);
        Self {
            simulator,
            seed,
            job,
            credential,
            fabric,
            entra,
            _folder: folder,
        }
    }

    async fn token(&self) -> AccessToken {
        self.entra.token(&self.credential, now()).await.unwrap()
    }

    async fn cancel(&self) -> Observation {
        let token = self.token().await;
        self.fabric.cancel(&self.job, &token, now()).await
    }

    async fn look(&self) -> Observation {
        let token = self.token().await;
        self.fabric.look(&self.job, &token, now()).await
    }

    fn requests(&self, route: Route) -> Vec<Entry> {
        self.simulator.requests(route)
    }
}

fn clients(url: &str, settings: &Settings) -> (FabricClient, EntraClient) {
    let origin = Origin::parse(url, settings.allow_loopback_http).unwrap();
    let endpoint = Endpoint::new(origin.clone());
    let authority = Authority::new(origin);
    (
        FabricClient::new(transport(settings).unwrap(), endpoint),
        EntraClient::new(transport(settings).unwrap(), authority, SCOPE.to_owned()),
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test is the caller that owns the clock"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

/// A listener that nobody should talk to.
struct Evil(TcpListener);

impl Evil {
    fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn url(&self) -> String {
        format!("http://{}/", self.0.local_addr().unwrap())
    }

    /// A connection that was made waits in the listener's queue, so no time needs to pass.
    fn assert_untouched(&self) {
        let accepted = self.0.accept();
        assert_eq!(accepted.unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

struct Folder(std::path::PathBuf);

impl Folder {
    fn with_bundle(pem: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fabric-test-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&path).unwrap();
        let folder = Self(path);
        std::fs::write(folder.bundle(), pem).unwrap();
        folder
    }

    fn bundle(&self) -> std::path::PathBuf {
        self.0.join("ca.pem")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The outcome's name and its error code: what the tables below compare.
fn outcome(observed: &Observation) -> (&'static str, &str) {
    match observed {
        Observation::Accepted { .. } => ("accepted", ""),
        Observation::AlreadyCompleted { .. } => ("over", ""),
        Observation::JobSeen { job, .. } => ("seen", job.status.as_str()),
        Observation::Throttled { error, .. } => ("throttled", &error.code),
        Observation::Refused { error, .. } => ("refused", &error.code),
        Observation::Unknown { error, .. } => ("unknown", &error.code),
        Observation::Inconclusive { error, .. } => ("inconclusive", &error.code),
        Observation::Held { .. } | Observation::DeadlinePassed => ("never", ""),
    }
}

async fn a_job_is_cancelled(tls: bool) {
    let settings = fabric_simulator::Settings {
        cancel_takes: Duration::ZERO,
        ..fabric_simulator::Settings::default()
    };
    let bench = Bench::start(tls, settings).await;
    assert_eq!(outcome(&bench.look().await), ("seen", "InProgress"));
    let accepted = bench.cancel().await;
    let Observation::Accepted {
        location,
        retry_after,
        request_id,
    } = &accepted
    else {
        panic!("{accepted:?}");
    };
    assert!(
        location
            .as_ref()
            .unwrap()
            .contains(&bench.job.job_instance_id.to_string())
    );
    assert_eq!(*retry_after, Some(Duration::from_secs(60)));
    let posts = bench.requests(Route::Cancel);
    assert_eq!(
        request_id.as_ref().unwrap(),
        &posts[0].request_id.to_string()
    );

    let seen = bench.look().await;
    let Observation::JobSeen { job, .. } = &seen else {
        panic!("{seen:?}");
    };
    assert_eq!(job.status, JobStatus::Cancelled);
    assert!(job.start_time.is_some() && job.end_time.is_some());
    assert_eq!(outcome(&bench.cancel().await), ("over", ""));

    assert_eq!(
        bench.simulator.processed_cancels(bench.job.job_instance_id),
        1
    );
    assert_eq!(bench.requests(Route::Token).len(), 1);
    let agent = format!("fabric-job-operator/{}", env!("CARGO_PKG_VERSION"));
    for entry in bench.simulator.ledger() {
        assert_eq!(entry.user_agent.as_ref(), Some(&agent));
        assert!(entry.misplaced_credentials.is_empty(), "{entry:?}");
        assert_eq!(entry.identity, Some(bench.seed.identity()), "{entry:?}");
    }
}

#[tokio::test]
async fn a_job_is_looked_at_and_cancelled_over_http() {
    a_job_is_cancelled(false).await;
}

#[tokio::test]
async fn a_job_is_looked_at_and_cancelled_over_tls_with_a_ca_bundle() {
    a_job_is_cancelled(true).await;
}

#[tokio::test]
async fn a_server_whose_ca_is_not_known_gets_no_secret() {
    let bench = Bench::start(true, fabric_simulator::Settings::default()).await;
    let token = bench.token().await;
    let before = bench.simulator.ledger().len();
    let (fabric, entra) = clients(&bench.simulator.url(), &Settings::default());

    let refused = entra.token(&bench.credential, now()).await.unwrap_err();
    let TokenError::Unavailable { code, message, .. } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(code, "TlsFailed");
    assert!(message.contains("--ca-bundle"), "{message}");
    let observed = fabric.cancel(&bench.job, &token, now()).await;
    assert_eq!(outcome(&observed), ("unknown", "TlsFailed"));
    assert_eq!(bench.simulator.ledger().len(), before);
}

#[tokio::test]
async fn a_token_that_fabric_refuses_is_replaced_once_it_is_rejected() {
    let bench = Bench::http().await;
    let token = bench.token().await;
    assert_eq!(bench.simulator.revoke_tokens(&bench.seed.identity()), 1);
    let observed = bench.fabric.cancel(&bench.job, &token, now()).await;
    assert!(
        matches!(
            &observed,
            Observation::Refused { refusal: Refusal::AuthenticationFailed, error, .. }
                if error.http_status == Some(401)
        ),
        "{observed:?}"
    );
    bench.entra.reject(&token);
    assert_eq!(outcome(&bench.cancel().await), ("accepted", ""));
    assert_eq!(bench.requests(Route::Token).len(), 2);
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_the_right_one_in_a_new_version_is_used() {
    let mut bench = Bench::http().await;
    bench
        .simulator
        .rotate_secret(&bench.seed.identity(), "another-secret-value");
    let refused = bench
        .entra
        .token(&bench.credential, now())
        .await
        .unwrap_err();
    let TokenError::Refused {
        code,
        advice,
        correlation_id,
        ..
    } = &refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(code, "AADSTS7000215");
    assert!(advice.contains("AZURE_CLIENT_SECRET of Secret team-a/fabric-credentials"));
    assert!(correlation_id.is_some());
    assert!(!format!("{refused:?}").contains(&bench.seed.client_secret));

    bench.credential.source.resource_version = "2".to_owned();
    bench.credential.proof = Proof::ClientSecret(SecretString::from("another-secret-value"));
    assert_eq!(outcome(&bench.cancel().await), ("accepted", ""));
}

#[tokio::test]
async fn the_quota_closes_the_gate_for_that_identity() {
    let settings = fabric_simulator::Settings {
        look_retry_after: LookRetryAfter::Seconds(29),
        quota: Some(QuotaLimit {
            calls: 2,
            window: Duration::from_secs(60),
        }),
        ..fabric_simulator::Settings::default()
    };
    let bench = Bench::start(false, settings).await;
    let gate = Gate::new(NonZeroU32::new(200).unwrap());
    let who = GateKey {
        tenant_id: bench.credential.tenant_id,
        client_id: bench.credential.client_id,
    };
    let caller = Caller {
        id: bench.job.job_instance_id,
        namespace: "team-a",
        rank: Rank::Look,
    };
    for _ in 0..2 {
        let pass = gate.enter(&who, &caller, now()).unwrap();
        let observed = bench.look().await;
        assert!(matches!(
            observed,
            Observation::JobSeen { retry_after: Some(wait), .. } if wait == Duration::from_secs(29)
        ));
        pass.report(&observed, now());
    }
    let pass = gate.enter(&who, &caller, now()).unwrap();
    let observed = bench.cancel().await;
    let Observation::Throttled {
        by: Throttle::Identity,
        retry_after: Some(wait),
        ..
    } = observed
    else {
        panic!("{observed:?}");
    };
    let answered = now();
    pass.report(&observed, answered);
    let held = gate.enter(&who, &caller, answered).unwrap_err();
    assert!(held.until.duration_since(answered).unsigned_abs() > wait);
    assert_eq!(
        bench.simulator.processed_cancels(bench.job.job_instance_id),
        0
    );
}

#[tokio::test]
async fn a_paused_capacity_and_a_missing_right_are_told_apart() {
    let bench = Bench::http().await;
    let workspace = bench.job.workspace_id;
    bench.simulator.set_capacity_paused(workspace, true);
    assert_eq!(
        outcome(&bench.cancel().await),
        ("refused", "CapacityNotActive")
    );
    bench.simulator.set_capacity_paused(workspace, false);
    for (access, code) in [
        (Access::Denied, "InsufficientPrivileges"),
        (Access::Read, "InsufficientPrivileges"),
        (Access::Hidden, "WorkspaceNotFound"),
    ] {
        bench
            .simulator
            .grant(workspace, &bench.seed.identity(), access);
        assert_eq!(outcome(&bench.cancel().await), ("refused", code));
    }
    bench
        .simulator
        .grant(workspace, &bench.seed.identity(), Access::Execute);
    bench.simulator.remove_job(bench.job.job_instance_id);
    assert_eq!(
        outcome(&bench.look().await),
        ("refused", "JobInstanceNotFound")
    );
}

#[tokio::test]
async fn neither_a_redirect_nor_a_foreign_location_is_ever_followed() {
    let evil = Evil::listen();
    let bench = Bench::http().await;
    let url = evil.url();
    bench
        .simulator
        .script(Rule::on(Route::Cancel).answer(Answer::accepted(Some(&url), Some("0"))));
    let observed = bench.cancel().await;
    assert!(
        matches!(&observed, Observation::Accepted { location: Some(location), .. } if *location == url),
        "{observed:?}"
    );
    assert_eq!(outcome(&bench.look().await), ("seen", "InProgress"));
    for status in [301, 302, 303, 307, 308] {
        let redirect = || Answer::redirect(status, &url);
        bench
            .simulator
            .script(Rule::on(Route::Cancel).answer(redirect()));
        assert_eq!(outcome(&bench.cancel().await), ("unknown", "Redirected"));
        bench
            .simulator
            .script(Rule::on(Route::Job).answer(redirect()));
        assert_eq!(outcome(&bench.look().await), ("inconclusive", "Redirected"));
        bench
            .simulator
            .script(Rule::on(Route::Token).answer(redirect()));
        let mut credential = bench.credential.clone();
        credential.source.resource_version = status.to_string();
        let error = bench.entra.token(&credential, now()).await.unwrap_err();
        assert!(
            matches!(&error, TokenError::Unavailable { code, .. } if code == "Redirected"),
            "{error:?}"
        );
    }
    evil.assert_untouched();
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_nothing_is_sent_twice() {
    let bench = Bench::http().await;
    // The connection is one that was used before: the case that HTTP clients like to repeat.
    assert_eq!(outcome(&bench.look().await), ("seen", "InProgress"));
    bench
        .simulator
        .script(Rule::on(Route::Cancel).drop_before_processing());
    assert_eq!(
        outcome(&bench.cancel().await),
        ("unknown", "ConnectionClosed")
    );
    assert_eq!(bench.requests(Route::Cancel).len(), 1);
    assert_eq!(
        bench.simulator.processed_cancels(bench.job.job_instance_id),
        0
    );

    assert_eq!(outcome(&bench.look().await), ("seen", "InProgress"));
    bench
        .simulator
        .script(Rule::on(Route::Cancel).drop_after_processing());
    assert_eq!(
        outcome(&bench.cancel().await),
        ("unknown", "ConnectionClosed")
    );
    assert_eq!(bench.requests(Route::Cancel).len(), 2);
    assert_eq!(
        bench.simulator.processed_cancels(bench.job.job_instance_id),
        1
    );
}

#[tokio::test]
async fn bodies_without_end_and_other_pages_do_no_harm() {
    let bench = Bench::http().await;
    for (answer, code) in [
        (Answer::new(200).endless(), "BodyTooLarge"),
        (Answer::new(200).huge(300 * 1024), "BodyTooLarge"),
        (
            Answer::new(200).html("<html>Sign in</html>"),
            "UnreadableBody",
        ),
    ] {
        bench
            .simulator
            .script(Rule::on(Route::Job).answer(answer.clone()));
        assert_eq!(outcome(&bench.look().await), ("inconclusive", code));
        bench
            .simulator
            .script(Rule::on(Route::Cancel).answer(answer));
        assert_eq!(outcome(&bench.cancel().await), ("unknown", code));
    }
    assert_eq!(outcome(&bench.look().await), ("seen", "InProgress"));
}

#[tokio::test]
async fn an_answer_that_does_not_come_ends_at_the_deadline_and_the_request_is_given_up() {
    let mut bench = Bench::http().await;
    bench.fabric = bench.fabric.with_deadline(Duration::from_millis(200));
    bench
        .simulator
        .script(Rule::on(Route::Cancel).hold(HoldPoint::BeforeProcessing));
    assert_eq!(outcome(&bench.cancel().await), ("unknown", "Timeout"));
    bench
        .simulator
        .wait_for(PATIENCE, |entry| {
            entry.route == Route::Cancel && entry.outcome == Outcome::ClientGone
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn an_outage_passes() {
    let bench = Bench::http().await;
    let token = bench.token().await;
    bench.simulator.go_offline().await;
    let observed = bench.fabric.look(&bench.job, &token, now()).await;
    assert!(matches!(
        observed,
        Observation::Inconclusive {
            from: Source::Fabric,
            ..
        }
    ));
    let mut other = bench.credential.clone();
    other.source.resource_version = "2".to_owned();
    let error = bench.entra.token(&other, now()).await.unwrap_err();
    assert!(matches!(error, TokenError::Unavailable { .. }), "{error:?}");
    bench.simulator.come_back().await;
    assert_eq!(outcome(&bench.look().await), ("seen", "InProgress"));
}

#[tokio::test]
async fn fifty_callers_at_once_make_one_exchange_over_the_wire() {
    let bench = Bench::http().await;
    let tokens = futures::future::join_all((0..50).map(|_| bench.token())).await;
    assert_eq!(tokens.len(), 50);
    assert_eq!(bench.requests(Route::Token).len(), 1);
}
