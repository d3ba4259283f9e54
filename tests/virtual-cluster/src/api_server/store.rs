//! The objects, and every version that each of them ever had.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    answer::Refusal,
    patch,
    request::{CANCELLATIONS, Kind},
    schema::Schema,
};

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its namespace; empty for an object of the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was created.
    Added,
    /// It has another version.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change, as a watch shows it.
#[derive(Clone, Debug)]
pub struct Event {
    /// The `resourceVersion` that the change made.
    pub version: u64,
    /// When it was made, in virtual time.
    pub time: Timestamp,
    /// Of which object.
    pub key: Key,
    /// What was done.
    pub change: Change,
    /// The object after the change; for a deletion its last state.
    pub object: Value,
    /// The request that did it; `None` for what a test did by itself.
    pub cause: Option<Cause>,
}

/// The request that changed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Its number in the ledger.
    pub request: usize,
    /// The `resourceVersion` that it named.
    pub guard: Option<String>,
}

impl Cause {
    /// A request with this body.
    pub(super) fn of(request: usize, body: &Value) -> Self {
        let guard = body["metadata"]["resourceVersion"].as_str();
        Self {
            request,
            guard: guard.map(str::to_owned),
        }
    }
}

/// Conditions of a delete.
#[derive(Debug, Default)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub version: Option<String>,
}

#[derive(Debug)]
struct Object {
    value: Value,
    /// What each manager applied last, by its name and the subresource.
    applied: BTreeMap<(String, Part), Value>,
}

/// The half of an object that a write concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Main,
    Status,
}

#[derive(Debug)]
pub struct Store {
    /// `None`: the CustomResourceDefinition is not installed.
    pub schema: Option<Schema>,
    objects: BTreeMap<Key, Object>,
    log: Vec<Event>,
    version: u64,
    uids: u64,
    /// Why the change in progress is made.
    pub cause: Option<Cause>,
    /// Watches cannot begin before this version: history is forgotten.
    oldest: u64,
}

impl Store {
    pub fn new() -> Self {
        Self {
            schema: Some(Schema::shipped()),
            objects: BTreeMap::new(),
            log: Vec::new(),
            // The next one has a digit more: who compares them as text is found out.
            version: 99,
            uids: 0,
            cause: None,
            oldest: 0,
        }
    }

    /// The version of the latest change.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Forgets history, as etcd's compaction does.
    pub fn forget_history(&mut self) {
        self.version += 1;
        self.oldest = self.version;
    }

    /// Everything that ever changed, in order.
    pub fn log(&self) -> &[Event] {
        &self.log
    }

    /// Whether the server knows the kind at all.
    pub fn serves(&self, kind: &Kind) -> bool {
        *kind != CANCELLATIONS || self.schema.is_some()
    }

    pub fn get(&self, key: &Key) -> Result<&Value, Refusal> {
        self.objects
            .get(key)
            .map(|object| &object.value)
            .ok_or_else(|| Refusal::not_found(key.kind, &key.name))
    }

    /// The objects of a kind as they are now.
    pub fn list(&self, kind: &Kind) -> Vec<Value> {
        let objects = self.objects.iter().filter(|(key, _)| key.kind == kind);
        objects.map(|(_, object)| object.value.clone()).collect()
    }

    /// The objects of a kind as they were at a version, in all namespaces or in one.
    pub fn list_at(&self, version: u64, kind: &Kind, namespace: Option<&str>) -> Vec<Value> {
        let mut objects = BTreeMap::new();
        for event in self.log.iter().take_while(|event| event.version <= version) {
            if event.key.kind != kind || namespace.is_some_and(|name| name != event.key.namespace) {
                continue;
            }
            if event.change == Change::Deleted {
                objects.remove(&event.key);
            } else {
                objects.insert(&event.key, &event.object);
            }
        }
        objects.into_values().cloned().collect()
    }

    pub fn create(&mut self, key: Key, mut value: Value, now: Timestamp) -> Result<Value, Refusal> {
        if self.objects.contains_key(&key) {
            return Err(Refusal::already_exists(key.kind, &key.name));
        }
        if key.kind.has_status {
            fields_of(&mut value).remove("status");
        }
        self.uids += 1;
        value["apiVersion"] = json!(key.kind.api_version());
        value["kind"] = json!(key.kind.kind);
        let metadata = value["metadata"]
            .as_object_mut()
            .expect("the caller named the object");
        metadata.insert("name".into(), json!(key.name));
        if !key.namespace.is_empty() {
            metadata.insert("namespace".into(), json!(key.namespace));
        }
        metadata.insert("uid".into(), json!(uuid::Uuid::from_u128(self.uids.into())));
        metadata.insert("creationTimestamp".into(), json!(seconds(now)));
        if *key.kind == CANCELLATIONS {
            metadata.insert("generation".into(), json!(1));
        }
        let object = Object {
            value: Value::Null,
            applied: BTreeMap::new(),
        };
        self.objects.insert(key.clone(), object);
        Ok(self.keep(&key, value, now, Change::Added))
    }

    /// Changes one half of an object; what the change does to the other half is undone.
    pub fn update(
        &mut self,
        key: &Key,
        part: Part,
        now: Timestamp,
        change: impl FnOnce(&mut Value),
    ) -> Result<Value, Refusal> {
        let old = self.get(key)?.clone();
        let mut new = old.clone();
        change(&mut new);
        let claimed = new["metadata"]["resourceVersion"].clone();
        if claimed != old["metadata"]["resourceVersion"] {
            return Err(Refusal::stale(key.kind, &key.name));
        }
        let new = join(key.kind, part, &old, new);
        Ok(self.keep(key, new, now, Change::Modified))
    }

