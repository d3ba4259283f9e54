//! Parses the command line and hands over; the only file that may end the process.

use std::io::{self, Write};
use std::process::ExitCode;

use fabric_job_operator::cli::{self, Command, Config};

/// A flag or a variable has a wrong value.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // Before anything can open a TLS connection: with two candidates in the tree rustls would
    // panic at the first one.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nothing installed a crypto provider before main");

    match cli::parse(std::env::args_os()) {
        Ok(Command::Run(config)) => run(*config),
        Ok(Command::Print(text)) => print(&text),
        Err(usage) => {
            eprintln!("{usage}");
            ExitCode::from(USAGE)
        }
    }
}

fn run(config: Config) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(cli::run(config));
    // Whatever still runs was given its time; a name lookup that hangs must not hold the exit.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => {
            tracing::info!("ended: everything that was begun is finished");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            tracing::error!("ended: {}", cli::in_one_line(&failure));
            ExitCode::FAILURE
        }
    }
}

/// A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
