//! What this process knows beyond the watch's cache: its own last answer for each resource.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kube::ResourceExt;
use uuid::Uuid;

use crate::api::FabricJobCancellation;
use crate::cancellation::{Cancellation, JobInstance, later, policy};

/// Everything that is known, by uid: a re-created object is another one.
#[derive(Default)]
pub(super) struct Known {
    entries: Mutex<HashMap<String, Entry>>,
    failing: Mutex<HashMap<String, Failing>>,
}

/// A resource for which our own work failed.
struct Failing {
    generation: Option<i64>,
    /// Failures in a row.
    failures: u32,
    /// No visit before this moment.
    retry_at: Timestamp,
}

/// One resource as this process last saw or wrote it.
pub(super) struct Entry {
    /// The newest edition that the API server showed us.
    pub resource: Arc<FabricJobCancellation>,
    /// What the core made of it.
    pub core: Cancellation,
    /// Since this moment the cache is known to lag behind: a live read is due.
    pub read_live_at: Option<Timestamp>,
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
    /// Until when a resource is left alone because our own work for it failed. Without this the
    /// event of a write that came before the failure would bring it up again at once, and each
    /// foreign edit too. A new generation is tried at once: its author acted.
    pub(super) fn left_alone(
        &self,
        resource: &impl ResourceExt,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let failing = lock(&self.failing);
        let known = failing.get(&resource.uid()?)?;
        let same = known.generation == resource.meta().generation;
        (same && now < known.retry_at).then_some(known.retry_at)
    }

    /// Our own work failed once more, perhaps by a panic. Says when to try again.
    pub(super) fn failed(&self, resource: &impl ResourceExt, now: Timestamp) -> Timestamp {
        let uid = resource.uid().unwrap_or_default();
        // The spread needs an id of each resource, and one that cannot be decoded has no job.
        let seed = JobInstance {
            workspace_id: Uuid::nil(),
            item_id: Uuid::nil(),
            job_instance_id: Uuid::parse_str(&uid).unwrap_or_default(),
        };
        let mut failing = lock(&self.failing);
        let failures = failing.get(&uid).map_or(0, |known| known.failures);
        let retry_at = later(now, policy::backoff(policy::BACKOFF, &seed, failures));
        let known = Failing {
            generation: resource.meta().generation,
            failures: failures.saturating_add(1),
            retry_at,
        };
        failing.insert(uid, known);
        retry_at
    }

    /// Our own work succeeded.
    pub(super) fn succeeded(&self, resource: &impl ResourceExt) {
        if let Some(uid) = resource.uid() {
            lock(&self.failing).remove(&uid);
        }
    }

    /// Takes what is known of `uid` out, for one visit. A visit that panics leaves nothing
    /// behind, so the resource is then met as after a restart.
    pub(super) fn take(&self, uid: &str) -> Option<Entry> {
        lock(&self.entries).remove(uid)
    }

    /// Keeps what one visit made of the resource.
    pub(super) fn keep(&self, entry: Entry) {
        let Some(uid) = entry.resource.uid() else {
            return;
        };
        lock(&self.entries).insert(uid, entry);
    }

    /// Takes everything out.
    pub(super) fn drain(&self) -> Vec<Entry> {
        lock(&self.entries)
            .drain()
            .map(|(_, entry)| entry)
            .collect()
    }

    /// Forgets all resources that no longer exist, once enough has gathered to be worth it.
    pub(super) fn prune(&self, existing: usize, uids: impl FnOnce() -> HashSet<String>) {
        let mut known = lock(&self.entries);
        let mut failing = lock(&self.failing);
        if known.len().max(failing.len()) > 2 * existing + 64 {
            let uids = uids();
            known.retain(|uid, _| uids.contains(uid));
            failing.retain(|uid, _| uids.contains(uid));
        }
    }
}

fn lock<T>(map: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is a single insert or remove.
    map.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Whether what a visit made of a resource is kept. An ended one needs no memory once the cache
/// shows the end; before that, the memory is what keeps a stale cache from starting over, also when
/// the resource was deleted meanwhile. Nothing else that is gone comes back.
pub(super) fn is_worth_keeping(over: bool, gone: bool, cache_shows_it: bool) -> bool {
    match (over, gone) {
        (true, _) => !cache_shows_it,
        (false, gone) => !gone,
    }
}

#[cfg(test)]
mod tests {
    use super::super::status;
    use super::*;
    use crate::api::FabricJobCancellationSpec;
    use crate::cancellation::Facts;

    fn edition(version: &str) -> FabricJobCancellation {
        let id = Uuid::nil().to_string();
        let spec = FabricJobCancellationSpec::new(&id, &id, &id);
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
    fn an_end_is_remembered_until_the_cache_shows_it_also_when_the_resource_is_gone() {
        for (over, gone, shown, kept) in [
            (true, true, false, true),
            (true, false, false, true),
            (true, true, true, false),
            (true, false, true, false),
            (false, true, false, false),
            (false, true, true, false),
            (false, false, true, true),
            (false, false, false, true),
        ] {
            assert_eq!(
                is_worth_keeping(over, gone, shown),
                kept,
                "{over} {gone} {shown}"
            );
        }
    }

    #[test]
    fn a_resource_whose_work_failed_is_left_alone_longer_each_time_unless_its_author_acts() {
        let known = Known::default();
        let mut resource = edition("1");
        let start = Timestamp::UNIX_EPOCH;
        let pauses: Vec<_> = (0..8)
            .map(|_| {
                known
                    .failed(&resource, start)
                    .duration_since(start)
                    .as_secs()
            })
            .collect();
        assert!(
            pauses[..6].is_sorted() && pauses[0] == 1 && (60..=75).contains(&pauses[7]),
            "{pauses:?}"
        );
        resource.metadata.resource_version = Some("2".into());
        assert!(known.left_alone(&resource, start).is_some());
        let over = later(start, std::time::Duration::from_secs(76));
        assert_eq!(known.left_alone(&resource, over), None);
        resource.metadata.generation = Some(2);
        assert_eq!(known.left_alone(&resource, start), None);
        resource.metadata.generation = None;
        known.succeeded(&resource);
        assert_eq!(known.left_alone(&resource, start), None);
        assert_eq!(
            known
                .failed(&resource, start)
                .duration_since(start)
                .as_secs(),
            1
        );
    }

    #[test]
    fn what_no_longer_exists_is_forgotten_once_it_is_worth_it() {
        let known = Known::default();
        for n in 0..200 {
            let mut resource = edition("1");
            resource.metadata.uid = Some(format!("uid-{n}"));
            let wish = status::wish_or_end(&resource).expect("its ids are valid");
            known.keep(Entry {
                core: Cancellation::new(wish, Facts::default(), Timestamp::UNIX_EPOCH),
                resource: Arc::new(resource),
                read_live_at: None,
            });
        }
        known.prune(200, || unreachable!("nothing to gain yet"));
        known.prune(1, || HashSet::from(["uid-7".to_owned()]));
        assert!(known.take("uid-7").is_some());
        assert!(known.take("uid-8").is_none());
    }
}
