//! One process of the operator: the real controller, without its command line.

use std::sync::Arc;

use fabric_job_operator::{
    controller::{self, Clock, Services, Settings},
    entra::{Authority, EntraClient},
    fabric::{Endpoint, FabricClient},
    outbound::{Origin, Transport},
    telemetry::{Metrics, Readiness},
};
use jiff::Timestamp;
use tokio::task::{AbortHandle, JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

/// One process of the operator.
pub struct Process {
    task: JoinHandle<Result<(), controller::RunError>>,
    signals: Signals,
    readiness: Readiness,
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

impl Process {
    /// Starts one whose node's clock shows this time. It calls the Kubernetes API with this
    /// client, and Fabric and Entra over these ways out.
    pub fn start(
        client: kube::Client,
        (fabric, entra): (Transport, Transport),
        concurrency: u16,
        clock: Timestamp,
    ) -> Self {
        let origin = |text| Origin::parse(text, false).expect("a valid origin");
        let endpoint = Endpoint::new(origin("https://api.fabric.microsoft.com"));
        let authority = Authority::new(origin("https://login.microsoftonline.com"));
        let scope = "https://api.fabric.microsoft.com/.default".to_owned();
        let readiness = Readiness::not_yet("starting");
        let services = Services {
            client,
            fabric: FabricClient::new(fabric, endpoint),
            entra: EntraClient::new(entra, authority, scope),
            clock: Clock::starting_at(clock),
            metrics: Arc::new(Metrics::new()),
            readiness: readiness.clone(),
        };
        let settings = Settings {
            namespace: None,
            concurrency,
        };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(controller::run(settings, services, shutdown.clone()));
        let signals = Signals {
            abort: task.abort_handle(),
            shutdown,
        };
        Self {
            task,
            signals,
            readiness,
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
    pub async fn ended(self) -> Result<Result<(), controller::RunError>, JoinError> {
        self.task.await
    }

    /// Why it is not ready, if it is not.
    pub fn not_ready(&self) -> Option<String> {
        self.readiness.reason()
    }
}
