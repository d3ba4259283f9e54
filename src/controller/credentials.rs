//! Which identity acts for a resource, and its token: Secrets in, an [`Acting`] identity out.
//!
//! A source is read when a token is needed and then at most every five minutes while it is in
//! use, however many resources share it. Nothing is listed or watched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use crate::api::FabricJobCancellation;
use crate::cancellation::{Identity, Observation, Refusal, ServiceError, Source, later};
use crate::entra::{AccessToken, Credential, EntraClient, TokenError};
use crate::fabric::GateKey;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{TokenResult, TokenSource};

use super::clock::Clock;
use super::kubernetes::within_deadline;
use super::secret;

/// The Secret that serves a namespace whose resources name no credentials.
pub(super) const DEFAULT_SECRET: &str = "fabric-credentials";

/// A source in use is read again after this, so that a deleted or changed one stops being used.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(300);

/// A refusal by Entra is not asked for again sooner, unless the source changed.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// A source that could not be used is not read again sooner, however many resources name it.
const PROBLEM_LASTS: Duration = Duration::from_secs(5);

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
    entra: EntraClient,
    clock: Clock,
    metrics: Arc<Metrics>,
    sources: Mutex<HashMap<SourceName, Arc<tokio::sync::Mutex<KnownSource>>>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct SourceName {
    namespace: String,
    secret: String,
}

/// What is known of one source. Its lock is held while it is read and exchanged, so that a
/// thousand resources that wake together cost one read and one exchange.
#[derive(Default)]
struct KnownSource {
    credential: Option<(Arc<Credential>, Timestamp)>,
    problem: Option<(Box<Observation>, Timestamp)>,
    refused: Option<(Arc<Credential>, Box<Observation>, Timestamp)>,
    used: Option<Timestamp>,
}

impl Credentials {
    pub(super) fn new(
        client: Client,
        entra: EntraClient,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            client,
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
        let mut known = known.lock().await;
        let now = self.clock.now();
        known.used = Some(now);
        if let Some((credential, read)) = &known.credential
            && now < later(*read, READ_AGAIN_AFTER)
            && let Some(token) = self.entra.cached(credential, now)
        {
            return Ok(acting(credential, token));
        }
        if let Some((problem, seen)) = &known.problem
            && now < later(*seen, PROBLEM_LASTS)
        {
            return Err(problem.clone());
        }
        match self.read_and_exchange(&source, &mut known).await {
            Ok(acting) => {
                known.problem = None;
                known.refused = None;
                Ok(acting)
            }
            Err(problem) => {
                known.problem = Some((problem.clone(), self.clock.now()));
                Err(problem)
            }
        }
    }

    /// Fabric refused this token: it is dropped, so that the next one is new and its source is
    /// read again.
    pub(super) fn rejected(&self, acting: &Acting) {
        self.entra.reject(&acting.token);
    }

    async fn read_and_exchange(
        &self,
        source: &SourceName,
        known: &mut KnownSource,
    ) -> Result<Acting, Box<Observation>> {
        let credential = Arc::new(self.read(source).await?);
        let now = self.clock.now();
        if let Some((refused, answer, at)) = &known.refused
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
        match result {
            Ok(token) => {
                let acting = acting(&credential, token);
                known.credential = Some((credential, now));
                Ok(acting)
            }
            Err(error) => {
                let refused = matches!(error, TokenError::Refused { .. });
                let observation = Box::new(observation_of(error));
                if refused {
                    known.refused = Some((credential, observation.clone(), self.clock.now()));
                }
                Err(observation)
            }
        }
    }

    async fn read(&self, source: &SourceName) -> Result<Credential, Box<Observation>> {
        let SourceName { namespace, secret } = source;
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        match within_deadline(api.get(secret)).await {
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

    fn known(&self, source: &SourceName) -> Arc<tokio::sync::Mutex<KnownSource>> {
        let now = self.clock.now();
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if !sources.contains_key(source) {
            // A new source is rare enough to pay for the forgetting of old ones.
            sources.retain(|_, known| match known.try_lock() {
                Ok(known) => known
                    .used
                    .is_some_and(|used| now < later(used, FORGET_AFTER)),
                Err(_) => true,
            });
        }
        Arc::clone(sources.entry(source.clone()).or_default())
    }
}

fn token_result(result: &Result<AccessToken, TokenError>) -> TokenResult {
    match result {
        Ok(_) => TokenResult::Issued,
        Err(TokenError::Refused { .. }) => TokenResult::Refused,
        Err(TokenError::Throttled { .. } | TokenError::Unavailable { .. }) => {
            TokenResult::Unavailable
        }
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

fn refused(refusal: Refusal, code: &'static str, advice: String) -> Box<Observation> {
    Box::new(Observation::Refused {
        refusal,
        retry_after: None,
        error: service_error(code, advice.clone()),
        advice: Some(advice),
    })
}

fn service_error(code: &str, message: String) -> ServiceError {
    ServiceError {
        code: code.to_owned(),
        message: message.chars().take(256).collect(),
        http_status: None,
        request_id: None,
    }
}

fn observation_of(error: TokenError) -> Observation {
    match error {
        TokenError::Refused {
            code,
            message,
            advice,
            http_status,
            correlation_id,
        } => Observation::Refused {
            refusal: Refusal::AuthenticationFailed,
            retry_after: None,
            error: ServiceError {
                code,
                message,
                http_status,
                request_id: correlation_id,
            },
            advice: Some(advice),
        },
        TokenError::Throttled {
            code,
            message,
            retry_after,
            http_status,
            correlation_id,
        }
        | TokenError::Unavailable {
            code,
            message,
            retry_after,
            http_status,
            correlation_id,
        } => Observation::Inconclusive {
            from: Source::Entra,
            retry_after,
            error: ServiceError {
                code,
                message,
                http_status,
                request_id: correlation_id,
            },
        },
    }
}
