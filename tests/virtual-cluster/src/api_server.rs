//! A Kubernetes API server in memory, for the real kube client and `Controller` under paused time.
//!
//! It does what design and code rely on (optimistic concurrency, server-side apply, the status
//! subresource, watches with bookmarks and expiry) as kube-apiserver 1.37 was seen to do it, and
//! refuses what it does not know instead of guessing. It does not validate, authenticate or
//! authorize: the tests on the real control plane do. Everything happens at a moment of the
//! [`Calendar`], so a test is the same each time it runs.

mod answer;
mod fault;
mod http;
mod ledger;
mod patch;
mod request;
mod schema;
mod store;
mod watch;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use self::{
    fault::Faults,
    ledger::Ledger,
    store::{Part, Preconditions, Store},
    watch::Mood,
};
pub use self::{
    fault::{Arrival, Decide, Fault, Rule},
    ledger::Entry,
    request::{CANCELLATIONS, EVENTS, Kind, LEASES, SECRETS, Verb},
    schema::Schema,
    store::{Cause, Change, Event, Key},
};
use crate::clock::Calendar;

/// The namespace of all objects in these tests.
pub const NAMESPACE: &str = "team-a";

/// Whose requests the questions to the ledger are about.
pub const OPERATOR: &str = "operator";

/// The server, and what a test does to it and asks it. Clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    shared: Arc<Shared>,
}

struct Shared {
    calendar: Calendar,
    store: Mutex<Store>,
    ledger: Ledger,
    faults: Faults,
    /// Sent again after each change of the store too, so that watches look.
    mood: tokio::sync::watch::Sender<Mood>,
    skew: Mutex<SignedDuration>,
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("no holder of the lock panics")
    }

    /// As [`Shared::change`], for a request.
    fn change_because<T>(&self, cause: Cause, act: impl FnOnce(&mut Store, Timestamp) -> T) -> T {
        self.change(|store, now| {
            store.cause = Some(cause);
            let done = act(store, now);
            store.cause = None;
            done
        })
    }

    /// Somebody changes a label of the object, if it exists.
    fn edit_label(&self, key: &Key) {
        let touched = |object: &mut Value| {
            let version = object["metadata"]["resourceVersion"].clone();
            object["metadata"]["labels"] = serde_json::json!({ "edited-at": version });
        };
        // There may be none, or none any more.
        let _ = self.change(|store, now| store.update(key, Part::Main, now, touched));
    }

    /// Does something to the store and lets the watches know.
    fn change<T>(&self, act: impl FnOnce(&mut Store, Timestamp) -> T) -> T {
        let done = act(&mut self.store(), self.calendar.now());
        self.mood.send_modify(|_| {});
        done
    }
}

/// Clients.
impl ApiServer {
    /// A server without objects that has the shipped CustomResourceDefinition.
    pub fn new(calendar: Calendar) -> Self {
        let shared = Shared {
            calendar,
            store: Mutex::new(Store::new()),
            ledger: Ledger::default(),
            faults: Faults::default(),
            mood: tokio::sync::watch::Sender::new(Mood::default()),
            skew: Mutex::new(SignedDuration::ZERO),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A client whose requests stand in the ledger under this name. It never retries by itself.
    pub fn client(&self, user: &str) -> kube::Client {
        let (shared, user) = (Arc::clone(&self.shared), user.to_owned());
        let service = tower::service_fn(move |request| {
            let (shared, user) = (Arc::clone(&shared), user.clone());
            async move { http::serve(shared, &user, request).await }
        });
        kube::Client::new(service, NAMESPACE)
    }
}

/// What people and other programs do; it stands in no ledger.
impl ApiServer {
    /// Creates an object in the namespace that it names, else in [`NAMESPACE`], and gives it as it
    /// is stored.
    ///
    /// # Panics
    ///
    /// When it exists.
    pub fn create(&self, kind: &'static Kind, object: Value) -> Value {
        let name = object["metadata"]["name"]
            .as_str()
            .expect("the test names its objects");
        let mut key = key(kind, name);
        if let Some(namespace) = object["metadata"]["namespace"].as_str() {
            namespace.clone_into(&mut key.namespace);
        }
        self.shared
            .change(|store, now| store.create(key, object, now))
            .expect("the test creates an object once")
    }

    /// Changes everything but the status.
    pub fn edit(&self, kind: &'static Kind, name: &str, change: impl FnOnce(&mut Value)) -> Value {
        self.write(kind, name, Part::Main, change)
    }

    /// Changes the status, as a restore from a backup or an administrator does.
    pub fn edit_status(&self, name: &str, change: impl FnOnce(&mut Value)) -> Value {
        self.write(&CANCELLATIONS, name, Part::Status, change)
    }

    /// Deletes an object, or marks it while finalizers hold it.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn delete(&self, kind: &'static Kind, name: &str) {
        self.shared
            .change(|store, now| store.delete(&key(kind, name), &Preconditions::default(), now))
            .expect("the test deletes what exists");
    }

    fn write(
        &self,
        kind: &'static Kind,
        name: &str,
        part: Part,
        change: impl FnOnce(&mut Value),
    ) -> Value {
        self.shared
            .change(|store, now| store.update(&key(kind, name), part, now, change))
            .expect("the test edits what exists, and not its resourceVersion")
    }
}

/// What goes wrong.
impl ApiServer {
    /// A fault for requests to come.
    pub fn inject(&self, rule: Rule) {
        self.shared.faults.add(rule);
    }

