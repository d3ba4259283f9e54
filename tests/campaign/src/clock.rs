//! The only place of this crate that reads a clock or waits for time to pass.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// How virtual time follows from real time, as operator and simulator compute it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How many times faster than real.
    pub factor: u32,
    /// When the two agree.
    pub epoch: Timestamp,
}

impl Pace {
    /// A pace whose times agree at the whole second that is now.
    #[must_use]
    pub fn from_now(factor: u32) -> Self {
        let epoch = Timestamp::from_second(now().as_second()).expect("now is a valid time");
        Self { factor, epoch }
    }

    /// The virtual time at a real one.
    #[must_use]
    pub fn at(&self, real: Timestamp) -> Timestamp {
        let since = real.duration_since(self.epoch);
        let factor = i32::try_from(self.factor).unwrap_or(i32::MAX);
        let stretched = since.checked_mul(factor).unwrap_or(SignedDuration::MAX);
        self.epoch.checked_add(stretched).unwrap_or(Timestamp::MAX)
    }

    /// How long a virtual duration really takes.
    #[must_use]
    pub fn real(&self, span: Duration) -> Duration {
        span / self.factor
    }
}

/// The real time.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "what was seen gets a time")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Lets real time pass: for faults that last, and to see that nothing more comes.
#[expect(
    clippy::disallowed_methods,
    reason = "a fault lasts, and quiet has no event"
)]
pub async fn pass(real: Duration) {
    tokio::time::sleep(real).await;
}

/// Measures how long something took.
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the campaign tells how long it took"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
