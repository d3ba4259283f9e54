//! The wiring: builds what the controller and the election need, and runs both until the end.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::kubernetes;
use super::process::Failure;
use crate::controller::{self, Clock, Leadership, RunError};
use crate::election::{self, Lost};
use crate::entra::{Authority, EntraClient};
use crate::fabric::{Endpoint, FabricClient};
use crate::outbound;
use crate::telemetry::{Metrics, Readiness};

/// How long giving the Lease up may take; longer is worth little to whoever waits for it.
const RELEASE_DEADLINE: Duration = Duration::from_secs(5);

/// What the wiring needs of the configuration.
pub(super) struct Wiring {
    pub context: Option<String>,
    pub outbound: outbound::client::Settings,
    pub fabric_endpoint: Endpoint,
    pub fabric_scope: String,
    pub entra_authority: Authority,
    pub controller: controller::Settings,
    /// The Lease to take; `None` when this is the only replica.
    pub lease: Option<Lease>,
    /// How long the controller may finish after the Lease was lost.
    pub grace: Duration,
}

/// Which Lease.
pub(super) struct Lease {
    /// The one of the Pod, or of the kubeconfig context, when absent.
    pub namespace: Option<String>,
    pub name: String,
}

/// Runs the controller, and the election beside it, until `shutdown`.
pub(super) async fn operate(
    wiring: Wiring,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let client = kubernetes::connect(wiring.context.as_deref()).await?;
    let clock = Clock::system();
    let (leadership, election) = match wiring.lease {
        None => {
            metrics.leader(true);
            (Leadership::always(), None)
        }
        Some(lease) => {
            // Connections of its own: one that hangs for the controller must not cost the Lease.
            let own = kubernetes::connect(wiring.context.as_deref()).await?;
            let (leadership, election) = stand(lease, own, &clock, &metrics, &readiness);
            (leadership, Some(election))
        }
    };
    // Connections of their own for Fabric and Entra: no token can meet another's host.
    let fabric = outbound::client::transport(&wiring.outbound)?;
    let entra = outbound::client::transport(&wiring.outbound)?;
    let services = controller::Services {
        client,
        fabric: FabricClient::new(fabric, wiring.fabric_endpoint),
        entra: EntraClient::new(entra, wiring.entra_authority, wiring.fabric_scope),
        clock,
        leadership,
        metrics,
        readiness: readiness.clone(),
    };
    let stop = shutdown.child_token();
    let controller = controller::run(wiring.controller, services, stop.clone());
    match election {
        None => Ok(controller.await?),
        Some(election) => {
            let end = End {
                stop,
                readiness,
                grace: wiring.grace,
            };
            end.together(controller, election).await
        }
    }
}

/// The election as a task, and how to ask it to give the Lease up.
struct Election {
    task: JoinHandle<Result<(), Lost>>,
    drained: CancellationToken,
}

