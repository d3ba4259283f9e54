//! Whether this process may act, and the fence before a request.

use std::time::Duration;

use futures::{Stream, stream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::clock::{Clock, monotonic};

/// How long the lease must still be good when something is begun: connecting to Fabric and
/// sending take at most this long, so a request is never written after the lease has ended.
pub const FENCE: Duration = Duration::from_secs(5);

/// Whether this process is the one that acts. Clones speak of the same lease.
#[derive(Clone, Debug)]
pub struct Leadership(Option<watch::Receiver<Option<Instant>>>);

impl Leadership {
    /// Nobody else acts: there is one replica.
    #[must_use]
    pub const fn always() -> Self {
        Self(None)
    }

    /// Acts while the channel says until when nobody else does; `None` means that another may.
    /// Once lost, leadership must never come back: a new process begins anew.
    #[must_use]
    pub const fn following(lease: watch::Receiver<Option<Instant>>) -> Self {
        Self(Some(lease))
    }

    /// Whether something may be begun now: nobody else acts within [`FENCE`], by monotonic time.
    /// The moment itself is compared, so a process that was stopped for a while is not fooled by
    /// what it was told before.
    pub(super) fn holds(&self, clock: &Clock) -> bool {
        let Some(lease) = &self.0 else {
            return true;
        };
        let until = *lease.borrow();
        until.is_some_and(|until| until >= monotonic() + clock.really(FENCE))
    }

    /// Whether another replica may be acting, for all that this one was told.
    pub(super) fn stands_by(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|lease| lease.borrow().is_none())
    }

    /// One item each time that leadership begins.
    pub(super) fn beginnings(&self) -> impl Stream<Item = ()> + Send + 'static {
        stream::unfold((self.0.clone(), false), |(lease, led)| async move {
            let mut lease = lease?;
            let mut led = led;
            loop {
                let leads = lease.borrow_and_update().is_some();
                if leads && !led {
                    return Some(((), (Some(lease), true)));
                }
                led = leads;
                lease.changed().await.ok()?;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};
    use jiff::Timestamp;

    use super::*;

    fn clock() -> Clock {
        Clock::starting_at(Timestamp::UNIX_EPOCH)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_begun_in_the_last_5_s_of_the_lease() {
        let clock = clock();
        let (lease, told) = watch::channel(None);
        let leadership = Leadership::following(told);
        assert!(!leadership.holds(&clock), "another may lead");
        assert!(leadership.stands_by());

        lease.send_replace(Some(monotonic() + Duration::from_secs(15)));
        assert!(leadership.holds(&clock));
        assert!(!leadership.stands_by());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(leadership.holds(&clock), "exactly 5 s are left");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!leadership.holds(&clock), "nobody said so, but time did");
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_election_everything_may_be_begun() {
        assert!(Leadership::always().holds(&clock()));
        assert!(!Leadership::always().stands_by());
        let mut beginnings = Leadership::always().beginnings().boxed();
        assert_eq!(beginnings.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_is_no_beginning() {
        let (lease, told) = watch::channel(None);
        let mut beginnings = Leadership::following(told).beginnings().boxed();
        assert_eq!(beginnings.next().now_or_never(), None);
        lease.send_replace(Some(monotonic()));
        assert_eq!(beginnings.next().now_or_never(), Some(Some(())));
        lease.send_replace(Some(monotonic() + FENCE));
        assert_eq!(beginnings.next().now_or_never(), None);
    }
}
