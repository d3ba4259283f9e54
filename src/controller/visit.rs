//! One visit to one resource: at most one step, then at most one write.

mod write;

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::FabricJobCancellation;
use crate::cancellation::{
    Cancellation, Observation, Refusal, Source, Step, later, policy::INTENT_LICENCE,
};
use crate::telemetry::metrics::{FabricOutcome, Operation};

use super::Context;
use super::credentials::Acting;
use super::known::{Entry, Newer, newer};
use super::kubernetes::CallError;
use super::status;

/// Our own work failed. What Fabric says never comes here.
#[derive(Debug, thiserror::Error)]
pub(super) enum VisitError {
    #[error("failed to read the resource: {0}")]
    Read(#[source] CallError),
    #[error("failed to write the status: {0}")]
    Write(#[source] CallError),
    #[error("failed to delete the finished resource: {0}")]
    Delete(#[source] CallError),
    #[error(
        "the API server did not store the intent as sent, so no request was made; update the \
         CustomResourceDefinition: fabric-job-operator crd | kubectl apply --server-side -f -"
    )]
    IntentNotStored,
    #[error("somebody else keeps changing the resource; its status could not be written")]
    Conflicts,
}

/// One resource in the course of one visit.
struct Visit<'a> {
    ctx: &'a Context,
    resource: Arc<FabricJobCancellation>,
    core: Cancellation,
    /// The object is gone; nothing is to be kept of it.
    gone: bool,
    read_live_at: Option<Timestamp>,
}

/// Visits a resource that the watch or the clock brought up. Says when to come again; `None`
/// for when something changes.
pub(super) async fn visit(
    ctx: &Context,
    cached: Arc<FabricJobCancellation>,
) -> Result<Option<Timestamp>, VisitError> {
    let Some(uid) = cached.uid() else {
        return Ok(None);
    };
    let entry = ctx.known.take(&uid);
    let core = entry.as_ref().and_then(|entry| entry.core.clone());
    let read_live_at = entry.as_ref().and_then(|entry| entry.read_live_at);
    let ours = entry.map(|entry| entry.resource);
    let newest = match newest(ctx, &cached, ours.clone(), read_live_at).await {
        Ok(Some(newest)) => newest,
        Ok(None) => return Ok(None),
        Err(error) => {
            ctx.known.keep(Entry {
                resource: ours.unwrap_or(cached),
                core,
                read_live_at,
            });
            return Err(error);
        }
    };
    let now = ctx.clock.now();
    let wish = match status::wish(&newest) {
        Ok(wish) => wish,
        Err(problem) => return invalid(ctx, &newest, &problem.to_string()).await,
    };
    let facts = status::facts(&newest);
    let core = match core {
        Some(core) => core.refresh(wish, facts, now),
        None => Cancellation::new(wish, facts, now),
    };
    let mut visit = Visit {
        ctx,
        resource: newest,
        core,
        gone: false,
        read_live_at: None,
    };
    let result = visit.run().await;
    if visit.gone {
        return Ok(None);
    }
    let over = visit.core.stored().completion_time.is_some();
    let caught_up = newer(&cached, &visit.resource) == Newer::Cached;
    let wake = visit.wake_at();
    // An ended resource needs no memory once the cache shows the end; before that, the memory
    // is what keeps a stale cache from starting over.
    if !(over && caught_up && result.is_ok()) {
        ctx.known.keep(Entry {
            resource: visit.resource,
            core: Some(visit.core),
            read_live_at: visit.read_live_at,
        });
    }
    result.map(|()| wake)
}

/// Stores what earlier visits learned of requests and failed to store, after the last visit.
pub(super) async fn finish(ctx: &Context) {
    let left = ctx.known.drain().into_iter().filter_map(|entry| {
        Some(Visit {
            ctx,
            resource: entry.resource,
            core: entry.core?,
            gone: false,
            read_live_at: None,
        })
    });
    let finishing = left.map(|mut visit| async move { visit.finish().await });
    futures::future::join_all(finishing).await;
}

