//! The one clock of the simulator.
//!
//! Everything that the simulator says or waits for is in *simulated* time: the `Date` header, the
//! times in bodies, `Retry-After`, token lifetimes, the quota's window, the ledger. Only this
//! module reads a clock; the state machines are given `now`.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use jiff::{SignedDuration, Timestamp};

/// Simulated time: `epoch + (real - epoch) * factor`.
///
/// A process with the same factor and the same epoch agrees on what time it is. The passing of
/// time is taken from [`tokio::time::Instant`], so a test under tokio's paused time drives a day of
/// simulated time in milliseconds. Clones share one clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: tokio::time::Instant,
    started_real: Timestamp,
    epoch: Timestamp,
    factor: f64,
    advanced: Mutex<SignedDuration>,
}

/// A clock factor that is not a finite number above zero.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("use {0} as the clock factor: it must be a finite number above 0")]
pub struct InvalidFactor(
    /// The refused factor.
    pub f64,
);

impl Clock {
    /// The real time.
    pub fn real() -> Self {
        let real = real_now();
        Self::build(real, real, 1.0)
    }

    /// Time that runs `factor` times faster than real time since `epoch`; without an epoch, since
    /// now.
    ///
    /// # Errors
    ///
    /// When the factor is not a finite number above zero.
    pub fn accelerated(factor: f64, epoch: Option<Timestamp>) -> Result<Self, InvalidFactor> {
        if !(factor.is_finite() && factor > 0.0) {
            return Err(InvalidFactor(factor));
        }
        let real = real_now();
        Ok(Self::build(real, epoch.unwrap_or(real), factor))
    }

    /// A clock that shows `start` now and runs as fast as tokio's time; the machine's clock is not
    /// read at all, so a test under paused time is reproducible to the nanosecond.
    pub fn starting_at(start: Timestamp) -> Self {
        Self::build(start, start, 1.0)
    }

    /// The simulated time.
    pub fn now(&self) -> Timestamp {
        let passed = instant_now().saturating_duration_since(self.0.started);
        let real = saturating_add(self.0.started_real, signed(passed));
        let since_epoch = real.duration_since(self.0.epoch);
        let stretched = if self.0.factor == 1.0 {
            since_epoch
        } else {
            SignedDuration::try_from_secs_f64(since_epoch.as_secs_f64() * self.0.factor)
                .unwrap_or(SignedDuration::MAX)
        };
        let advanced = *self
            .0
            .advanced
            .lock()
            .expect("no holder of the lock panics");
        saturating_add(self.0.epoch, stretched.saturating_add(advanced))
    }

    /// How many times faster than real time simulated time runs.
    pub fn factor(&self) -> f64 {
        self.0.factor
    }

    /// Moves simulated time forward at once, for example beyond the life of a token.
    ///
    /// Delays that are already running are not shortened. A process that shares factor and epoch
    /// no longer agrees on the time.
    pub fn advance(&self, by: Duration) {
        let mut advanced = self
            .0
            .advanced
            .lock()
            .expect("no holder of the lock panics");
        *advanced = advanced.saturating_add(signed(by));
    }

    /// How long a simulated duration takes in real time.
    pub fn real_duration(&self, simulated: Duration) -> Duration {
        Duration::try_from_secs_f64(simulated.as_secs_f64() / self.0.factor)
            .unwrap_or(Duration::MAX)
    }

    /// Waits for a simulated duration.
    #[expect(
        clippy::disallowed_methods,
        reason = "a simulated delay is a product of this crate, and this is its only sleep"
    )]
    pub(crate) async fn sleep(&self, simulated: Duration) {
        tokio::time::sleep(self.real_duration(simulated)).await;
    }

    fn build(started_real: Timestamp, epoch: Timestamp, factor: f64) -> Self {
        Self(Arc::new(Inner {
            started: instant_now(),
            started_real,
            epoch,
            factor,
            advanced: Mutex::new(SignedDuration::ZERO),
        }))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::real()
    }
}

fn saturating_add(time: Timestamp, by: SignedDuration) -> Timestamp {
    let end = if by.is_negative() {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    time.checked_add(by).unwrap_or(end)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[expect(clippy::disallowed_methods, reason = "the one clock of this crate")]
fn instant_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the one clock of this crate")]
fn real_now() -> Timestamp {
    Timestamp::try_from(SystemTime::now())
        .expect("the machine's clock is within the years -9999..9999")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn simulated_time_runs_the_factor_faster_since_the_epoch() {
        let before = real_now();
        let epoch = before - SignedDuration::from_secs(100);
        let clock = Clock::accelerated(60.0, Some(epoch)).unwrap();
        let at_start = clock.now().duration_since(epoch);
        assert!(at_start >= SignedDuration::from_secs(6_000));
        assert!(at_start < SignedDuration::from_secs(6_600), "{at_start}");

        let start = clock.now();
        tokio::time::advance(Duration::from_secs(10)).await;
        let passed = clock.now().duration_since(start).as_secs_f64();
        assert!((passed - 600.0).abs() < 0.001, "{passed}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulated_minute_of_waiting_takes_a_second_at_factor_sixty() {
        let clock = Clock::accelerated(60.0, None).unwrap();
        let before = instant_now();
        clock.sleep(Duration::from_secs(60)).await;
        let waited = instant_now() - before;
        assert!(
            waited >= Duration::from_secs(1) && waited < Duration::from_millis(1_010),
            "{waited:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn advancing_moves_the_time_at_once() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = Clock::starting_at(start);
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(
            clock.now().duration_since(start),
            SignedDuration::from_secs(3_600)
        );
    }

    #[test]
    fn a_factor_that_stops_or_reverses_time_is_refused() {
        for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Clock::accelerated(factor, None).is_err(), "{factor}");
        }
    }
}
