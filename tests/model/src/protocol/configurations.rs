//! The bounded worlds that are explored.

use super::rules::{L1, Rule, S4, S4_EXACT};
use super::world::Budget;
use super::{Edit, No, Protocol, Variant};

const NONE: Budget = Budget {
    crashes: 0,
    losses: 0,
    write_losses: 0,
    moves: 0,
    pauses: 0,
    refusals: 0,
    stale_looks: 0,
    edits: 0,
    identities: 0,
};

const BASE: Protocol = Protocol {
    name: "",
    variant: Variant::Production,
    budget: NONE,
    deadline: 60,
    hint: None,
    may_complete: true,
    edits: &[],
    refusals: &[],
};

const WISHES: &[Edit] = &[Edit::Suspend, Edit::Label, Edit::Knob, Edit::Delete];
const OBJECTS: &[Edit] = &[Edit::Remove, Edit::Recreate, Edit::Restore(0)];
const NOES: &[No] = &[No::TooMany, No::Forbidden, No::Unauthorized, No::NotFound];

/// What CI explores.
pub fn small() -> Vec<Protocol> {
    vec![
        Protocol {
            name: "a hand-over and nothing else",
            budget: Budget { moves: 2, ..NONE },
            ..BASE
        },
        Protocol {
            name: "a crash, a lost request, a hand-over",
            budget: Budget {
                crashes: 1,
                losses: 1,
                moves: 1,
                ..NONE
            },
            may_complete: false,
            ..BASE
        },
        Protocol {
            name: "lost and late status writes",
            deadline: 90,
            budget: Budget {
                write_losses: 2,
                moves: 1,
                ..NONE
            },
            ..BASE
        },
        Protocol {
            name: "everything stands still",
            budget: Budget {
                pauses: 1,
                losses: 1,
                moves: 1,
                ..NONE
            },
            may_complete: false,
            ..BASE
        },
        Protocol {
            name: "people change the wish",
            budget: Budget {
                edits: 2,
                crashes: 1,
                ..NONE
            },
            edits: WISHES,
            ..BASE
        },
        Protocol {
            name: "removed, created anew, restored",
            budget: Budget {
                edits: 2,
                crashes: 1,
                ..NONE
            },
            edits: OBJECTS,
            may_complete: false,
            ..BASE
        },
        Protocol {
            name: "refusals and another identity",
            budget: Budget {
                refusals: 2,
                identities: 1,
                ..NONE
            },
            refusals: NOES,
            hint: Some(40),
            deadline: 150,
            ..BASE
        },
        Protocol {
            name: "looks show an older state",
            budget: Budget {
                stale_looks: 2,
                losses: 1,
                crashes: 1,
                ..NONE
            },
            ..BASE
        },
        Protocol {
            name: "repeats after ten minutes",
            budget: Budget {
                losses: 1,
                crashes: 1,
                ..NONE
            },
            hint: Some(290),
            deadline: 3000,
            may_complete: false,
            ..BASE
        },
        Protocol {
            name: "the deadline",
            budget: Budget {
                losses: 1,
                refusals: 2,
                edits: 1,
                ..NONE
            },
            edits: &[Edit::Knob],
            refusals: &[No::Forbidden],
            deadline: 60,
            may_complete: false,
            ..BASE
        },
    ]
}

/// What `make model` explores: the same with a longer deadline, a run that may always end by
/// itself, and each fault that may happen once twice, one of them at a time.
pub fn large() -> Vec<Protocol> {
    let mut all = Vec::new();
    for one in small() {
        let one = Protocol {
            deadline: one.deadline.max(90),
            may_complete: true,
            ..one
        };
        let parts: [fn(&mut Budget) -> &mut u8; 5] = [
            |budget| &mut budget.crashes,
            |budget| &mut budget.losses,
            |budget| &mut budget.moves,
            |budget| &mut budget.pauses,
            |budget| &mut budget.edits,
        ];
        let before = all.len();
        for part in parts {
            let mut twice = one.clone();
            if *part(&mut twice.budget) == 1 {
                *part(&mut twice.budget) = 2;
                all.push(twice);
            }
        }
        if all.len() == before {
            all.push(one);
        }
    }
    all
}

/// What is taken out, where it shows, and which rules must fail there.
pub fn variants() -> Vec<(Protocol, &'static [&'static str])> {
    let small = small();
    let with = |name: &str, variant: Variant| Protocol {
        variant,
        ..small
            .iter()
            .find(|one| one.name.contains(name))
            .expect("a configuration has this name")
            .clone()
    };
    const fn text(rule: Rule) -> &'static str {
        rule.text()
    }
    macro_rules! rules {
        ($($rule:ident),*) => {{
            const TEXTS: &[&str] = &[$(text(Rule::$rule)),*];
            TEXTS
        }};
    }
    vec![
        (with("a crash", Variant::NoIntent), rules!(S2)),
        (
            with("hand-over and nothing", Variant::NoFence),
            rules!(Fence),
        ),
        (with("a crash", Variant::NoDrain), &[S4]),
        (with("hand-over and nothing", Variant::NoDrain), &[S4_EXACT]),
        (with("removed", Variant::NoGuard), rules!(S6, S11)),
        (with("a crash", Variant::NoGrace), rules!(Grace)),
        (with("stands still", Variant::NoLicence), rules!(Licence)),
        (with("a crash", Variant::SameIntent), rules!(S3)),
        (with("refusals", Variant::ForgottenHint), rules!(S9)),
        (with("refusals", Variant::OtherToken), rules!(S13)),
        (with("a crash", Variant::AcceptedIsCancelled), rules!(S1)),
        (
            with("change the wish", Variant::IgnoredSuspension),
            rules!(S5Unwanted),
        ),
        (
            with("change the wish", Variant::IgnoredDeletion),
            rules!(L5),
        ),
        (with("a crash", Variant::IgnoredEnd), rules!(L3)),
        (with("repeats", Variant::EndlessRepeats), rules!(Repeats)),
        (
            with("the deadline", Variant::LateAttempts),
            rules!(LateAttempt),
        ),
        (with("the deadline", Variant::NoLastLook), rules!(Verdict)),
        (with("a crash", Variant::NoTimer), &[L1]),
    ]
}
