//! `make demo`: one cancellation from `kubectl apply` to Cancelled, on this machine.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bench::demo::{self, Options};
use clap::Parser;
use clap::builder::FalseyValueParser;

/// Shows one cancellation from `kubectl apply` to Cancelled.
///
/// Starts a real etcd and kube-apiserver, a simulated Fabric and Entra, and the operator with the
/// rights of its own ClusterRole; applies a sample with kubectl; shows who says what to whom; ends
/// everything and removes its folder. Builds the control plane's programs where they are missing, which
/// takes minutes and is told. Your kubeconfig and your proxy settings are not used.
///
/// Exit codes: 0 when Fabric reported the job as Cancelled, 1 when it did not (the last lines say
/// why), 2 for a wrong argument, 130 when Ctrl-C ended it first.
#[derive(Parser)]
#[command(name = "demo")]
struct Arguments {
    /// Keep everything running until Ctrl-C, and say what to try.
    #[arg(long, env = "KEEP", value_parser = FalseyValueParser::new())]
    keep: bool,
    /// Apply the YAML files of this folder. The simulated Fabric gets the application of each
    /// Secret and the job of each cancellation that they name [default: the repository's
    /// docs/examples/first-cancellation].
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
    /// The operator to run; the one beside this program when left out.
    #[arg(long, value_name = "FILE")]
    operator: Option<PathBuf>,
    /// How long the cancellation may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("demo: failed to start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(demo::run(Options {
        keep: arguments.keep,
        manifests: arguments.manifests.unwrap_or_else(|| demo::SAMPLE.into()),
        operator: arguments.operator,
        timeout: Duration::from_secs(arguments.timeout),
    }));
    // A build that is being waited for must not hold the exit.
    runtime.shutdown_background();
    ended
}
