//! The life of the process: signals, servers, and an end that says why.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::controller;
use crate::election;
use crate::telemetry::Readiness;
use crate::telemetry::probes::{self, BindAddress};

use crate::outbound;

/// An answer that was begun is finished within this time, or the asker is gone.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Why the operator could not start, could not go on, or did not end cleanly.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No signal handler could be installed.
    #[error("cannot listen for SIGTERM and SIGINT")]
    Signals(#[source] io::Error),
    /// A server's address cannot be had.
    #[error("cannot listen on {address}; name another address with {flag}")]
    Listen {
        /// The flag that names the address.
        flag: &'static str,
        /// The address as it was asked for.
        address: BindAddress,
        /// What the kernel says.
        source: io::Error,
    },
    /// Nothing says where the API server is, or what says so cannot be used.
    #[error(
        "no usable Kubernetes connection; run inside a cluster, or name a kubeconfig with \
         KUBECONFIG and a context in it with --context"
    )]
    NoCluster(#[source] Box<dyn Error + Send + Sync>),
    /// The Kubernetes client cannot be built from its configuration.
    #[error("cannot build the Kubernetes client")]
    Client(#[source] Box<kube::Error>),
    /// The way out to Fabric or Entra cannot be built.
    #[error(transparent)]
    Outbound(#[from] outbound::client::Error),
    /// The controller could not go on.
    #[error(transparent)]
    Controller(#[from] controller::RunError),
    /// Another replica may act now.
    #[error("this replica is not the leader any more")]
    LeadershipLost(#[from] election::Lost),
    /// A server ended although nobody asked it to.
    #[error("the server of {flag} broke down")]
    Server {
        /// The flag that names its address.
        flag: &'static str,
        /// What the kernel says, or how the task ended.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The controller ended although nobody asked it to.
    #[error("the controller stopped by itself, which is a bug")]
    StoppedByItself,
    /// The controller panicked outside a reconcile, or the election panicked.
    #[error("the controller or the election broke down, which is a bug")]
    Crashed(#[source] JoinError),
    /// What had been begun was not finished in time. Nothing is lost: the next start takes it up.
    #[error("not everything was finished within --shutdown-grace-seconds {}", .0.as_secs())]
    GraceExceeded(Duration),
    /// A second signal came while the first one was being obeyed.
    #[error("a second signal ({0}) ended the process before everything was finished")]
    SecondSignal(&'static str),
}

/// From now on SIGTERM and SIGINT arrive in the returned channel instead of ending the process.
pub(super) fn listen_for_signals() -> Result<mpsc::Receiver<&'static str>, Failure> {
    let (sender, receiver) = mpsc::channel(2);
    for (name, kind) in [
        ("SIGTERM", SignalKind::terminate()),
        ("SIGINT", SignalKind::interrupt()),
    ] {
        let mut arrivals = signal(kind).map_err(Failure::Signals)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while arrivals.recv().await.is_some() && sender.send(name).await.is_ok() {}
        });
    }
    Ok(receiver)
}

/// The servers of this process. They answer until the controller has ended, so that kubelet
/// does not take a long shutdown for a dead process.
#[derive(Debug, Default)]
pub(super) struct Servers {
    tasks: JoinSet<(&'static str, io::Result<()>)>,
    stop: CancellationToken,
}

impl Servers {
    /// Starts one on the address that `flag` names; logs and returns where it really listens.
    pub(super) async fn start(
        &mut self,
        flag: &'static str,
        address: BindAddress,
        routes: Router,
    ) -> Result<SocketAddr, Failure> {
        let failed = |source| Failure::Listen {
            flag,
            address,
            source,
        };
        let listener = address.listen().await.map_err(failed)?;
        let listens_on = listener.local_addr().map_err(failed)?;
        info!(%listens_on, flag, "serving");
        let stop = self.stop.clone();
        self.tasks
            .spawn(async move { (flag, probes::serve(listener, routes, stop).await) });
        Ok(listens_on)
    }

    /// Waits until one breaks down; for ever when none does.
    async fn broken(&mut self) -> Failure {
        match self.tasks.join_next().await {
            None => std::future::pending().await,
            Some(Err(crash)) => Failure::Server {
                flag: "a bind address",
                source: crash.into(),
            },
            Some(Ok((flag, outcome))) => Failure::Server {
                flag,
                source: match outcome {
                    Err(error) => error.into(),
                    Ok(()) => "it stopped by itself".into(),
                },
            },
        }
    }

    /// Finishes the answers that were begun.
    async fn stop(mut self) {
        self.stop.cancel();
        let finished = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(LAST_ANSWERS, finished).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

/// Everything around the controller.
pub(super) struct Process {
    pub signals: mpsc::Receiver<&'static str>,
    pub servers: Servers,
    pub readiness: Readiness,
    /// Asks the controller to begin nothing new, finish and end.
    pub shutdown: CancellationToken,
    /// How long it may take to do so.
    pub grace: Duration,
}

impl Process {
    /// Runs `work`, the controller, until a signal comes or something breaks down; then lets it
    /// finish within the grace. Nothing that lives long ends unnoticed.
    pub(super) async fn run<W>(mut self, work: W) -> Result<(), Failure>
    where
        W: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let mut work = tokio::spawn(work);
        let cause = tokio::select! {
            Some(signal) = self.signals.recv() => {
                info!(signal, "shutting down");
                Ok(())
            }
            broken = self.servers.broken() => Err(broken),
            ended = &mut work => {
                self.readiness.not_ready("the controller has ended");
                self.servers.stop().await;
                return Err(match ended {
                    Ok(Ok(())) => Failure::StoppedByItself,
                    Ok(Err(failure)) => failure,
                    Err(crash) => Failure::Crashed(crash),
                });
            }
        };

        self.readiness.not_ready("shutting down");
        self.shutdown.cancel();
        let drained = tokio::select! {
            ended = timeout(self.grace, &mut work) => match ended {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(crash)) => Err(Failure::Crashed(crash)),
                Err(_) => Err(Failure::GraceExceeded(self.grace)),
            },
            Some(signal) = self.signals.recv() => Err(Failure::SecondSignal(signal)),
        };
        if matches!(drained, Err(Failure::SecondSignal(_))) {
            // Somebody is waiting for the process to be gone: not even last answers.
            return cause.and(drained);
        }
        work.abort();
        self.servers.stop().await;
        if cause.is_err()
            && let Err(second) = &drained
        {
            warn!(%second, "the shutdown did not end cleanly either");
        }
        cause.and(drained)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A process with its levers: where signals come from, and what the controller sees.
    struct Bench {
        signals: mpsc::Sender<&'static str>,
        shutdown: CancellationToken,
        readiness: Readiness,
        process: Process,
    }

    fn bench(grace: Duration) -> Bench {
        let (signals, receiver) = mpsc::channel(2);
        let shutdown = CancellationToken::new();
        let readiness = Readiness::not_yet("starting");
        Bench {
            signals,
            shutdown: shutdown.clone(),
            readiness: readiness.clone(),
            process: Process {
                signals: receiver,
                servers: Servers::default(),
                readiness,
                shutdown,
                grace,
            },
        }
    }

    #[tokio::test]
    async fn a_signal_lets_the_controller_finish_what_it_began() {
        let bench = bench(LONG);
        let (finished, was_finished) = oneshot::channel();
        let shutdown = bench.shutdown.clone();
        let readiness = bench.readiness.clone();
        bench.signals.send("SIGTERM").await.unwrap();

        let outcome = bench
            .process
            .run(async move {
                shutdown.cancelled().await;
                tokio::task::yield_now().await;
                finished.send(readiness.reason()).unwrap();
                Ok(())
            })
            .await;

        assert!(outcome.is_ok(), "{outcome:?}");
        assert_eq!(
            was_finished.await.unwrap().as_deref(),
            Some("shutting down")
        );
    }

    #[tokio::test]
    async fn probes_are_answered_until_the_controller_has_ended() {
        let mut bench = bench(LONG);
        let address = bench
            .process
            .servers
            .start(
                "--probe",
                BindAddress::parse("127.0.0.1:0").unwrap(),
                probes::health_routes(bench.readiness.clone()),
            )
            .await
            .unwrap();
        let shutdown = bench.shutdown.clone();
        bench.signals.send("SIGTERM").await.unwrap();

        bench
            .process
            .run(async move {
                shutdown.cancelled().await;
                tokio::net::TcpStream::connect(address).await.unwrap();
                Ok(())
            })
            .await
            .unwrap();

        let after = tokio::net::TcpStream::connect(address).await;
        assert!(after.is_err(), "the server outlives the process");
    }

    #[tokio::test]
    async fn a_second_signal_ends_the_process_at_once() {
        let bench = bench(LONG);
        bench.signals.send("SIGTERM").await.unwrap();
        bench.signals.send("SIGINT").await.unwrap();
        let outcome = bench.process.run(std::future::pending()).await;
        assert!(
            matches!(outcome, Err(Failure::SecondSignal("SIGINT"))),
            "{outcome:?}"
        );
    }

    #[tokio::test]
    async fn a_controller_that_does_not_finish_in_time_is_left_behind() {
        let bench = bench(Duration::from_millis(1));
        bench.signals.send("SIGTERM").await.unwrap();
        let outcome = bench.process.run(std::future::pending()).await;
        assert!(
            matches!(outcome, Err(Failure::GraceExceeded(_))),
            "{outcome:?}"
        );
    }

    #[tokio::test]
    async fn a_controller_that_ends_unasked_ends_the_process_with_the_reason() {
        let outcome = bench(LONG).process.run(async { Ok(()) }).await;
        assert!(
            matches!(outcome, Err(Failure::StoppedByItself)),
            "{outcome:?}"
        );

        let outcome = bench(LONG)
            .process
            .run(async { Err(Failure::NoCluster("no".into())) })
            .await;
        assert!(matches!(outcome, Err(Failure::NoCluster(_))), "{outcome:?}");

        let outcome = bench(LONG).process.run(async { panic!("a bug") }).await;
        assert!(matches!(outcome, Err(Failure::Crashed(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_server_that_breaks_down_ends_the_process_after_the_controller_finished() {
        let mut bench = bench(LONG);
        bench
            .process
            .servers
            .tasks
            .spawn(async { ("--probe", Err(io::Error::other("gone"))) });
        let shutdown = bench.shutdown.clone();
        let (finished, was_finished) = oneshot::channel();

        let running = bench.process.run(async move {
            shutdown.cancelled().await;
            finished.send(()).unwrap();
            Ok(())
        });
        let outcome = timeout(Duration::from_secs(10), running)
            .await
            .expect("it ends by itself");

        assert!(
            matches!(
                outcome,
                Err(Failure::Server {
                    flag: "--probe",
                    ..
                })
            ),
            "{outcome:?}"
        );
        was_finished.await.unwrap();
    }
}
