//! Which identity acts for a resource, and its token: Secrets in, an [`Acting`] identity out.
//!
//! A source is read when a token is needed and then at most every five minutes while it is in
//! use, however many resources share it. Nothing is listed or watched.

mod problem;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use crate::api::FabricJobCancellation;
use crate::cancellation::{Identity, Observation, Refusal, Source, later};
use crate::entra::{AccessToken, Credential, EntraClient, TokenError};
use crate::fabric::GateKey;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::TokenSource;

use super::clock::Clock;
use super::reach::Reach;
use super::secret;
use problem::{observation_of, refused, service_error, token_result};

/// The Secret that serves a namespace whose resources name no credentials.
pub(super) const DEFAULT_SECRET: &str = "fabric-credentials";

/// A source in use is read again after this, so that a deleted or changed one stops being used.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(300);

/// A refusal by Entra is not asked for again sooner, unless the source changed.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// A source that could not be used is not read again sooner, however many resources name it.
const PROBLEM_LASTS: Duration = Duration::from_secs(5);

/// One answer of Entra's keeps a source away for at most this long.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How long a visit waits for another's question about the same source. An exchange takes a
/// fraction of this.
const TURN: Duration = Duration::from_secs(3);

/// A source that nobody used for this long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(3_600);

/// The identity that acts, with a token of exactly that identity.
pub(super) struct Acting {
    pub identity: Identity,
    pub token: AccessToken,
    credential: Arc<Credential>,
}

impl Acting {
    /// Whose quota a request with this token spends.
    pub(super) fn gate_key(&self) -> GateKey {
        GateKey {
            tenant_id: self.credential.tenant_id,
            client_id: self.credential.client_id,
        }
    }
}

pub(super) struct Credentials {
    client: Client,
    reach: Reach,
    entra: EntraClient,
    clock: Clock,
    metrics: Arc<Metrics>,
    sources: Mutex<HashMap<SourceName, Arc<Known>>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct SourceName {
    namespace: String,
    secret: String,
}

/// One source: what is known of it, and whose turn it is to learn more, so that a thousand
/// resources that wake together cost one read and one exchange.
#[derive(Default)]
struct Known {
    facts: Mutex<KnownFacts>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct KnownFacts {
    /// The credential, and when it was read.
    credential: Option<(Arc<Credential>, Timestamp)>,
    /// What stood in the way, and until when that is taken for granted.
    problem: Option<(Box<Observation>, Timestamp)>,
    /// What Entra refused, and when.
    refused: Option<(Arc<Credential>, Box<Observation>, Timestamp)>,
    /// When Fabric last refused a token.
    rejected: Option<Timestamp>,
    /// Somebody waited in vain for the turn that is still taken.
    slow: bool,
    used: Option<Timestamp>,
}

impl Known {
    fn facts(&self) -> MutexGuard<'_, KnownFacts> {
        // Every change is a single assignment.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Credentials {
    pub(super) fn new(
        client: Client,
        reach: Reach,
        entra: EntraClient,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            client,
            reach,
            entra,
            clock,
            metrics,
            sources: Mutex::default(),
        }
    }

    /// The identity that acts for `resource`, with a token. What stands in the way comes back
    /// as the observation to record.
    pub(super) async fn acting(
        &self,
        resource: &FabricJobCancellation,
    ) -> Result<Acting, Box<Observation>> {
        let source = source_of(resource)?;
        let known = self.known(&source);
        if let Some(answer) = self.known_answer(&known) {
            return answer;
        }
        // Once one has waited in vain the others only look whether the turn is free: else they
        // would hold all places in the work queue for hardly less time than the exchange itself.
        let patience = if known.facts().slow {
            Duration::ZERO
        } else {
            TURN
        };
        let Ok(turn) = tokio::time::timeout(patience, known.turn.lock()).await else {
            return self.without_turn(&known);
        };
        known.facts().slow = false;
        // Whoever had the turn before may have learned it.
        if let Some(answer) = self.known_answer(&known) {
            return answer;
        }
        let answer = self.read_and_exchange(&source, &known).await;
        let now = self.clock.now();
        let mut facts = known.facts();
        facts.slow = false;
        facts.problem = answer
            .as_ref()
            .err()
            .map(|problem| (problem.clone(), later(now, lasts(problem))));
        drop(facts);
        drop(turn);
        answer
    }

    /// What can be said without asking anybody.
    fn known_answer(&self, known: &Known) -> Option<Result<Acting, Box<Observation>>> {
        let now = self.clock.now();
        let mut facts = known.facts();
        facts.used = Some(now);
        if let Some((credential, read)) = &facts.credential
            && now < later(*read, READ_AGAIN_AFTER)
            && let Some(token) = self.entra.cached(credential, now)
        {
            return Some(Ok(acting(credential, token)));
        }
        let (problem, until) = facts.problem.as_ref()?;
        (now < *until).then(|| Err(problem.clone()))
    }

    /// Somebody else's question takes long: a token that is still good will do; without one the
    /// place in the work queue is given up, so that the other namespaces go on.
    fn without_turn(&self, known: &Known) -> Result<Acting, Box<Observation>> {
        let now = self.clock.now();
        let mut facts = known.facts();
        facts.slow = true;
        if let Some((credential, _)) = &facts.credential
            && let Some(token) = self.entra.usable(credential, now)
        {
            return Ok(acting(credential, token));
        }
        Err(Box::new(Observation::Inconclusive {
            from: Source::Entra,
            retry_after: None,
            error: service_error(
                "TokenPending",
                "another request for this identity's token is not answered yet".to_owned(),
            ),
        }))
    }

