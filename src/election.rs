//! Which of several replicas acts: the Lease.
//!
//! [`Candidate`] is one replica's part as a pure state machine with client-go's rules; [`run`]
//! is the thin loop that carries out its steps on the Kubernetes API.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use kube::Client;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::telemetry::{Metrics, Readiness};

mod candidate;
mod lease;
mod record;

pub use candidate::{Answer, Candidate, Lost, Step};
pub use record::{Record, Terms};

use lease::Seat;

/// Where the Lease is, and who asks for it.
pub struct Settings {
    /// The namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who this process is, for ever and alone: see [`identity`].
    pub identity: String,
    /// How many times faster than real this process lives: 1 outside of tests.
    pub factor: u32,
    /// The clock on the wall: what people read in the Lease. Nothing depends on it.
    pub wall: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

/// The identity of this process: the name of its Pod, so that people find it, and something
/// random, so that a restarted container is somebody else.
#[must_use]
pub fn identity(pod: Option<&str>) -> String {
    format!(
        "{}_{}",
        pod.unwrap_or("fabric-job-operator"),
        Uuid::new_v4()
    )
}

/// Takes the Lease whenever it is free and keeps it. `leading` says until when it is good, and
/// `None` while another may lead. When `drained` is cancelled, the Lease is given up: this
/// process has stopped working by then. Until the Lease was read once, `readiness` says what
/// hinders that.
///
/// `client` must be one of its own, without retries: a hanging connection of others must not
/// cost the Lease.
///
/// # Errors
/// [`Lost`] when this process led and must not any more. It does not stand again: what it was
/// doing is to be ended, and a new process begins anew.
pub async fn run(
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    leading: watch::Sender<Option<Instant>>,
    drained: CancellationToken,
) -> Result<(), Lost> {
    let mut campaign = Campaign {
        candidate: Candidate::new(settings.identity.clone(), Terms::STANDARD),
        seat: Seat::new(client, &settings.namespace, &settings.name),
        since: monotonic(),
        hint: None,
        said: String::new(),
        answered: false,
        settings,
        metrics,
        readiness,
        leading,
    };
    let ended = campaign.go_on(&drained).await;
    campaign.publish();
    ended
}

const IF_FORBIDDEN: &str = "if that is forbidden, bind the Role fabric-job-operator-lease to this \
                            operator's ServiceAccount";

struct Campaign {
    settings: Settings,
    candidate: Candidate,
    seat: Seat,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    leading: watch::Sender<Option<Instant>>,
    /// The moment from which the candidate's time counts.
    since: Instant,
    /// A watch of the Lease, while somebody else holds it.
    hint: Option<BoxFuture<'static, bool>>,
    /// The last trouble that was logged.
    said: String,
    /// Whether the Lease was ever read or written: before, this replica may lack the rights and
    /// is not ready. Afterwards an outage is everybody's, and no reason to take it for broken.
    answered: bool,
}

impl Campaign {
    async fn go_on(&mut self, drained: &CancellationToken) -> Result<(), Lost> {
        let mut resigning = false;
        loop {
            if drained.is_cancelled() && !resigning {
                resigning = true;
                self.candidate = self.candidate.clone().resign();
                self.publish();
            }
            let step = self.candidate.next_step(self.now(), (self.settings.wall)());
            match &step {
                Step::StepDown(why) => {
                    tracing::error!(%why, "not the leader any more");
                    return Err(why.clone());
                }
                Step::Done => return Ok(()),
                Step::Wait { until } => {
                    let until = self.since + *until / self.settings.factor;
                    self.wait(until, drained, resigning).await;
                }
                Step::Read => {
                    let stop = drained.clone();
                    tokio::select! {
                        () = self.call(&step) => {}
                        // A read changes nothing; whoever leaves does not wait for it.
                        () = stop.cancelled(), if !resigning => {}
                    }
                }
                Step::Create(_) | Step::Replace { .. } => self.call(&step).await,
            }
        }
    }

    async fn wait(&mut self, until: Instant, drained: &CancellationToken, resigning: bool) {
        let standby = self.leading.borrow().is_none() && !resigning;
        let hint = async {
            match &mut self.hint {
                Some(hint) if standby => hint.await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep_until(until) => {}
            () = drained.cancelled(), if !resigning => {}
            given_up = hint => {
                self.hint = None;
                if given_up {
                    self.candidate = self.candidate.clone().look_again(self.now());
                }
            }
        }
    }

    /// Carries out a read or a write and tells the candidate what came of it.
    async fn call(&mut self, step: &Step) {
        let sent = self.now();
        let patience = self.candidate.patience(sent) / self.settings.factor;
        let (answer, trouble) = match timeout(patience, self.seat.carry_out(step)).await {
            Ok(came) => came,
            Err(_) => {
                let text = "no answer from the Kubernetes API in time".to_owned();
                (Answer::Failed, Some(text))
            }
        };
        let leads = self.leading.borrow().is_some();
        if leads && answer == Answer::Failed {
            self.metrics.lease_renewal_failed();
        }
        self.complain(trouble.unwrap_or_default());
        let found = matches!(answer, Answer::Found { .. });
        let jitter = jitter(Terms::STANDARD.retry, &self.settings.identity, self.now());
        let candidate = self.candidate.clone();
        self.candidate = candidate.record(step, answer, sent, self.now(), jitter);
        self.publish();
        if self.leading.borrow().is_some() {
            self.hint = None;
        } else if found && self.hint.is_none() {
            self.hint = Some(self.seat.given_up());
        }
    }

    /// Logs what hinders the election, once until it changes.
    fn complain(&mut self, trouble: String) {
        if trouble.is_empty() && !self.answered {
            self.answered = true;
            self.readiness.could_lead(None);
        }
        if trouble == self.said {
            return;
        }
        let Settings {
            namespace, name, ..
        } = &self.settings;
        if trouble.is_empty() {
            tracing::info!(namespace, name, "the Lease can be read and written again");
        } else {
            tracing::warn!(
                namespace,
                name,
                trouble,
                "the Lease cannot be read or written; it is tried again; {IF_FORBIDDEN}"
            );
            if !self.answered {
                self.readiness.could_lead(Some(format!(
                    "the Lease {namespace}/{name} cannot be read: {trouble}; {IF_FORBIDDEN}"
                )));
            }
        }
        self.said = trouble;
    }

    /// Says what the candidate has become, when that is news.
    fn publish(&mut self) {
        let until = self.candidate.leads_until(self.now());
        let good = until.map(|until| self.since + until / self.settings.factor);
        let before = self.leading.send_replace(good);
        self.metrics.leader(good.is_some());
        if before.is_some() == good.is_some() {
            return;
        }
        let identity = &self.settings.identity;
        if good.is_some() {
            tracing::info!(identity, "leading: this replica acts from now on");
        } else {
            tracing::info!(identity, "not leading: this replica does not act any more");
        }
    }

    /// The candidate's time.
    fn now(&self) -> Duration {
        monotonic().duration_since(self.since) * self.settings.factor
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("identity", &self.identity)
            .field("factor", &self.factor)
            .finish_non_exhaustive()
    }
}

/// Up to a fifth of `wait`, so that replicas that began together do not ask together for ever.
/// It follows from who asks and when: a run that is repeated is the same.
fn jitter(wait: Duration, identity: &str, now: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (identity, now).hash(&mut hasher);
    let [share, ..] = hasher.finish().to_le_bytes();
    wait / 5 * u32::from(share) / u32::from(u8::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the election counts in monotonic time, and this is where it reads it"
)]
fn monotonic() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod rules;
