//! The only place of this crate that reads a clock or waits for time to pass.

use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

/// Asks `question` every `pause` until it has an answer.
///
/// Returns `None` when `limit` is over; a question that hangs is cut off then, too.
pub(crate) async fn poll<T>(
    pause: Duration,
    limit: Duration,
    mut question: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    let ask = async {
        // Servers are other processes, which have no event for "ready": an interval, not a sleep,
        // so that a slow answer does not add to the pause.
        let mut ticks = tokio::time::interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(answer) = question().await {
                return answer;
            }
        }
    };
    tokio::time::timeout(limit, ask).await.ok()
}

/// Time since it was made, for progress messages.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "a progress message shows real time"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Whole seconds since the start.
    pub(crate) fn seconds(&self) -> u64 {
        self.0.elapsed().as_secs()
    }
}
