//! Runs a scenario, with a plan or without, and judges what was seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use fault_proxy::{RuleHandle, Step};
use oracles::{DIFFERS, Differs, Lifecycle};
use serde_json::Value;

use crate::clock::{Stopwatch, pass};
use crate::evidence;
use crate::inject::inject;
use crate::named::Named;
use crate::plan::{Plan, Steps, Variant};
use crate::scenarios::Scenario;
use crate::stage::Stage;
use crate::world::World;

/// How long each run is watched after its end, in virtual time.
const QUIET: Duration = Duration::from_secs(12);

/// A fault that was begun at the end of the run has its effect within this (virtual) time.
const LAST_EFFECTS: Duration = Duration::from_secs(32);

/// A scenario without faults: what the others are compared with.
pub struct Reference {
    /// Its steps.
    pub steps: Steps,
    /// How each object ended.
    pub ends: BTreeMap<String, Value>,
}

/// What came of a run.
pub struct Outcome {
    /// Everything that was wrong, one line each.
    pub violations: Vec<String>,
    /// Whether the plan's step was reached at all.
    pub met: bool,
    /// How long it took (real time).
    pub took: Duration,
    /// The story, for people.
    pub trace: String,
}

/// Runs a scenario without faults; gives what was seen and what was wrong with it.
pub async fn reference(world: &World, scenario: Scenario) -> (Reference, Outcome) {
    let watch = Stopwatch::start();
    let stage = Stage::set(world, scenario.setup(1)).await;
    let mut violations = play(&stage, scenario).await;
    stage.pass(QUIET).await;
    violations.extend(judged(&stage, QUIET / 2));
    let stored = stage.world.stored.of(&stage.namespace);
    let before = |step: &Step| stored.iter().filter(|it| it.seen < step.time).count();
    let reference = Reference {
        steps: Steps::of(&stage.recorder.steps(), before),
        ends: evidence::ends(&stage),
    };
    let outcome = Outcome {
        violations,
        met: true,
        took: watch.elapsed(),
        trace: trace(&stage),
    };
    (reference, outcome)
}

/// Runs a plan.
pub async fn run(world: &World, plan: &Plan, reference: &Reference) -> Outcome {
    let watch = Stopwatch::start();
    let stage = Stage::set(world, plan.scenario.setup(1)).await;
    let traps = inject(&stage, plan);
    let mut violations = play(&stage, plan.scenario).await;
    stage.pass(LAST_EFFECTS).await;
    let judged = judged(&stage, QUIET).into_iter();
    violations.extend(judged.filter(|it| !is_by_design(plan, it)));
    if violations.is_empty() {
        let may_lose = plan.may_lose_an_answer();
        violations.extend(compared(&stage, may_lose, reference));
    }
    violations.extend(processes(&stage, plan.variant == Variant::Terminated));
    Outcome {
        violations,
        met: traps.iter().any(|trap: &RuleHandle| trap.fired() > 0),
        took: watch.elapsed(),
        trace: trace(&stage),
    }
}

/// Runs a scenario with a fault that is no single step.
pub async fn run_named(
    world: &World,
    scenario: Scenario,
    named: &Named,
    reference: &Reference,
) -> Outcome {
    let watch = Stopwatch::start();
    let stage = Stage::set(world, scenario.setup(1)).await;
    let traps = (named.set)(&stage);
    let mut violations = play(&stage, scenario).await;
    stage.pass(QUIET).await;
    violations.extend(judged(&stage, QUIET / 2));
    if violations.is_empty() {
        let may_lose = named.may_lose_an_answer;
        violations.extend(compared(&stage, may_lose, reference));
    }
    violations.extend(processes(&stage, false));
    Outcome {
        violations,
        met: traps.iter().any(|trap| trap.fired() > 0),
        took: watch.elapsed(),
        trace: trace(&stage),
    }
}

async fn play(stage: &Stage<'_>, scenario: Scenario) -> Vec<String> {
    let played = async {
        stage.start().await?;
        (scenario.drive)(stage).await
    };
    played.await.err().into_iter().collect()
}

/// What the oracles say.
fn judged(stage: &Stage<'_>, quiet: Duration) -> Vec<String> {
    let history = evidence::history(stage, quiet);
    let found = oracles::judge(&history);
    found.iter().map(ToString::to_string).collect()
}

