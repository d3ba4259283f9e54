//! The controller's order of effects, one action per effect.
//!
//! | action | stands for |
//! |---|---|
//! | `Visit` | `controller/visit.rs`: `visit` up to `run`, for every step that asks Fabric nothing. Each visit names the edition that `newest` chose: the cache's, our own last answer, or a live read |
//! | `Intend` | the same up to `Step::Request`, then `visit/calls.rs`: `request` up to the return of `store_intent` (`visit/write.rs`) |
//! | `Send` | `request` from the check of wish and licence, through the fence, to the request on the wire; a second time for `send`'s fresh token after a 401 |
//! | `Arrive`, `TimeOut` | the answer, `record`; `fabric.rs` |
//! | `Look` | `visit` up to `Step::Look`, then `look` with its answer and `record` |
//! | `Record` | one turn of `write_what_is_due` (`visit/write.rs`): the write, or after a conflict the live read |
//! | `Crash` | `kill -9` and a new process; `HandOver` is the drained end of `controller::run` |
//!
//! Left out: credentials that cannot be resolved, the gate, pauses of `Known::failed` (here a
//! failed visit may be repeated at once, which allows more), deletion after the TTL.

use fabric_job_operator::cancellation::{Cancellation, Facts, Observation, Step, Wish};

use crate::shared::Shared;

use super::rules::Rule;
use super::store::Written;
use super::world::{Doing, Edition, Flight, Known, NOBODY, Second, World, at, identity, second};
use super::{Action, Protocol, Sight, Variant, Write};

/// `policy::INTENT_LICENCE`, written down anew: the rules must not follow a changed constant.
pub const LICENCE: Second = 15;
/// The longest time that an answer is awaited.
pub const CALL: Second = 20;
/// `READ_LIVE_AFTER` of `visit/write.rs`.
const READ_LIVE_AFTER: Second = 5;

impl Protocol {
    /// What the shell tells the core of an edition.
    pub fn shown(&self, edition: &Edition) -> (Wish, Facts) {
        let (mut wish, mut facts) = (edition.wish.clone(), edition.facts.clone());
        match self.variant {
            Variant::IgnoredSuspension => wish.suspend = false,
            Variant::IgnoredDeletion => wish.deleting = false,
            Variant::IgnoredEnd => facts.completion_time = None,
            Variant::EndlessRepeats => facts.request_time = None,
            Variant::LateAttempts => wish.active_deadline += std::time::Duration::from_secs(60),
            _ => {}
        }
        (wish, facts)
    }

    /// The lines of `visit` after `newest`, for the edition that this has chosen. `None` where
    /// no object is to be visited.
    pub fn view(&self, world: &World, i: usize, k: u8) -> Option<Cancellation> {
        let replica = &world.replicas[i];
        let edition = &world.history[usize::from(k)];
        if !edition.present {
            return None;
        }
        let (wish, facts) = self.shown(edition);
        let now = at(world.now);
        let same = world.history[usize::from(replica.seen)].uid == edition.uid;
        Some(match replica.known.as_ref().filter(|_| same) {
            Some(known) => (*known.core).clone().refresh(wish, facts, now),
            None => self.met(Cancellation::new(wish, facts, now)),
        })
    }

    /// What `newest` gives without news from the watch: our own last answer, or a live read.
    fn without_news(&self, world: &World, i: usize) -> u8 {
        let replica = &world.replicas[i];
        let known = replica.known.as_ref();
        let live = known
            .and_then(|known| known.read_live_at)
            .is_some_and(|at| world.now >= at);
        if live { world.tip() } else { replica.seen }
    }

    fn met(&self, core: Cancellation) -> Cancellation {
        let open = core.current().attempts > 0 && !core.is_accepted();
        if self.variant == Variant::NoGrace && open {
            let (wish, facts) = (core.wish().clone(), core.stored().clone());
            return core.intent_stored(wish, facts).not_sent();
        }
        core
    }

    fn step(&self, core: &Cancellation, world: &World) -> Step {
        let step = core.next_step(at(world.now));
        let passed = core.deadline().is_some_and(|end| end <= at(world.now));
        if self.variant == Variant::NoLastLook && passed && step != Step::Finished {
            return Step::GiveUp;
        }
        step
    }

