//! The judges: what must hold of everything that was seen of a run of the operator.
//!
//! A test fills a [`History`] with what others saw of the operator (the simulated Fabric, the API
//! server or its audit log, the proxies between them) and asks [`judge`]. This crate knows
//! neither the operator nor the simulator: they must not share a mistake.
//!
//! # How to fill a `History`
//!
//! - **One clock.** All times are the operator's time: where a test clock runs fast, translate
//!   before filling. What two clocks and a network make uncertain is [`Facts::tolerance`]; under
//!   paused time in one process it is zero (times stored in a status are whole seconds, which the
//!   oracles allow for by themselves).
//! - **Resources.** One [`Resource`] per uid: a re-created object is another resource. Every
//!   stored [`Version`] in the order of storing, the first one as its author created it. Who
//!   wrote a version is known from the audit log or from `managedFields`; a status that somebody
//!   else wrote is a [`Writer::Other`] and is judged only as what the operator built upon.
//! - **Requests.** One [`Request`] for each call that left the operator for Fabric's job routes,
//!   in the order of sending. `sent` is when the first thing outside of the operator saw it (a
//!   proxy, or Fabric itself); `arrived` is when Fabric saw it, if it did. `processed` means that
//!   a cancel request took effect, also when its answer was lost. A copy that a proxy made is
//!   marked `duplicate`: it is Fabric's problem and not the operator's.
//! - **Jobs.** The true states of each job, the first one from before the operator began.
//! - **Processes.** Starts, crashes (`kill -9`, out of memory), SIGTERMs and exits; ids are any
//!   text that is new for each start, and the same ids stand at versions, requests and API
//!   requests where the sender is known. With one process, name none.
//! - **Shown, leases.** Which editions a process was shown tells who cannot know of an end; which
//!   writes of the Lease were stored tells whose fence is open. Without them, neither is judged.
//! - **Captures.** All bytes of a place where secrets could show. Pieces of the same stream are
//!   joined in order. A stream that is compressed has to be unpacked first.
//! - **Secrets.** The random part of each client secret, token and assertion, without a prefix
//!   that stands elsewhere too, and the channels where it belongs.
//! - **Facts.** What the scenario allows. Begin with [`Facts::until`] and change what differs.
//!
//! What is not filled in is not judged: a history without captures passes the search for secrets.
//! The tests of this crate hold for each [`Property`] a history that breaks it.

mod differential;
mod fence;
mod history;
mod identity;
mod licence;
mod liveness;
mod origins;
mod pace;
mod property;
mod quota;
mod record;
mod sends;
mod status;
mod truth;

pub use differential::{DIFFERS, Differs, equal_apart_from, same_end};
pub use history::{
    Answer, ApiRequest, Capture, Contact, Facts, Guard, History, Identity, Job, JobIds, Kind,
    LeaseWrite, Lifecycle, ProcessEvent, Quota, Reply, Request, Resource, Secret, Shown, Version,
    Writer,
};
pub use property::{Property, Violation};

pub use fence::fence;
pub use identity::{s12_own_identity, s13_intents_identity};
pub use liveness::{l1_ends, l2_fair, l3_quiet, l4_no_livelock, l5_deletion_is_free};
pub use origins::s8_nothing_leaves;
pub use pace::s9_never_early;
pub use quota::{s7_closed_gate, s10_within_quota};
pub use record::{s6_never_back, s11_right_object};
pub use sends::{s2_intent_first, s3_once_per_attempt, s4_counts, s5_none_unwanted};
pub use truth::s1_truth;

/// Looks for violations of one property.
pub type Oracle = fn(&History) -> Vec<Violation>;

/// Every property with its judge.
pub const ORACLES: &[(Property, Oracle)] = &[
    (Property::S1, s1_truth),
    (Property::S2, s2_intent_first),
    (Property::S3, s3_once_per_attempt),
    (Property::S4, s4_counts),
    (Property::S5, s5_none_unwanted),
    (Property::S6, s6_never_back),
    (Property::S7, s7_closed_gate),
    (Property::S8, s8_nothing_leaves),
    (Property::S9, s9_never_early),
    (Property::S10, s10_within_quota),
    (Property::S11, s11_right_object),
    (Property::S12, s12_own_identity),
    (Property::S13, s13_intents_identity),
    (Property::L1, l1_ends),
    (Property::L2, l2_fair),
    (Property::L3, l3_quiet),
    (Property::L4, l4_no_livelock),
    (Property::L5, l5_deletion_is_free),
    (Property::Fence, fence),
];

/// Everything that is wrong with this history, in the order of time.
#[must_use]
pub fn judge(history: &History) -> Vec<Violation> {
    let mut found: Vec<_> = ORACLES
        .iter()
        .flat_map(|(_, oracle)| oracle(history))
        .collect();
    found.sort_by_key(|violation| violation.times.first().copied());
    found
}
