//! One process of the operator: the real controller, without its command line.

use std::{pin::pin, sync::Arc, time::Duration};

use fabric_job_operator::{
    controller::{self, Clock, Leadership, Services, Settings},
    election,
    entra::{Authority, EntraClient},
    fabric::{Endpoint, FabricClient},
    outbound::{Origin, Transport},
    telemetry::{Metrics, Readiness},
};
use jiff::Timestamp;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinError, JoinHandle},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::api_server::NAMESPACE;

/// How long the Lease may take to be given up.
const RELEASE_DEADLINE: Duration = Duration::from_secs(2);

/// What a process gets to record what it sent.
pub const GRACE: Duration = Duration::from_secs(25);

/// Why a process ended by itself.
#[derive(Debug)]
pub enum Broken {
    /// The controller ended.
    Controller(controller::RunError),
    /// It led, and must not any more. That is in order: a new process begins anew.
    Leadership(election::Lost),
}

impl From<controller::RunError> for Broken {
    fn from(error: controller::RunError) -> Self {
        Self::Controller(error)
    }
}

impl From<election::Lost> for Broken {
    fn from(lost: election::Lost) -> Self {
        Self::Leadership(lost)
    }
}

/// One process of the operator.
pub struct Process {
    task: JoinHandle<Result<(), Broken>>,
    signals: Signals,
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

/// Ends a process, from wherever: its own calls included.
#[derive(Clone)]
pub struct Signals {
    abort: AbortHandle,
    shutdown: CancellationToken,
}

impl Signals {
    /// As SIGKILL does: in the middle of whatever it does.
    pub fn kill(&self) {
        self.abort.abort();
    }

    /// As SIGTERM does.
    pub fn terminate(&self) {
        self.shutdown.cancel();
    }
}

/// Whether a process acts alone.
pub enum Replicas {
    /// Nobody else acts.
    One,
    /// It acts while this says so.
    Following(Leadership),
    /// It stands for the Lease, under this name and with a client of its own.
    Several(String, kube::Client),
}

impl Process {
    /// Starts one whose node's clock shows this time. It calls the Kubernetes API with this
    /// client, and Fabric and Entra over these ways out.
    pub fn start(
        client: kube::Client,
        (fabric, entra): (Transport, Transport),
        settings: Settings,
        clock: Timestamp,
        replicas: Replicas,
    ) -> Self {
        let origin = |text| Origin::parse(text, false).expect("a valid origin");
        let endpoint = Endpoint::new(origin("https://api.fabric.microsoft.com"));
        let authority = Authority::new(origin("https://login.microsoftonline.com"));
        let scope = "https://api.fabric.microsoft.com/.default".to_owned();
        let readiness = Readiness::not_yet("starting");
        let (clock, metrics) = (Clock::starting_at(clock), Arc::new(Metrics::new()));
        let (leadership, election) = match replicas {
            Replicas::One => (Leadership::always(), None),
            Replicas::Following(leadership) => (leadership, None),
            Replicas::Several(identity, client) => {
                let wall = clock.clone();
                let settings = election::Settings {
                    namespace: NAMESPACE.to_owned(),
                    name: "fabric-job-operator".to_owned(),
                    identity,
                    factor: 1,
                    wall: Box::new(move || wall.now()),
                };
                let (leading, told) = watch::channel(None);
                let drained = CancellationToken::new();
                let running = election::run(
                    client,
                    settings,
                    metrics.clone(),
                    readiness.clone(),
                    leading,
                    drained.clone(),
                );
                (Leadership::following(told), Some((running, drained)))
            }
        };
        let services = Services {
            client,
            fabric: FabricClient::new(fabric, endpoint),
            entra: EntraClient::new(entra, authority, scope),
            clock,
            leadership,
            metrics: metrics.clone(),
            readiness: readiness.clone(),
        };
        let shutdown = CancellationToken::new();
        let controller = controller::run(settings, services, shutdown.clone());
        let stop = shutdown.clone();
        // One task for both, so that killing it leaves nothing behind.
        let task = tokio::spawn(async move {
            let Some((election, drained)) = election else {
                return Ok(controller.await?);
            };
            let (mut controller, mut election) = (pin!(controller), pin!(election));
            tokio::select! {
                biased;
                ended = &mut controller => {
                    drained.cancel();
                    // Without the release the next leader only begins later.
                    let _ = timeout(RELEASE_DEADLINE, election).await;
                    Ok(ended?)
                }
                lost = &mut election => {
                    stop.cancel();
                    // What was sent is recorded before the end.
                    let _ = timeout(GRACE, controller).await;
                    lost.map_err(Broken::from)
                }
            }
        });
        let signals = Signals {
            abort: task.abort_handle(),
            shutdown,
        };
        Self {
            task,
            signals,
            readiness,
            metrics,
        }
    }

    /// What ends it.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it has ended by itself or as it was told.
    ///
    /// # Errors
    ///
    /// When it was killed or panicked.
    pub async fn ended(self) -> Result<Result<(), Broken>, JoinError> {
        self.task.await
    }

    /// What its `/metrics` says.
    pub fn metrics(&self) -> String {
        self.metrics.to_open_metrics()
    }

    /// Why it is not ready, if it is not.
    pub fn not_ready(&self) -> Option<String> {
        self.readiness.reason()
    }
}
