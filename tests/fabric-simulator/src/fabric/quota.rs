//! The quota per identity: a pure counter over fixed windows.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use super::job::later;
use crate::{entra::Identity, settings::QuotaLimit};

/// Calls of different buckets do not count together (\[DOC\] throttling article).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bucket {
    /// Cancel, look, list, run.
    JobScheduler,
    /// Workspaces and items.
    Platform,
}

/// An identity has used up its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocked {
    pub(crate) until: Timestamp,
    pub(crate) retry_after: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Quota(HashMap<(Identity, Bucket), Window>);

#[derive(Debug)]
struct Window {
    began: Timestamp,
    calls: u32,
}

impl Quota {
    /// Counts one call.
    pub(crate) fn spend(
        &mut self,
        identity: &Identity,
        bucket: Bucket,
        limit: QuotaLimit,
        now: Timestamp,
    ) -> Result<(), Blocked> {
        let window = self.0.entry((identity.clone(), bucket)).or_insert(Window {
            began: now,
            calls: 0,
        });
        if now >= later(window.began, limit.window) {
            *window = Window {
                began: now,
                calls: 0,
            };
        }
        if window.calls < limit.calls {
            window.calls += 1;
            return Ok(());
        }
        let until = later(window.began, limit.window);
        Err(Blocked {
            until,
            retry_after: whole_seconds(until.duration_since(now).unsigned_abs()),
        })
    }

    /// Every window is fresh again.
    pub(crate) fn reset(&mut self) {
        self.0.clear();
    }
}

/// Rounded down, and at least 1: of 76 recorded answers 38 named a number that was one second
/// short, and none was 0.
fn whole_seconds(remaining: Duration) -> u64 {
    remaining.as_secs().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: QuotaLimit = QuotaLimit {
        calls: 2,
        window: Duration::from_secs(60),
    };

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_790_000_000_000 + milliseconds).unwrap()
    }

    #[test]
    fn a_window_that_is_used_up_says_when_it_refills_and_refills_at_once() {
        let identity = Identity::new("tenant", "client");
        let mut quota = Quota::default();
        for _ in 0..2 {
            quota
                .spend(&identity, Bucket::JobScheduler, LIMIT, at(0))
                .unwrap();
        }
        assert_eq!(
            quota.spend(&identity, Bucket::JobScheduler, LIMIT, at(10_500)),
            Err(Blocked {
                until: at(60_000),
                retry_after: 49
            })
        );
        assert_eq!(
            quota.spend(&identity, Bucket::JobScheduler, LIMIT, at(59_900)),
            Err(Blocked {
                until: at(60_000),
                retry_after: 1
            })
        );
        for _ in 0..2 {
            quota
                .spend(&identity, Bucket::JobScheduler, LIMIT, at(60_000))
                .unwrap();
        }
    }

    #[test]
    fn neither_another_identity_nor_another_bucket_is_blocked() {
        let mut quota = Quota::default();
        let first = Identity::new("tenant", "first");
        for _ in 0..3 {
            let _ = quota.spend(&first, Bucket::JobScheduler, LIMIT, at(0));
        }
        let second = Identity::new("tenant", "second");
        assert_eq!(
            quota.spend(&second, Bucket::JobScheduler, LIMIT, at(0)),
            Ok(())
        );
        assert_eq!(quota.spend(&first, Bucket::Platform, LIMIT, at(0)), Ok(()));
    }
}
