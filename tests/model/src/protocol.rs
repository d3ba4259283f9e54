//! The protocol: two replicas with the production core, one resource, one run at Fabric, and
//! everything that may go wrong between them.
//!
//! What is production code: every decision ([`Cancellation`]: `new`, `refresh`, `next_step`,
//! `wake_at`, `intent`, `intent_stored`, `not_sent`, `record`, `due_write`, `written`). What is
//! modelled: the controller's order of effects (`shell.rs`), the API server as a list of editions
//! with compare-and-swap, the lease as "at most one fence is open" (`election.rs` proves that),
//! Fabric, the network and the clock.
//!
//! Time: whole seconds. It moves to the next moment that somebody waits for, and only once
//! nothing is left to do at once; a pause (the process, or the whole machine, stands still) is a
//! fault with a budget. All paths are finite, so "eventually" is judged where nothing can happen
//! any more.

mod configurations;
mod edits;
mod fabric;
mod rules;
mod shell;
mod store;
mod world;

use stateright::{Model, Property};

pub use configurations::{large, small, variants};
use world::{Budget, Doing, Edition, Ghost, NOBODY, Replica, Run, Second, World, wish};

use crate::shared::Shared;
use fabric_job_operator::cancellation::Facts;

/// How a status write ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// It arrives and is answered.
    Answered,
    /// It arrives, its answer does not.
    AnswerLost,
    /// It does not arrive.
    Lost,
    /// It arrives after its writer gave up.
    Late,
}

/// How a cancel request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is processed and answered; the run ended before, if so.
    Answered(Option<Run>),
    /// It is processed; the connection breaks before the answer.
    AnswerLost,
    /// It is processed; its sender hears nothing until it gives up.
    Silence,
    /// It never arrives; the connection breaks.
    Lost,
    /// It is refused: it did nothing.
    Refused(No),
}

/// A definite refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum No {
    /// 429.
    TooMany,
    /// 403.
    Forbidden,
    /// 401.
    Unauthorized,
    /// 404, the instance.
    NotFound,
}

/// What a look shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// How the job stands: it runs.
    Runs,
    /// How the job stands: it ended so.
    Over(Run),
    /// That it runs, although it is over.
    Older,
    /// Nothing: the look failed.
    Failed,
    /// A refusal.
    Refused(No),
}

/// What people do to the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// `spec.suspend` is set, or unset.
    Suspend,
    /// A label changes: a new resourceVersion, nothing else.
    Label,
    /// A knob of the spec changes: a new generation.
    Knob,
    /// It is deleted, and somebody's finalizer holds it.
    Delete,
    /// It is gone.
    Remove,
    /// The same manifest is applied after the removal.
    Recreate,
    /// It comes back from a backup, with the status of that edition.
    Restore(u8),
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A visit to this edition that asks Fabric nothing.
    Visit(usize, u8),
    /// A visit to this edition that stores an intent, so.
    Intend(usize, u8, Write),
    /// A visit to this edition that looks, and sees this.
    Look(usize, u8, Sight),
    /// The request of the stored intent is written, unless something speaks against it; the
    /// cache shows this edition.
    Send(usize, u8),
    /// What becomes of the request under way.
    Arrive(usize, Ending),
    /// The answer did not come in time.
    TimeOut(usize),
    /// What is due is written, so.
    Record(usize, Write),
    /// The late status write arrives.
    Land(usize),
    /// The process dies and starts again; its API server may show it any edition.
    Crash(usize),
    /// The process is asked to end: it finishes what it must, hands the lease over, and another
    /// takes its place.
    HandOver(usize),
    /// The replica's lease runs out: its fence closes.
    LoseLease(usize),
    /// The replica leads.
    TakeOver(usize),
    /// Somebody acts on the resource.
    Person(Edit),
    /// The credential source names another identity.
    OtherIdentity,
    /// Time goes to the next moment that somebody waits for.
    Tick,
    /// Everything stands still, for longer than a licence.
    Pause,
}

/// What is taken out of the shell, to see the rules fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// As the controller does it.
    Production,
    /// The request is sent, then recorded.
    NoIntent,
    /// A lost lease is noticed late, and another leads already.
    NoFence,
    /// A process that is asked to end does so at once.
    NoDrain,
    /// Writes carry no resourceVersion.
    NoGuard,
    /// An attempt found after a restart counts as not sent.
    NoGrace,
    /// However long ago the intent was stored, it is sent.
    NoLicence,
    /// A request whose answer was lost is sent again under the same intent.
    SameIntent,
    /// What Fabric asks for is not passed on to the core.
    ForgottenHint,
    /// The token is fetched after the intent, whoever it belongs to.
    OtherToken,
    /// A 202 is taken for the end.
    AcceptedIsCancelled,
    /// A wish to suspend is not passed on to the core.
    IgnoredSuspension,
    /// A deletion is not passed on to the core.
    IgnoredDeletion,
    /// A stored end is not passed on to the core.
    IgnoredEnd,
    /// When the latest intent was made is not passed on to the core.
    EndlessRepeats,
    /// The deadline is taken to be a minute later than it is.
    LateAttempts,
    /// The deadline's verdict is given without its look.
    NoLastLook,
    /// Nothing wakes a waiting resource.
    NoTimer,
}

