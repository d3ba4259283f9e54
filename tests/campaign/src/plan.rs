//! Plans: one fault at one step of one scenario, generated from fault-free runs as Sieve does.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use fault_proxy::Step;

use crate::label::{has_effect, label, split};
use crate::replica::REPLICAS;
use crate::scenarios::{LEASE, RETRY_AFTER, Scenario};

/// One fault at one step.
#[derive(Clone)]
pub struct Plan {
    /// The story.
    pub scenario: Scenario,
    /// The step's name, see [`label`].
    pub step: String,
    /// Which of the steps of that name, from 1.
    pub nth: u32,
    /// The fault.
    pub variant: Variant,
}

impl Plan {
    /// Whether the fault may leave the outcome of an attempt unknown: that of an intent found
    /// after a restart, or of one whose write or request got no answer.
    #[must_use]
    pub fn may_lose_an_answer(&self) -> bool {
        let (_, step) = split(&self.step);
        let is_request = step.starts_with("cancel-");
        let is_attempt = is_request || step.ends_with("-intent");
        match self.variant {
            // Who lost the Lease meanwhile may not record what it knows.
            variant if self.scenario.elected && variant.costs_the_lease() => true,
            // What lies between request and record is finished.
            Variant::Terminated => !is_request,
            variant if variant.ends_a_process() => true,
            variant => is_attempt && variant.leaves_in_doubt(),
        }
    }

    /// By how much the fault may delay the end at most, as is promised.
    #[must_use]
    pub fn may_delay(&self) -> Duration {
        let lease = if self.scenario.elected {
            LEASE
        } else {
            Duration::ZERO
        };
        self.variant.lasts() + DELAY + lease + RETRY_AFTER
    }
}

/// What any fault may cost beyond its own length, a lease, and what Fabric asks for.
pub const DELAY: Duration = Duration::from_secs(60);

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scenario,
            step,
            nth,
            variant,
        } = self;
        write!(f, "{}/{step}.{nth}/{}", scenario.name, variant.name())
    }
}

/// What happens at the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// `kill -9` before it is delivered, and a new process.
    CrashBefore,
    /// `kill -9` after it took effect, before its answer; and a new process.
    CrashAfter,
    /// It is lost, and the connection reset.
    Lost,
    /// It takes effect, and the connection is reset before the answer.
    AnswerLost,
    /// It is delivered twice.
    Twice,
    /// The connection is reset, and it is delivered 30 virtual seconds later all the same.
    Late,
    /// It is held up for 20 virtual seconds, longer than an intent's licence.
    Delayed,
    /// The process is stopped for 20 virtual seconds before it gets the answer.
    Paused,
    /// SIGTERM when the step begins; a new process after the old one has ended.
    Terminated,
    /// The event is hidden; a relist follows later.
    Hidden,
    /// The watch breaks off in the middle of the event.
    Cut,
    /// A crash before the step; the new process sees the world as it was one edition earlier,
    /// until its watch catches up 30 virtual seconds later.
    StalePrevious,
    /// The same with the world as it was at the first edition.
    StaleFirst,
    /// From the step on the replica cannot reach the API server for 30 virtual seconds, and reaches
    /// everything else.
    Unreachable,
}

