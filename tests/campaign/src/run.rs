//! Runs a scenario, with a plan or without, and judges what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use fault_proxy::{RuleHandle, Step};
use jiff::{SignedDuration, Timestamp};
use oracles::{DIFFERS, Differs, LeaseWrite, Lifecycle};
use serde_json::Value;

use crate::clock::{Stopwatch, pass};
use crate::evidence;
use crate::inject::inject;
use crate::named::Named;
use crate::plan::{DELAY, Plan, Steps};
use crate::scenarios::{RETRY_AFTER, Scenario};
use crate::stage::{Stage, has_ended};
use crate::world::World;

/// How long each run is watched after its end, in virtual time.
const QUIET: Duration = Duration::from_secs(12);

/// What a fault that was begun at the end of the run may need beyond its length to show its effect.
const MOMENT: Duration = Duration::from_secs(2);

/// A scenario without faults: what the others are compared with.
pub struct Reference {
    /// Its steps.
    pub steps: Steps,
    /// How each object ended.
    pub ends: BTreeMap<String, Value>,
    /// When the last one had, from the first creation on, in virtual time.
    pub took: Duration,
}

/// By how much later than without faults the last end came, in virtual time.
#[derive(Clone, Copy, Debug)]
pub struct Delay {
    /// So much.
    pub measured: Duration,
    /// So much may be.
    pub allowed: Duration,
}

/// What came of a run.
pub struct Outcome {
    /// Everything that was wrong, one line each.
    pub violations: Vec<String>,
    /// Whether the plan's step was reached at all.
    pub met: bool,
    /// How long it took (real time).
    pub took: Duration,
    /// What the fault cost, where that is bounded.
    pub delay: Option<Delay>,
    /// The story, for people.
    pub trace: String,
}

/// Runs a scenario without faults; gives what was seen and what was wrong with it.
pub async fn reference(world: &World, scenario: Scenario) -> (Reference, Outcome) {
    let watch = Stopwatch::start();
    let stage = Stage::set(world, scenario.setup(world.factor)).await;
    let mut violations = play(&stage, scenario).await;
    stage.pass(QUIET).await;
    violations.extend(judged(&stage, QUIET / 2));
    let stored = stage.world.stored.of(&stage.namespace);
    let before = |step: &Step| stored.iter().filter(|it| it.seen < step.time).count();
    violations.extend(processes(&stage));
    let reference = Reference {
        steps: Steps::of(&stage.recorder.steps(), before),
        ends: evidence::ends(&stage),
        took: until_the_end(&stage).unwrap_or_default(),
    };
    let outcome = Outcome {
        violations,
        met: true,
        took: watch.elapsed(),
        delay: None,
        trace: trace(&stage),
    };
    (reference, outcome)
}