    /// Fabric refused this token. True: it is dropped and a new one may be tried. False: one was
    /// refused a moment ago, so the next would be too.
    pub(super) fn rejected(&self, resource: &FabricJobCancellation, acting: &Acting) -> bool {
        let Ok(source) = source_of(resource) else {
            return false;
        };
        let now = self.clock.now();
        let known = self.known(&source);
        let mut facts = known.facts();
        if facts
            .rejected
            .is_some_and(|at| now < later(at, ASK_AGAIN_AFTER))
        {
            return false;
        }
        facts.rejected = Some(now);
        self.entra.reject(&acting.token);
        true
    }

    async fn read_and_exchange(
        &self,
        source: &SourceName,
        known: &Known,
    ) -> Result<Acting, Box<Observation>> {
        let credential = Arc::new(self.read(source).await?);
        let now = self.clock.now();
        if let Some((refused, answer, at)) = &known.facts().refused
            && refused.source == credential.source
            && now < later(*at, ASK_AGAIN_AFTER)
        {
            return Err(answer.clone());
        }
        let kept = self.entra.cached(&credential, now).is_some();
        let result = self.entra.token(&credential, now).await;
        if !kept {
            self.metrics
                .token_requested(TokenSource::Secret, token_result(&result));
        }
        let mut facts = known.facts();
        match result {
            Ok(token) => {
                let acting = acting(&credential, token);
                facts.credential = Some((credential, now));
                facts.refused = None;
                Ok(acting)
            }
            Err(error) => {
                let refused = matches!(error, TokenError::Refused { .. });
                let observation = Box::new(observation_of(error));
                if refused {
                    facts.refused = Some((credential, observation.clone(), self.clock.now()));
                }
                Err(observation)
            }
        }
    }

    async fn read(&self, source: &SourceName) -> Result<Credential, Box<Observation>> {
        let SourceName { namespace, secret } = source;
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        match self.reach.call(api.get(secret)).await {
            Ok(found) => secret::credential(&found).map_err(|problem| {
                refused(
                    Refusal::CredentialsInvalid,
                    "CredentialsInvalid",
                    problem.to_string(),
                )
            }),
            Err(error) if error.is_not_found() => Err(refused(
                Refusal::CredentialsNotFound,
                "CredentialsNotFound",
                format!(
                    "Secret {namespace}/{secret} does not exist. Create it: kubectl create secret \
                     generic {secret} -n {namespace} --from-literal=AZURE_TENANT_ID=... \
                     --from-literal=AZURE_CLIENT_ID=... --from-literal=AZURE_CLIENT_SECRET=..."
                ),
            )),
            Err(error) if error.is_forbidden() => Err(refused(
                Refusal::IdentityNotAllowed,
                "SecretForbidden",
                format!(
                    "The operator may not read Secret {namespace}/{secret}: by default it may read \
                     only Secrets named {DEFAULT_SECRET}. Use that name, or allow this one with a \
                     Role (secrets, get, resourceNames: [{secret}]) in {namespace} bound to the \
                     operator's ServiceAccount."
                ),
            )),
            Err(error) => {
                tracing::warn!(%namespace, %secret, %error, "failed to read the Secret; trying again");
                Err(Box::new(Observation::Inconclusive {
                    from: Source::Kubernetes,
                    retry_after: None,
                    error: service_error(
                        error.code(),
                        format!("failed to read Secret {namespace}/{secret}"),
                    ),
                }))
            }
        }
    }

    fn known(&self, source: &SourceName) -> Arc<Known> {
        let now = self.clock.now();
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if !sources.contains_key(source) {
            // A new source is rare enough to pay for the forgetting of old ones.
            sources.retain(|_, known| {
                let used = known.facts().used;
                used.is_none_or(|used| now < later(used, FORGET_AFTER))
            });
        }
        Arc::clone(sources.entry(source.clone()).or_default())
    }
}

/// How long a problem is taken for granted: as long as Entra asked for, at least some seconds.
fn lasts(problem: &Observation) -> Duration {
    if let Observation::Inconclusive {
        retry_after: Some(asked),
        ..
    } = problem
    {
        PROBLEM_LASTS.max(*asked).min(LONGEST_PAUSE)
    } else {
        PROBLEM_LASTS
    }
}

fn source_of(resource: &FabricJobCancellation) -> Result<SourceName, Box<Observation>> {
    let namespace = resource.metadata.namespace.clone().unwrap_or_default();
    let credentials = resource.spec.credentials.as_ref();
    if let Some(name) = credentials.and_then(|c| c.service_account_name.as_ref()) {
        return Err(refused(
            Refusal::CredentialsInvalid,
            "ServiceAccountNotSupported",
            format!(
                "`spec.credentials.serviceAccountName` ({name}) cannot be used: this version of \
                 the operator acts with Secrets only. Create a new FabricJobCancellation with \
                 `spec.credentials.secretRef.name`, or without `spec.credentials` to use Secret \
                 {DEFAULT_SECRET} of namespace {namespace}."
            ),
        ));
    }
    let secret = credentials
        .and_then(|c| c.secret_ref.as_ref())
        .map_or(DEFAULT_SECRET, |reference| reference.name.as_str());
    Ok(SourceName {
        namespace,
        secret: secret.to_owned(),
    })
}

fn acting(credential: &Arc<Credential>, token: AccessToken) -> Acting {
    Acting {
        identity: Identity {
            source: credential.source.kind.to_owned(),
            name: credential.source.name.clone(),
            tenant_id: credential.tenant_id.to_string(),
            client_id: credential.client_id.to_string(),
        },
        token,
        credential: Arc::clone(credential),
    }
}
