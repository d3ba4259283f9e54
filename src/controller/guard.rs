//! What goes wrong inside one visit stays there: a panic, and a wait that never ends.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::pause;

/// All deadlines of one visit together are about ten minutes, so whoever is still at it after
/// this waits for something that has none: a bug, which must not hold the resource for ever.
pub(super) const LONGEST_VISIT: Duration = Duration::from_secs(900);

/// How a visit ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate<T> {
    /// By itself.
    Done(T),
    /// By a panic.
    Panicked,
    /// It was given up after the limit.
    Stuck,
}

/// Runs `work` for at most `limit`. A visit that is given up leaves nothing behind, so the
/// resource is then met as after a restart.
///
/// Once the shutdown has begun nothing is given up: the grace of the process is the limit then,
/// and what lies between request and record must not be lost before that.
pub(super) async fn guard<T>(
    work: impl Future<Output = T>,
    limit: Duration,
    shutdown: &CancellationToken,
) -> Fate<T> {
    let given_up = async {
        pause(limit).await;
        if shutdown.is_cancelled() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        done = AssertUnwindSafe(work).catch_unwind() => done.map_or(Fate::Panicked, Fate::Done),
        () = given_up => Fate::Stuck,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(900);

    #[tokio::test(start_paused = true)]
    async fn a_visit_that_ends_or_panics_is_told_apart_from_one_that_never_does() {
        let running = CancellationToken::new();
        assert_eq!(guard(ready(7), LIMIT, &running).await, Fate::Done(7));
        let panics = async { std::panic::resume_unwind(Box::new("the test asked for it")) };
        assert_eq!(guard::<()>(panics, LIMIT, &running).await, Fate::Panicked);
        assert_eq!(
            guard(pending::<()>(), LIMIT, &running).await,
            Fate::Stuck,
            "an endless wait is given up"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_visit_is_not_given_up_while_the_process_ends() {
        let ending = CancellationToken::new();
        ending.cancel();
        let slow = async {
            pause(LIMIT * 2).await;
            7
        };
        assert_eq!(guard(slow, LIMIT, &ending).await, Fate::Done(7));
    }
}
