//! The election: candidates with the production state machine ([`Candidate`]), one Lease, an API
//! server that may be slow or lose things, processes that stand still, and hands that edit.
//!
//! Real time goes on in whole seconds. Each candidate reads a clock of its own, which may run
//! slower or faster; it goes on while the process stands still (SIGSTOP), as CLOCK_MONOTONIC does.
//!
//! What this proves of the fence. A request is let through while the lease is good for 5 s more.
//! E1: at no moment two candidates would let one through. E2, where all clocks run alike: while
//! one would, the lease of every other that did not resign has ended; so a request that was let
//! through and was on its way within 5 s is on its way before anybody else's. A process that
//! stands still *between* the fence and the socket may write later than that: nobody can prevent
//! this, and it adds one request (S4 of the protocol counts such pauses).

use std::time::Duration;

use fabric_job_operator::election::{Answer, Candidate, Record, Step, Terms};
use jiff::Timestamp;
use stateright::{Model, Property};

/// Seconds since the model's beginning.
type Second = u32;

/// How long the lease must still be good for when a request is let through.
const FENCE: Duration = Duration::from_secs(5);
/// Somebody leads again this long after the last trouble: the lease, one look at it, one call
/// that was given up, and one more attempt.
const AGAIN_WITHIN: Second = 15 + 2 + 5 + 3;
/// The same after a leader resigned, where no watch brings the news: one retry and one call.
const HANDED_OVER_WITHIN: Second = 4;

/// What is taken out of the machine's surroundings, to see the properties fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// As the loop does it.
    Production,
    /// Writes name no version.
    NoVersion,
    /// The lease counts from the answer to a renewal.
    FromAnswer,
    /// The clock of a process stands still with it.
    FrozenClock,
    /// A leader that is asked to end just ends.
    NoRelease,
    /// Whoever does not lead after the first second never will.
    NoTakeOver,
}

/// One bounded world.
#[derive(Clone, Debug)]
pub struct Election {
    /// What it is for.
    pub name: &'static str,
    /// What was taken out.
    pub variant: Variant,
    /// How fast each candidate's clock runs, in per cent.
    pub rates: Vec<u32>,
    /// Calls that are slow or lost, processes that stand still or die.
    pub faults: u8,
    /// Leaders that are asked to end.
    pub resignations: u8,
    /// How often hands edit the Lease.
    pub edits: u8,
    /// Whether they may delete it.
    pub may_delete: bool,
    /// Whether there is no Lease yet.
    pub no_lease: bool,
    /// How long it is followed.
    pub until: Second,
}

/// One candidate's process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    candidate: Candidate,
    call: Option<Call>,
    /// It stands still since.
    still: bool,
    /// Time that its clock missed.
    missed: Second,
    dead: bool,
    /// For E2: until when its lease was ever good, by its clock; nothing after a resignation.
    good_until: Duration,
}

/// A call that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Call {
    step: Step,
    sent: Duration,
    /// It takes longer than usual.
    slow: bool,
    /// The answer that is on its way back.
    answer: Option<Answer>,
}

/// The state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    now: Second,
    version: u32,
    lease: Option<Record>,
    nodes: Vec<Node>,
    /// Writes whose senders gave up.
    late: Vec<Step>,
    faults: u8,
    resignations: u8,
    edits: u8,
    /// The last moment at which anything was wrong, or led.
    trouble: Second,
    /// When a leader finished handing over, until somebody leads.
    handed_over: Option<Second>,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The candidate begins its next call.
    Begin(usize),
    /// The call arrives and is answered.
    Serve(usize),
    /// The call arrives; its answer takes longer.
    ServeSlowly(usize),
    /// The answer that took longer comes.
    Answer(usize),
    /// The call takes longer to arrive.
    Delay(usize),
    /// The call does not arrive.
    Lose(usize),
    /// The call arrives; its answer is lost.
    LoseAnswer(usize),
    /// The candidate gives the call up.
    GiveUp(usize),
    /// A write that was given up arrives.
    Late(usize),
    /// The process stands still.
    Stop(usize),
    /// It goes on.
    Continue(usize),
    /// It dies.
    Die(usize),
    /// It is asked to end; its work is drained.
    Resign(usize),
    /// Somebody deletes the Lease.
    Delete,
    /// Somebody erases the holder.
    Erase,
    /// Somebody annotates the Lease.
    Annotate,
    /// A second passes.
    Tick,
}

impl Election {
    fn local(&self, world: &World, i: usize) -> Duration {
        let real = world.now - world.nodes[i].missed;
        Duration::from_millis(u64::from(real) * 10 * u64::from(self.rates[i]))
    }