/// What a fault costs by design, although a rule forbids it without one.
fn is_by_design(plan: &Plan, violation: &str) -> bool {
    // Who sees an older world has to ask to learn of the end.
    let asks = plan.variant.is_stale() && violation.starts_with("L3 ");
    // A new process meets the same trouble in other words (Entra's instead of Fabric's), and
    // shows them, while `lastError` is kept for a minute.
    let other_words = plan.variant.ends_a_process()
        && plan.scenario.name == "credentials"
        && violation.starts_with("L4 ")
        && violation.contains("says nothing new");
    asks || other_words
}

/// Where the ends differ from those of the run without faults.
fn compared(stage: &Stage<'_>, may_lose_an_answer: bool, reference: &Reference) -> Vec<String> {
    let ends = evidence::ends(stage);
    let names = |ends: &BTreeMap<String, Value>| ends.keys().cloned().collect::<Vec<_>>();
    let (ours, theirs) = (names(&ends), names(&reference.ends));
    if ours != theirs {
        return vec![format!(
            "there are {ours:?} at the end, without faults {theirs:?}"
        )];
    }
    let each = ends.iter().flat_map(|(name, end)| {
        let mut named = DIFFERS.to_vec();
        let mut reference = reference.ends[name].clone();
        let unknown = end["status"]["conditions"]["Accepted"]["reason"] == "AnswerLost";
        if unknown && may_lose_an_answer {
            named.extend(LOST_ANSWER);
            for condition in ["Ready", "Cancelled"] {
                let reason = &mut reference["status"]["conditions"][condition]["reason"];
                // Who may have asked cannot say that somebody else had.
                if *reason == "JobAlreadyCancelled" {
                    *reason = "JobCancelled".into();
                }
            }
        }
        oracles::equal_apart_from(end, &reference, &named)
    });
    each.map(|violation| violation.to_string()).collect()
}

/// What an attempt changes whose outcome stayed unknown.
const LOST_ANSWER: [Differs; 3] = [
    Differs {
        field: "/status/conditions/Accepted",
        why: "it is AnswerLost, and the job was over before another attempt",
    },
    Differs {
        field: "/status/conditions/*/message",
        why: "it says that the outcome is unknown",
    },
    Differs {
        field: "/status/location",
        why: "it stood in the answer",
    },
];

/// No process panics, and none ends but when it was asked to, and then well.
fn processes(stage: &Stage<'_>, asked_to_end: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for replica in &stage.replicas {
        if let Some(code) = replica.ended() {
            wrong.push(format!("process: it ended by itself with {code}"));
        }
        let log = replica.log();
        if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
            wrong.push(format!("process: {line}"));
        }
        let events = replica.events();
        let count = |what| events.iter().filter(|(.., it)| *it == what).count();
        let (asked, ended) = (count(Lifecycle::Terminated), count(Lifecycle::Exited));
        if asked_to_end && asked != ended {
            wrong.push(format!(
                "process: {asked} were asked to end, {ended} ended well"
            ));
        }
    }
    wrong
}

/// Everything that happened, in order.
fn trace(stage: &Stage<'_>) -> String {
    let mut lines: Vec<(jiff::Timestamp, String)> = Vec::new();
    for step in stage.recorder.steps() {
        let name = crate::label::label(&step).unwrap_or_default();
        lines.push((step.time, format!("{}   [{name}]", step.line())));
    }
    for replica in &stage.replicas {
        for (process, time, what) in replica.events() {
            lines.push((time, format!("     {time} process {process}: {what:?}")));
        }
    }
    for edition in stage.world.stored.of(&stage.namespace) {
        let ready = bench::condition(&edition.object, "Ready");
        let what = if edition.deleted { "deleted" } else { "stored" };
        lines.push((
            edition.seen,
            format!(
                "     {} {what} {} rv {} attempts {} Ready {} {}",
                edition.seen,
                edition.name(),
                edition.resource_version(),
                edition.object["status"]["attempts"],
                ready["status"].as_str().unwrap_or("-"),
                ready["reason"].as_str().unwrap_or("-"),
            ),
        ));
    }
    lines.sort();
    let mut text = String::new();
    for (_, line) in lines {
        let _ = writeln!(text, "{line}");
    }
    for replica in &stage.replicas {
        let _ = writeln!(text, "--- log of {} ---\n{}", replica.name(), replica.log());
    }
    text
}

/// Lets the machine settle between two parts.
pub async fn settle() {
    pass(Duration::from_millis(200)).await;
}