/// The newest edition: the cached one, our own last answer, or a live read where neither can be
/// trusted. `None` when the object no longer exists.
async fn newest(
    ctx: &Context,
    cached: &Arc<FabricJobCancellation>,
    ours: Option<Arc<FabricJobCancellation>>,
    read_live_at: Option<Timestamp>,
) -> Result<Option<Arc<FabricJobCancellation>>, VisitError> {
    let Some(ours) = ours else {
        return Ok(Some(Arc::clone(cached)));
    };
    let newest = match newer(cached, &ours) {
        Newer::Cached => Arc::clone(cached),
        Newer::Ours => Arc::clone(&ours),
        Newer::Unclear => return ctx.store.read(cached).await.map_err(VisitError::Read),
    };
    let overtaken = newest.resource_version() == ours.resource_version();
    if overtaken && read_live_at.is_some_and(|at| ctx.clock.now() >= at) {
        return ctx.store.read(&newest).await.map_err(VisitError::Read);
    }
    Ok(Some(newest))
}

/// A resource that cannot be acted on waits for its author, alone.
pub(super) async fn invalid(
    ctx: &Context,
    resource: &FabricJobCancellation,
    problem: &str,
) -> Result<Option<Timestamp>, VisitError> {
    let (namespace, name) = (
        resource.namespace().unwrap_or_default(),
        resource.name_any(),
    );
    let uid = resource.uid().unwrap_or_default();
    let written = ctx
        .store
        .end_as_invalid(&namespace, &name, &uid, problem, ctx.clock.now())
        .await
        .map_err(VisitError::Write)?;
    if written {
        ctx.metrics.cancellation_ended("InvalidSpec");
        tracing::warn!(%namespace, %name, problem, "the spec cannot be used; waiting for a corrected resource");
    }
    Ok(None)
}