    /// What the replica may do. Whether something is to be done at once.
    pub fn shell_actions(&self, world: &World, i: usize, out: &mut Vec<Action>) -> bool {
        let replica = &world.replicas[i];
        match &replica.doing {
            Doing::Nothing if replica.leads => self.visits(world, i, out),
            Doing::Nothing => false,
            Doing::Send { again, .. } => {
                let newest = if *again { world.tip() } else { replica.seen };
                out.extend((replica.seen..=newest).map(|k| Action::Send(i, k)));
                true
            }
            Doing::Await { until, .. } => {
                if world.now >= *until {
                    out.push(Action::TimeOut(i));
                }
                world.now >= *until
            }
            Doing::Record => {
                let how = self.ways_to_write(world);
                out.extend(how.into_iter().map(|how| Action::Record(i, how)));
                true
            }
        }
    }

    fn visits(&self, world: &World, i: usize, out: &mut Vec<Action>) -> bool {
        let replica = &world.replicas[i];
        let Some(known) = &replica.known else {
            // The first list may show any edition.
            let before = out.len();
            for k in replica.seen..=world.tip() {
                self.visits_to(world, i, k, out);
            }
            return out.len() > before && world.newest().present;
        };
        let own = self.without_news(world, i);
        let waits = known.read_live_at.is_some_and(|at| world.now < at);
        let mut urgent = false;
        if own != replica.seen && self.is_gone(world, i, own) {
            out.push(Action::Visit(i, own));
            urgent = true;
        } else if !waits {
            urgent = self.visits_to(world, i, own, out);
        }
        for k in replica.seen + 1..=world.tip() {
            if k != own {
                self.visits_to(world, i, k, out);
            }
        }
        urgent
    }

    /// Whether a live read in place of the edition that was worked on finds another object.
    fn is_gone(&self, world: &World, i: usize, live: u8) -> bool {
        let (ours, live) = (
            &world.history[usize::from(world.replicas[i].seen)],
            &world.history[usize::from(live)],
        );
        !live.present || live.uid != ours.uid
    }

    fn visits_to(&self, world: &World, i: usize, k: u8, out: &mut Vec<Action>) -> bool {
        let Some(core) = self.view(world, i, k) else {
            return false;
        };
        let replica = &world.replicas[i];
        match self.step(&core, world) {
            Step::Request => {
                let how = self.ways_to_write(world);
                out.extend(how.into_iter().map(|how| Action::Intend(i, k, how)));
                true
            }
            Step::Look => {
                let sights = self.sights(world);
                out.extend(sights.into_iter().map(|sight| Action::Look(i, k, sight)));
                true
            }
            Step::GiveUp => {
                out.push(Action::Visit(i, k));
                true
            }
            Step::Wait { .. } | Step::Finished => {
                let due = core.due_write(at(world.now)).is_some();
                let over = core.stored().completion_time.is_some();
                let known = replica.known.as_ref();
                let news =
                    k != replica.seen || (!over && known.is_none_or(|known| *known.core != core));
                if due || news {
                    out.push(Action::Visit(i, k));
                }
                due || news
            }
        }
    }

    /// What may happen to the replica as a process.
    pub fn process_actions(&self, world: &World, i: usize, out: &mut Vec<Action>) {
        let replica = &world.replicas[i];
        let idle = replica.doing == Doing::Nothing;
        if world.spent.crashes < self.budget.crashes && (replica.known.is_some() || !idle) {
            out.push(Action::Crash(i));
        }
        let moves = world.spent.moves < self.budget.moves;
        if replica.leads {
            let drained = || {
                let known = replica.known.as_ref();
                idle && known.is_none_or(|known| known.core.due_write(at(world.now)).is_none())
            };
            if moves && (self.variant == Variant::NoDrain || drained()) {
                out.push(Action::HandOver(i));
            }
            let both = world.replicas[1 - i].leads;
            if both || (moves && self.variant != Variant::NoFence) {
                out.push(Action::LoseLease(i));
            }
        } else if self.nobody_leads(world) || (moves && self.variant == Variant::NoFence) {
            out.push(Action::TakeOver(i));
        }
        if i == 0 && world.spent.identities < self.budget.identities {
            out.push(Action::OtherIdentity);
        }
    }

    /// Whether no fence is open.
    pub fn nobody_leads(&self, world: &World) -> bool {
        world.replicas.iter().all(|replica| !replica.leads)
    }

    /// The next moment that somebody waits for.
    pub fn next_moment(&self, world: &World) -> Option<Second> {
        let wait = |i: usize| match &world.replicas[i].doing {
            Doing::Await { until, .. } => Some(*until),
            Doing::Nothing if world.replicas[i].leads => {
                let known = world.replicas[i].known.as_ref()?;
                let wake = self
                    .view(world, i, world.replicas[i].seen)
                    .filter(|_| self.variant != Variant::NoTimer)
                    .and_then(|core| core.wake_at(at(world.now)))
                    .map(second);
                match known.read_live_at {
                    Some(at) => Some(wake.map_or(at, |wake| wake.max(at))),
                    None => wake,
                }
            }
            _ => None,
        };
        (0..2).filter_map(wait).filter(|at| *at > world.now).min()
    }

