//! What only this process knows of a cancellation. Losing it costs a look, never the truth.

use jiff::Timestamp;

use super::reason::Reason;

/// What this process knows beyond what is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Memory {
    /// When this process first saw the resource.
    pub first_seen: Timestamp,
    /// A stored start that lies ahead of the clock, by a clock that was wrong or by hand, and when
    /// that was seen: the deadline counts from there. What is stored stays as it is.
    pub start_ahead: Option<(Timestamp, Timestamp)>,
    /// What became of the latest attempt.
    pub attempt: Attempt,
    /// An attempt's outcome stayed unknown. Stored as Accepted=Unknown/AnswerLost.
    pub answer_lost: bool,
    /// Fabric said the job is already over. Stored as the reason of Cancelled.
    pub already_completed: bool,
    /// What Fabric asked for: never shortened.
    pub not_before: Option<Timestamp>,
    /// Our own back-off, at least what anybody but Fabric asked for: forgotten when the author
    /// edits the resource.
    pub retry_at: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// No look before this, where Fabric named no time. A request need not wait for it.
    pub look_from: Option<Timestamp>,
    /// The trouble that lasts.
    pub trouble: Option<Trouble>,
    /// The trouble that Ready goes on showing until `trouble` has lasted long enough.
    pub earlier_trouble: Option<Trouble>,
    /// Readable looks that showed the job running since the latest request.
    pub running_looks: u32,
    /// Suspicious failures seen in a row.
    pub suspicious_looks: u32,
    /// Since when Fabric says it does not know the instance.
    pub missing_since: Option<Timestamp>,
    /// When the job was last seen, in a state that is believed.
    pub looked_at: Option<Timestamp>,
    /// A suspended resource's job was looked at.
    pub preflighted: bool,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Attempt {
    /// Nothing is outstanding: none was made, or the latest was answered or never sent.
    Idle,
    /// The intent is stored; the request is about to be sent, or was just sent.
    InFlight,
    /// Sent, perhaps; nobody knows what became of it.
    Unknown {
        /// Not looked at before this moment.
        look_from: Timestamp,
    },
}

/// A trouble that lasts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Trouble {
    /// Its reason.
    pub reason: Reason,
    /// What to do, where the fixed text of the reason is not enough.
    pub advice: Option<String>,
    /// When it began.
    pub since: Timestamp,
}
