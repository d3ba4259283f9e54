//! What a visit asks of Fabric: the cancel request with its intent, and the look.

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};

use crate::cancellation::{Observation, Refusal, Source, Step, later, policy::INTENT_LICENCE};
use crate::telemetry::metrics::{FabricOutcome, Operation};

use super::super::credentials::Acting;
use super::{Visit, VisitError};

impl Visit<'_> {
    /// Identity, token, gate, intent, request; the record follows with the write that is due.
    pub(super) async fn request(&mut self) -> Result<(), VisitError> {
        let ctx = self.ctx;
        let Some(acting) = self.acting().await else {
            return Ok(());
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
        if !ctx.leadership.holds(&ctx.clock) {
            return Ok(());
        }
        let intent = self.core.intent(acting.identity.clone(), now);
        if !self.store_intent(&intent).await? {
            return Ok(());
        }
        let wish = self.core.wish();
        let wanted = !wish.deleting && !wish.suspend;
        let licence = later(now, INTENT_LICENCE);
        // Before the fence, because a log can block.
        self.log("asking Fabric to cancel the job");
        if !wanted || !self.fence(licence) {
            self.core = self.core.clone().not_sent();
            self.log("nothing was sent: it is not wanted, or not this process's to do, any more");
            return Ok(());
        }
        let (answer, at) = self.send(&acting, licence).await;
        pass.report(&answer, at);
        self.record(answer);
        // How it ended is often known at once: one write then says both.
        if self.core.is_already_completed() && self.core.next_step(ctx.clock.now()) == Step::Look {
            self.look().await;
        }
        Ok(())
    }

    /// Sends the request of a stored intent. A 401 is met once with a fresh token, under the
    /// same intent, while its licence lasts and nobody was seen to change his mind.
    async fn send(&self, acting: &Acting, licence: Timestamp) -> (Observation, Timestamp) {
        let answer = self.call(Operation::Cancel, acting).await;
        if !is_unauthorized(&answer.0) || !self.ctx.credentials.rejected(&self.resource, acting) {
            return answer;
        }
        match self.ctx.credentials.acting(&self.resource).await {
            Ok(fresh)
                if fresh.identity == acting.identity
                    && self.is_still_wanted()
                    && self.fence(licence) =>
            {
                self.call(Operation::Cancel, &fresh).await
            }
            _ => answer,
        }
    }

    /// Asks how the job stands, unless the shutdown begins first: nothing would be lost by that.
    pub(super) async fn look(&mut self) {
        let shutdown = self.ctx.shutdown.clone();
        let seen = tokio::select! {
            seen = self.seen() => seen,
            () = shutdown.cancelled() => return,
        };
        match seen {
            Ok((acting, answer)) => {
                self.core = self.core.clone().looked_at_by(acting.identity);
                self.record(answer);
            }
            Err(problem) => self.record(*problem),
        }
    }

    async fn seen(&self) -> Result<(Acting, Observation), Box<Observation>> {
        let ctx = self.ctx;
        let acting = ctx.credentials.acting(&self.resource).await?;
        let seed = self.core.wish().job.job_instance_id;
        let pass = ctx
            .gate
            .enter(&acting.gate_key(), ctx.clock.now(), seed)
            .map_err(|held| Observation::Held { until: held.until })?;
        let (answer, at) = self.call(Operation::Get, &acting).await;
        if !is_unauthorized(&answer) || !ctx.credentials.rejected(&self.resource, &acting) {
            pass.report(&answer, at);
            return Ok((acting, answer));
        }
        let fresh = ctx.credentials.acting(&self.resource).await?;
        let (answer, at) = self.call(Operation::Get, &fresh).await;
        pass.report(&answer, at);
        Ok((fresh, answer))
    }

    /// The identity that acts, with its token; records what stands in the way. `None` too when
    /// the shutdown begins first: no intent may follow.
    async fn acting(&mut self) -> Option<Acting> {
        let ctx = self.ctx;
        let acting = tokio::select! {
            acting = ctx.credentials.acting(&self.resource) => acting,
            () = ctx.shutdown.cancelled() => return None,
        };
        match acting {
            Ok(acting) => Some(acting),
            Err(problem) => {
                self.record(*problem);
                None
            }
        }
    }

    /// Whether the request of a stored intent may be written now: the intent is fresh, nobody
    /// else will act while it is on its way, and no shutdown has begun. Asked directly before.
    fn fence(&self, licence: Timestamp) -> bool {
        let ctx = self.ctx;
        ctx.clock.now() <= licence
            && !ctx.shutdown.is_cancelled()
            && ctx.leadership.holds(&ctx.clock)
    }

    /// Whether nothing that the watch has shown since speaks against a send.
    fn is_still_wanted(&self) -> bool {
        let name = self.resource.name_any();
        let namespace = self.resource.namespace().unwrap_or_default();
        let shown = self
            .ctx
            .cache
            .get(&ObjectRef::new(&name).within(&namespace));
        shown.is_some_and(|shown| {
            let suspended = shown.0.as_ref().is_ok_and(|resource| resource.spec.suspend);
            shown.uid() == self.resource.uid()
                && shown.meta().deletion_timestamp.is_none()
                && !suspended
        })
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

    pub(super) fn record(&mut self, seen: Observation) {
        let now = self.ctx.clock.now();
        self.core = self.core.clone().record(seen, now);
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