    /// A visit that asks Fabric nothing.
    pub fn visit(&self, world: &mut World, i: usize, k: u8) -> Option<()> {
        if k == self.without_news(world, i) && self.is_gone(world, i, k) {
            self.forget(world, i);
            return Some(());
        }
        let core = self.view(world, i, k)?;
        let core = match self.step(&core, world) {
            Step::GiveUp => core.record(Observation::DeadlinePassed, at(world.now)),
            _ => core,
        };
        self.keep(world, i, k, core);
        self.settle(world, i);
        Some(())
    }

    /// A visit that stores an intent.
    pub fn intend(&self, world: &mut World, i: usize, base: u8, how: Write) -> Option<()> {
        let core = self.view(world, i, base)?;
        let (number, now) = (world.identity, world.now);
        let intent = core.intent(identity(number), at(now));
        self.judge_intent(world, i, base, &intent);
        self.keep(world, i, base, core.clone());
        if self.variant == Variant::NoIntent {
            let core = core.clone().intent_stored(core.wish().clone(), intent);
            self.keep(world, i, base, core);
            world.replicas[i].doing = Doing::Send {
                identity: number,
                from: now,
                again: false,
            };
            return Some(());
        }
        match self.write(world, i, base, intent, how) {
            Written::Stored(version) => {
                let (wish, facts) = self.shown(&world.history[usize::from(version)]);
                let wanted = !wish.deleting && !wish.suspend;
                let core = core.intent_stored(wish, facts);
                self.keep(world, i, version, core);
                if wanted {
                    world.replicas[i].doing = Doing::Send {
                        identity: number,
                        from: now,
                        again: false,
                    };
                } else {
                    self.did_not_send(world, i);
                }
            }
            Written::Conflict => {
                if let Some(known) = &mut world.replicas[i].known {
                    known.read_live_at = Some(now + READ_LIVE_AFTER);
                }
                self.settle(world, i);
            }
            Written::Gone => self.forget(world, i),
            Written::Failed => {}
        }
        Some(())
    }

    /// The request, unless something speaks against it.
    pub fn send(&self, world: &mut World, i: usize, cached: u8) -> Option<()> {
        let Doing::Send {
            identity,
            from,
            again,
        } = world.replicas[i].doing
        else {
            return None;
        };
        let licensed = world.now <= from + LICENCE || self.variant == Variant::NoLicence;
        let fenced = !world.replicas[i].leads;
        if !licensed || fenced || (again && !self.is_still_wanted(world, i, cached)) {
            self.did_not_send(world, i);
            return Some(());
        }
        let token = match self.variant {
            Variant::OtherToken => world.identity,
            _ => identity,
        };
        let known = world.replicas[i].known.as_ref()?;
        let uid = world.history[usize::from(world.replicas[i].seen)].uid;
        let attempt = known.core.current().attempts;
        self.judge_request(world, i, token, from);
        let replica = &mut world.replicas[i];
        replica.doing = Doing::Await {
            identity,
            from,
            again,
            until: world.now + CALL,
        };
        world.flights.push(Flight {
            from: u8::try_from(i).ok()?,
            uid,
            attempt,
        });
        Some(())
    }

    fn is_still_wanted(&self, world: &World, i: usize, cached: u8) -> bool {
        let shown = &world.history[usize::from(cached)];
        let ours = &world.history[usize::from(world.replicas[i].seen)];
        let same = ours.uid == shown.uid;
        let (wish, _) = self.shown(shown);
        shown.present && same && !wish.deleting && !wish.suspend
    }

    fn did_not_send(&self, world: &mut World, i: usize) {
        self.change(world, i, Cancellation::not_sent);
        self.was_harmless(world, i);
        self.settle(world, i);
    }

    /// For the rules: this process knows that its latest request did nothing.
    pub fn was_harmless(&self, world: &mut World, i: usize) {
        let by = u8::try_from(i).expect("two");
        if let Some(intent) = world.ghost.intent.as_mut().filter(|last| last.by == by) {
            intent.harmless = true;
        }
    }