    fn wall(&self, world: &World) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + i64::from(world.now)).expect("in this century")
    }

    fn step(&self, world: &World, i: usize) -> Step {
        let now = self.local(world, i);
        let candidate = &world.nodes[i].candidate;
        let step = candidate.next_step(now, self.wall(world));
        let writes = matches!(step, Step::Create(_) | Step::Replace { .. });
        let standby = candidate.leads_until(now).is_none();
        if self.variant == Variant::NoTakeOver && writes && standby && world.now > 0 {
            let until = Duration::MAX;
            return Step::Wait { until };
        }
        step
    }

    fn may_send(&self, world: &World, i: usize) -> bool {
        let now = self.local(world, i);
        let node = &world.nodes[i];
        let good = node.candidate.leads_until(now);
        !node.dead && good.is_some_and(|until| until >= now + FENCE)
    }

    /// Whether time must wait for somebody.
    fn is_urgent(&self, world: &World, i: usize) -> bool {
        let node = &world.nodes[i];
        if node.dead || node.still {
            return false;
        }
        match &node.call {
            Some(call) => !call.slow || self.is_overdue(world, i, call),
            None => matches!(
                self.step(world, i),
                Step::Read | Step::Create(_) | Step::Replace { .. }
            ),
        }
    }

    fn is_overdue(&self, world: &World, i: usize, call: &Call) -> bool {
        let patience = world.nodes[i].candidate.patience(call.sent);
        self.local(world, i) >= call.sent + patience
    }

    fn apply(&self, world: &mut World, step: &Step) -> Answer {
        let version = |world: &World| world.version.to_string();
        match step {
            Step::Create(_) if world.lease.is_some() => return Answer::Conflict,
            Step::Replace { .. } if world.lease.is_none() => return Answer::Gone,
            Step::Replace { version: on, .. }
                if *on != version(world) && self.variant != Variant::NoVersion =>
            {
                return Answer::Conflict;
            }
            Step::Create(record) | Step::Replace { record, .. } => {
                world.lease = Some(record.clone());
                world.version += 1;
            }
            _ => {
                return match &world.lease {
                    Some(record) => Answer::Found {
                        version: version(world),
                        record: record.clone(),
                    },
                    None => Answer::Missing,
                };
            }
        }
        let record = world.lease.clone().expect("it was just stored");
        Answer::Stored {
            version: version(world),
            record,
        }
    }

    fn answered(&self, world: &mut World, i: usize, answer: Answer) {
        let now = self.local(world, i);
        let Some(call) = world.nodes[i].call.take() else {
            return;
        };
        let sent = match self.variant {
            Variant::FromAnswer => now,
            _ => call.sent,
        };
        let node = &mut world.nodes[i];
        let next = node.candidate.clone();
        node.candidate = next.record(&call.step, answer, sent, now, Duration::ZERO);
        if let Some(until) = node.candidate.leads_until(now) {
            node.good_until = node.good_until.max(until);
        }
        if self.step(world, i) == Step::Done {
            world.handed_over = world.handed_over.or(Some(world.now));
        }
    }

    fn fault(&self, world: &mut World) {
        world.faults += 1;
        world.trouble = world.now;
        world.handed_over = None;
    }

    fn node_actions(&self, world: &World, i: usize, out: &mut Vec<Action>) {
        let node = &world.nodes[i];
        if node.dead {
            return;
        }
        if node.still {
            out.push(Action::Continue(i));
            return;
        }
        let faults = world.faults < self.faults;
        match &node.call {
            None => match self.step(world, i) {
                Step::Read | Step::Create(_) | Step::Replace { .. } => out.push(Action::Begin(i)),
                Step::Wait { .. } | Step::StepDown(_) | Step::Done => {}
            },
            Some(call) => {
                if self.is_overdue(world, i, call) {
                    out.push(Action::GiveUp(i));
                } else if call.answer.is_some() {
                    out.push(Action::Answer(i));
                } else {
                    out.push(Action::Serve(i));
                }
                if faults && call.answer.is_none() {
                    if !call.slow {
                        out.extend([Action::Delay(i), Action::Lose(i), Action::LoseAnswer(i)]);
                    }
                    out.push(Action::ServeSlowly(i));
                }
            }
        }
        if faults {
            out.extend([Action::Stop(i), Action::Die(i)]);
        }
        let leads = node.candidate.leads_until(self.local(world, i)).is_some();
        if leads && node.call.is_none() && world.resignations < self.resignations {
            out.push(Action::Resign(i));
        }
    }
}

