//! The command line as people type it: names, help and defaults. What the values mean is
//! decided in [`super::config`].

use std::ffi::OsStr;

use clap::builder::Resettable;
use clap::{Args, CommandFactory, Parser, Subcommand};

/// Cancels Microsoft Fabric job instances and records how they ended.
///
/// Watches FabricJobCancellation resources; asks Fabric to cancel the job instance that each one
/// names, and keeps asking until Fabric itself says how that job ended. Without a command it
/// runs, as `run` does.
#[derive(Debug, Parser)]
#[command(
    name = "fabric-job-operator",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_long_help = AFTERWORD
)]
pub(super) struct CommandLine {
    #[command(subcommand)]
    pub command: Option<Subcommands>,

    #[command(flatten)]
    pub run: RunFlags,
}

#[derive(Debug, Subcommand)]
pub(super) enum Subcommands {
    /// Runs the operator until SIGTERM or SIGINT (the default)
    #[command(after_long_help = AFTERWORD)]
    Run(Box<RunFlags>),
    /// Prints the CustomResourceDefinition that this version needs, as YAML
    Crd,
}

const AFTERWORD: &str = "\
Environment:
  Each flag can be given by the environment variable that is named with it; the flag wins, and an
  empty variable counts as not set. Beside them:

  RUST_LOG    Which log lines are written, e.g. `info,fabric_job_operator=debug`
              [default: info, of the HTTP libraries warnings only]

  The Kubernetes API server is the one of the cluster this runs in; elsewhere the one that
  KUBECONFIG, or else ~/.kube/config, names. HTTPS_PROXY and its kin do not apply to Fabric and
  Entra.

Exit codes:
  0  stopped by a signal, after what was begun was finished and recorded
  1  could not start or go on; the last log line says why
  2  a flag or variable has a wrong value; one sentence says which, and what is allowed

On the first SIGTERM or SIGINT nothing new is begun; a second one ends the process at once.";

/// Everything stays text here: one place parses it and words every complaint alike.
#[derive(Args, Clone, Debug)]
pub(super) struct RunFlags {
    /// Origin of the Fabric API: scheme, host and port. `/v1/...` is added
    ///
    /// Only https, except with --allow-loopback-http.
    #[arg(
        long,
        env = "FABRIC_ENDPOINT",
        value_name = "URL",
        default_value = "https://api.fabric.microsoft.com",
        help_heading = FABRIC
    )]
    pub fabric_endpoint: String,

    /// The scope that tokens are asked for; ends in `/.default`
    #[arg(
        long,
        env = "FABRIC_SCOPE",
        value_name = "SCOPE",
        default_value = "https://api.fabric.microsoft.com/.default",
        help_heading = FABRIC
    )]
    pub fabric_scope: String,

    /// Origin of Microsoft Entra, where tokens are asked for
    ///
    /// Only https, except with --allow-loopback-http.
    #[arg(
        long,
        env = "AZURE_AUTHORITY_HOST",
        value_name = "URL",
        default_value = "https://login.microsoftonline.com",
        help_heading = FABRIC
    )]
    pub entra_authority: String,

    /// PEM file with certificates trusted for Fabric and Entra, beside the system's [default: none]
    #[arg(long, env = "FABRIC_CA_BUNDLE", value_name = "FILE", help_heading = FABRIC)]
    pub ca_bundle: Option<String>,

    /// HTTP proxy for Fabric and Entra [default: none]
    ///
    /// `http://` or `https://`, host and port; a user name and password may stand before the host
    /// and are never logged.
    #[arg(long, env = "FABRIC_HTTPS_PROXY", value_name = "URL", help_heading = FABRIC)]
    pub https_proxy: Option<String>,

    /// Hosts reached without the proxy, separated by commas [default: none]
    ///
    /// Names (with their subdomains), IP addresses or CIDR ranges. Without --https-proxy it has
    /// no effect.
    #[arg(long, env = "FABRIC_NO_PROXY", value_name = "HOSTS", help_heading = FABRIC)]
    pub no_proxy: Option<String>,

    /// Accepts http for Fabric and Entra on 127.0.0.0/8 and [::1], for tests
    #[arg(
        long,
        env = "FABRIC_ALLOW_LOOPBACK_HTTP",
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        help_heading = FABRIC
    )]
    pub allow_loopback_http: String,

    /// The one namespace to watch [default: all namespaces]
    ///
    /// This version watches one or all: a list is refused.
    #[arg(long, env = "WATCH_NAMESPACES", value_name = "NAME", help_heading = KUBERNETES)]
    pub namespace: Vec<String>,

    /// The kubeconfig context to use [default: the cluster this runs in, else the current context]
    #[arg(long, value_name = "NAME", help_heading = KUBERNETES)]
    pub context: Option<String>,

    /// How many cancellations are worked on at once, 1 to 1024
    ///
    /// Those that wait for Fabric do not count: any number of them can wait.
    #[arg(
        long,
        env = "MAX_CONCURRENT_RECONCILES",
        value_name = "N",
        default_value = "32",
        help_heading = KUBERNETES
    )]
    pub concurrency: String,

    /// Takes a Lease before acting, so that of several replicas one acts
    ///
    /// The others stand by: ready, with metrics and a warm cache. Turn it off only where nothing
    /// can start a second replica, not even for a moment.
    #[arg(
        long,
        env = "LEADER_ELECT",
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true",
        help_heading = KUBERNETES
    )]
    pub leader_elect: String,

    /// The namespace of the Lease [default: the Pod's; outside a cluster the kubeconfig context's]
    ///
    /// All replicas need the same. A context without a namespace means `default`, as for kubectl.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME", help_heading = KUBERNETES)]
    pub lease_namespace: Option<String>,

    /// The name of the Lease
    #[arg(
        long,
        env = "LEASE_NAME",
        value_name = "NAME",
        default_value = "fabric-job-operator",
        help_heading = KUBERNETES
    )]
    pub lease_name: String,

    /// Where `/metrics` is served (OpenMetrics); `0` turns it off
    ///
    /// ADDRESS:PORT, or :PORT for every interface. Port 0 picks a free one and logs it. `[::]`
    /// becomes `0.0.0.0` where there is no IPv6.
    #[arg(
        long,
        env = "METRICS_BIND_ADDRESS",
        value_name = "ADDRESS:PORT",
        default_value = "[::]:8080",
        help_heading = PROCESS
    )]
    pub metrics_bind_address: String,

    /// Where `/livez` and `/readyz` are served
    ///
    /// ADDRESS:PORT, or :PORT for every interface. Port 0 picks a free one and logs it. `[::]`
    /// becomes `0.0.0.0` where there is no IPv6.
    #[arg(
        long,
        env = "HEALTH_PROBE_BIND_ADDRESS",
        value_name = "ADDRESS:PORT",
        default_value = "[::]:8081",
        help_heading = PROCESS
    )]
    pub health_probe_bind_address: String,

    /// Seconds to finish and record what was sent to Fabric when a signal arrives, 0 to 600
    ///
    /// Keep it below the Pod's terminationGracePeriodSeconds. A call to Fabric takes at most 20.
    #[arg(
        long,
        env = "SHUTDOWN_GRACE_SECONDS",
        value_name = "SECONDS",
        default_value = "25",
        help_heading = PROCESS
    )]
    pub shutdown_grace_seconds: String,

    /// How a log line looks: `text` or `json` [default: text on a terminal, else json]
    ///
    /// Logs go to standard error.
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT", help_heading = PROCESS)]
    pub log_format: Option<String>,
}

