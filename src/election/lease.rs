//! The Lease as Kubernetes keeps it: read, written and watched, each call within its time.

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DynamicObject, PostParams, WatchEvent, WatchParams};
use kube::core::ApiResource;
use kube::{Api, Client, ResourceExt};
use serde_json::{Map, Value, json};

use super::candidate::{Answer, Step};
use super::record::Record;
use crate::telemetry::text::in_one_line;

/// One Lease, by name. It is handled as it came, so that fields of a newer Kubernetes survive.
pub(super) struct Seat {
    api: Api<DynamicObject>,
    kind: ApiResource,
    name: String,
    /// As last read or written.
    last: Option<DynamicObject>,
}

impl Seat {
    pub(super) fn new(client: Client, namespace: &str, name: &str) -> Self {
        let kind = ApiResource::erase::<Lease>(&());
        Self {
            api: Api::namespaced_with(client, namespace, &kind),
            kind,
            name: name.to_owned(),
            last: None,
        }
    }

    /// Does what `step` says, which is a read or a write. The text says what went wrong, for
    /// people; the answer is for the candidate.
    pub(super) async fn carry_out(&mut self, step: &Step) -> (Answer, Option<String>) {
        let outcome = match step {
            Step::Read => self.api.get_opt(&self.name).await,
            Step::Create(record) => {
                let lease = filled(DynamicObject::new(&self.name, &self.kind), record);
                let created = self.api.create(&PostParams::default(), &lease).await;
                created.map(Some)
            }
            Step::Replace { version, record } => {
                let known = self.last.clone();
                let base = known.filter(|lease| lease.resource_version().as_ref() == Some(version));
                let mut lease = base.unwrap_or_else(|| DynamicObject::new(&self.name, &self.kind));
                lease.metadata.resource_version = Some(version.clone());
                let lease = filled(lease, record);
                let options = PostParams::default();
                let replaced = self.api.replace(&self.name, &options, &lease).await;
                replaced.map(Some)
            }
            Step::Wait { .. } | Step::StepDown(_) | Step::Done => Ok(None),
        };
        match outcome {
            Ok(None) => (Answer::Missing, None),
            Ok(Some(lease)) => {
                let version = lease.resource_version().unwrap_or_default();
                let record = read(&lease);
                self.last = Some(lease);
                let answer = match step {
                    Step::Read => Answer::Found { version, record },
                    _ => Answer::Stored { version, record },
                };
                (answer, None)
            }
            Err(error) => {
                let answer = match &error {
                    kube::Error::Api(status) if status.code == 409 => Answer::Conflict,
                    kube::Error::Api(status) if status.code == 404 => Answer::Gone,
                    _ => Answer::Failed,
                };
                let said = matches!(answer, Answer::Failed)
                    || matches!((&answer, step), (Answer::Gone, Step::Create(_)));
                (answer, said.then(|| in_one_line(&error)))
            }
        }
    }

    /// Watches the Lease from the version that was last seen. True: it was given up or deleted,
    /// so a look is worth it now. False: the watch ended; the next look may begin another.
    pub(super) fn given_up(&self) -> BoxFuture<'static, bool> {
        let version = self.last.as_ref().and_then(ResourceExt::resource_version);
        let (api, name) = (self.api.clone(), self.name.clone());
        async move {
            let Some(version) = version else {
                return false;
            };
            let only = WatchParams::default().fields(&format!("metadata.name={name}"));
            let Ok(events) = api.watch(&only, &version).await else {
                return false;
            };
            let mut events = std::pin::pin!(events);
            while let Some(Ok(event)) = events.next().await {
                match event {
                    WatchEvent::Deleted(_) => return true,
                    WatchEvent::Added(lease) | WatchEvent::Modified(lease) => {
                        if read(&lease).is_released() {
                            return true;
                        }
                    }
                    WatchEvent::Bookmark(_) => {}
                    WatchEvent::Error(_) => return false,
                }
            }
            false
        }
        .boxed()
    }
}

/// What a Lease says. What is not there, or is not what it should be, is none.
fn read(lease: &DynamicObject) -> Record {
    let spec = &lease.data["spec"];
    let number = |field: &str| {
        let number = spec[field].as_i64()?;
        i32::try_from(number).ok()
    };
    let time = |field: &str| spec[field].as_str()?.parse::<Timestamp>().ok();
    Record {
        holder: spec["holderIdentity"].as_str().unwrap_or("").to_owned(),
        duration_seconds: number("leaseDurationSeconds"),
        acquired: time("acquireTime"),
        renewed: time("renewTime"),
        transitions: number("leaseTransitions"),
    }
}

/// The Lease with this record in it, all else as it was.
fn filled(mut lease: DynamicObject, record: &Record) -> DynamicObject {
    if !lease.data.is_object() {
        lease.data = Value::Object(Map::new());
    }
    if !lease.data["spec"].is_object() {
        lease.data["spec"] = json!({});
    }
    let time = |time: Option<Timestamp>| json!(time.map(MicroTime));
    lease.data["spec"]["holderIdentity"] = json!(record.holder);
    lease.data["spec"]["leaseDurationSeconds"] = json!(record.duration_seconds);
    lease.data["spec"]["acquireTime"] = time(record.acquired);
    lease.data["spec"]["renewTime"] = time(record.renewed);
    lease.data["spec"]["leaseTransitions"] = json!(record.transitions);
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(data: Value) -> DynamicObject {
        DynamicObject {
            data,
            ..DynamicObject::new("operator", &ApiResource::erase::<Lease>(&()))
        }
    }

    #[test]
    fn what_is_written_reads_the_same_and_other_fields_stay() {
        let time: Timestamp = "2026-11-24T01:02:03.123456Z".parse().unwrap();
        let record = Record {
            holder: "pod_1".into(),
            duration_seconds: Some(15),
            acquired: Some(time),
            renewed: Some(time),
            transitions: Some(7),
        };
        let before = lease(json!({"spec": {"strategy": "OldestEmulationVersion", "new": 1}}));
        let after = filled(before, &record);
        assert_eq!(read(&after), record);
        assert_eq!(after.data["spec"]["new"], 1);
        assert_eq!(after.data["spec"]["strategy"], "OldestEmulationVersion");
        assert_eq!(
            after.data["spec"]["renewTime"],
            "2026-11-24T01:02:03.123456Z"
        );
    }

    #[test]
    fn a_lease_that_says_nothing_sensible_has_no_holder() {
        let nothing = Record {
            holder: String::new(),
            duration_seconds: None,
            acquired: None,
            renewed: None,
            transitions: None,
        };
        for data in [
            json!(null),
            json!([]),
            json!({"spec": null}),
            json!({"spec": {
                "holderIdentity": 7, "leaseDurationSeconds": 9_999_999_999_i64,
                "renewTime": "yesterday", "leaseTransitions": "many",
            }}),
        ] {
            assert_eq!(read(&lease(data.clone())), nothing, "{data}");
            assert!(!nothing.is_released());
            let whole = filled(lease(data), &nothing);
            assert_eq!(whole.data["spec"]["holderIdentity"], "");
        }
    }
}
