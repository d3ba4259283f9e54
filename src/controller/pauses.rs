//! How long the watch pauses after it broke off.

use std::time::Duration;

use kube::runtime::utils::Backoff;
use kube::runtime::watcher::DefaultBackoff;

use super::clock::Clock;

/// kube's pauses, at the pace of the clock: 0.8 s after the first break, 30 s at most.
pub(super) struct Pauses {
    kube: DefaultBackoff,
    clock: Clock,
}

impl Pauses {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            kube: DefaultBackoff::default(),
            clock,
        }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.kube.next().map(|pause| self.clock.really(pause))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.kube.reset();
    }
}