    /// Server-side apply with `force`.
    pub fn apply(
        &mut self,
        key: &Key,
        part: Part,
        manager: &str,
        mut wanted: Value,
        now: Timestamp,
    ) -> Result<Value, Refusal> {
        let claimed = wanted["metadata"]["resourceVersion"].clone();
        if !self.objects.contains_key(key) {
            return match part {
                Part::Status => Err(Refusal::not_found(key.kind, &key.name)),
                Part::Main if !claimed.is_null() => Err(Refusal::stale(key.kind, &key.name)),
                Part::Main => {
                    let created = self.create(key.clone(), wanted.clone(), now)?;
                    self.remember(key, part, manager, owned(key.kind, part, &mut wanted));
                    Ok(created)
                }
            };
        }
        let wanted = owned(key.kind, part, &mut wanted);
        let object = &self.objects[key];
        let this = (manager.to_owned(), part);
        let last = object.applied.get(&this).unwrap_or(&Value::Null);
        let others: Vec<_> = object
            .applied
            .iter()
            .filter(|(who, _)| **who != this)
            .map(|(_, value)| value)
            .collect();
        let mut new = object.value.clone();
        patch::apply(&mut new, last, &wanted, &others);
        let stored = self.update(key, part, now, |value| {
            *value = new;
            if !claimed.is_null() {
                value["metadata"]["resourceVersion"] = claimed;
            }
        })?;
        self.remember(key, part, manager, wanted);
        Ok(stored)
    }

    /// Deletes, or marks as being deleted while finalizers hold it.
    pub fn delete(
        &mut self,
        key: &Key,
        only: &Preconditions,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let mut object = self.get(key)?.clone();
        let metadata = &object["metadata"];
        for (field, asked, is) in [
            ("UID", &only.uid, &metadata["uid"]),
            (
                "ResourceVersion",
                &only.version,
                &metadata["resourceVersion"],
            ),
        ] {
            if let Some(asked) = asked
                && *is != json!(asked)
            {
                let is = is.as_str().unwrap_or_default();
                return Err(Refusal::precondition(key.kind, &key.name, field, asked, is));
            }
        }
        if is_held(&object) {
            object["metadata"]["deletionTimestamp"] = json!(seconds(now));
            self.keep(key, object, now, Change::Modified);
        } else {
            self.remove(key, object, now);
        }
        Ok(())
    }

    fn remember(&mut self, key: &Key, part: Part, manager: &str, wanted: Value) {
        if let Some(object) = self.objects.get_mut(key) {
            object.applied.insert((manager.to_owned(), part), wanted);
        }
    }

    /// Stores a new version, unless nothing changed.
    fn keep(&mut self, key: &Key, mut new: Value, now: Timestamp, change: Change) -> Value {
        if let (true, Some(schema)) = (*key.kind == CANCELLATIONS, &self.schema) {
            schema.settle(&mut new);
        }
        let object = self
            .objects
            .get_mut(key)
            .expect("the caller looked the object up");
        if object.value == new {
            return new;
        }
        if change == Change::Modified && object.value["spec"] != new["spec"] {
            let generation = new["metadata"]["generation"].as_u64().unwrap_or(0);
            new["metadata"]["generation"] = json!(generation + 1);
        }
        if new["metadata"]["deletionTimestamp"].is_string() && !is_held(&new) {
            self.remove(key, new.clone(), now);
            return new;
        }
        self.version += 1;
        new["metadata"]["resourceVersion"] = json!(self.version.to_string());
        object.value = new.clone();
        self.log.push(Event {
            version: self.version,
            time: now,
            key: key.clone(),
            change,
            object: new.clone(),
            cause: self.cause.clone(),
        });
        new
    }

    fn remove(&mut self, key: &Key, mut object: Value, now: Timestamp) {
        self.objects.remove(key);
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.log.push(Event {
            version: self.version,
            time: now,
            key: key.clone(),
            change: Change::Deleted,
            object,
            cause: self.cause.clone(),
        });
    }
}

/// A time as Kubernetes writes it.
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn is_held(object: &Value) -> bool {
    object["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|list| !list.is_empty())
}

/// The old object with one half of the new one. What the server alone sets stays as it was.
fn join(kind: &Kind, part: Part, old: &Value, mut new: Value) -> Value {
    if part == Part::Status {
        let mut joined = old.clone();
        joined["status"] = new["status"].take();
        return joined;
    }
    if kind.has_status {
        match old.get("status") {
            Some(status) => new["status"] = status.clone(),
            None => drop(fields_of(&mut new).remove("status")),
        }
    }
    for field in [
        "uid",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "name",
        "namespace",
    ] {
        match old["metadata"].get(field) {
            Some(value) => new["metadata"][field] = value.clone(),
            None => drop(fields_of(&mut new["metadata"]).remove(field)),
        }
    }
    new
}

/// The part of an applied object that its manager owns afterwards.
fn owned(kind: &Kind, part: Part, wanted: &mut Value) -> Value {
    match part {
        Part::Status => json!({"status": wanted["status"].take()}),
        Part::Main => {
            let fields = fields_of(wanted);
            fields.remove("apiVersion");
            fields.remove("kind");
            if kind.has_status {
                fields.remove("status");
            }
            if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
                let authors = ["labels", "annotations", "finalizers", "ownerReferences"];
                metadata.retain(|field, _| authors.contains(&field.as_str()));
            }
            wanted.take()
        }
    }
}

fn fields_of(value: &mut Value) -> &mut Map<String, Value> {
    value
        .as_object_mut()
        .expect("an object of the API is a JSON object")
}
