//! Virtual time: the calendar on top of tokio's paused time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// When every test begins. A fixed moment, so that a run is the same on every machine and day.
pub const START: &str = "2026-01-05T08:00:00Z";

/// A calendar that shows [`START`] when it is made and then passes as fast as tokio's time.
#[derive(Clone, Copy, Debug)]
pub struct Calendar {
    start: Timestamp,
    began: Instant,
}

impl Calendar {
    /// A calendar that shows [`START`] now.
    pub fn new() -> Self {
        Self {
            start: START.parse().expect("the constant is a timestamp"),
            began: instant(),
        }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.start + instant().duration_since(self.began)
    }

    /// The time when it was made.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// What passed since the test began.
    pub fn elapsed(&self) -> Duration {
        instant().duration_since(self.began)
    }

    /// Waits until the calendar shows this time, or not at all when it already does.
    pub async fn sleep_until(&self, time: Timestamp) {
        let wait = time.duration_since(self.now()).max(SignedDuration::ZERO);
        pass(Duration::try_from(wait).expect("a wait that is not negative")).await;
    }
}

impl Default for Calendar {
    fn default() -> Self {
        Self::new()
    }
}

/// Lets virtual time pass: at once for the machine, in full for everybody who waits.
#[expect(
    clippy::disallowed_methods,
    reason = "under paused time a sleep is how a test turns the clock; this is the only one"
)]
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[expect(clippy::disallowed_methods, reason = "the one clock of these tests")]
fn instant() -> Instant {
    Instant::now()
}
