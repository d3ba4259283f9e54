//! Drawing from a seed.

use std::time::Duration;

use fastrand::Rng;

/// A source of decisions; the same seed and purpose give the same ones.
#[derive(Debug)]
pub struct Draw(Rng);

impl Draw {
    /// Decisions for one purpose. More decisions for one purpose change none for another.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ purpose.rotate_left(32);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Self(Rng::with_seed(mixed ^ (mixed >> 27)))
    }

    /// True in so many of a thousand cases.
    pub fn permille(&mut self, cases: u32) -> bool {
        self.0.u32(0..1000) < cases
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.usize(0..end)
    }

    /// A letter or a digit.
    pub fn letter(&mut self) -> char {
        self.0.alphanumeric()
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.0.usize(0..choices.len())].clone()
    }

    /// A time between these, to the millisecond.
    pub fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let millis = |time: Duration| u64::try_from(time.as_millis()).expect("less than an age");
        Duration::from_millis(self.0.u64(millis(from)..=millis(to).max(millis(from))))
    }

    /// A time below `end`, short ones as likely as long ones.
    pub fn span(&mut self, end: Duration) -> Duration {
        let scales = [
            Duration::from_millis(200),
            Duration::from_secs(3),
            Duration::from_secs(30),
            Duration::from_secs(180),
            end,
        ];
        let scale = self.pick(&scales).min(end);
        self.between(Duration::ZERO, scale)
    }
}
