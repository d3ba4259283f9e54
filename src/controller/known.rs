//! What this process knows beyond the watch's cache: its own last answer for each resource.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::FabricJobCancellation;
use crate::cancellation::Cancellation;

/// Everything that is known, by uid: a re-created object is another one.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<String, Entry>>);

/// One resource as this process last saw or wrote it.
#[derive(Clone)]
pub(super) struct Entry {
    /// The newest edition that the API server showed us.
    pub resource: Arc<FabricJobCancellation>,
    /// What the core made of it; `None` while our own work fails before that.
    pub core: Option<Cancellation>,
    /// Since this moment the cache is known to lag behind: a live read is due.
    pub read_live_at: Option<Timestamp>,
    /// Failures of our own work in a row.
    pub failures: u32,
}

/// Which of two editions of one object is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Newer {
    /// The cached one, or both are the same.
    Cached,
    /// Our own last answer.
    Ours,
    /// It cannot be told: only a live read can.
    Unclear,
}

impl Known {
    /// Takes what is known of `uid` out, for one visit. A visit that panics leaves nothing
    /// behind, so the resource is then met as after a restart.
    pub(super) fn take(&self, uid: &str) -> Option<Entry> {
        self.lock().remove(uid)
    }

    /// Failures of our own work on `uid` in a row.
    pub(super) fn failures(&self, uid: &str) -> u32 {
        self.lock().get(uid).map_or(0, |entry| entry.failures)
    }

    /// Keeps what one visit made of the resource.
    pub(super) fn keep(&self, entry: Entry) {
        let Some(uid) = entry.resource.uid() else {
            return;
        };
        self.lock().insert(uid, entry);
    }

    /// Forgets all resources that no longer exist, once enough has gathered to be worth it.
    pub(super) fn prune(&self, existing: usize, uids: impl FnOnce() -> HashSet<String>) {
        let mut known = self.lock();
        if known.len() > 2 * existing + 64 {
            let uids = uids();
            known.retain(|uid, _| uids.contains(uid));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        // Every change is a single insert or remove.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares two editions of one object. Kubernetes promises since 1.35 that resourceVersions
/// of one resource compare as numbers.
pub(super) fn newer(cached: &FabricJobCancellation, ours: &FabricJobCancellation) -> Newer {
    let version = |resource: &FabricJobCancellation| resource.resource_version();
    if version(cached) == version(ours) {
        return Newer::Cached;
    }
    let number = |resource| version(resource)?.parse::<u64>().ok();
    match (number(cached), number(ours)) {
        (Some(cached), Some(ours)) if cached > ours => Newer::Cached,
        (Some(_), Some(_)) => Newer::Ours,
        _ => Newer::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::FabricJobCancellationSpec;

    fn edition(version: &str) -> FabricJobCancellation {
        let spec = FabricJobCancellationSpec::new("w", "i", "j");
        let mut resource = FabricJobCancellation::new("x", spec);
        resource.metadata.uid = Some("uid".into());
        resource.metadata.resource_version = Some(version.into());
        resource
    }

    #[test]
    fn the_newer_edition_is_told_by_number_and_doubt_is_said() {
        for (cached, ours, expected) in [
            ("10", "9", Newer::Cached),
            ("9", "10", Newer::Ours),
            ("9", "9", Newer::Cached),
            ("opaque", "opaque", Newer::Cached),
            ("opaque", "other", Newer::Unclear),
        ] {
            assert_eq!(newer(&edition(cached), &edition(ours)), expected);
        }
    }

    #[test]
    fn what_no_longer_exists_is_forgotten_once_it_is_worth_it() {
        let known = Known::default();
        for n in 0..200 {
            let mut resource = edition("1");
            resource.metadata.uid = Some(format!("uid-{n}"));
            known.keep(Entry {
                resource: Arc::new(resource),
                core: None,
                read_live_at: None,
                failures: 0,
            });
        }
        known.prune(200, || unreachable!("nothing to gain yet"));
        known.prune(1, || HashSet::from(["uid-7".to_owned()]));
        assert!(known.take("uid-7").is_some());
        assert!(known.take("uid-8").is_none());
    }
}
