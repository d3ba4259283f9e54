//! The promises that the protocol must keep, each with its id and its sentence. They are judged
//! from what happened, independently of the core's own reckoning.

use stateright::Property;

use super::Protocol;
use super::world::World;

/// The rules that were broken on the way to a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Broken(u32);

impl Broken {
    /// Notes that `rule` was broken unless `kept`.
    pub fn unless(&mut self, kept: bool, rule: Rule) {
        if !kept {
            self.0 |= 1 << rule as u32;
        }
    }

    /// Whether any rule was broken.
    pub fn any(self) -> bool {
        self.0 != 0
    }

    /// Whether `rule` was broken.
    pub fn has(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u32) != 0
    }
}

macro_rules! rules {
    ($($rule:ident = $text:literal,)*) => {
        /// A promise that is judged at the moment of an effect.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule {
            $(#[doc = $text] $rule,)*
        }

        impl Rule {
            /// Its id and sentence.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$rule => $text,)*
                }
            }
        }

        fn judged() -> Vec<Property<Protocol>> {
            vec![$(Property::<Protocol>::always($text, |_, world: &World| {
                !world.ghost.broken.has(Rule::$rule)
            }),)*]
        }
    };
}

rules! {
    S1 = "S1 a stored Cancelled is what Fabric says of the run",
    S2 = "S2 every request follows the stored intent of its attempt",
    S3 = "S3 at most one processed request per attempt",
    S5End = "S5 no request after a stored end, or after Fabric was stored to have said it is over",
    S5Unwanted = "S5 no request once a suspension, a deletion or a removal was seen",
    S6 = "S6 attempts, acceptance and end never go back; conditions agree",
    S9 = "S9 no request before the time that Fabric asked for",
    S11 = "S11 a write for one object never lands on another of its name",
    S13 = "S13 a request's token belongs to the identity that its intent stored",
    Licence = "R2 a request is sent within 15 s of its intent, or not at all",
    Fence = "R3 a request is sent only while its sender's fence is open",
    Grace = "R5 somebody else's attempt is left 25 s, and an open one is looked at, before the next",
    Repeats = "R7 an accepted request is repeated twice at most, ten minutes apart",
    LateAttempt = "R9 no attempt is begun in the last 20 s before the deadline",
    Verdict = "R9 a deadline's verdict after a processed request rests on a later look, or five minutes",
    L3 = "L3 after the end it knows of, a process sends nothing and changes nothing",
    L5 = "L5 what is being deleted is neither written nor asked about",
}

/// S4.
pub const S4: &str = "S4 processed requests <= 1 + crashes + losses + pauses + repeats";
/// S4 where nothing went wrong.
pub const S4_EXACT: &str = "S4 without faults and edits at most one request is processed";
/// L1.
pub const L1: &str = "L1 an end is stored";
/// Reached states without which the rest would prove nothing.
pub const REACHED: &str = "reached: an end that says Cancelled";

/// All properties of the protocol.
pub fn properties() -> Vec<Property<Protocol>> {
    let mut all = judged();
    all.extend([
        Property::always(S4, |_, world: &World| {
            let spent = &world.spent;
            let faults = spent.crashes + spent.losses + spent.write_losses + spent.pauses;
            world.processed() <= usize::from(1 + faults + world.ghost.repeats)
        }),
        Property::always(S4_EXACT, |model: &Protocol, world: &World| {
            // A hand-over counts as no fault.
            let spent = super::world::Budget {
                moves: 0,
                ..world.spent
            };
            spent != super::world::Budget::default() || model.may_repeat() || world.processed() <= 1
        }),
        Property::eventually(L1, |_, world: &World| {
            let last = world.newest();
            let never_began = last.wish.suspend && last.facts.attempts == 0;
            world.ghost.broken.any()
                || last.facts.completion_time.is_some()
                || !last.present
                || last.wish.deleting
                || never_began
        }),
        Property::sometimes(REACHED, |_, world: &World| {
            use fabric_job_operator::cancellation::Value;
            let conditions = world.newest().facts.conditions.as_ref();
            conditions.is_some_and(|conditions| conditions.cancelled.value == Value::True)
        }),
    ]);
    all
}
