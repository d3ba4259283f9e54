//! The quota gate: the production machine of one identity ([`Pace`]), a few callers of different
//! ranks and namespaces, and a Fabric that counts by itself.
//!
//! Left out: many identities (their gates share nothing), and the spread of thousands of callers.

use std::num::NonZeroU32;
use std::time::Duration;

use fabric_job_operator::cancellation::later;
use fabric_job_operator::fabric::{Answer, Caller, Pace, PassId, Rank};
use jiff::Timestamp;
use stateright::{Model, Property};
use uuid::Uuid;

/// Milliseconds since the model's beginning.
type Milli = u32;

/// Fabric counts by the minute.
const WINDOW: Milli = 60_000;
/// The longest time that a request is under way.
const CALL: Milli = 20_000;
/// How long Fabric asks everybody to stay away with a 429.
const CLOSED: Milli = 30_000;
/// Requests that Fabric processes in a minute.
const QUOTA: usize = 2;

/// What is taken out, to see the properties fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// As the controller does it.
    Production,
    /// The gate is told of twice the quota.
    TwiceTheQuota,
    /// The gate hears of no 429.
    DeafGate,
}

/// One bounded world.
#[derive(Clone, Debug)]
pub struct Gate {
    /// What it is for.
    pub name: &'static str,
    /// What was taken out.
    pub variant: Variant,
    /// Who asks: namespace, rank, and how often.
    pub callers: Vec<(&'static str, Rank, u8)>,
    /// 429s that Fabric says for reasons of its own.
    pub refusals: u8,
    /// Processes that end and start again.
    pub restarts: u8,
    /// Visits that end without a word.
    pub drops: u8,
    /// How long it is followed.
    pub until: Milli,
}

/// Where one caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Where {
    /// It asks at this time, has wanted to since that one, and was held before, or not.
    Asks { at: Milli, since: Milli, held: bool },
    /// Let through.
    Through { pass: PassId, entered: Milli },
    /// At Fabric, which answered.
    Answered { pass: PassId, no: Option<Milli> },
    /// It has all it wanted.
    Done,
}

/// The state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    now: Milli,
    pace: Pace,
    callers: Vec<(Where, u8)>,
    /// When requests of this process reached Fabric, within the last minute.
    sent: Vec<Milli>,
    /// The same for all processes, as far as Fabric processed them.
    processed: Vec<Milli>,
    /// Fabric said to this process to stay away until here.
    closed_until: Milli,
    /// This process knows what was spent from here on; not yet, if none.
    knows_from: Option<Milli>,
    refusals: u8,
    restarts: u8,
    drops: u8,
    /// Requests that Fabric refused because the quota was used up.
    beyond: u8,
    broken: [bool; 3],
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The caller asks the gate.
    Enter(usize),
    /// Its request reaches Fabric.
    Arrive(usize),
    /// The same, and Fabric says 429 for a reason of its own.
    Refuse(usize),
    /// The answer comes back.
    Hear(usize),
    /// Its visit ends without a word.
    Drop(usize),
    /// The process ends and starts again.
    Restart,
    /// Time goes to the next moment that somebody waits for.
    Tick,
}

fn at(milli: Milli) -> Timestamp {
    let start = Timestamp::from_second(1_800_000_000).expect("in this century");
    later(start, Duration::from_millis(milli.into()))
}

fn milli(moment: Timestamp) -> Milli {
    let since = moment.duration_since(at(0));
    let up = i128::from(since.subsec_nanos() % 1_000_000 > 0);
    Milli::try_from(since.as_millis() + up).unwrap_or(Milli::MAX)
}

fn within_a_minute(times: &[Milli], now: Milli) -> usize {
    times.iter().filter(|at| **at + WINDOW > now).count()
}

impl Gate {
    fn fresh(&self) -> Pace {
        let quota = match self.variant {
            Variant::TwiceTheQuota => 2 * QUOTA,
            _ => QUOTA,
        };
        let quota = u32::try_from(quota).ok().and_then(NonZeroU32::new);
        Pace::new(quota.expect("a quota"))
    }

    fn is_out(&self, world: &World) -> usize {
        let out = |caller: &&(Where, u8)| {
            matches!(caller.0, Where::Through { .. } | Where::Answered { .. })
        };
        world.callers.iter().filter(out).count()
    }

    fn next_moment(&self, world: &World) -> Option<Milli> {
        let wait = |caller: &(Where, u8)| match caller.0 {
            Where::Asks { at, .. } => Some(at),
            Where::Through { entered, .. } => Some(entered + CALL),
            Where::Answered { .. } | Where::Done => None,
        };
        let moments = world.callers.iter().filter_map(wait);
        moments.filter(|at| *at > world.now).min()
    }

