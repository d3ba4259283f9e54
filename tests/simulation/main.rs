//! The whole operator in one process on virtual time, between a Kubernetes API and a Fabric in
//! memory that lose, delay and lie as a seed says; judged by the oracles.
//!
//! `make simulate` runs 10,000 seeds, `make simulate SEED=n` replays one and prints its trace.
//! Without arguments (`make test`) a few hundred run, and those of `found.txt`, always.

mod cluster;
mod draw;
mod entropy;
mod history;
mod plan;
mod run;
mod trace;
mod weather;
mod wire;

use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use plan::Plan;
use run::Report;

/// Seeds of a plain `make test`.
const FEW: u64 = 200;

/// Seeds from here on are of runs whose faults go on for a day.
const LONG: u64 = 1_000_000_000;

/// Seeds that found something once.
const FOUND: &str = include_str!("found.txt");

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let number = |name: &str| -> Option<u64> { std::env::var(name).ok()?.parse().ok() };
    if let Some(seed) = number("SIMULATE_SEED") {
        return replay(seed);
    }
    if let Some(seeds) = number("SIMULATE_TWICE") {
        return twice(seeds);
    }
    let found = FOUND
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok());
    let first = number("SIMULATE_FROM").unwrap_or(0);
    let few = number("SIMULATE_SEEDS").unwrap_or(FEW);
    let long = number("SIMULATE_DAYS").unwrap_or(1);
    let seeds: Vec<u64> = (LONG..LONG + long)
        .chain(found)
        .chain(first..first + few)
        .collect();
    simulate(&seeds)
}

/// Runs all seeds, on as many threads as there are cores.
fn simulate(seeds: &[u64]) -> ExitCode {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let began = clock();
    let next = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    let lasted = Mutex::new(Duration::ZERO);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(seed) = usize::try_from(index).ok().and_then(|i| seeds.get(i)) else {
                        return;
                    };
                    let report = simulated(*seed, false);
                    *lasted.lock().expect("no holder panics") += report.lasted;
                    if !report.is_clean() {
                        tell(*seed, &report);
                        failed.lock().expect("no holder panics").push(*seed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no holder panics");
    let hours = lasted.into_inner().expect("no holder panics").as_secs() / 3600;
    println!(
        "simulation: {} seeds, {hours} virtual hours, {:.1} s on {cores} cores, {} seeds with violations",
        seeds.len(),
        began.elapsed().as_secs_f64(),
        failed.len()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs one seed and prints everything that happened.
fn replay(seed: u64) -> ExitCode {
    let report = simulated(seed, true);
    print!("{}", report.trace.as_deref().unwrap_or_default());
    if report.is_clean() {
        println!("seed {seed}: no violation");
        return ExitCode::SUCCESS;
    }
    tell(seed, &report);
    ExitCode::FAILURE
}

/// Runs seeds twice and compares the traces.
fn twice(seeds: u64) -> ExitCode {
    let differing: Vec<_> = (0..seeds)
        .filter(|seed| simulated(*seed, true).trace != simulated(*seed, true).trace)
        .collect();
    println!("simulation: {seeds} seeds run twice, other traces: {differing:?}");
    if differing.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn tell(seed: u64, report: &Report) {
    let mut text = format!("seed {seed} failed; replay it with: make simulate SEED={seed}\n");
    for violation in &report.violations {
        text += &format!("  {violation}\n");
    }
    for problem in &report.problems {
        text += &format!("  {problem}\n");
    }
    eprint!("{text}");
}

/// One seed, on a thread of its own: what threads remember of randomness begins anew.
fn simulated(seed: u64, with_trace: bool) -> Report {
    let body = move || {
        entropy::follow(seed);
        fastrand::seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O needs nothing");
        runtime.block_on(run::run(Plan::draw(seed, seed >= LONG), with_trace))
    };
    let ended = std::thread::Builder::new()
        .spawn(body)
        .expect("a thread can be started")
        .join();
    ended.unwrap_or_else(|_| Report {
        violations: Vec::new(),
        problems: vec!["the simulation itself panicked".to_owned()],
        lasted: Duration::ZERO,
        trace: None,
    })
}

#[expect(clippy::disallowed_methods, reason = "how long it took for people")]
fn clock() -> std::time::Instant {
    std::time::Instant::now()
}
