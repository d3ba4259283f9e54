//! What a test does to requests that are still to come.

use std::{
    fmt,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use super::request::{Info, Verb};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this HTTP status and does nothing.
    Answer(u16),
    /// It is carried out after this time.
    Delay(Duration),
    /// It is carried out after the first time, and its answer arrives after the second.
    Slow(Duration, Duration),
    /// It is carried out after this time, whether or not anybody still waits for its answer.
    Late(Duration),
    /// It never arrives: the client sees a broken connection.
    LoseRequest,
    /// It is carried out, but the client sees a broken connection.
    LoseAnswer,
    /// It never arrives, and after this time the client sees that the connection is broken.
    LoseAfter(Duration),
    /// It does nothing and is never answered.
    Hang,
    /// It is carried out and never answered.
    HangAfterwards,
    /// Directly before it is carried out, somebody edits a label of the object that it names.
    EditedFirst,
}

/// Which requests, and how many of them.
#[derive(Clone, Debug)]
pub struct Rule {
    user: Option<String>,
    verb: Verb,
    resource: String,
    name: Option<String>,
    left: usize,
    fault: Fault,
}

impl Rule {
    /// The next request with this verb on this resource, named as in an RBAC rule
    /// (`fabricjobcancellations/status`), or on this path.
    pub fn on(verb: Verb, resource: &str, fault: Fault) -> Self {
        Self {
            user: None,
            verb,
            resource: resource.to_owned(),
            name: None,
            left: 1,
            fault,
        }
    }

    /// Only those for the object of this name.
    pub fn named(self, name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            ..self
        }
    }

    /// Only those of this client.
    pub fn by(self, user: &str) -> Self {
        Self {
            user: Some(user.to_owned()),
            ..self
        }
    }

    /// The next so many.
    pub fn times(self, times: usize) -> Self {
        Self {
            left: times,
            ..self
        }
    }

    /// All, until [`Faults::clear`].
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }

    fn concerns(&self, user: &str, info: &Info) -> bool {
        self.left > 0
            && self.user.as_deref().is_none_or(|name| name == user)
            && self.verb == info.verb
            && self.resource == info.resource()
            && (self.name.is_none() || self.name == info.name)
    }
}

/// A request that has just arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Whose client sent it.
    pub user: &'a str,
    /// What it asks for.
    pub verb: Verb,
    /// As an RBAC rule would name it, for example `fabricjobcancellations/status`.
    pub resource: &'a str,
    /// The object that the path names, if it names one.
    pub name: Option<&'a str>,
}

/// Says what happens to each request that no [`Rule`] concerns.
pub type Decide = Box<dyn FnMut(Arrival<'_>) -> Option<Fault> + Send>;

#[derive(Default)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
    decide: Mutex<Option<Decide>>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rules.fmt(f)
    }
}

impl Faults {
    pub fn add(&self, rule: Rule) {
        self.rules().push(rule);
    }

    pub fn decide(&self, decide: Decide) {
        *self.decide.lock().expect("no holder of the lock panics") = Some(decide);
    }

    pub fn clear(&self) {
        self.rules().clear();
        *self.decide.lock().expect("no holder of the lock panics") = None;
    }

    /// The fault of the first rule that concerns the request; the rule has one less to go.
    pub fn take(&self, user: &str, info: &Info) -> Option<Fault> {
        let mut rules = self.rules();
        if let Some(rule) = rules.iter_mut().find(|rule| rule.concerns(user, info)) {
            rule.left -= 1;
            return Some(rule.fault);
        }
        drop(rules);
        let mut decide = self.decide.lock().expect("no holder of the lock panics");
        decide.as_mut()?(Arrival {
            user,
            verb: info.verb,
            resource: &info.resource(),
            name: info.name.as_deref(),
        })
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().expect("no holder of the lock panics")
    }
}