    /// A visit that looks.
    pub fn look(&self, world: &mut World, i: usize, base: u8, sight: Sight) -> Option<()> {
        let core = self.view(world, i, base)?;
        self.judge_look(world, i, base);
        let seen = self.seen(world, i, sight);
        let core = core.looked_at_by(identity(world.identity));
        self.keep(world, i, base, core.record(seen, at(world.now)));
        self.settle(world, i);
        Some(())
    }

    /// One turn of `write_what_is_due`.
    pub fn write_what_is_due(&self, world: &mut World, i: usize, how: Write) -> Option<()> {
        let known = world.replicas[i].known.clone()?;
        let Some(facts) = known.core.due_write(at(world.now)) else {
            self.end_visit(world, i);
            return Some(());
        };
        let seen = world.replicas[i].seen;
        match self.write(world, i, seen, facts, how) {
            Written::Stored(version) => {
                let (wish, facts) = self.shown(&world.history[usize::from(version)]);
                let core = (*known.core).clone();
                let core = if facts.attempts == core.current().attempts {
                    core.written(wish, facts)
                } else {
                    core.refresh(wish, facts, at(world.now))
                };
                self.keep(world, i, version, core);
                self.end_visit(world, i);
            }
            Written::Conflict => {
                if self.is_gone(world, i, world.tip()) {
                    self.forget(world, i);
                    return Some(());
                }
                let (wish, facts) = self.shown(world.newest());
                let core = (*known.core).clone().refresh(wish, facts, at(world.now));
                let tip = world.tip();
                self.keep(world, i, tip, core);
                self.settle(world, i);
            }
            Written::Gone => self.forget(world, i),
            Written::Failed => self.end_visit(world, i),
        }
        Some(())
    }

    /// A new process in place of the old one.
    pub fn restart(&self, world: &mut World, i: usize) {
        let me = u8::try_from(i).expect("two");
        for flight in world.flights.iter_mut().filter(|flight| flight.from == me) {
            flight.from = NOBODY;
        }
        if let Some(intent) = world.ghost.intent.as_mut().filter(|last| last.by == me) {
            intent.by = NOBODY;
        }
        let replica = &mut world.replicas[i];
        replica.seen = 0;
        replica.known = None;
        replica.leads = false;
        replica.doing = Doing::Nothing;
        replica.asked_until = 0;
        replica.saw_running = false;
    }

    /// Changes what the core knows.
    pub fn change(
        &self,
        world: &mut World,
        i: usize,
        change: impl FnOnce(Cancellation) -> Cancellation,
    ) {
        if let Some(known) = &mut world.replicas[i].known {
            known.core = Shared::new(change((*known.core).clone()));
        }
    }

    fn keep(&self, world: &mut World, i: usize, version: u8, core: Cancellation) {
        world.replicas[i].seen = version;
        world.replicas[i].known = Some(Known {
            core: Shared::new(core),
            read_live_at: None,
        });
    }

    /// The visit goes on to write what is due, if anything is.
    pub fn settle(&self, world: &mut World, i: usize) {
        let due = world.replicas[i]
            .known
            .as_ref()
            .is_some_and(|known| known.core.due_write(at(world.now)).is_some());
        if due {
            world.replicas[i].doing = Doing::Record;
        } else {
            self.end_visit(world, i);
        }
    }

    /// An ended resource needs no memory once the cache shows the end; that it never goes back
    /// is what `seen` says.
    fn end_visit(&self, world: &mut World, i: usize) {
        let replica = &mut world.replicas[i];
        replica.doing = Doing::Nothing;
        let ended = |known: &Known| known.core.stored().completion_time.is_some();
        if replica.known.as_ref().is_some_and(ended) {
            replica.known = None;
        }
    }

    /// The object is gone; by the time of the next visit the cache shows it, too.
    fn forget(&self, world: &mut World, i: usize) {
        let tip = world.tip();
        let replica = &mut world.replicas[i];
        replica.doing = Doing::Nothing;
        replica.known = None;
        replica.seen = tip;
    }

    /// Whether what this process has been shown of the object says so.
    pub fn has_seen(&self, world: &World, i: usize, what: impl Fn(&Edition) -> bool) -> bool {
        let replica = &world.replicas[i];
        if replica.known.is_none() {
            return false;
        }
        let newest = usize::from(replica.seen);
        let uid = world.history[newest].uid;
        let mut seen = world.history[..=newest].iter();
        seen.any(|edition| edition.uid == uid && what(edition))
    }
}

/// Marks a rule as broken in `world` unless it was kept.
pub fn judge(world: &mut World, kept: bool, rule: Rule) {
    world.ghost.broken.unless(kept, rule);
}
