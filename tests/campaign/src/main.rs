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
use futures::StreamExt;

use crate::clock::Stopwatch;
use crate::named::NAMED;
use crate::plan::Plan;
use crate::run::{Outcome, Reference};
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
    #[arg(long, default_value_t = 6)]
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
    let mut failed = 0;
    let mut references = BTreeMap::new();
    let mut plans: Vec<Plan> = Vec::new();
    // A replay needs its own scenario alone.
    let wanted = |name: &str| match arguments.plan.split_once('/') {
        // The rows of the table are run with the first scenario.
        Some((row, _)) if row.starts_with('R') => name == SCENARIOS[0].name,
        Some((scenario, _)) => scenario == name,
        None => true,
    };
    for scenario in SCENARIOS.iter().filter(|it| wanted(it.name)) {
        // Twice: a step that one run alone has is no step of the scenario.
        let (first, second) = tokio::join!(
            run::reference(&world, *scenario),
            run::reference(&world, *scenario)
        );
        for outcome in [&first.1, &second.1] {
            failed += tell(&format!("{}/fault-free", scenario.name), outcome, "", false);
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
        references.insert(scenario.name, first.0);
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
    let (bad, unmet) = run_all(&world, &plans, &references, arguments.at_once, replay).await;
    failed += bad;
    for it in &named {
        let scenario = SCENARIOS[0];
        let outcome = run::run_named(&world, scenario, it, &references[scenario.name]).await;
        let hint = format!("make campaign PLAN={}", it.name);
        failed += tell(it.name, &outcome, &hint, replay);
        if !outcome.met {
            println!("unmet {}", it.name);
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "campaign: {} plans, {failed} with violations, {unmet} whose step did not come, in {:.0} s \
         ({} at once, {cores} cores, clock factor {})",
        plans.len() + named.len(),
        watch.elapsed().as_secs_f64(),
        arguments.at_once,
        arguments.factor,
    );
    if plans.len() + named.len() == 0 || failed > 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Runs the plans, some at once; gives how many failed and how many did not meet their step.
async fn run_all(
    world: &World,
    plans: &[Plan],
    references: &BTreeMap<&str, Reference>,
    at_once: usize,
    replay: bool,
) -> (usize, usize) {
    let runs = plans.iter().map(|plan| async move {
        let outcome = run::run(world, plan, &references[plan.scenario.name]).await;
        (plan, outcome)
    });
    let mut runs = futures::stream::iter(runs).buffer_unordered(at_once);
    let (mut failed, mut unmet) = (0, 0);
    while let Some((plan, outcome)) = runs.next().await {
        let name = plan.to_string();
        let hint = format!("make campaign PLAN={name}");
        failed += tell(&name, &outcome, &hint, replay);
        if !outcome.met {
            unmet += 1;
            println!("unmet {name}");
        }
    }
    (failed, unmet)
}

/// Tells of one run; 1 when it failed.
fn tell(name: &str, outcome: &Outcome, hint: &str, story: bool) -> usize {
    if story {
        println!("{}", outcome.trace);
    }
    let seconds = outcome.took.as_secs_f64();
    if outcome.violations.is_empty() {
        if story || seconds > 15.0 {
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
