//! One visit to one resource: at most one step, then at most one write.

mod calls;
mod write;

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::FabricJobCancellation;
use crate::cancellation::{Cancellation, Facts, Observation, Reason, Step};

use super::Context;
use super::known::{Entry, Newer, is_worth_keeping, newer};
use super::kubernetes::CallError;
use super::status;

/// Our own work failed. What Fabric says never comes here.
#[derive(Debug, thiserror::Error)]
pub(super) enum VisitError {
    #[error("failed to read the resource: {0}")]
    Read(#[source] CallError),
    #[error("failed to write the status: {0}")]
    Write(#[source] CallError),
    #[error("failed to compare the clock with the API server's: {0}")]
    Clock(#[source] CallError),
    #[error("failed to end a resource whose spec cannot be used: {0}")]
    Invalid(#[source] CallError),
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
    /// The object is gone; of it only an end is kept.
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
    let known = ctx.known.take(&uid);
    let newest = match newest(ctx, &cached, known.as_ref()).await {
        Ok(Some(newest)) => newest,
        Ok(None) => return Ok(None),
        Err(error) => {
            known.into_iter().for_each(|entry| ctx.known.keep(entry));
            return Err(error);
        }
    };
    let now = ctx.clock.now();
    let wish = match status::wish_or_end(&newest) {
        Ok(wish) => wish,
        Err(problem) => return invalid(ctx, &newest, &problem.to_string()).await,
    };
    let facts = status::facts(&newest);
    let core = match known {
        Some(known) => known.core.refresh(wish, facts, now),
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
    let over = visit.core.stored().completion_time.is_some();
    let caught_up = newer(&cached, &visit.resource) == Newer::Cached;
    let wake = if visit.gone { None } else { visit.wake_at() };
    if is_worth_keeping(over, visit.gone, caught_up && result.is_ok()) {
        ctx.known.keep(Entry {
            resource: visit.resource,
            core: visit.core,
            read_live_at: visit.read_live_at,
        });
    }
    result.map(|()| wake)
}

/// Stores what earlier visits learned of requests and failed to store, after the last visit.
pub(super) async fn finish(ctx: &Context) {
    let left = ctx.known.drain().into_iter().map(|entry| Visit {
        ctx,
        resource: entry.resource,
        core: entry.core,
        gone: false,
        read_live_at: None,
    });
    let finishing = left.map(|mut visit| async move { visit.finish().await });
    futures::future::join_all(finishing).await;
}

/// The newest edition: the cached one, our own last answer, or a live read where neither can be
/// trusted. `None` when the object no longer exists.
async fn newest(
    ctx: &Context,
    cached: &Arc<FabricJobCancellation>,
    known: Option<&Entry>,
) -> Result<Option<Arc<FabricJobCancellation>>, VisitError> {
    let Some(known) = known else {
        return Ok(Some(Arc::clone(cached)));
    };
    let ours = &known.resource;
    let newest = match newer(cached, ours) {
        Newer::Cached => Arc::clone(cached),
        Newer::Ours => Arc::clone(ours),
        Newer::Unclear => return ctx.store.read(cached).await.map_err(VisitError::Read),
    };
    let overtaken = newest.resource_version() == ours.resource_version();
    if overtaken && known.read_live_at.is_some_and(|at| ctx.clock.now() >= at) {
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
    let ended = ctx
        .store
        .end_as_invalid(&namespace, &name, &uid, problem, ctx.clock.now())
        .await
        .map_err(VisitError::Invalid)?;
    if let Some(facts) = ended {
        ctx.metrics.cancellation_ended(Reason::InvalidSpec.as_str());
        tracing::warn!(%namespace, %name, problem, "the spec cannot be used; waiting for a corrected resource");
        ctx.events
            .publish(resource, &Facts::default(), &facts)
            .await;
    }
    Ok(None)
}

impl Visit<'_> {
    async fn run(&mut self) -> Result<(), VisitError> {
        let now = self.ctx.clock.now();
        let leads = self.ctx.leadership.holds(&self.ctx.clock);
        let going_on = leads && !self.ctx.shutdown.is_cancelled();
        match self.core.next_step(now) {
            Step::Request if going_on => self.request().await?,
            Step::Look if going_on => self.look().await,
            Step::GiveUp if leads => self.give_up().await?,
            Step::Finished if leads => self.delete_when_expired().await?,
            Step::Request | Step::Look | Step::GiveUp | Step::Finished | Step::Wait { .. } => {}
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

    /// The verdict that the deadline passed rests on a stored time, so the clock is compared
    /// with the API server's first.
    async fn give_up(&mut self) -> Result<(), VisitError> {
        self.ctx
            .compare_clocks(false)
            .await
            .map_err(VisitError::Clock)?;
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
            "{what}"
        );
    }
}