const FABRIC: &str = "Fabric and Entra";
const KUBERNETES: &str = "Kubernetes";
const PROCESS: &str = "Process";

/// The grammar. Values of variables are never shown: a proxy's may hold a password.
pub(super) fn grammar() -> clap::Command {
    CommandLine::command()
        .mut_args(|arg| arg.hide_env_values(true))
        .mut_subcommands(|command| command.mut_args(|arg| arg.hide_env_values(true)))
}

/// The grammar without the variables for which `is_set` says no.
pub(super) fn grammar_with(is_set: impl Fn(&OsStr) -> bool) -> clap::Command {
    let keep_set = |arg: clap::Arg| match arg.get_env().map(&is_set) {
        Some(false) => arg.env(Resettable::Reset),
        _ => arg,
    };
    grammar()
        .mut_args(keep_set)
        .mut_subcommands(|command| command.mut_args(keep_set))
}

/// The environment variable that stands beside `--{flag}`.
pub(super) fn variable_of(flag: &str) -> Option<String> {
    CommandLine::command()
        .get_arguments()
        .find(|arg| arg.get_long() == Some(flag))
        .and_then(|arg| arg.get_env())
        .map(|name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        grammar().debug_assert();
    }

    #[test]
    fn the_help_names_every_flag_with_its_variable() {
        let help = grammar().render_long_help().to_string();
        for arg in CommandLine::command().get_arguments() {
            let flag = arg.get_long().expect("every flag has a long name");
            assert!(help.contains(&format!("--{flag}")), "{flag}");
            // kubectl has no variable for its context either.
            if flag != "context" {
                let variable = variable_of(flag).unwrap_or_else(|| panic!("{flag} has none"));
                assert!(help.contains(&format!("[env: {variable}]")), "{variable}");
            }
            assert!(
                !arg.get_default_values().is_empty()
                    || arg.get_help().unwrap().to_string().contains("[default: "),
                "--{flag} does not say what happens without it"
            );
        }
        assert!(help.contains("RUST_LOG"));
    }
}
