//! The shell around the core: watch, visit, credentials, status, events.
//!
//! One visit does at most one step and one write, on the newer of the watch's cache and this
//! process's own last answer for that uid (`known`). Its resourceVersion guards the write, so no
//! read of the resource is needed and a late event changes nothing.

// What the core may say anew must be decided upon wherever it is matched.
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

mod clock;
mod credentials;
mod events;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod known;
mod kubernetes;
mod leadership;
mod pauses;
mod reach;
mod schema;
mod secret;
mod status;
mod store;
mod visit;

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config as ControllerConfig, Error as ControllerError};
use kube::runtime::reflector::Store as Cache;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use crate::api::{FabricJobCancellation, FabricJobCancellationSpec};
use crate::entra::EntraClient;
use crate::fabric::{FabricClient, Gate};
use crate::telemetry::metrics::ReconcileResult;
use crate::telemetry::{Metrics, Readiness};

pub use clock::{Alignment, Clock};
pub use leadership::{FENCE, Leadership};

use credentials::Credentials;
use events::Events;
use guard::{Fate, LONGEST_VISIT, guard};
use known::Known;
use kubernetes::CallError;
use pauses::Pauses;
use reach::Reach;
use store::Store;
use visit::VisitError;

type Watched = DeserializeGuard<FabricJobCancellation>;

/// How often a cluster that is not ready for the operator is asked again.
const START_INTERVAL: Duration = Duration::from_secs(5);

/// When the lease is about to end and nobody has said so yet, resources are taken up again after
/// this.
const LAST_MOMENTS: Duration = Duration::from_secs(1);

/// Between two visits to one resource that nothing but the first one asked for. A step that could
/// not be taken and is due again at once must not become a busy loop.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// What the controller is told about its work.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The one namespace to watch; `None` for all.
    pub namespace: Option<String>,
    /// How many resources are worked on at once.
    pub concurrency: u16,
    /// How many requests a minute each identity may send to Fabric.
    pub requests_per_minute: NonZeroU32,
}

