//! What a visit asks of Fabric: the cancel request with its intent, and the look.

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use uuid::Uuid;

use crate::cancellation::{
    Hold, Observation, Refusal, Source, Step, later, policy::INTENT_LICENCE,
};
use crate::fabric::{Caller, Held, Pass, Rank};
use crate::telemetry::metrics::{FabricOutcome, HeldBy, Operation};

use super::super::credentials::Acting;
use super::{Visit, VisitError};

impl Visit<'_> {
    /// Identity, token, gate, intent, request; the record follows with the write that is due.
    pub(super) async fn request(&mut self) -> Result<(), VisitError> {
        let ctx = self.ctx;
        let Some(acting) = self.acting().await else {
            return Ok(());
        };
        let now = ctx.clock.now();
        let pass = match self.enter(&acting, Rank::Cancel) {
            Ok(pass) => pass,
            Err(held) => {
                self.record(*held);
                return Ok(());
            }
        };
        if !ctx.leadership.holds(&ctx.clock) {
            pass.not_sent(now);
            return Ok(());
        }
        let intent = self.core.intent(acting.identity.clone(), now);
        match self.store_intent(&intent).await {
            Ok(true) => {}
            not_stored => {
                pass.not_sent(ctx.clock.now());
                return not_stored.map(|_| ());
            }
        }
        if let Some(until) = pass.closed_until(ctx.clock.now()) {
            // Somebody else was told to wait while the intent was written.
            pass.not_sent(ctx.clock.now());
            let by = Hold::Fabric;
            self.record(Observation::Held { until, by });
            return Ok(());
        }
        let wish = self.core.wish();
        let wanted = !wish.deleting && !wish.suspend;
        let licence = later(now, INTENT_LICENCE);
        // Before the fence, because a log can block.
        self.log("asking Fabric to cancel the job");
        if !wanted || !self.fence(licence) {
            pass.not_sent(ctx.clock.now());
            self.core = self.core.clone().not_sent();
            self.log("nothing was sent: it is not wanted, or not this process's to do, any more");
            return Ok(());
        }
        let answer = self.send(&acting, licence, pass).await;
        self.record(answer);
        // How it ended is often known at once: one write then says both.
        if self.core.is_already_completed() && self.core.next_step(ctx.clock.now()) == Step::Look {
            self.look().await;
        }
        Ok(())
    }

    /// Sends the request of a stored intent. A 401 is met once with a fresh token, under the
    /// same intent, while its licence lasts and nobody was seen to change his mind.
    async fn send(&self, acting: &Acting, licence: Timestamp, pass: Pass) -> Observation {
        let ctx = self.ctx;
        let answer = self.call(Operation::Cancel, acting, pass).await;
        if !is_unauthorized(&answer) || !ctx.credentials.rejected(&self.resource, acting) {
            return answer;
        }
        let fresh = match ctx.credentials.acting(&self.resource).await {
            Ok(fresh) if fresh.identity == acting.identity => fresh,
            _ => return answer,
        };
        let pass = match self.enter(&fresh, Rank::Again) {
            Ok(pass) => pass,
            // The 401 did nothing, and the next attempt has the fresh token.
            Err(held) => return *held,
        };
        if !self.is_still_wanted() || !self.fence(licence) {
            pass.not_sent(ctx.clock.now());
            return answer;
        }
        self.call(Operation::Cancel, &fresh, pass).await
    }

    /// Asks the identity's gate for one request: each one takes a slot of the quota.
    fn enter(&self, acting: &Acting, rank: Rank) -> Result<Pass, Box<Observation>> {
        let ctx = self.ctx;
        let namespace = self.resource.namespace().unwrap_or_default();
        let uid = self.resource.uid().unwrap_or_default();
        let caller = Caller {
            // A uid is a UUID wherever Kubernetes made it.
            id: Uuid::parse_str(&uid).unwrap_or(self.core.wish().job.job_instance_id),
            namespace: &namespace,
            rank,
        };
        let entered = ctx.gate.enter(&acting.gate_key(), &caller, ctx.clock.now());
        entered.map_err(|Held { until, by }| {
            ctx.metrics.request_held(match by {
                Hold::Fabric => HeldBy::Throttled,
                Hold::OwnQuota => HeldBy::Queued,
            });
            Box::new(Observation::Held { until, by })
        })
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
        let pass = self.enter(&acting, Rank::Look)?;
        let answer = self.call(Operation::Get, &acting, pass).await;
        if !is_unauthorized(&answer) || !ctx.credentials.rejected(&self.resource, &acting) {
            return Ok((acting, answer));
        }
        let fresh = ctx.credentials.acting(&self.resource).await?;
        let pass = self.enter(&fresh, Rank::Again)?;
        let answer = self.call(Operation::Get, &fresh, pass).await;
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

    async fn call(&self, operation: Operation, acting: &Acting, pass: Pass) -> Observation {
        let ctx = self.ctx;
        let job = self.core.wish().job;
        let started = ctx.clock.now();
        let answer = match operation {
            Operation::Cancel => ctx.fabric.cancel(&job, &acting.token, started).await,
            Operation::Get => ctx.fabric.look(&job, &acting.token, started).await,
        };
        let ended = ctx.clock.now();
        pass.report(&answer, ended);
        let took = ended.duration_since(started).unsigned_abs();
        ctx.metrics.fabric_called(operation, outcome(&answer), took);
        answer
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