impl Model for Election {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let terms = Terms::STANDARD;
        let node = |i: usize| Node {
            candidate: Candidate::new(format!("candidate-{i}"), terms),
            call: None,
            still: false,
            missed: 0,
            dead: false,
            good_until: Duration::ZERO,
        };
        // A leader gave it up before, so that nobody has to wait for its first holder.
        let released = Record {
            holder: String::new(),
            duration_seconds: Some(1),
            acquired: None,
            renewed: None,
            transitions: None,
        };
        vec![World {
            now: 0,
            version: 0,
            lease: (!self.no_lease).then_some(released),
            nodes: (0..self.rates.len()).map(node).collect(),
            late: Vec::new(),
            faults: 0,
            resignations: 0,
            edits: 0,
            trouble: 0,
            handed_over: None,
        }]
    }

    fn actions(&self, world: &World, out: &mut Vec<Action>) {
        if world.now >= self.until {
            return;
        }
        for i in 0..world.nodes.len() {
            self.node_actions(world, i, out);
        }
        out.extend((0..world.late.len()).map(Action::Late));
        if world.edits < self.edits && world.lease.is_some() {
            out.extend([Action::Erase, Action::Annotate]);
            if self.may_delete {
                out.push(Action::Delete);
            }
        }
        if !(0..world.nodes.len()).any(|i| self.is_urgent(world, i)) {
            out.push(Action::Tick);
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Begin(i) => {
                let step = self.step(&world, i);
                let sent = self.local(&world, i);
                world.nodes[i].call = Some(Call {
                    step,
                    sent,
                    slow: false,
                    answer: None,
                });
            }
            Action::Serve(i) => {
                let step = world.nodes[i].call.as_ref()?.step.clone();
                let answer = self.apply(&mut world, &step);
                self.answered(&mut world, i, answer);
            }
            Action::ServeSlowly(i) => {
                let step = world.nodes[i].call.as_ref()?.step.clone();
                let answer = self.apply(&mut world, &step);
                let call = world.nodes[i].call.as_mut()?;
                call.slow = true;
                call.answer = Some(answer);
                self.fault(&mut world);
            }
            Action::Answer(i) => {
                let answer = world.nodes[i].call.as_mut()?.answer.take()?;
                self.answered(&mut world, i, answer);
            }
            Action::Delay(i) => {
                world.nodes[i].call.as_mut()?.slow = true;
                self.fault(&mut world);
            }
            Action::Lose(i) => {
                self.answered(&mut world, i, Answer::Failed);
                self.fault(&mut world);
            }
            Action::LoseAnswer(i) => {
                let step = world.nodes[i].call.as_ref()?.step.clone();
                self.apply(&mut world, &step);
                self.answered(&mut world, i, Answer::Failed);
                self.fault(&mut world);
            }
            Action::GiveUp(i) => {
                let call = world.nodes[i].call.as_ref()?;
                let write = !matches!(call.step, Step::Read);
                if call.answer.is_none() && write {
                    world.late.push(call.step.clone());
                }
                self.answered(&mut world, i, Answer::Failed);
                world.trouble = world.now;
            }
            Action::Late(k) => {
                let step = world.late.remove(k);
                self.apply(&mut world, &step);
                world.trouble = world.now;
            }
            Action::Stop(i) => {
                world.nodes[i].still = true;
                self.fault(&mut world);
            }
            Action::Continue(i) => {
                world.nodes[i].still = false;
                world.trouble = world.now;
            }
            Action::Die(i) => {
                if let Some(call) = world.nodes[i].call.take()
                    && call.answer.is_none()
                    && !matches!(call.step, Step::Read)
                {
                    world.late.push(call.step);
                }
                world.nodes[i].dead = true;
                self.fault(&mut world);
            }
            Action::Resign(i) => {
                world.resignations += 1;
                let node = &mut world.nodes[i];
                node.good_until = Duration::ZERO;
                if self.variant == Variant::NoRelease {
                    node.dead = true;
                    world.handed_over = Some(world.now);
                } else {
                    node.candidate = node.candidate.clone().resign();
                }
            }
            Action::Delete => {
                world.lease = None;
                world.edits += 1;
                world.trouble = world.now;
            }
            Action::Erase => {
                world.lease.as_mut()?.holder.clear();
                world.version += 1;
                world.edits += 1;
                world.trouble = world.now;
            }
            Action::Annotate => {
                world.version += 1;
                world.edits += 1;
                world.trouble = world.now;
            }
            Action::Tick => {
                world.now += 1;
                for node in &mut world.nodes {
                    if node.still && self.variant == Variant::FrozenClock {
                        node.missed += 1;
                    }
                }
            }
        }
        if (0..world.nodes.len()).any(|i| self.may_send(&world, i)) {
            world.trouble = world.now;
            world.handed_over = None;
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(E1, |model: &Self, world: &World| {
                let open = (0..world.nodes.len()).filter(|i| model.may_send(world, *i));
                open.count() <= 1
            }),
            Property::always(E2, |model: &Self, world: &World| {
                let alike = model.rates.iter().all(|rate| *rate == model.rates[0]);
                let nodes = || 0..world.nodes.len();
                !alike
                    || nodes().filter(|i| model.may_send(world, *i)).all(|i| {
                        nodes()
                            .filter(|j| *j != i)
                            .all(|j| world.nodes[j].good_until <= model.local(world, j))
                    })
            }),
            Property::always(E3, |model: &Self, world: &World| {
                let fit = |i: &usize| {
                    let node = &world.nodes[*i];
                    let ends = matches!(model.step(world, *i), Step::StepDown(_) | Step::Done);
                    !node.dead && !node.still && !ends
                };
                world.now - world.trouble <= AGAIN_WITHIN
                    || !(0..world.nodes.len()).any(|i| fit(&i))
            }),
            Property::always(E4, |model: &Self, world: &World| {
                let standby = |i: usize| {
                    let node = &world.nodes[i];
                    let waits = matches!(model.step(world, i), Step::Wait { .. });
                    !node.dead && !node.still && node.call.is_none() && waits
                };
                let over = world
                    .handed_over
                    .is_none_or(|when| world.now - when <= HANDED_OVER_WITHIN);
                let faultless = world.faults == 0 && world.edits == 0;
                !faultless || over || !(0..world.nodes.len()).any(standby)
            }),
            Property::sometimes(LED, |model: &Self, world: &World| {
                world.nodes.len() > 1 && model.may_send(world, 1)
            }),
        ]
    }
}