/// What the controller works with.
pub struct Services {
    /// The Kubernetes API. Built-in retries must be off: a repeated write could meet itself.
    pub client: Client,
    /// Fabric.
    pub fabric: FabricClient,
    /// Entra.
    pub entra: EntraClient,
    /// The clock.
    pub clock: Clock,
    /// Whether this process acts, or stands by.
    pub leadership: Leadership,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` says.
    pub readiness: Readiness,
}

/// Why the controller ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The watch ended.
    #[error("the watch of FabricJobCancellations ended unexpectedly")]
    WatchEnded,
}

/// Everything that a visit needs.
struct Context {
    client: Client,
    fabric: FabricClient,
    gate: Gate,
    credentials: Credentials,
    store: Store,
    events: Events,
    known: Known,
    reach: Reach,
    clock: Clock,
    leadership: Leadership,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    cache: Cache<Watched>,
}

/// Watches and works until `shutdown`, then finishes what lies between request and record. While
/// another replica leads it only watches; when leadership begins, every resource is visited.
///
/// # Errors
/// [`RunError`] when it ends for another reason.
pub async fn run(
    settings: Settings,
    services: Services,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let Services {
        client,
        fabric,
        entra,
        clock,
        leadership,
        metrics,
        readiness,
    } = services;
    tokio::select! {
        () = wait_until_startable(&client, &clock, &readiness) => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    let api: Api<Watched> = match &settings.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let controller = Controller::new(api, watcher::Config::default().any_semantic())
        .with_config(ControllerConfig::default().concurrency(settings.concurrency))
        .trigger_backoff(Pauses::new(clock.clone()))
        .reconcile_all_on(leadership.beginnings())
        .graceful_shutdown_on(shutdown.clone().cancelled_owned());
    let cache = controller.store();
    let reach = Reach::default();
    let context = Arc::new(Context {
        credentials: Credentials::new(
            client.clone(),
            reach.clone(),
            entra,
            clock.clone(),
            metrics.clone(),
        ),
        store: Store::new(client.clone(), reach.clone(), metrics.clone()),
        reach,
        events: Events::new(client.clone()),
        client,
        fabric,
        gate: Gate::new(settings.requests_per_minute),
        known: Known::default(),
        clock,
        leadership,
        metrics,
        shutdown: shutdown.clone(),
        cache: cache.clone(),
    });
    let visits = controller
        .run(
            reconcile,
            |_, error, _| match *error {},
            Arc::clone(&context),
        )
        .for_each(|result| {
            match result {
                Ok(_) | Err(ControllerError::ObjectNotFound(_)) => {}
                Err(error) => watch_failed(&error, &readiness),
            }
            std::future::ready(())
        });
    let ready = async {
        if cache.wait_until_ready().await.is_ok() {
            tracing::info!("watching FabricJobCancellations");
            readiness.ready();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = visits => {}
        () = ready => unreachable!("it waits for ever"),
    }
    if !shutdown.is_cancelled() {
        return Err(RunError::WatchEnded);
    }
    visit::finish(&context).await;
    Ok(())
}

/// Until the first list has succeeded, what hinders it is what `/readyz` says.
fn watch_failed(error: &dyn std::error::Error, readiness: &Readiness) {
    if readiness.reason().is_some() {
        readiness.not_ready(format!(
            "the FabricJobCancellations cannot be read: {error}; if that is forbidden, bind the \
             ClusterRole fabric-job-operator to this operator's ServiceAccount"
        ));
    }
    tracing::warn!(%error, "the watch failed; it is tried again");
}

/// Waits until the API server answers and knows the custom resource as this binary does.
async fn wait_until_startable(client: &Client, clock: &Clock, readiness: &Readiness) {
    let mut said = String::new();
    loop {
        let problem = match schema::check(client).await {
            Ok(()) => match align(client, clock, true).await {
                Ok(()) => break,
                Err(error) => schema::SchemaProblem::Unreachable(error).to_string(),
            },
            Err(problem) => problem.to_string(),
        };
        if problem != said {
            tracing::error!("not ready: {problem}");
            said.clone_from(&problem);
        }
        readiness.not_ready(problem);
        pause(START_INTERVAL).await;
    }
    readiness.not_ready("reading the FabricJobCancellations");
}

#[expect(
    clippy::disallowed_methods,
    reason = "before the queue exists, and after it has ended, nothing else can wait"
)]
async fn pause(wait: Duration) {
    tokio::time::sleep(wait).await;
}

/// The spec of a resource whose spec cannot be read: only its metadata is used.
fn nothing() -> FabricJobCancellationSpec {
    FabricJobCancellationSpec::new("", "", "")
}

/// Compares this node's clock with the API server's.
async fn align(client: &Client, clock: &Clock, forward: bool) -> Result<(), CallError> {
    if let Some(read) = schema::date(client).await? {
        match clock.align(read.date, read.took, forward) {
            Alignment::Agrees => {}
            Alignment::Corrected(ahead) | Alignment::Behind(ahead) => tracing::warn!(
                seconds_ahead = ahead.as_secs(),
                "this node's clock differs from the API server's, which is followed; \
                 synchronise the node's clock (NTP)"
            ),
        }
    }
    Ok(())
}

impl Context {
    async fn compare_clocks(&self, forward: bool) -> Result<(), CallError> {
        align(&self.client, &self.clock, forward).await
    }

    fn action(&self, at: Option<Timestamp>) -> (Action, ReconcileResult) {
        match at {
            Some(at) => (
                Action::requeue(self.clock.until(at).max(SHORTEST_PAUSE)),
                ReconcileResult::RequeueAfter,
            ),
            None => (Action::await_change(), ReconcileResult::Success),
        }
    }
}

async fn work(
    ctx: Arc<Context>,
    resource: Arc<FabricJobCancellation>,
    problem: Option<String>,
) -> Result<Option<Timestamp>, VisitError> {
    match problem {
        None => visit::visit(&ctx, resource).await,
        Some(problem) => visit::invalid(&ctx, &resource, &problem).await,
    }
}

/// The same number for the same object, another for another.
fn seed_of(resource: &FabricJobCancellation) -> u64 {
    let uid = resource.uid().unwrap_or_default();
    uuid::Uuid::parse_str(&uid).map_or(0, |uid| uid.as_u64_pair().1)
}

/// One visit, with whatever goes wrong kept to this one object.
async fn reconcile(
    watched: Arc<Watched>,
    ctx: Arc<Context>,
) -> Result<Action, std::convert::Infallible> {
    if !ctx.leadership.holds(&ctx.clock) {
        return Ok(if ctx.leadership.stands_by() {
            // All are visited when leadership begins.
            Action::await_change()
        } else {
            Action::requeue(ctx.clock.really(LAST_MOMENTS))
        });
    }
    let _running = ctx.metrics.reconcile_started();
    let existing = ctx.cache.len();
    ctx.known.prune(existing, || {
        let uids = ctx.cache.state().into_iter().filter_map(|o| o.uid());
        uids.collect::<HashSet<_>>()
    });
    let resource = match &watched.0 {
        Ok(resource) => Arc::new(resource.clone()),
        Err(invalid) => {
            let mut shown = FabricJobCancellation::new("", nothing());
            shown.metadata = invalid.metadata.clone();
            Arc::new(shown)
        }
    };
    let now = ctx.clock.now();
    let held = || ctx.reach.held(seed_of(&resource), now);
    if let Some(at) = ctx.known.left_alone(&*resource, now).or_else(held) {
        let (action, result) = ctx.action(Some(at));
        ctx.metrics.reconciled(result);
        return Ok(action);
    }
    let problem = watched
        .0
        .as_ref()
        .err()
        .map(|invalid| invalid.error.clone());
    let work = work(Arc::clone(&ctx), Arc::clone(&resource), problem).boxed();
    let failure = match guard(work, LONGEST_VISIT, &ctx.shutdown).await {
        Fate::Done(Ok(at)) => {
            ctx.known.succeeded(&*resource);
            let (action, result) = ctx.action(at);
            ctx.metrics.reconciled(result);
            return Ok(action);
        }
        Fate::Done(Err(error)) => error.to_string(),
        Fate::Panicked => {
            ctx.metrics.reconcile_panicked();
            "panicked; this is a bug, please report it with the lines above".to_owned()
        }
        Fate::Stuck => {
            ctx.metrics.reconcile_timed_out();
            format!(
                "did not end within {} s; this is a bug, please report it with the lines above",
                LONGEST_VISIT.as_secs()
            )
        }
    };
    tracing::warn!(
        namespace = resource.namespace().unwrap_or_default(),
        name = resource.name_any(),
        failure,
        "trying again"
    );
    ctx.metrics.reconciled(ReconcileResult::Error);
    let at = ctx.known.failed(&*resource, ctx.clock.now());
    Ok(ctx.action(Some(at)).0)
}