    fn enter(&self, world: &mut World, c: usize, since: Milli) {
        let (namespace, rank, _) = self.callers[c];
        let caller = Caller {
            id: Uuid::from_u128(c as u128),
            namespace,
            rank,
        };
        let out = self.is_out(world);
        match world.pace.enter(&caller, at(world.now)) {
            Ok(pass) => {
                let careful = world.knows_from.is_none_or(|from| world.now < from);
                world.broken[0] |= world.now < world.closed_until;
                world.broken[1] |= careful && out > 0;
                world.callers[c].0 = Where::Through {
                    pass,
                    entered: world.now,
                };
            }
            Err(held) => {
                let at = milli(held.until);
                world.callers[c].0 = Where::Asks {
                    at,
                    since,
                    held: true,
                };
            }
        }
    }

    fn arrive(&self, world: &mut World, c: usize, refuse: bool) {
        let Where::Through { pass, .. } = world.callers[c].0 else {
            return;
        };
        world.sent.retain(|at| *at + WINDOW > world.now);
        world.processed.retain(|at| *at + WINDOW > world.now);
        let full = world.processed.len() >= QUOTA;
        if full && !refuse {
            world.beyond += 1;
        }
        // Fabric says when the first slot comes free.
        let oldest = world.processed.first().copied().unwrap_or(world.now);
        let no = match (refuse, full) {
            (true, _) => Some(CLOSED),
            (false, true) => Some(oldest + WINDOW - world.now),
            (false, false) => None,
        };
        if no.is_none() {
            world.processed.push(world.now);
        }
        world.sent.push(world.now);
        world.broken[2] |= within_a_minute(&world.sent, world.now) > QUOTA;
        world.callers[c].0 = Where::Answered { pass, no };
    }

    fn hear(&self, world: &mut World, c: usize) {
        let Where::Answered { pass, no } = world.callers[c].0 else {
            return;
        };
        let answer = match no {
            Some(wait) if self.variant != Variant::DeafGate => {
                Answer::TooMany(Duration::from_millis(wait.into()))
            }
            Some(_) | None => Answer::Answered,
        };
        world.pace.ended(pass, answer, at(world.now));
        let left = world.callers[c].1 - u8::from(no.is_none());
        let since = world.now;
        if let Some(wait) = no {
            world.closed_until = world.closed_until.max(world.now + wait);
            world.knows_from = None;
        } else if world.knows_from.is_none() && world.now >= world.closed_until {
            world.knows_from = Some(world.now + WINDOW);
        }
        let next = world.now + no.unwrap_or(0);
        let asks = Where::Asks {
            at: next,
            since,
            held: false,
        };
        world.callers[c] = (if left == 0 { Where::Done } else { asks }, left);
    }
}

impl Model for Gate {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let asks = Where::Asks {
            at: 0,
            since: 0,
            held: false,
        };
        vec![World {
            now: 0,
            pace: self.fresh(),
            callers: self.callers.iter().map(|(_, _, n)| (asks, *n)).collect(),
            sent: Vec::new(),
            processed: Vec::new(),
            closed_until: 0,
            knows_from: None,
            refusals: 0,
            restarts: 0,
            drops: 0,
            beyond: 0,
            broken: [false; 3],
        }]
    }

    fn actions(&self, world: &World, out: &mut Vec<Action>) {
        if world.now >= self.until || world.broken.contains(&true) {
            return;
        }
        let mut urgent = false;
        for (c, (place, _)) in world.callers.iter().enumerate() {
            match place {
                Where::Asks { at, .. } if *at <= world.now => {
                    out.push(Action::Enter(c));
                    urgent = true;
                }
                Where::Asks { .. } | Where::Done => {}
                Where::Through { entered, .. } => {
                    // At once, or as late as can be: what lies between is covered by both.
                    let arrives = world.now == *entered || world.now >= entered + CALL;
                    if arrives {
                        out.push(Action::Arrive(c));
                    }
                    if arrives && world.refusals < self.refusals {
                        out.push(Action::Refuse(c));
                    }
                    if world.drops < self.drops {
                        out.push(Action::Drop(c));
                    }
                    urgent |= world.now >= entered + CALL;
                }
                Where::Answered { .. } => {
                    out.push(Action::Hear(c));
                    urgent = true;
                }
            }
        }
        // A process ends at any time; what matters is what it has just sent.
        let sent = world.callers.iter().any(|(place, _)| match place {
            Where::Through { entered, .. } => *entered == world.now,
            Where::Answered { .. } => true,
            Where::Asks { .. } | Where::Done => false,
        });
        if sent && world.restarts < self.restarts {
            out.push(Action::Restart);
        }
        if !urgent && self.next_moment(world).is_some() {
            out.push(Action::Tick);
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Enter(c) => {
                let Where::Asks { since, .. } = world.callers[c].0 else {
                    return None;
                };
                self.enter(&mut world, c, since);
            }
            Action::Arrive(c) => self.arrive(&mut world, c, false),
            Action::Refuse(c) => {
                world.refusals += 1;
                self.arrive(&mut world, c, true);
            }
            Action::Hear(c) => self.hear(&mut world, c),
            Action::Drop(c) => {
                world.drops += 1;
                self.arrive(&mut world, c, false);
                if let Where::Answered { pass, .. } = world.callers[c].0 {
                    world.pace.dropped(pass);
                }
                let (at, since) = (world.now + 1000, world.now);
                world.callers[c].0 = Where::Asks {
                    at,
                    since,
                    held: false,
                };
                world.knows_from = world.knows_from.or(Some(world.now + WINDOW));
            }
            Action::Restart => {
                world.restarts += 1;
                world.pace = self.fresh();
                world.closed_until = 0;
                world.knows_from = None;
                world.sent.clear();
                let (at, since) = (world.now, world.now);
                for (place, _) in &mut world.callers {
                    if *place != Where::Done {
                        *place = Where::Asks {
                            at,
                            since,
                            held: false,
                        };
                    }
                }
            }
            Action::Tick => world.now = self.next_moment(&world)?,
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(S7, |_, world: &World| !world.broken[0]),
            Property::always(PROBE, |_, world: &World| !world.broken[1]),
            Property::always(S10, |_, world: &World| !world.broken[2]),
            Property::always(BEYOND, |_, world: &World| {
                world.beyond <= world.restarts + world.refusals
            }),
            Property::always(L2, |model: &Self, world: &World| {
                let wanted: usize = model.callers.iter().map(|(_, _, n)| usize::from(*n)).sum();
                let troubles = world.refusals + world.restarts + world.drops;
                let turns = wanted.div_ceil(QUOTA) + 2 + 2 * usize::from(troubles);
                let most = Milli::try_from(turns).unwrap_or(Milli::MAX) * (WINDOW + CALL);
                world.callers.iter().all(|(place, _)| match place {
                    Where::Asks { since, .. } => world.now - since <= most,
                    _ => true,
                })
            }),
            Property::eventually(ALL_SERVED, |model: &Self, world: &World| {
                let done = |(place, _): &(Where, u8)| *place == Where::Done;
                let cut = world.now >= model.until || world.broken.contains(&true);
                cut || world.callers.iter().all(done)
            }),
            Property::sometimes(FULL, |_, world: &World| {
                world.sent.len() == QUOTA && world.callers.iter().all(|c| c.0 == Where::Done)
            }),
        ]
    }
}