/// Runs a plan.
pub async fn run(world: &World, plan: &Plan, reference: &Reference) -> Outcome {
    let watch = Stopwatch::start();
    let stage = Stage::set(world, plan.scenario.setup(world.factor)).await;
    let traps = inject(&stage, plan);
    let mut violations = play(&stage, plan.scenario).await;
    stage.pass(plan.variant.lasts().max(QUIET) + MOMENT).await;
    violations.extend(judged(&stage, QUIET));
    if violations.is_empty() {
        let may_lose = plan.may_lose_an_answer();
        violations.extend(compared(&stage, may_lose, reference));
    }
    let delay = delay(&stage, plan.may_delay(), reference);
    violations.extend(delay.and_then(too_late));
    violations.extend(processes(&stage));
    Outcome {
        violations,
        met: traps.iter().any(|trap: &RuleHandle| trap.fired() > 0),
        took: watch.elapsed(),
        delay,
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
    let mut setup = scenario.setup(world.factor);
    (named.settings)(&mut setup.settings);
    let stage = Stage::set(world, setup).await;
    let traps = (named.set)(&stage).await;
    let mut violations = play(&stage, scenario).await;
    stage.pass(QUIET).await;
    violations.extend(judged(&stage, QUIET / 2));
    if violations.is_empty() {
        let may_lose = named.may_lose_an_answer;
        violations.extend(compared(&stage, may_lose, reference));
    }
    let allowed = named.lasts.map(|lasts| lasts + DELAY + RETRY_AFTER);
    let delay = allowed.and_then(|allowed| delay(&stage, allowed, reference));
    violations.extend(delay.and_then(too_late));
    violations.extend(processes(&stage));
    Outcome {
        violations,
        met: traps.iter().any(|trap| trap.fired() > 0),
        took: watch.elapsed(),
        delay,
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

/// From the first creation to the last end, in virtual time; `None` when there is no end. What this
/// machine took to start a program is left out: it is real time, which no clock makes faster.
fn until_the_end(stage: &Stage<'_>) -> Option<Duration> {
    let stored = stage.world.stored.of(&stage.namespace);
    let first = stored.first()?.seen;
    let mut ended = BTreeSet::new();
    let ends = stored.iter().filter(|edition| {
        !edition.deleted && has_ended(&edition.object) && ended.insert(edition.uid().to_owned())
    });
    let last = ends.last()?.seen;
    let real = Duration::try_from(last.duration_since(first)).ok()?;
    let starts = starts(stage, first, last);
    Some(real.saturating_sub(starts) * stage.pace.factor)
}

/// How long processes that were started between these moments took, until their first request.
fn starts(stage: &Stage<'_>, from: Timestamp, to: Timestamp) -> Duration {
    let steps = stage.recorder.steps();
    let mut whole = Duration::ZERO;
    for replica in &stage.replicas {
        for (_, started, what) in replica.events() {
            if what != Lifecycle::Started || started < from || started > to {
                continue;
            }
            let own = |step: &&Step| {
                step.time > started && step.proxy.rsplit('-').next() == Some(replica.name())
            };
            let first = steps.iter().find(own).map_or(to, |step| step.time.min(to));
            whole += Duration::try_from(first.duration_since(started)).unwrap_or_default();
        }
    }
    whole
}

/// What the fault cost; `None` when nothing ended, which other judges tell of.
fn delay(stage: &Stage<'_>, allowed: Duration, reference: &Reference) -> Option<Delay> {
    let measured = until_the_end(stage)?.saturating_sub(reference.took);
    Some(Delay { measured, allowed })
}

fn too_late(delay: Delay) -> Option<String> {
    let Delay { measured, allowed } = delay;
    (measured > allowed).then(|| {
        format!(
            "delay: the end came {measured:.1?} later than without a fault, of at most {allowed:?}"
        )
    })
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

/// No process panics, and none ends but when it was asked to, and then well; or when it could not
/// renew its Lease.
fn processes(stage: &Stage<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let leases = evidence::leases(stage);
    for replica in &stage.replicas {
        let events = replica.events();
        let when = |process: &str, what| {
            let mut events = events.iter();
            events.find_map(|(it, time, was)| (it == process && *was == what).then_some(*time))
        };
        for (process, code) in replica.exits() {
            let was_asked = when(&process, Lifecycle::Terminated).is_some();
            let lost_it = when(&process, Lifecycle::Exited).is_some_and(|ended| {
                code == 1 && has_lost_its_lease(&leases, &process, stage.pace.at(ended))
            });
            if !(was_asked && code == 0 || lost_it) {
                wrong.push(format!("process: {process} ended by itself with {code}"));
            }
        }
        if let Some((process, _, Lifecycle::Terminated)) = events.last() {
            wrong.push(format!("process: {process} was asked to end and has not"));
        }
        let log = replica.log();
        if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
            wrong.push(format!("process: {line}"));
        }
    }
    wrong
}

/// Whether a process was right to step down at this moment: somebody else holds the Lease, or its
/// own last renewal that it knows of is so old that it had to. On a machine with too much to do it
/// may come to that without a fault.
fn has_lost_its_lease(leases: &[LeaseWrite], process: &str, ended: Timestamp) -> bool {
    let before = || leases.iter().filter(|write| write.stored <= ended);
    let is_anothers = before()
        .next_back()
        .is_some_and(|last| last.process != process);
    let own = before().rfind(|write| write.process == process && write.told);
    is_anothers || own.is_none_or(|own| ended.duration_since(own.sent) >= RENEW_DEADLINE)
}

/// Without a renewal for so long a leader steps down.
const RENEW_DEADLINE: SignedDuration = SignedDuration::from_secs(10);

/// Everything that happened, in order.
fn trace(stage: &Stage<'_>) -> String {
    let mut lines: Vec<(Timestamp, String)> = Vec::new();
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
