//! `fabric-simulator`: the simulator as a process. It prints one line of JSON with its addresses
//! and what it created, then serves until SIGTERM or Ctrl-C.

use std::{io::Write, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use fabric_simulator::{
    Clock, Config, Identity, JobRef, JobSpec, JobStatus, LookRetryAfter, QuotaLimit, Settings,
    Simulator,
};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

/// Microsoft Fabric's job routes and Entra's token endpoint, for tests of clients.
///
/// Prints one line of JSON: the url of Fabric, Entra and /_simulator/, the certificate authority's
/// file, and the tenant, client, secret and running job that were created. Ends on SIGTERM or
/// Ctrl-C.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Serve TLS, and write the authority's certificate to DIR/ca.pem (the folder is created).
    #[arg(long, value_name = "DIR")]
    tls_dir: Option<PathBuf>,
    /// Retry-After, in seconds, of accepted requests and of looks at running jobs. Left out: 60
    /// when accepted, and a countdown to the next refresh of the view on looks.
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u64>,
    /// From an accepted cancel to the job's end, for example 5s or 500ms.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    cancel_takes: Duration,
    /// How often the service refreshes its view of a job, for example 60s; 0s shows the truth.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    view_refresh: Duration,
    /// Calls a minute that each identity may make; 0 switches the quota off.
    #[arg(long, value_name = "CALLS", default_value_t = 200)]
    quota: u32,
    /// How long an access token is valid.
    #[arg(long, value_name = "DURATION", default_value = "3599s", value_parser = duration)]
    token_lifetime: Duration,
    /// Simulated time runs this many times faster than real time.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    clock_factor: f64,
    /// When simulated and real time were the same, in seconds since 1970. Left out: at the start.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    clock_epoch: Option<f64>,
    /// The tenant to create; a random one when left out.
    #[arg(long, value_name = "ID")]
    tenant_id: Option<Uuid>,
    /// The application to create; a random one when left out.
    #[arg(long, value_name = "ID")]
    client_id: Option<Uuid>,
    /// Its secret; a random one when left out.
    #[arg(long, value_name = "SECRET")]
    client_secret: Option<String>,
    /// The workspace to create; a random one when left out.
    #[arg(long, value_name = "ID")]
    workspace_id: Option<Uuid>,
    /// The item to create; a random one when left out.
    #[arg(long, value_name = "ID")]
    item_id: Option<Uuid>,
    /// The job instance to create; a random one when left out.
    #[arg(long, value_name = "ID")]
    job_instance_id: Option<Uuid>,
    /// The job instance's status.
    #[arg(long, value_name = "STATUS", default_value = "InProgress")]
    job_status: String,
    /// Create none of these.
    #[arg(long)]
    empty: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fabric-simulator: failed to {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // Set up first: a signal that comes early must not be lost.
    let ended = end_of_process()?;
    let simulator = Simulator::start(config(&arguments)?).await?;
    let mut line = json!({
        "url": simulator.url(),
        "fabricEndpoint": simulator.url(),
        "entraAuthority": simulator.url(),
        "ledger": format!("{}/_simulator/ledger", simulator.url()),
    });
    if let (Some(folder), Some(pem)) = (&arguments.tls_dir, simulator.ca_pem()) {
        let file = folder.join("ca.pem");
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&file, pem))
            .map_err(|error| format!("write the authority to {}: {error}", file.display()))?;
        line["caFile"] = file.display().to_string().into();
    }
    if !arguments.empty {
        let (identity, secret, job) = seed(&simulator, &arguments);
        line["tenantId"] = identity.tenant_id.into();
        line["clientId"] = identity.client_id.into();
        line["clientSecret"] = secret.into();
        line["workspaceId"] = job.workspace_id.to_string().into();
        line["itemId"] = job.item_id.to_string().into();
        line["jobInstanceId"] = job.job_instance_id.to_string().into();
    }
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    out.flush()?;
    ended.await;
    Ok(())
}

fn config(arguments: &Arguments) -> Result<Config, Box<dyn std::error::Error>> {
    let epoch = arguments
        .clock_epoch
        .map(|seconds| {
            jiff::SignedDuration::try_from_secs_f64(seconds).and_then(Timestamp::from_duration)
        })
        .transpose()
        .map_err(|error| format!("use the value of --clock-epoch: {error}"))?;
    let mut settings = Settings {
        cancel_takes: arguments.cancel_takes,
        view_refresh: arguments.view_refresh,
        token_lifetime: arguments.token_lifetime,
        quota: (arguments.quota > 0).then(|| QuotaLimit {
            calls: arguments.quota,
            ..QuotaLimit::default()
        }),
        ..Settings::default()
    };
    if let Some(seconds) = arguments.retry_after {
        settings.accepted_retry_after = Some(Duration::from_secs(seconds));
        settings.look_retry_after = LookRetryAfter::Seconds(seconds);
    }
    Ok(Config {
        listen: arguments.listen,
        tls: arguments.tls_dir.is_some(),
        clock: Clock::accelerated(arguments.clock_factor, epoch)?,
        settings,
        seed: None,
    })
}

fn seed(simulator: &Simulator, arguments: &Arguments) -> (Identity, String, JobRef) {
    let id = |given: Option<Uuid>| given.unwrap_or_else(Uuid::new_v4);
    let identity = Identity::new(id(arguments.tenant_id), id(arguments.client_id));
    let secret = arguments
        .client_secret
        .clone()
        .unwrap_or_else(|| format!("secret-{}", Uuid::new_v4().simple()));
    simulator.add_secret(&identity, &secret);
    let status = serde_json::from_value(arguments.job_status.clone().into())
        .unwrap_or_else(|_| JobStatus::Other(arguments.job_status.clone()));
    let job = simulator.add_job(JobSpec {
        id: arguments.job_instance_id,
        ..JobSpec::with_status(id(arguments.workspace_id), id(arguments.item_id), status)
    });
    (identity, secret, job)
}

/// `5s`, `500ms`, `2m`: what jiff reads as a duration.
fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| format!("{text:?} is not a duration such as 5s or 500ms"))
}

/// Resolves on SIGTERM or Ctrl-C.
#[cfg(unix)]
fn end_of_process() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Resolves on Ctrl-C.
#[cfg(not(unix))]
fn end_of_process() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