/// S7.
pub const S7: &str = "S7 nothing is let through while Fabric said to stay away";
/// One probe.
pub const PROBE: &str = "S7 one request at a time while nobody knows what was spent";
/// S10.
pub const S10: &str = "S10 no window of a minute gets more requests than the quota";
/// Beyond.
pub const BEYOND: &str = "S10 Fabric refuses one request per restart for the quota, else none";
/// L2.
pub const L2: &str = "L2 nobody waits for longer than its share of the windows";
/// Everybody.
pub const ALL_SERVED: &str = "L2 everybody is served";
/// Reached.
pub const FULL: &str = "reached: a full window, and all are served";

/// What CI explores.
pub fn small() -> Vec<Gate> {
    let base = Gate {
        name: "",
        variant: Variant::Production,
        callers: vec![
            ("a", Rank::Cancel, 1),
            ("a", Rank::Look, 1),
            ("a", Rank::Cancel, 1),
            ("b", Rank::Cancel, 1),
        ],
        refusals: 0,
        restarts: 0,
        drops: 0,
        until: 900_000,
    };
    let fewer = Gate {
        callers: base.callers[..3].to_vec(),
        ..base.clone()
    };
    vec![
        Gate {
            name: "more than the quota",
            ..base
        },
        Gate {
            name: "429s",
            refusals: 1,
            ..fewer.clone()
        },
        Gate {
            name: "a restart",
            restarts: 1,
            callers: vec![("a", Rank::Cancel, 2), ("b", Rank::Cancel, 1)],
            ..fewer.clone()
        },
        Gate {
            name: "a visit that ends without a word",
            drops: 1,
            ..fewer
        },
    ]
}

/// What `make model` explores.
pub fn large() -> Vec<Gate> {
    let mut all = small();
    for one in &mut all {
        one.refusals += u8::from(one.refusals > 0);
        one.restarts += u8::from(one.restarts > 0);
        one.drops += u8::from(one.drops > 0);
        one.callers.push(("b", Rank::Look, 1));
    }
    all
}

/// What is taken out, where, and which properties must fail.
pub fn variants() -> Vec<(Gate, &'static [&'static str])> {
    let small = small();
    let with = |at: usize, variant| Gate {
        variant,
        ..small[at].clone()
    };
    vec![
        (with(0, Variant::TwiceTheQuota), &[S10]),
        (with(1, Variant::DeafGate), &[S7]),
    ]
}

/// A state in one line.
pub fn describe(world: &World) -> String {
    format!("{:>7} ms  {:?}", world.now, world.callers)
}