impl Visit<'_> {
    async fn run(&mut self) -> Result<(), VisitError> {
        let now = self.ctx.clock.now();
        let going_on = !self.ctx.shutdown.is_cancelled();
        match self.core.next_step(now) {
            Step::Request if going_on => {
                self.request().await?;
                // How it ended is often known at once: one write then says both.
                let next = self.core.next_step(self.ctx.clock.now());
                if self.core.is_already_completed() && next == Step::Look {
                    self.look().await;
                }
            }
            Step::Look if going_on => self.look().await,
            Step::GiveUp => self.give_up().await?,
            Step::Request | Step::Look | Step::Wait { .. } => {}
            Step::Finished => self.delete_when_expired().await?,
        }
        if self.gone {
            return Ok(());
        }
        self.write_what_is_due().await
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let now = self.ctx.clock.now();
        let wake = self.core.wake_at(now);
        match self.read_live_at {
            Some(at) => Some(wake.map_or(at, |wake| wake.max(at))),
            None => wake,
        }
    }

    /// Identity, token, gate, intent, request; the record follows with the write that is due.
    async fn request(&mut self) -> Result<(), VisitError> {
        let ctx = self.ctx;
        let acting = match ctx.credentials.acting(&self.resource).await {
            Ok(acting) => acting,
            Err(problem) => {
                self.record(*problem);
                return Ok(());
            }
        };
        let job = self.core.wish().job;
        let now = ctx.clock.now();
        let pass = match ctx.gate.enter(&acting.gate_key(), now, job.job_instance_id) {
            Ok(pass) => pass,
            Err(held) => {
                self.record(Observation::Held { until: held.until });
                return Ok(());
            }
        };
        let intent = self.core.intent(acting.identity.clone(), now);
        if !self.store_intent(&intent).await? {
            return Ok(());
        }
        let wish = self.core.wish();
        let wanted = !wish.deleting && !wish.suspend;
        let licence = later(now, INTENT_LICENCE);
        if !wanted || ctx.clock.now() > licence || ctx.shutdown.is_cancelled() {
            self.core = self.core.clone().not_sent();
            return Ok(());
        }
        self.log("asking Fabric to cancel the job");
        let (answer, at) = self.send(&acting, licence).await;
        pass.report(&answer, at);
        self.record(answer);
        Ok(())
    }

    /// Sends the request of a stored intent. A 401 is met once with a fresh token, under the
    /// same intent, while its licence lasts.
    async fn send(&self, acting: &Acting, licence: Timestamp) -> (Observation, Timestamp) {
        let answer = self.call(Operation::Cancel, acting).await;
        if !is_unauthorized(&answer.0) {
            return answer;
        }
        self.ctx.credentials.rejected(acting);
        match self.ctx.credentials.acting(&self.resource).await {
            Ok(fresh) if fresh.identity == acting.identity && self.ctx.clock.now() <= licence => {
                self.call(Operation::Cancel, &fresh).await
            }
            _ => answer,
        }
    }

    async fn look(&mut self) {
        let ctx = self.ctx;
        let acting = match ctx.credentials.acting(&self.resource).await {
            Ok(acting) => acting,
            Err(problem) => return self.record(*problem),
        };
        let seed = self.core.wish().job.job_instance_id;
        let pass = match ctx.gate.enter(&acting.gate_key(), ctx.clock.now(), seed) {
            Ok(pass) => pass,
            Err(held) => return self.record(Observation::Held { until: held.until }),
        };
        self.core = self.core.clone().looked_at_by(acting.identity.clone());
        let (mut answer, mut at) = self.call(Operation::Get, &acting).await;
        if is_unauthorized(&answer) {
            ctx.credentials.rejected(&acting);
            match ctx.credentials.acting(&self.resource).await {
                Ok(fresh) => (answer, at) = self.call(Operation::Get, &fresh).await,
                Err(problem) => answer = *problem,
            }
        }
        pass.report(&answer, at);
        self.record(answer);
    }

    async fn call(&self, operation: Operation, acting: &Acting) -> (Observation, Timestamp) {
        let ctx = self.ctx;
        let job = self.core.wish().job;
        let started = ctx.clock.now();
        let answer = match operation {
            Operation::Cancel => ctx.fabric.cancel(&job, &acting.token, started).await,
            Operation::Get => ctx.fabric.look(&job, &acting.token, started).await,
        };
        let ended = ctx.clock.now();
        let took = ended.duration_since(started).unsigned_abs();
        ctx.metrics.fabric_called(operation, outcome(&answer), took);
        (answer, ended)
    }

    fn record(&mut self, seen: Observation) {
        let now = self.ctx.clock.now();
        self.core = self.core.clone().record(seen, now);
    }

    /// The verdict that the deadline passed rests on a stored time, so the clock is compared
    /// with the API server's first.
    async fn give_up(&mut self) -> Result<(), VisitError> {
        self.ctx
            .compare_clocks(false)
            .await
            .map_err(VisitError::Read)?;
        if self.core.next_step(self.ctx.clock.now()) == Step::GiveUp {
            self.record(Observation::DeadlinePassed);
        }
        Ok(())
    }

    fn log(&self, what: &'static str) {
        let current = self.core.current();
        let ready = current.conditions.as_ref().map(|c| &c.ready);
        tracing::info!(
            namespace = self.resource.namespace().unwrap_or_default(),
            name = self.resource.name_any(),
            job_instance_id = %self.core.wish().job.job_instance_id,
            attempt = current.attempts,
            reason = ready.map_or("", |ready| ready.reason.as_str()),
            job_status = current.job.as_ref().map_or("", |job| job.status.as_str()),
            fabric_request_id = current.request_id.as_deref().unwrap_or(""),
            comment = self.resource.spec.comment.as_deref().unwrap_or(""),
            what
        );
    }
}

fn is_unauthorized(answer: &Observation) -> bool {
    matches!(
        answer,
        Observation::Refused {
            refusal: Refusal::AuthenticationFailed,
            ..
        }
    )
}

fn outcome(answer: &Observation) -> FabricOutcome {
    match answer {
        Observation::Accepted { .. } => FabricOutcome::Accepted,
        Observation::AlreadyCompleted { .. } => FabricOutcome::AlreadyCompleted,
        Observation::JobSeen { .. } => FabricOutcome::Seen,
        Observation::Throttled { .. } => FabricOutcome::Throttled,
        Observation::Refused { .. } => FabricOutcome::Refused,
        Observation::Unknown { .. }
        | Observation::Inconclusive {
            from: Source::Fabric | Source::Entra | Source::Kubernetes,
            ..
        }
        | Observation::Held { .. }
        | Observation::DeadlinePassed => FabricOutcome::Unknown,
    }
}