    /// Says for each request to come, until [`ApiServer::heal`], what goes wrong with it; the
    /// rules of [`ApiServer::inject`] go first.
    pub fn decide(&self, decide: Decide) {
        self.shared.faults.decide(decide);
    }

    /// No more faults.
    pub fn heal(&self) {
        self.shared.faults.clear();
    }

    /// From now on watches, and lists "from any version", show changes this much later.
    pub fn lag_watches(&self, lag: Duration) {
        self.shared.mood.send_modify(|mood| mood.lag = lag);
    }

    /// From now on watches, and lists "from any version", show nothing new, or all of it again.
    pub fn freeze_watches(&self, frozen: bool) {
        self.shared.mood.send_modify(|mood| mood.frozen = frozen);
    }

    /// From now on watches, and lists "from any version", show nothing newer than what is stored
    /// now, as from an API server that lost its etcd; or everything again.
    pub fn fall_behind(&self, behind: bool) {
        let now = self.shared.store().version();
        self.shared
            .mood
            .send_modify(|mood| mood.stale = behind.then_some(now));
    }

    /// Every open watch sends an event again: the one so many before the latest that it has sent.
    pub fn repeat_event(&self, before: usize) {
        self.shared
            .mood
            .send_modify(|mood| mood.repeat = (mood.repeat.0 + 1, before));
    }

    /// Ends every open watch, as a restart does; clients resume where they were.
    pub fn close_watches(&self) {
        self.shared.mood.send_modify(|mood| mood.era += 1);
    }

    /// How many watches wait for news now.
    pub fn open_watches(&self) -> usize {
        self.shared.mood.receiver_count()
    }

    /// Forgets history, as etcd's compaction does: open watches get 410, and clients list anew.
    pub fn expire_watches(&self) {
        self.shared.mood.send_modify(|mood| mood.stale = None);
        self.shared.change(|store, _| store.forget_history());
    }

    /// The header `Date` is wrong by this much from now on.
    pub fn skew_date(&self, skew: SignedDuration) {
        *self
            .shared
            .skew
            .lock()
            .expect("no holder of the lock panics") = skew;
    }

    /// Installs the CustomResourceDefinition with this schema, or removes it.
    pub fn install(&self, schema: Option<Schema>) {
        self.shared.change(|store, _| store.schema = schema);
    }
}

/// What there is, and what happened.
impl ApiServer {
    /// The object as it is stored; `None` when there is none.
    pub fn get(&self, kind: &'static Kind, name: &str) -> Option<Value> {
        self.shared.store().get(&key(kind, name)).ok().cloned()
    }

    /// Every version that the cancellation had, deletion included, oldest first.
    pub fn history(&self, name: &str) -> Vec<Event> {
        let key = key(&CANCELLATIONS, name);
        self.shared
            .store()
            .log()
            .iter()
            .filter(|event| event.key == key)
            .cloned()
            .collect()
    }

    /// Every version of every object of a kind, deletions included, oldest first.
    pub fn log(&self, kind: &'static Kind) -> Vec<Event> {
        let store = self.shared.store();
        let events = store.log().iter().filter(|event| event.key.kind == kind);
        events.cloned().collect()
    }

    /// When an object of a kind was changed last.
    pub fn last_change(&self, kind: &'static Kind) -> Option<Timestamp> {
        let store = self.shared.store();
        let mut events = store.log().iter().rev();
        events
            .find(|event| event.key.kind == kind)
            .map(|it| it.time)
    }

    /// Every request of everybody so far.
    pub fn requests(&self) -> Vec<Entry> {
        self.shared.ledger.entries()
    }

    /// Every object of a kind.
    pub fn list(&self, kind: &'static Kind) -> Vec<Value> {
        self.shared.store().list(kind)
    }

    /// Every request of the operator so far.
    pub fn ledger(&self) -> Vec<Entry> {
        let mut entries = self.shared.ledger.entries();
        entries.retain(|entry| entry.user == OPERATOR);
        entries
    }

    /// The operator's requests so far that would change this cancellation, refused ones included.
    pub fn writes_of(&self, name: &str) -> Vec<Entry> {
        self.requests_of(name, |verb| {
            matches!(
                verb,
                Verb::Create | Verb::Update | Verb::Patch | Verb::Delete
            )
        })
    }

    /// The operator's reads of this one cancellation so far; lists and watches are none.
    pub fn reads_of(&self, name: &str) -> Vec<Entry> {
        self.requests_of(name, |verb| verb == Verb::Get)
    }

    fn requests_of(&self, name: &str, wanted: impl Fn(Verb) -> bool) -> Vec<Entry> {
        let mut entries = self.ledger();
        entries.retain(|entry| {
            entry.name.as_deref() == Some(name)
                && entry.resource.starts_with(CANCELLATIONS.plural)
                && wanted(entry.verb)
        });
        entries
    }
}

fn key(kind: &'static Kind, name: &str) -> Key {
    let namespace = if kind.plural == "namespaces" {
        ""
    } else {
        NAMESPACE
    };
    Key {
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}
