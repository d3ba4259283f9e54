//! The book of all requests that arrived, with what was answered.

use std::sync::Mutex;

use jiff::Timestamp;

use super::request::{Info, Verb};

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
    /// The answer's HTTP status; `None` while there is none, and when it was lost on its way.
    pub code: Option<u16>,
}

#[derive(Debug, Default)]
pub struct Ledger(Mutex<Vec<Entry>>);

impl Ledger {
    /// Writes down an arrival; the number names the entry in [`Ledger::answered`].
    pub fn arrive(&self, time: Timestamp, user: &str, info: &Info) -> usize {
        let mut entries = self.0.lock().expect("no holder of the lock panics");
        entries.push(Entry {
            time,
            user: user.to_owned(),
            verb: info.verb,
            resource: info.resource(),
            name: info.name.clone(),
            code: None,
        });
        entries.len() - 1
    }

    pub fn answered(&self, number: usize, code: u16) {
        self.0.lock().expect("no holder of the lock panics")[number].code = Some(code);
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.0.lock().expect("no holder of the lock panics").clone()
    }
}
