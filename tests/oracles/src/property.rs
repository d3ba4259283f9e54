//! What must hold, and how a breach is told.

use std::fmt;

use jiff::Timestamp;

/// A promise of the operator: S for "never", L for "at last".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Property {
    /// Truth of what is stored.
    S1,
    /// Intent before request.
    S2,
    /// Once per attempt.
    S3,
    /// The bound on processed requests.
    S4,
    /// Nothing unwanted is sent.
    S5,
    /// The record never goes back.
    S6,
    /// The gate.
    S7,
    /// Origins and secrets.
    S8,
    /// Never early.
    S9,
    /// The quota.
    S10,
    /// The right object.
    S11,
    /// The own namespace's identity.
    S12,
    /// The intent's identity.
    S13,
    /// It ends.
    L1,
    /// Fair share.
    L2,
    /// Quiet after the end.
    L3,
    /// No livelock.
    L4,
    /// Deletion is free.
    L5,
    /// One open fence.
    Fence,
    /// Equal to the run without faults.
    Differential,
}

impl Property {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::S1,
        Self::S2,
        Self::S3,
        Self::S4,
        Self::S5,
        Self::S6,
        Self::S7,
        Self::S8,
        Self::S9,
        Self::S10,
        Self::S11,
        Self::S12,
        Self::S13,
        Self::L1,
        Self::L2,
        Self::L3,
        Self::L4,
        Self::L5,
        Self::Fence,
        Self::Differential,
    ];

    /// The short name in documents and reports.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::S1 => "S1",
            Self::S2 => "S2",
            Self::S3 => "S3",
            Self::S4 => "S4",
            Self::S5 => "S5",
            Self::S6 => "S6",
            Self::S7 => "S7",
            Self::S8 => "S8",
            Self::S9 => "S9",
            Self::S10 => "S10",
            Self::S11 => "S11",
            Self::S12 => "S12",
            Self::S13 => "S13",
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
            Self::L4 => "L4",
            Self::L5 => "L5",
            Self::Fence => "fence",
            Self::Differential => "D",
        }
    }

    /// The promise in one sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::S1 => {
                "A stored Cancelled is true and was shown by Fabric, and every other end says what Fabric said."
            }
            Self::S2 => {
                "Every cancel request follows its own stored and answered intent within 15 seconds."
            }
            Self::S3 => "At most one processed cancel request belongs to one recorded attempt.",
            Self::S4 => {
                "Processed cancel requests are at most 1 + crashes + lost answers + the repeats after ten minutes."
            }
            Self::S5 => {
                "No cancel request is sent after a stored end, or when its intent showed a deletion or a suspension."
            }
            Self::S6 => {
                "Attempts, acceptance and end never go back, a stored end never changes, and conditions never contradict each other."
            }
            Self::S7 => {
                "While an identity's gate is closed nothing is sent with it, but one probe per process start, and one when it opens."
            }
            Self::S8 => {
                "No request goes to an origin that is not configured, and no byte of a secret is seen where it does not belong."
            }
            Self::S9 => {
                "Nothing is sent before a stored notBeforeTime, nor, within one process, before the Retry-After of an answer."
            }
            Self::S10 => "One identity never sends more than the quota within the server's window.",
            Self::S11 => {
                "A write that is meant for one object never lands on another of that name."
            }
            Self::S12 => "A resource is never worked on with the identity of another namespace.",
            Self::S13 => {
                "Every cancel request carries a token of the identity that its intent stored."
            }
            Self::L1 => "Every resource that is wanted ends.",
            Self::L2 => {
                "Every pending resource is requested within the fair share of its namespace."
            }
            Self::L3 => "After the end nothing is sent and nothing is written.",
            Self::L4 => "Work follows from effects: no write without news, and no busy loop.",
            Self::L5 => "The operator never delays a deletion.",
            Self::Fence => "At no time two fences are open.",
            Self::Differential => {
                "The end state equals that of the run without faults, apart from the named fields."
            }
        }
    }
}

/// One breach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What was broken.
    pub property: Property,
    /// What happened, in one sentence. Never holds a secret.
    pub what: String,
    /// `namespace/name (uid)`, or what else it is about; empty when it is about nothing single.
    pub subject: String,
    /// When, the decisive moment first.
    pub times: Vec<Timestamp>,
}

impl Violation {
    pub(crate) fn new(
        property: Property,
        subject: impl Into<String>,
        times: impl IntoIterator<Item = Timestamp>,
        what: impl Into<String>,
    ) -> Self {
        Self {
            property,
            what: what.into(),
            subject: subject.into(),
            times: times.into_iter().collect(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} broken", self.property.id())?;
        if !self.subject.is_empty() {
            write!(f, " for {}", self.subject)?;
        }
        write!(f, ": {}", self.what)?;
        for (index, time) in self.times.iter().enumerate() {
            write!(f, "{}{time}", if index == 0 { " at " } else { ", " })?;
        }
        write!(f, " ({})", self.property.sentence())
    }
}