/// One bounded world to explore.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// What it is for.
    pub name: &'static str,
    /// What was taken out.
    pub variant: Variant,
    /// How much may go wrong.
    pub budget: Budget,
    /// `spec.activeDeadlineSeconds`.
    pub deadline: Second,
    /// `Retry-After` of answers, if sent.
    pub hint: Option<Second>,
    /// Whether the run may end by itself.
    pub may_complete: bool,
    /// What people may do.
    pub edits: &'static [Edit],
    /// What Fabric may refuse with.
    pub refusals: &'static [No],
}

impl Protocol {
    /// Whether the deadline leaves time for the repeat of an accepted request.
    pub fn may_repeat(&self) -> bool {
        self.deadline > 600
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let edition = Edition {
            uid: 0,
            present: true,
            wish: wish(self.deadline),
            facts: Facts::default(),
        };
        let replica = |leads| Replica {
            seen: 0,
            known: None,
            leads,
            doing: Doing::Nothing,
            asked_until: 0,
            saw_running: false,
        };
        vec![World {
            now: 0,
            history: vec![Shared::new(edition)],
            replicas: [replica(true), replica(false)],
            flights: Vec::new(),
            late_writes: Vec::new(),
            run: Run::Running,
            identity: 0,
            spent: Budget::default(),
            ghost: Ghost::default(),
        }]
    }

    fn actions(&self, world: &World, out: &mut Vec<Action>) {
        if world.ghost.broken.any() {
            return; // The path to here is what matters.
        }
        let mut urgent = false;
        for i in 0..2 {
            urgent |= self.shell_actions(world, i, out);
            self.process_actions(world, i, out);
        }
        urgent |= self.fabric_actions(world, out);
        self.store_actions(world, out);
        if self.nobody_leads(world) {
            urgent = true;
        }
        if !urgent && self.next_moment(world).is_some() {
            out.push(Action::Tick);
        }
        if world.spent.pauses < self.budget.pauses {
            out.push(Action::Pause);
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Visit(i, k) => self.visit(&mut world, i, k)?,
            Action::Intend(i, k, how) => self.intend(&mut world, i, k, how)?,
            Action::Look(i, k, sight) => self.look(&mut world, i, k, sight)?,
            Action::Send(i, k) => self.send(&mut world, i, k)?,
            Action::Arrive(k, ending) => self.arrive(&mut world, k, ending),
            Action::TimeOut(i) => self.time_out(&mut world, i),
            Action::Record(i, how) => self.write_what_is_due(&mut world, i, how)?,
            Action::Land(k) => {
                let (base, edition) = world.late_writes.remove(k);
                self.land(&mut world, base, edition);
                self.note_intent(&mut world, NOBODY);
            }
            Action::Crash(i) => {
                world.spent.crashes += 1;
                self.restart(&mut world, i);
            }
            Action::HandOver(i) => {
                world.spent.moves += 1;
                self.restart(&mut world, i);
            }
            Action::LoseLease(i) => {
                if self.variant != Variant::NoFence {
                    world.spent.moves += 1;
                }
                world.replicas[i].leads = false;
            }
            Action::TakeOver(i) => {
                if self.variant == Variant::NoFence && !self.nobody_leads(&world) {
                    world.spent.moves += 1;
                }
                world.replicas[i].leads = true;
            }
            Action::Person(edit) => self.edit(&mut world, edit),
            Action::OtherIdentity => {
                world.spent.identities += 1;
                world.identity += 1;
            }
            Action::Tick => world.now = self.next_moment(&world)?,
            Action::Pause => {
                world.spent.pauses += 1;
                world.now += PAUSE;
            }
        }
        world.sort();
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        rules::properties()
    }
}

/// Longer than an intent's licence and a lease.
const PAUSE: Second = 16;

/// A state in one line, for the path to a violation.
pub fn describe(world: &World) -> String {
    let newest = world.newest();
    let reason = newest
        .facts
        .conditions
        .as_ref()
        .map_or("-", |conditions| conditions.ready.reason.as_str());
    let replica = |replica: &Replica| {
        let doing = match replica.doing {
            Doing::Nothing => "idle",
            Doing::Send { .. } => "sends",
            Doing::Await { .. } => "awaits",
            Doing::Record => "records",
        };
        let leads = if replica.leads { "leads, " } else { "" };
        format!("{leads}{doing}, saw {}", replica.seen)
    };
    format!(
        "{:>5} s  #{} attempts {} {reason:<24} [{}] [{}] {:?}",
        world.now,
        world.tip(),
        newest.facts.attempts,
        replica(&world.replicas[0]),
        replica(&world.replicas[1]),
        world.run,
    )
}
