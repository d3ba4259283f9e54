//! What a Lease says about its holder.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The fields of a Lease that the election reads and writes, as they are: nothing is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// `holderIdentity`; empty when there is none.
    pub holder: String,
    /// `leaseDurationSeconds`.
    pub duration_seconds: Option<i32>,
    /// `acquireTime`, by the holder's clock. Shown to people, never compared with a clock.
    pub acquired: Option<Timestamp>,
    /// `renewTime`, by the holder's clock. Each renewal changes it, and that alone counts.
    pub renewed: Option<Timestamp>,
    /// `leaseTransitions`: how often the holder has changed.
    pub transitions: Option<i32>,
}

/// The numbers of the election, those of client-go. All replicas must have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// How long a record that does not change keeps others out, counted by each of them from
    /// the moment at which it saw the record. Whole seconds, because a Lease stores these.
    pub lease: Duration,
    /// A leader that has not renewed for this long gives up. Shorter than `lease` by the time
    /// that a begun request may need to be on its way.
    pub renew_deadline: Duration,
    /// How long to wait from one attempt to the next.
    pub retry: Duration,
}

impl Terms {
    /// 15 s, 10 s, 2 s.
    pub const STANDARD: Self = Self {
        lease: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };

    /// The longest time for which the record of a dead holder is respected, whatever it says.
    #[must_use]
    pub fn longest_hold(&self) -> Duration {
        self.lease * 4
    }

    /// How long `record` keeps others out once it was seen. Never less than our own lease: a
    /// record with a damaged number may belong to a leader that counts with ours.
    pub(super) fn hold(&self, record: &Record) -> Duration {
        if record.is_released() {
            return Duration::ZERO;
        }
        let seconds = u64::try_from(record.duration_seconds.unwrap_or(0)).unwrap_or(0);
        Duration::from_secs(seconds).clamp(self.lease, self.longest_hold())
    }
}

/// What `leaseDurationSeconds` says after a release: the smallest number that Kubernetes allows.
const RELEASED_SECONDS: i32 = 1;

impl Record {
    /// Whether its last holder gave the lease up: nobody is named, for one second. A holder that
    /// was only erased by hand may still be at work, so that alone is no release.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.holder.is_empty() && self.duration_seconds == Some(RELEASED_SECONDS)
    }

    /// The record with which `identity` takes or keeps the lease, on top of `before`.
    pub(super) fn held(
        identity: &str,
        terms: &Terms,
        before: Option<&Self>,
        wall: Timestamp,
    ) -> Self {
        let wall = microseconds(wall);
        let keeps = before.filter(|before| before.holder == identity);
        let earlier = before.and_then(|before| before.transitions);
        let earlier = earlier.unwrap_or(0).max(0);
        Self {
            holder: identity.to_owned(),
            duration_seconds: Some(i32::try_from(terms.lease.as_secs()).unwrap_or(i32::MAX)),
            acquired: keeps.and_then(|record| record.acquired).or(Some(wall)),
            renewed: Some(unlike(before.and_then(|before| before.renewed), wall)),
            transitions: Some(match (before, keeps) {
                (None, _) => 0,
                (_, Some(_)) => earlier,
                (Some(_), None) => earlier.saturating_add(1),
            }),
        }
    }

    /// The record that lets the next candidate in at once.
    pub(super) fn released(before: &Self, wall: Timestamp) -> Self {
        let wall = microseconds(wall);
        Self {
            holder: String::new(),
            duration_seconds: Some(RELEASED_SECONDS),
            acquired: Some(wall),
            renewed: Some(unlike(before.renewed, wall)),
            transitions: Some(before.transitions.unwrap_or(0).max(0)),
        }
    }
}

/// A Lease stores microseconds; a record must read as it was written, or its writer would not
/// know it again.
fn microseconds(time: Timestamp) -> Timestamp {
    Timestamp::new(time.as_second(), time.subsec_microsecond() * 1_000).unwrap_or(time)
}

/// `wall`, but never the time that stands there already: a clock that was set back must not make
/// a renewal look like no change.
fn unlike(before: Option<Timestamp>, wall: Timestamp) -> Timestamp {
    if before != Some(wall) {
        return wall;
    }
    // Towards the epoch, so that even the first and the last moment have a neighbour.
    let step = if wall < Timestamp::UNIX_EPOCH { 1 } else { -1 };
    wall.saturating_add(SignedDuration::from_micros(step))
        .unwrap_or(wall)
}
