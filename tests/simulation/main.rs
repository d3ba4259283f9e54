//! The whole operator in one process on virtual time, between a Kubernetes API and a Fabric in
//! memory that lose, delay and lie as a seed says; judged by the oracles.
//!
//! `make simulate` runs 10,000 seeds, `make simulate SEED=n` replays one and prints its trace.
//! Without arguments (`make test`) a few hundred run, and those of `found.txt`, always.

mod cluster;
mod draw;
mod entropy;
mod history;
mod log;
mod plan;
mod run;
mod steady;
mod trace;
mod turn;
mod weather;
mod wire;

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    process::ExitCode,
    time::Duration,
};

use run::Report;

/// A third of a run is spent on memory, which glibc gives and takes more slowly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds of a plain `make test`.
const FEW: u64 = 50;

/// How many of them, beside those of `found.txt`, are run twice to compare their traces.
const TWICE: u64 = 20;

/// Names the seeds whose traces a process of this program prints as numbers.
const TRACES: &str = "SIMULATE_TRACES";

/// Seeds from here on are of runs whose faults go on for a day.
pub const LONG: u64 = 1_000_000_000;

/// Seeds that found something once.
const FOUND: &str = include_str!("found.txt");

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    entropy::begin();
    log::keep();
    let number = |name: &str| -> Option<u64> { std::env::var(name).ok()?.parse().ok() };
    if let Some(seed) = number("SIMULATE_SEED") {
        return replay(seed);
    }
    if let Ok(seeds) = std::env::var(TRACES) {
        return traces(&numbers(&seeds));
    }
    let found: Vec<u64> = FOUND
        .lines()
        .flat_map(|line| numbers(line).first().copied())
        .collect();
    let first = number("SIMULATE_FROM").unwrap_or(0);
    let few = number("SIMULATE_SEEDS").unwrap_or(FEW);
    let long = number("SIMULATE_DAYS").unwrap_or(1);
    let seeds = (LONG..LONG + long)
        .chain(found.iter().copied())
        .chain(first..first + few);
    let clean = simulate(seeds);
    let twice = number("SIMULATE_TWICE").unwrap_or(TWICE);
    let same = twice == 0 || same_again(found.into_iter().chain(first..first + twice));
    if clean && same {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The numbers that a text begins with.
fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect()
}

/// Runs all seeds; whether nothing was wrong.
fn simulate(seeds: impl Iterator<Item = u64>) -> bool {
    let began = clock();
    let (mut lasted, mut runs, mut failed) = (Duration::ZERO, 0, 0);
    turn::each(seeds, cores(), false, |seed, report| {
        lasted += report.lasted;
        runs += 1;
        if !report.is_clean() {
            tell(seed, &report);
            failed += 1;
        }
    });
    println!(
        "simulation: {runs} seeds, {} virtual hours, {:.1} s on {} cores, {failed} seeds with violations",
        lasted.as_secs() / 3600,
        began.elapsed().as_secs_f64(),
        cores(),
    );
    failed == 0
}

/// Runs one seed and prints everything that happened.
fn replay(seed: u64) -> ExitCode {
    let mut clean = false;
    turn::each(std::iter::once(seed), 1, true, |_, report| {
        print!("{}", report.trace.as_deref().unwrap_or_default());
        clean = report.is_clean();
        if clean {
            println!("seed {seed}: no violation");
        } else {
            tell(seed, &report);
        }
    });
    if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether seeds take the same course to the letter in two processes.
fn same_again(seeds: impl Iterator<Item = u64>) -> bool {
    let seeds: Vec<_> = seeds.map(|seed| seed.to_string()).collect();
    let begin = || {
        let program = std::env::current_exe().expect("a program knows its path");
        std::process::Command::new(program)
            .env(TRACES, seeds.join(" "))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("this program can be started again")
    };
    let traces = [begin(), begin()].map(|child| {
        let output = child.wait_with_output().expect("it was started here");
        assert!(output.status.success(), "it ended with {}", output.status);
        String::from_utf8(output.stdout).expect("it prints numbers")
    });
    let lines = traces[0].lines().zip(traces[1].lines());
    let others: Vec<_> = lines
        .filter(|(one, other)| one != other)
        .filter_map(|(one, _)| numbers(one).first().copied())
        .collect();
    let runs = traces[0].lines().count();
    println!("simulation: {runs} seeds run twice, other traces: {others:?}");
    others.is_empty() && traces[0].len() == traces[1].len()
}

/// Prints a number for each seed that follows from its whole trace.
fn traces(seeds: &[u64]) -> ExitCode {
    let mut lines = BTreeMap::new();
    turn::each(seeds.iter().copied(), cores(), true, |seed, report| {
        let mut hasher = DefaultHasher::new();
        report.trace.hash(&mut hasher);
        lines.insert(seed, hasher.finish());
    });
    for (seed, trace) in lines {
        println!("{seed} {trace}");
    }
    ExitCode::SUCCESS
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

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[expect(clippy::disallowed_methods, reason = "how long it took for people")]
fn clock() -> std::time::Instant {
    std::time::Instant::now()
}
