//! The judge's book: every request that arrived, and what became of it.

use std::{sync::Mutex, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{entra::Identity, route::Route};

/// One request.
///
/// Neither tokens nor secrets stand in it, nor the query of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// 1 for the first request that arrived, and so on without gaps.
    pub sequence: u64,
    /// When it arrived (simulated time).
    pub time: Timestamp,
    /// When it was answered or dropped (simulated time).
    pub end_time: Option<Timestamp>,
    /// For example `POST`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Which call it is.
    pub route: Route,
    /// Whose bearer token it carried, valid or not; on [`Route::Token`] who asked for one.
    pub identity: Option<Identity>,
    /// As in the path, unchecked.
    pub workspace_id: Option<String>,
    /// As in the path, unchecked.
    pub item_id: Option<String>,
    /// As in the path, unchecked; on [`Route::Run`] the instance that was created.
    pub job_instance_id: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// The HTTP status that was, or would have been, answered.
    pub status: Option<u16>,
    /// Fabric's error code, or Entra's `AADSTS` code.
    pub error_code: Option<String>,
    /// The answer's `Retry-After`, as text.
    pub retry_after: Option<String>,
    /// Fabric's id of the request.
    pub request_id: Uuid,
    /// The request took effect: a cancel was accepted by the job, a run created one, a token was
    /// given out. True also when the answer was lost afterwards.
    pub processed: bool,
    /// What a script did to it, for example `answered instead of processing`.
    pub fault: Option<String>,
    /// The request's `User-Agent`.
    pub user_agent: Option<String>,
    /// Credentials in places where they do not belong, in words; empty for a good client.
    pub misplaced_credentials: Vec<String>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Not answered yet: delayed or held.
    Pending,
    /// Answered.
    Answered,
    /// The connection was closed without an answer.
    Dropped,
    /// The client went away before it was answered.
    ClientGone,
}

/// No entry or state that the test waited for has come within its deadline.
#[derive(Clone, Debug, thiserror::Error)]
#[error("wait for the ledger: nothing matched within {waited:?}; it holds {held:#?}")]
pub struct NothingMatched {
    /// The deadline.
    pub waited: Duration,
    /// What the ledger held instead.
    pub held: Vec<Entry>,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    entries: Mutex<Vec<Entry>>,
    changed: watch::Sender<()>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            entries: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// Writes down an arrival; the sequence number is set here.
    pub(crate) fn arrive(&self, entry: Entry) -> u64 {
        let mut entries = self.lock();
        let sequence = entries.len() as u64 + 1;
        entries.push(Entry { sequence, ..entry });
        drop(entries);
        self.changed.send_replace(());
        sequence
    }

    pub(crate) fn update(&self, sequence: u64, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.lock();
        let index = usize::try_from(sequence - 1).expect("a sequence number is an index plus one");
        change(&mut entries[index]);
        drop(entries);
        self.changed.send_replace(());
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// Waits until the question has an answer; `deadline` is tokio's time, not simulated time.
    pub(crate) async fn wait<T>(
        &self,
        deadline: Duration,
        mut question: impl FnMut(&[Entry]) -> Option<T>,
    ) -> Result<T, NothingMatched> {
        let mut changes = self.changed.subscribe();
        let search = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = question(&self.lock()) {
                    return found;
                }
                changes.changed().await.expect("the ledger owns the sender");
            }
        };
        tokio::time::timeout(deadline, search)
            .await
            .map_err(|_| NothingMatched {
                waited: deadline,
                held: self.entries(),
            })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().expect("no holder of the lock panics")
    }
}