impl Drop for Election {
    /// Without the controller nobody renews: a Lease that was not given up ends by itself.
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Begins to stand for the Lease.
fn stand(
    lease: Lease,
    client: Client,
    clock: &Clock,
    metrics: &Arc<Metrics>,
    readiness: &Readiness,
) -> (Leadership, Election) {
    // Inside a cluster the Pod's own namespace, elsewhere that of the kubeconfig's context, as
    // kubectl would take it: kube reads both.
    let namespace = lease
        .namespace
        .unwrap_or_else(|| client.default_namespace().to_owned());
    let pod = std::env::var("HOSTNAME")
        .ok()
        .filter(|name| !name.is_empty());
    let identity = election::identity(pod.as_deref());
    info!(
        namespace,
        name = lease.name,
        identity,
        "standing for the Lease"
    );
    let wall = clock.clone();
    let settings = election::Settings {
        namespace,
        name: lease.name,
        identity,
        factor: clock.factor(),
        wall: Box::new(move || wall.now()),
    };
    let (leading, told) = watch::channel(None);
    let drained = CancellationToken::new();
    let running = election::run(
        client,
        settings,
        Arc::clone(metrics),
        readiness.clone(),
        leading,
        drained.clone(),
    );
    let task = tokio::spawn(running);
    (Leadership::following(told), Election { task, drained })
}

/// How both come to an end.
struct End {
    /// Asks the controller to begin nothing new, finish and end.
    stop: CancellationToken,
    readiness: Readiness,
    grace: Duration,
}

impl End {
    /// Runs until the controller has ended; then, and only then, the Lease is given up. When the
    /// Lease is lost first, the controller records what it sent, and this is a failure.
    async fn together(
        self,
        controller: impl Future<Output = Result<(), RunError>>,
        mut election: Election,
    ) -> Result<(), Failure> {
        let mut controller = std::pin::pin!(controller);
        let lost = tokio::select! {
            ended = &mut controller => {
                election.drained.cancel();
                // Everything is finished, so nothing is wrong with this end: without the release
                // the next leader only begins later.
                match timeout(RELEASE_DEADLINE, &mut election.task).await {
                    Ok(Ok(Ok(()))) => {}
                    Ok(Ok(Err(why))) => warn!(%why, "the Lease was lost at the very end"),
                    Ok(Err(crash)) => return Err(Failure::Crashed(crash)),
                    Err(_) => warn!("the Lease could not be given up; it ends by itself"),
                }
                return Ok(ended?);
            }
            ended = &mut election.task => match ended {
                Ok(Ok(())) => Failure::StoppedByItself,
                Ok(Err(why)) => why.into(),
                Err(crash) => Failure::Crashed(crash),
            },
        };
        self.readiness.not_ready("not the leader any more: ending");
        self.stop.cancel();
        if timeout(self.grace, controller).await.is_err() {
            warn!("not everything was recorded within the grace; the next leader looks again");
        }
        Err(lost)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::election::Terms;

    const LONG: Duration = Duration::from_secs(60);

    fn end(stop: &CancellationToken) -> End {
        End {
            stop: stop.clone(),
            readiness: Readiness::not_yet("starting"),
            grace: LONG,
        }
    }

    fn election<T>(drained: &CancellationToken, task: T) -> Election
    where
        T: Future<Output = Result<(), Lost>> + Send + 'static,
    {
        Election {
            task: tokio::spawn(task),
            drained: drained.clone(),
        }
    }

    #[test]
    fn a_leader_steps_down_as_long_before_its_lease_ends_as_the_fence_asks_for() {
        let Terms {
            lease,
            renew_deadline,
            ..
        } = Terms::STANDARD;
        assert_eq!(lease - renew_deadline, controller::FENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn the_lease_is_given_up_only_after_the_controller_has_drained() {
        let (stop, drained) = (CancellationToken::new(), CancellationToken::new());
        let (released, was_released) = oneshot::channel();
        let asked = drained.clone();
        let election = election(&drained, async move {
            asked.cancelled().await;
            released.send(()).unwrap();
            Ok(())
        });
        let (finish, finished) = oneshot::channel::<()>();
        let ending = tokio::spawn(end(&stop).together(
            async move {
                finished.await.unwrap();
                Ok(())
            },
            election,
        ));
        stop.cancel();
        tokio::time::advance(LONG).await;
        assert!(!drained.is_cancelled(), "the controller still drains");
        finish.send(()).unwrap();
        assert!(ending.await.unwrap().is_ok());
        was_released.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_lease_stops_the_controller_lets_it_record_and_is_a_failure() {
        let (stop, drained) = (CancellationToken::new(), CancellationToken::new());
        let election = election(&drained, async { Err(Lost::NotRenewed) });
        let asked = stop.clone();
        let (recorded, was_recorded) = oneshot::channel();
        let controller = async move {
            asked.cancelled().await;
            recorded.send(()).unwrap();
            Ok(())
        };
        let outcome = end(&stop).together(controller, election).await;
        assert!(
            matches!(outcome, Err(Failure::LeadershipLost(Lost::NotRenewed))),
            "{outcome:?}"
        );
        was_recorded.await.unwrap();
        assert!(!drained.is_cancelled(), "it is not ours to give up");
    }

    #[tokio::test(start_paused = true)]
    async fn a_controller_that_cannot_record_does_not_hold_the_end_for_ever() {
        let (stop, drained) = (CancellationToken::new(), CancellationToken::new());
        let election = election(&drained, async { Err(Lost::TakenBy("other".into())) });
        let outcome = end(&stop).together(std::future::pending(), election).await;
        assert!(
            matches!(outcome, Err(Failure::LeadershipLost(_))),
            "{outcome:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_cannot_be_given_up_delays_the_end_by_seconds_only() {
        let (stop, drained) = (CancellationToken::new(), CancellationToken::new());
        let election = election(&drained, std::future::pending());
        let outcome = end(&stop).together(async { Ok(()) }, election).await;
        assert!(outcome.is_ok(), "{outcome:?}");
    }

    #[tokio::test]
    async fn an_election_that_breaks_down_ends_the_process() {
        let (stop, drained) = (CancellationToken::new(), CancellationToken::new());
        let election = election(&drained, async { panic!("a bug") });
        let asked = stop.clone();
        let controller = async move {
            asked.cancelled().await;
            Ok(())
        };
        let outcome = end(&stop).together(controller, election).await;
        assert!(matches!(outcome, Err(Failure::Crashed(_))), "{outcome:?}");
    }
}
