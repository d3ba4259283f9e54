//! What a visit writes: the intent, what was learned, and the deletion after the TTL.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::FabricJobCancellation;
use crate::cancellation::{Cancellation, Facts, later};

use super::super::store::Written;
use super::super::{pause, status};
use super::{Visit, VisitError};

/// After a conflict the watch normally brings the newer edition; after this it is read.
const READ_LIVE_AFTER: Duration = Duration::from_secs(5);

/// How often a fact is written again on top of somebody else's edit within one visit.
const MAX_TRIES: u32 = 5;

/// While shutting down, a record that the API server did not take is tried again once a second,
/// until the grace of the process ends.
const RECORD_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Visit<'_> {
    /// Writes the intent on top of exactly the edition that was judged. False: it is not stored,
    /// so nothing may be sent.
    pub(super) async fn store_intent(&mut self, intent: &Facts) -> Result<bool, VisitError> {
        let now = self.ctx.clock.now();
        let written = self.ctx.store.write(&self.resource, intent, now).await;
        match written.map_err(VisitError::Write)? {
            Written::Stored(stored) => {
                let facts = status::facts(&stored);
                let shown = facts.attempts == intent.attempts
                    && facts.request_time == intent.request_time
                    && facts.identity == intent.identity;
                let (Ok(wish), true) = (status::wish_or_end(&stored), shown) else {
                    return Err(VisitError::IntentNotStored);
                };
                self.resource = stored;
                self.core = self.core.clone().intent_stored(wish, facts);
                Ok(true)
            }
            Written::Conflict => {
                self.read_live_at = Some(later(now, READ_LIVE_AFTER));
                Ok(false)
            }
            Written::Gone => {
                self.gone = true;
                Ok(false)
            }
        }
    }

    /// Writes what is worth a write. On a conflict the fact is kept, the resource is read, and
    /// the fact is written again: somebody edited a label, or the cache was behind.
    pub(super) async fn write_what_is_due(&mut self) -> Result<(), VisitError> {
        let mut conflicts = 0;
        while conflicts < MAX_TRIES {
            let now = self.ctx.clock.now();
            let Some(facts) = self.due_write(now) else {
                return Ok(());
            };
            let written = match self.ctx.store.write(&self.resource, &facts, now).await {
                // No later visit will come: what lies between request and record is finished.
                // Whatever the error: an API server that starts even says "forbidden".
                Err(error) if self.is_owed(&facts) => {
                    let failure = VisitError::Write(error).to_string();
                    self.log_failure(&failure, "ending as soon as the record is stored");
                    pause(RECORD_AGAIN_AFTER).await;
                    continue;
                }
                written => written.map_err(VisitError::Write)?,
            };
            match written {
                Written::Stored(stored) => {
                    let before = self.core.stored().clone();
                    self.accept(stored, now);
                    self.announce(&before, &facts).await;
                    return Ok(());
                }
                Written::Conflict => {
                    conflicts += 1;
                    let live = self.ctx.store.read(&self.resource).await;
                    let Some(live) = live.map_err(VisitError::Read)? else {
                        self.gone = true;
                        return Ok(());
                    };
                    self.resource = live;
                    let Ok(wish) = status::wish_or_end(&self.resource) else {
                        return Ok(());
                    };
                    let facts = status::facts(&self.resource);
                    self.core = self.core.clone().refresh(wish, facts, now);
                }
                Written::Gone => {
                    self.gone = true;
                    return Ok(());
                }
            }
        }
        Err(VisitError::Conflicts)
    }

    /// What is due. No step comes after the shutdown has begun, so what a request brought to
    /// light is not left to the next step's write.
    fn due_write(&self, now: Timestamp) -> Option<Facts> {
        let due = self.core.due_write(now);
        if due.is_some() || !self.ctx.shutdown.is_cancelled() {
            return due;
        }
        let last = self.core.due_last_write(now);
        last.filter(|facts| self.is_owed(facts))
    }

    /// Whether the process must not end before these facts are stored: what became of a request
    /// that was sent. Anything else the next start finds out by itself.
    fn is_owed(&self, facts: &Facts) -> bool {
        let outcome = |facts: &Facts| {
            let conditions = facts.conditions.as_ref()?;
            Some((conditions.accepted.reason, conditions.cancelled.reason))
        };
        self.ctx.shutdown.is_cancelled()
            && facts.attempts > 0
            && outcome(facts) != outcome(self.core.stored())
    }

    /// Stores the record that an earlier visit failed to store: no later visit will come.
    pub(super) async fn finish(&mut self) {
        let due = self.due_write(self.ctx.clock.now());
        if due.is_some_and(|facts| self.is_owed(&facts))
            && let Err(failure) = self.write_what_is_due().await
        {
            self.log_failure(
                &failure.to_string(),
                "the next start looks at the job again",
            );
        }
    }

    fn log_failure(&self, failure: &str, then: &'static str) {
        tracing::warn!(
            namespace = self.resource.namespace().unwrap_or_default(),
            name = self.resource.name_any(),
            failure,
            then
        );
    }

    fn accept(&mut self, stored: Arc<FabricJobCancellation>, now: Timestamp) {
        let facts = status::facts(&stored);
        self.core = match status::wish_or_end(&stored) {
            Ok(wish) if facts.attempts == self.core.current().attempts => {
                self.core.clone().written(wish, facts)
            }
            Ok(wish) => self.core.clone().refresh(wish, facts, now),
            Err(_) => self.core.clone(),
        };
        self.resource = stored;
    }

    async fn announce(&self, before: &Facts, after: &Facts) {
        if before.accepted_time.is_none() && after.accepted_time.is_some() {
            self.log("Fabric accepted the cancel request");
        }
        if before.completion_time.is_none() && after.completion_time.is_some() {
            let reason = after
                .conditions
                .as_ref()
                .map_or("", |conditions| conditions.ready.reason.as_str());
            self.ctx.metrics.cancellation_ended(reason);
            self.log("ended");
        } else if let Some(conditions) = &after.conditions
            && before.conditions.as_ref().map(|c| c.ready.reason) != Some(conditions.ready.reason)
        {
            self.log("status changed");
        }
        self.ctx.events.publish(&self.resource, before, after).await;
    }

    /// Deletes a finished resource whose time is up, after one more look at it: the author may
    /// have changed the time.
    pub(super) async fn delete_when_expired(&mut self) -> Result<(), VisitError> {
        let now = self.ctx.clock.now();
        let due = |core: &Cancellation| core.expires_at().is_some_and(|at| at <= now);
        if self.core.wish().deleting || !due(&self.core) {
            return Ok(());
        }
        let live = self.ctx.store.read(&self.resource).await;
        let Some(live) = live.map_err(VisitError::Read)? else {
            self.gone = true;
            return Ok(());
        };
        self.resource = live;
        if let Ok(wish) = status::wish_or_end(&self.resource) {
            let facts = status::facts(&self.resource);
            self.core = self.core.clone().refresh(wish, facts, now);
        }
        if self.core.wish().deleting || !due(&self.core) {
            return Ok(());
        }
        let deleted = self.ctx.store.delete(&self.resource).await;
        if deleted.map_err(VisitError::Delete)? {
            self.gone = true;
            self.log("deleted after `spec.ttlSecondsAfterFinished`");
        }
        Ok(())
    }
}
