//! Flags and environment to a configuration; subcommands.

use std::ffi::OsString;
use std::sync::Arc;

use clap::FromArgMatches;
use clap::error::ErrorKind;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::controller;
use crate::outbound;
use crate::telemetry::probes::{self, BindAddress};
use crate::telemetry::{Metrics, Readiness, logs};

mod config;
mod flags;
mod kubernetes;
mod operate;
mod process;

pub use config::{Config, Proxy, UsageError};
pub use process::Failure;

pub use crate::telemetry::text::in_one_line;

use flags::{CommandLine, Subcommands};
use operate::{Wiring, operate};
use process::{Process, Servers};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the operator.
    Run(Box<Config>),
    /// Print this text and be done: the CRD, the help or the version.
    Print(String),
}

/// Reads the command line, the program's name first, and the environment.
///
/// # Errors
///
/// One sentence that names the flag, its value and what is allowed.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());

    let parsed = flags::grammar_with(|name| variable(name.to_owned()).is_some())
        .try_get_matches_from(&arguments)
        .and_then(|matches| CommandLine::from_arg_matches(&matches));
    let command_line = match parsed {
        Ok(command_line) => command_line,
        Err(answer) if answer.kind() == ErrorKind::DisplayVersion => {
            return Ok(Command::Print(answer.to_string()));
        }
        Err(answer) if answer.kind() == ErrorKind::DisplayHelp => {
            // The help names every variable, set or not.
            let help = flags::grammar().try_get_matches_from(&arguments);
            return Ok(Command::Print(
                help.map_or_else(|help| help.to_string(), |_| answer.to_string()),
            ));
        }
        Err(error) => return Err(UsageError::grammar(&error)),
    };

    let flags = match command_line.command {
        Some(Subcommands::Crd) => return Ok(Command::Print(crate::api::crd_yaml())),
        Some(Subcommands::Run(flags)) => *flags,
        None => command_line.run,
    };
    let rust_log = variable("RUST_LOG".into());
    let rust_log = rust_log.as_deref().map(|value| value.to_string_lossy());
    Config::read(flags, rust_log.as_deref())
        .map(Box::new)
        .map(Command::Run)
}

/// Runs the operator until a signal ends it.
///
/// # Errors
///
/// [`Failure`] says why it could not start, could not go on, or did not end cleanly.
pub async fn run(config: Config) -> Result<(), Failure> {
    // In full, so that a new setting cannot be forgotten here.
    let Config {
        fabric_endpoint,
        fabric_scope,
        entra_authority,
        ca_bundle,
        https_proxy,
        no_proxy,
        allow_loopback_http,
        namespace,
        context,
        concurrency,
        leader_elect,
        lease_namespace,
        lease_name,
        metrics_bind_address,
        health_probe_bind_address,
        shutdown_grace,
        log_format,
        log_filter,
    } = config;

    logs::init(log_format, &log_filter);
    info!(
        version = env!("CARGO_PKG_VERSION"),
        %fabric_endpoint,
        fabric_scope,
        %entra_authority,
        ca_bundle = ca_bundle.as_ref().map(|path| tracing::field::display(path.display())),
        https_proxy = https_proxy.as_ref().map(tracing::field::display),
        no_proxy,
        allow_loopback_http,
        namespace = namespace.as_deref().unwrap_or("(all)"),
        context,
        concurrency,
        leader_elect,
        lease_namespace = lease_namespace
            .as_deref()
            .unwrap_or("(the Pod's, or the context's)"),
        lease_name,
        metrics_bind_address = metrics_bind_address
            .map_or_else(|| "0".to_owned(), |address| address.to_string()),
        %health_probe_bind_address,
        shutdown_grace_seconds = shutdown_grace.as_secs(),
        %log_format,
        %log_filter,
        "fabric-job-operator starts with these settings"
    );

    // Before anything slow, so that a signal is never lost.
    let signals = process::listen_for_signals()?;
    let readiness = Readiness::not_yet("starting");
    let metrics = Arc::new(Metrics::new());
    let servers = serve(
        health_probe_bind_address,
        metrics_bind_address,
        &readiness,
        &metrics,
    )
    .await?;

    let shutdown = CancellationToken::new();
    let wiring = Wiring {
        context,
        outbound: outbound::client::Settings {
            ca_bundle,
            https_proxy: https_proxy.map(|proxy| proxy.expose_url().clone()),
            no_proxy,
            allow_loopback_http,
        },
        fabric_endpoint,
        fabric_scope,
        entra_authority,
        controller: controller::Settings {
            namespace,
            concurrency,
        },
        lease: leader_elect.then_some(operate::Lease {
            namespace: lease_namespace,
            name: lease_name,
        }),
        grace: shutdown_grace,
    };
    let work = operate(wiring, metrics, readiness.clone(), shutdown.clone());
    Process {
        signals,
        servers,
        readiness,
        shutdown,
        grace: shutdown_grace,
    }
    .run(work)
    .await
}

/// Starts the servers that kubelet and Prometheus ask.
async fn serve(
    health: BindAddress,
    scrape: Option<BindAddress>,
    readiness: &Readiness,
    metrics: &Arc<Metrics>,
) -> Result<Servers, Failure> {
    let mut servers = Servers::default();
    servers
        .start(
            "--health-probe-bind-address",
            health,
            probes::health_routes(readiness.clone()),
        )
        .await?;
    if let Some(address) = scrape {
        servers
            .start(
                "--metrics-bind-address",
                address,
                probes::metrics_routes(metrics.clone()),
            )
            .await?;
    }
    Ok(servers)
}