/// E1.
pub const E1: &str = "E1 at no time two fences are open";
/// E2.
pub const E2: &str = "E2 while a fence is open, every other lease that was not given up has ended";
/// E3.
pub const E3: &str = "E3 with a working API somebody leads again within 25 s";
/// E4.
pub const E4: &str = "E4 a planned release lets the next one lead within 4 s";
/// Reached.
pub const LED: &str = "reached: the second candidate leads";

/// What CI explores.
pub fn small() -> Vec<Election> {
    let base = Election {
        name: "",
        variant: Variant::Production,
        rates: vec![100, 100],
        faults: 1,
        resignations: 0,
        edits: 0,
        may_delete: false,
        no_lease: false,
        until: 26,
    };
    vec![
        Election {
            name: "two candidates, a fault",
            ..base.clone()
        },
        Election {
            name: "clocks that differ by a fifth",
            rates: vec![90, 110],
            ..base.clone()
        },
        Election {
            name: "a planned hand-over, three candidates",
            rates: vec![100, 100, 100],
            faults: 0,
            resignations: 2,
            until: 14,
            ..base.clone()
        },
        Election {
            name: "a Lease edited by hand, and a fault",
            faults: 1,
            edits: 1,
            until: 21,
            ..base.clone()
        },
        Election {
            name: "a Lease deleted by hand",
            edits: 1,
            faults: 0,
            may_delete: true,
            until: 40,
            ..base.clone()
        },
        Election {
            name: "no Lease at first, deleted by hand while a standby stands still",
            faults: 1,
            edits: 1,
            may_delete: true,
            no_lease: true,
            until: 40,
            ..base
        },
    ]
}

/// What `make model` explores.
pub fn large() -> Vec<Election> {
    small()
        .into_iter()
        .map(|one| Election {
            faults: one.faults + 1,
            until: one.until + 8,
            ..one
        })
        .collect()
}

/// What is taken out, where, and which properties must fail.
pub fn variants() -> Vec<(Election, &'static [&'static str])> {
    let small = small();
    let with = |at: usize, variant| Election {
        variant,
        until: match variant {
            Variant::NoTakeOver => 30,
            _ => small[at].until,
        },
        faults: match variant {
            Variant::FromAnswer => 2,
            _ => small[at].faults,
        },
        ..small[at].clone()
    };
    vec![
        (with(0, Variant::NoVersion), &[E1]),
        (with(0, Variant::FromAnswer), &[E2]),
        (with(0, Variant::FrozenClock), &[E1]),
        (with(2, Variant::NoRelease), &[E4]),
        (with(0, Variant::NoTakeOver), &[E3]),
    ]
}

/// A state in one line.
pub fn describe(world: &World) -> String {
    let holder = world.lease.as_ref().map_or("-", |record| &record.holder);
    format!("{:>3} s  #{} {holder}", world.now, world.version)
}
