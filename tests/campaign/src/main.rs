//! The fault campaign: each scenario is recorded without faults, then run again once for each
//! fault at each step, and judged by the oracles.
//!
//! `make campaign` runs all; `make campaign PLAN=name` replays one and shows what happened.

mod clock;
mod evidence;
mod inject;
mod label;
mod named;
mod plan;
mod replica;
mod run;
mod scenarios;
mod stage;
mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use futures::{FutureExt, StreamExt};

use crate::clock::Stopwatch;
use crate::named::NAMED;
use crate::plan::Plan;
use crate::run::{Delay, Outcome, Reference};
use crate::scenarios::SCENARIOS;
use crate::world::World;

/// Runs the fault campaign against an operator built with the feature test-clock
#[derive(Debug, Parser)]
struct Arguments {
    /// The operator's program
    operator: PathBuf,
    /// Runs the plans whose name contains this alone, and shows each story
    #[arg(long, default_value = "")]
    plan: String,
    /// Names the plans without running them
    #[arg(long)]
    list: bool,
    /// How many plans run at once
    #[arg(long, default_value_t = 10)]
    at_once: usize,
    /// How many times faster than real the clocks run
    #[arg(long, default_value_t = 20)]
    factor: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let watch = Stopwatch::start();
    let world = World::start(arguments.operator.clone(), arguments.factor).await;
    let mut tally = Tally::default();
    let mut references = BTreeMap::new();
    let mut plans: Vec<Plan> = Vec::new();
    // A replay needs its own scenario alone.
    let wanted = |name: &str| match arguments.plan.split_once('/') {
        // The rows of the table are run with the first scenario.
        Some((row, _)) if row.starts_with('R') => name == SCENARIOS[0].name,
        Some((scenario, _)) => scenario == name,
        None => true,
    };
    let recordings = SCENARIOS
        .iter()
        .filter(|it| wanted(it.name))
        .map(|scenario| {
            // Twice: a step that one run alone has is no step of the scenario.
            let (first, second) = (
                run::reference(&world, *scenario),
                run::reference(&world, *scenario),
            );
            async move { (scenario, tokio::join!(first, second)) }
        });
    let mut recordings = futures::stream::iter(recordings).buffered(arguments.at_once.div_ceil(2));
    while let Some((scenario, (first, second))) = recordings.next().await {
        for outcome in [&first.1, &second.1] {
            tally.failed += tell(&format!("{}/fault-free", scenario.name), outcome, "", false);
        }
        let steps = first.0.steps.clone().common(&second.0.steps);
        let all = steps.plans(*scenario);
        println!(
            "{}: {} steps, {} plans, fault-free in {:.1} s",
            scenario.name,
            steps.len(),
            all.len(),
            first.1.took.as_secs_f64()
        );
        plans.extend(all);
        let took = first.0.took.max(second.0.took);
        references.insert(scenario.name, Reference { took, ..first.0 });
    }
    run::settle().await;
    plans.retain(|plan| plan.to_string().contains(&arguments.plan));
    let mut named = NAMED.to_vec();
    named.retain(|it| it.name.contains(&arguments.plan));
    if arguments.list {
        for plan in &plans {
            println!("{plan}");
        }
        for it in &named {
            println!("{}", it.name);
        }
        return ExitCode::SUCCESS;
    }
    let replay = plans.len() + named.len() == 1;
    let runs = plans.iter().map(|plan| {
        let reference = &references[plan.scenario.name];
        run::run(&world, plan, reference).map(|outcome| (plan.to_string(), outcome))
    });
    let mut runs = futures::stream::iter(runs).buffer_unordered(arguments.at_once);
    while let Some((name, outcome)) = runs.next().await {
        tally.add(&name, &outcome, replay);
    }
    // One at a time: some of them kill what all others need.
    for it in &named {
        let scenario = SCENARIOS[0];
        let outcome = run::run_named(&world, scenario, it, &references[scenario.name]).await;
        tally.add(it.name, &outcome, replay);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "campaign: {} plans, {} with violations, {} whose step did not come, in {:.0} s \
         ({} at once, {cores} cores, clock factor {})",
        plans.len() + named.len(),
        tally.failed,
        tally.unmet,
        watch.elapsed().as_secs_f64(),
        arguments.at_once,
        arguments.factor,
    );
    if let Some((name, Delay { measured, allowed })) = &tally.longest {
        println!(
            "longest delay of an end: {:.0} s of virtual time, of at most {}, in {name}",
            measured.as_secs_f64(),
            allowed.as_secs(),
        );
    }
    if plans.len() + named.len() == 0 || tally.failed > 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What came of all runs.
#[derive(Default)]
struct Tally {
    /// How many had violations.
    failed: usize,
    /// How many did not meet their step.
    unmet: usize,
    /// The plan whose fault delayed an end for the longest time.
    longest: Option<(String, Delay)>,
}

impl Tally {
    /// Counts a plan and tells of it.
    fn add(&mut self, name: &str, outcome: &Outcome, story: bool) {
        let hint = format!("make campaign PLAN={name}");
        self.failed += tell(name, outcome, &hint, story);
        if !outcome.met {
            self.unmet += 1;
            println!("unmet {name}");
        }
        let longest = self.longest.as_ref().map(|(_, delay)| delay.measured);
        if let Some(delay) = outcome.delay
            && longest.is_none_or(|longest| delay.measured > longest)
        {
            self.longest = Some((name.to_owned(), delay));
        }
    }
}

/// A run that takes longer (real seconds) is told of.
const SLOW: f64 = 30.0;

/// Tells of one run; 1 when it failed.
fn tell(name: &str, outcome: &Outcome, hint: &str, story: bool) -> usize {
    if story {
        println!("{}", outcome.trace);
    }
    let seconds = outcome.took.as_secs_f64();
    if outcome.violations.is_empty() {
        if story || seconds > SLOW {
            println!("ok    {name} ({seconds:.1} s)");
        }
        return 0;
    }
    println!("FAIL  {name} ({seconds:.1} s)   {hint}");
    for violation in &outcome.violations {
        println!("      {violation}");
    }
    1
}
