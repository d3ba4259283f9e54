//! The book of all requests that arrived, with what was answered.

use std::sync::{Mutex, MutexGuard};

use axum::body::Bytes;
use jiff::Timestamp;

use super::{
    fault::Fault,
    request::{Info, Verb},
};

/// One request.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When it arrived, in virtual time.
    pub time: Timestamp,
    /// Whose client sent it.
    pub user: String,
    /// What was asked for.
    pub verb: Verb,
    /// As an RBAC rule would name it, for example `fabricjobcancellations/status`.
    pub resource: String,
    /// The object that the path names, if it names one.
    pub name: Option<String>,
    /// What was sent with it.
    pub body: Bytes,
    /// What went wrong with it.
    pub fault: Option<Fault>,
    /// The answer's HTTP status; `None` while there is none, and when it was lost on its way.
    pub code: Option<u16>,
    /// When the answer reached the client; `None` while it has not, and when it never did.
    pub reached: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub struct Ledger(Mutex<Vec<Entry>>);

impl Ledger {
    /// Writes down an arrival; the number names the entry from then on.
    pub fn arrive(
        &self,
        time: Timestamp,
        user: &str,
        info: &Info,
        body: Bytes,
        fault: Option<Fault>,
    ) -> usize {
        let mut entries = self.lock();
        entries.push(Entry {
            time,
            user: user.to_owned(),
            verb: info.verb,
            resource: info.resource(),
            name: info.name.clone(),
            body,
            fault,
            code: None,
            reached: None,
        });
        entries.len() - 1
    }

    pub fn answered(&self, number: usize, code: u16, now: Timestamp) {
        let entry = &mut self.lock()[number];
        entry.code = Some(code);
        entry.reached = Some(now);
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().expect("no holder of the lock panics")
    }
}