impl Variant {
    /// Its name in plans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CrashBefore => "crash-before",
            Self::CrashAfter => "crash-after",
            Self::Lost => "lost",
            Self::AnswerLost => "answer-lost",
            Self::Twice => "twice",
            Self::Late => "late",
            Self::Delayed => "delayed",
            Self::Paused => "paused",
            Self::Terminated => "terminated",
            Self::Hidden => "hidden",
            Self::Cut => "cut",
            Self::StalePrevious => "stale-previous",
            Self::StaleFirst => "stale-first",
            Self::Unreachable => "unreachable",
        }
    }

    /// How long it lasts, in virtual time; zero for what happens in a moment.
    #[must_use]
    pub const fn lasts(self) -> Duration {
        match self {
            Self::CrashBefore
            | Self::CrashAfter
            | Self::Lost
            | Self::AnswerLost
            | Self::Twice
            | Self::Terminated
            | Self::Cut => Duration::ZERO,
            // Longer than an intent's licence (15 s), and than a lease.
            Self::Delayed | Self::Paused | Self::Hidden => Duration::from_secs(20),
            // Longer than the grace after which an unknown attempt is looked at (25 s).
            Self::Late | Self::StalePrevious | Self::StaleFirst | Self::Unreachable => {
                Duration::from_secs(30)
            }
        }
    }

    /// Whether it lasts longer than a lease, so that a leader has to step down.
    #[must_use]
    pub const fn costs_the_lease(self) -> bool {
        matches!(self, Self::Paused | Self::Unreachable)
    }

    /// Whether the new process sees the world as it was.
    #[must_use]
    pub const fn is_stale(self) -> bool {
        matches!(self, Self::StalePrevious | Self::StaleFirst)
    }

    /// Whether a process was ended in the middle of something.
    #[must_use]
    pub const fn ends_a_process(self) -> bool {
        matches!(
            self,
            Self::CrashBefore | Self::CrashAfter | Self::Terminated
        ) || self.is_stale()
    }

    /// Whether the operator may not learn what became of what it sent.
    const fn leaves_in_doubt(self) -> bool {
        matches!(
            self,
            Self::Lost | Self::AnswerLost | Self::Twice | Self::Late
        )
    }

    /// The faults that can make a difference to a hand-over at a step of this name.
    fn of_replicas(bare: &str) -> &'static [Self] {
        const HOLDER: &[Variant] = &[
            Variant::CrashBefore,
            Variant::CrashAfter,
            Variant::Lost,
            Variant::AnswerLost,
            Variant::Paused,
            Variant::Terminated,
            Variant::Unreachable,
        ];
        // Who releases is told to end already, and does nothing afterwards.
        const RELEASE: &[Variant] = &[
            Variant::CrashBefore,
            Variant::CrashAfter,
            Variant::Lost,
            Variant::AnswerLost,
            Variant::Unreachable,
        ];
        const LOOK: &[Variant] = &[Variant::CrashBefore, Variant::Paused, Variant::Unreachable];
        match bare {
            "lease-release" => RELEASE,
            _ if bare.starts_with("lease-") || has_effect(bare) => HOLDER,
            _ if bare.starts_with("look-") => LOOK,
            _ => &[],
        }
    }

    /// The faults that can make a difference at a step of this name.
    fn of(label: &str, editions: usize) -> Vec<Self> {
        const EVENT: &[Variant] = &[
            Variant::CrashBefore,
            Variant::CrashAfter,
            Variant::Hidden,
            Variant::Twice,
            Variant::Cut,
            Variant::Delayed,
        ];
        const EFFECT: &[Variant] = &[
            Variant::CrashBefore,
            Variant::CrashAfter,
            Variant::Lost,
            Variant::AnswerLost,
            Variant::Twice,
            Variant::Late,
            Variant::Delayed,
            Variant::Paused,
            Variant::Terminated,
        ];
        const PUBLISH: &[Variant] = &[
            Variant::CrashBefore,
            Variant::CrashAfter,
            Variant::Lost,
            Variant::AnswerLost,
            Variant::Delayed,
        ];
        // To read twice, or to read and not get it, is the same for every server.
        const READ: &[Variant] = &[Variant::CrashBefore, Variant::Lost, Variant::Delayed];
        let mut variants = if label.starts_with("event-") {
            EVENT.to_vec()
        } else if has_effect(label) {
            EFFECT.to_vec()
        } else if label.starts_with("publish-") {
            PUBLISH.to_vec()
        } else {
            READ.to_vec()
        };
        if has_effect(label) || label.starts_with("look-") {
            if editions > 1 {
                variants.push(Self::StalePrevious);
            }
            if editions > 2 {
                variants.push(Self::StaleFirst);
            }
        }
        variants
    }
}

/// The steps of a run: each name with its number, and how many editions were stored before it.
#[derive(Clone, Debug, Default)]
pub struct Steps(BTreeMap<(String, u32), (u64, usize)>);

impl Steps {
    /// The steps in a log. `editions` says how many editions were stored at a step.
    #[must_use]
    pub fn of(steps: &[Step], editions: impl Fn(&Step) -> usize) -> Self {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        let mut found = BTreeMap::new();
        for step in steps {
            let Some(label) = label(step) else { continue };
            let count = counts.entry(label.clone()).or_default();
            *count += 1;
            found.insert((label, *count), (step.sequence, editions(step)));
        }
        Self(found)
    }

    /// The steps that another run has, too.
    #[must_use]
    pub fn common(mut self, other: &Self) -> Self {
        self.0.retain(|key, (_, editions)| {
            let theirs = other.0.get(key);
            if let Some((_, theirs)) = theirs {
                *editions = (*editions).min(*theirs);
            }
            theirs.is_some()
        });
        self
    }

    /// All plans for these steps, in the order of the steps.
    #[must_use]
    pub fn plans(&self, scenario: Scenario) -> Vec<Plan> {
        let mut steps: Vec<_> = self.0.iter().collect();
        steps.sort_by_key(|(_, (sequence, _))| *sequence);
        if scenario.elected {
            only_renewals_at_work(&mut steps);
        }
        let each = steps.into_iter().flat_map(|((label, nth), (_, editions))| {
            let variants = if scenario.elected {
                Variant::of_replicas(split(label).1).to_vec()
            } else {
                Variant::of(label, *editions)
            };
            variants.into_iter().map(move |variant| Plan {
                scenario,
                step: label.clone(),
                nth: *nth,
                variant,
            })
        });
        each.collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// A step's name with its number; its sequence, and the editions before it.
type NamedStep<'a> = (&'a (String, u32), &'a (u64, usize));

/// Of the many renewals keeps those after which something happens: the last before a replica's
/// first call to Fabric.
fn only_renewals_at_work(steps: &mut Vec<NamedStep<'_>>) {
    let is_renewal = |label: &str| split(label).1 == "lease-renew";
    let is_call = |label: &str| {
        ["cancel-", "look-"]
            .iter()
            .any(|it| split(label).1.starts_with(it))
    };
    let mut kept: Vec<(String, u32)> = Vec::new();
    for replica in REPLICAS {
        let own = || {
            steps
                .iter()
                .filter(|((label, _), _)| split(label).0 == replica)
        };
        let first_call = own().position(|((label, _), _)| is_call(label));
        let before = own().take(first_call.unwrap_or(0));
        let renewals = before.filter(|((label, _), _)| is_renewal(label));
        kept.extend(renewals.last().map(|(key, _)| (*key).clone()));
    }
    steps.retain(|(key, _)| !is_renewal(&key.0) || kept.contains(key));
}
