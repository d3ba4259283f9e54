//! Whether the Kubernetes API can be reached. While it cannot, one visit at a time finds out.
//!
//! Each resource backs off by itself, but a thousand of them would still knock a thousand times a
//! minute at an API server that is down or just starting.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::cancellation::later;

use super::kubernetes::{CallError, within_deadline};

/// So many calls in a row must fail: one that hangs is that resource's own trouble.
const FAILURES: u32 = 3;

/// While nothing can be reached, one visit in this time tries.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);

/// Who is held comes back spread over this many milliseconds instead of at once.
const SPREAD_MILLIS: u64 = 5_000;

/// What the calls to the Kubernetes API came to. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Calls in a row that did not reach a working API server.
    failures: u32,
    /// When the next visit may try.
    probe_at: Option<Timestamp>,
}

impl Reach {
    /// Makes one call with its deadline and notes what it says about the API server.
    pub(super) async fn call<T>(
        &self,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, CallError> {
        let result = within_deadline(call).await;
        let mut state = self.lock();
        match &result {
            Err(error) if error.is_unavailable() => {
                state.failures = state.failures.saturating_add(1);
            }
            Ok(_) | Err(_) => *state = State::default(),
        }
        drop(state);
        result
    }

    /// Until when a visit is better not begun; `None` when it may, perhaps to find out whether
    /// the API server is back. `seed` spreads those who are held.
    pub(super) fn held(&self, seed: u64, now: Timestamp) -> Option<Timestamp> {
        let mut state = self.lock();
        if state.failures < FAILURES {
            return None;
        }
        match state.probe_at {
            Some(at) if now < at => {
                let spread = Duration::from_millis(seed % SPREAD_MILLIS);
                Some(later(at, spread))
            }
            _ => {
                state.probe_at = Some(later(now, PROBE_INTERVAL));
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before the lock is given back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a valid time")
    }

    async fn fails(reach: &Reach, http_status: u16) {
        let status = kube::core::Status {
            code: http_status,
            ..kube::core::Status::default()
        };
        let failure = std::future::ready(Err::<(), _>(kube::Error::Api(Box::new(status))));
        assert!(reach.call(failure).await.is_err());
    }

    #[tokio::test]
    async fn while_the_api_server_is_down_one_visit_in_three_seconds_tries() {
        let reach = Reach::default();
        for _ in 0..FAILURES {
            assert_eq!(reach.held(0, at(0)), None);
            fails(&reach, 503).await;
        }
        assert_eq!(reach.held(0, at(10)), None, "the first finds out");
        assert_eq!(reach.held(0, at(10)), Some(at(13)));
        assert_eq!(reach.held(4_000, at(12)), Some(at(17)), "not all at once");
        assert_eq!(reach.held(4_000, at(17)), None);
        assert_eq!(reach.held(0, at(17)), Some(at(20)));
    }

    #[tokio::test]
    async fn an_answer_of_the_api_server_lets_everybody_go_on() {
        let reach = Reach::default();
        for _ in 0..FAILURES {
            fails(&reach, 500).await;
        }
        assert_eq!(reach.held(0, at(0)), None);
        assert!(reach.held(0, at(0)).is_some());
        fails(&reach, 409).await;
        assert_eq!(reach.held(0, at(0)), None, "a conflict is an answer");
    }

    #[tokio::test]
    async fn one_call_that_fails_holds_nobody() {
        let reach = Reach::default();
        for _ in 0..10 {
            fails(&reach, 503).await;
            reach
                .call(std::future::ready(Ok(())))
                .await
                .expect("it answers");
        }
        assert_eq!(reach.held(0, at(0)), None);
        assert_eq!(reach.held(0, at(0)), None);
    }
}
