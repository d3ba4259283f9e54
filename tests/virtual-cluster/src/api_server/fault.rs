//! What a test does to requests that are still to come.

use std::{sync::Mutex, time::Duration};

use super::request::{Info, Verb};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this HTTP status and does nothing.
    Answer(u16),
    /// It is carried out after this time.
    Delay(Duration),
    /// It never arrives: the client sees a broken connection.
    LoseRequest,
    /// It is carried out, but the client sees a broken connection.
    LoseAnswer,
    /// It does nothing and is never answered.
    Hang,
}

/// Which requests, and how many of them.
#[derive(Clone, Debug)]
pub struct Rule {
    verb: Verb,
    resource: String,
    name: Option<String>,
    user: Option<String>,
    left: usize,
    fault: Fault,
}

impl Rule {
    /// The next request with this verb on this resource, named as in an RBAC rule
    /// (`fabricjobcancellations/status`), or on this path.
    pub fn on(verb: Verb, resource: &str, fault: Fault) -> Self {
        Self {
            verb,
            resource: resource.to_owned(),
            name: None,
            user: None,
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

#[derive(Debug, Default)]
pub struct Faults(Mutex<Vec<Rule>>);

impl Faults {
    pub fn add(&self, rule: Rule) {
        self.0
            .lock()
            .expect("no holder of the lock panics")
            .push(rule);
    }

    pub fn clear(&self) {
        self.0.lock().expect("no holder of the lock panics").clear();
    }

    /// The fault of the first rule that concerns the request; the rule has one less to go.
    pub fn take(&self, user: &str, info: &Info) -> Option<Fault> {
        let mut rules = self.0.lock().expect("no holder of the lock panics");
        let rule = rules.iter_mut().find(|rule| rule.concerns(user, info))?;
        rule.left -= 1;
        Some(rule.fault)
    }
}
