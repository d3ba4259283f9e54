//! The one clock of the operator.
//!
//! It is set once, from the API server's `Date`, and runs on monotonic time from there: two
//! replicas on nodes with different clocks agree, and a clock that is set in the middle of a
//! wait cannot make a request early.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::cancellation::later;

/// Below this, two clocks agree: `Date` has whole seconds and takes a moment to arrive.
const TOLERANCE: Duration = Duration::from_secs(5);

/// A `Date` whose answer took longer says too little about now. With the second that `Date`
/// rounds away, what passes here stays below [`TOLERANCE`], so a correct clock is never set back.
pub(super) const SLOWEST_ANSWER: Duration = Duration::from_secs(2);

/// Tells the time, and how long to really wait for it. Clones share one clock.
#[derive(Clone, Debug)]
pub struct Clock {
    anchor: Arc<Mutex<(Timestamp, Instant)>>,
    pace: Pace,
}

/// How fast the clock runs. Always 1 outside of tests.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pace {
    factor: u32,
    epoch: Timestamp,
}

/// How this node's clock stands to the API server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// They agree.
    Agrees,
    /// They differ by this much (positive: ours was ahead); ours now follows the API server's.
    Corrected(SignedDuration),
    /// Ours is behind by this much and stays so: set ahead while waiting, it could make a
    /// request early.
    Behind(SignedDuration),
}

impl Clock {
    /// The clock of this node. With the feature `test-clock`, as fast as
    /// `FABRIC_TEST_CLOCK_FACTOR` says, counted from `FABRIC_TEST_CLOCK_EPOCH` (Unix seconds).
    #[must_use]
    pub fn system() -> Self {
        let pace = Pace::from_environment();
        Self::anchored(pace.at(system_time()), pace)
    }

    /// A clock that shows `start` now and runs on tokio's time, which tests can pause.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self::anchored(start, Pace::REAL)
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let (at, since) = *self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        later(at, since.elapsed() * self.pace.factor)
    }

    /// How long to really wait until `at`.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Duration {
        let wait = at.duration_since(self.now());
        // A millisecond more, so that rounding never wakes early.
        Duration::try_from(wait).map_or(Duration::ZERO, |wait| {
            wait / self.pace.factor + Duration::from_millis(1)
        })
    }

    /// How many times faster than real it runs: 1 outside of tests.
    #[must_use]
    pub fn factor(&self) -> u32 {
        self.pace.factor
    }

    /// How long this much of the clock's time really takes.
    pub(super) fn really(&self, time: Duration) -> Duration {
        time / self.pace.factor
    }

    /// Compares the clock with the API server's, which showed `date` in an answer that `took` so
    /// long: the slower it was, the greater a difference has to be. At the start (`forward`) the
    /// clock is set to that; later it is only ever set back, because a wait must never become
    /// shorter.
    pub fn align(&self, date: Timestamp, took: Duration, forward: bool) -> Alignment {
        let theirs = self.pace.at(date);
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = later(anchor.0, anchor.1.elapsed() * self.pace.factor);
        let ahead = ours.duration_since(theirs);
        let slow = took.saturating_sub(SLOWEST_ANSWER) * self.pace.factor;
        let tolerance = TOLERANCE.max(SLOWEST_ANSWER * self.pace.factor) + slow;
        if ahead.unsigned_abs() <= tolerance {
            return Alignment::Agrees;
        }
        if ahead.is_negative() && !forward {
            return Alignment::Behind(ahead);
        }
        *anchor = (theirs, monotonic());
        Alignment::Corrected(ahead)
    }

    fn anchored(at: Timestamp, pace: Pace) -> Self {
        Self {
            anchor: Arc::new(Mutex::new((at, monotonic()))),
            pace,
        }
    }
}

impl Pace {
    const REAL: Self = Self {
        factor: 1,
        epoch: Timestamp::UNIX_EPOCH,
    };

    /// What the clock shows when it is really `wall`.
    fn at(self, wall: Timestamp) -> Timestamp {
        let since = wall.duration_since(self.epoch);
        self.epoch
            .saturating_add(since.saturating_mul(self.factor.cast_signed()))
            .unwrap_or(Timestamp::MAX)
    }

    #[cfg(not(feature = "test-clock"))]
    fn from_environment() -> Self {
        Self::REAL
    }

    #[cfg(feature = "test-clock")]
    fn from_environment() -> Self {
        let read = |name: &str| {
            let value = std::env::var(name).ok()?;
            Some(
                value
                    .parse::<u32>()
                    .unwrap_or_else(|_| panic!("{name} must be a whole number, not {value:?}")),
            )
        };
        let Some(factor) = read("FABRIC_TEST_CLOCK_FACTOR") else {
            return Self::REAL;
        };
        let epoch = read("FABRIC_TEST_CLOCK_EPOCH").unwrap_or(0);
        Self {
            factor: factor.max(1),
            epoch: Timestamp::from_second(i64::from(epoch)).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
fn system_time() -> Timestamp {
    let skew = test_skew();
    Timestamp::now()
        .saturating_add(skew)
        .unwrap_or(Timestamp::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub(super) fn monotonic() -> Instant {
    Instant::now()
}

#[cfg(not(feature = "test-clock"))]
fn test_skew() -> SignedDuration {
    SignedDuration::ZERO
}

/// `FABRIC_TEST_CLOCK_SKEW`: seconds by which this node's clock is wrong.
#[cfg(feature = "test-clock")]
fn test_skew() -> SignedDuration {
    std::env::var("FABRIC_TEST_CLOCK_SKEW")
        .ok()
        .and_then(|value| value.parse().ok())
        .map_or(SignedDuration::ZERO, SignedDuration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a valid time")
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_set_to_the_api_servers_time_at_the_start() {
        let clock = Clock::starting_at(at(3_600));
        assert_eq!(
            clock.align(at(0), Duration::ZERO, true),
            Alignment::Corrected(SignedDuration::from_hours(1))
        );
        assert_eq!(clock.now(), at(0));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(clock.now(), at(7));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_never_set_ahead_while_something_may_be_waiting() {
        let clock = Clock::starting_at(at(0));
        assert_eq!(
            clock.align(at(3_600), Duration::ZERO, false),
            Alignment::Behind(-SignedDuration::from_hours(1))
        );
        assert_eq!(clock.now(), at(0));
        assert!(matches!(
            clock.align(at(-3_600), Duration::ZERO, false),
            Alignment::Corrected(_)
        ));
        assert_eq!(clock.now(), at(-3_600));
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_seconds_are_no_difference() {
        let clock = Clock::starting_at(at(4));
        assert_eq!(clock.align(at(0), Duration::ZERO, true), Alignment::Agrees);
        assert_eq!(clock.now(), at(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_faster_clock_divides_every_wait() {
        let pace = Pace {
            factor: 20,
            epoch: at(100),
        };
        let clock = Clock::anchored(pace.at(at(101)), pace);
        assert_eq!(clock.now(), at(120));
        assert_eq!(clock.until(at(140)), Duration::from_millis(1_001));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.now(), at(140));
        assert_eq!(clock.until(at(0)), Duration::ZERO);
    }
}
