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
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use http_body_util::BodyExt;
    use kube::client::Body;

    use super::*;

    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/operators/leases";

    /// What an API server was asked: method and path, and the body.
    type Asked = Arc<Mutex<Vec<(String, Value)>>>;

    /// A seat at an API server that gives this one answer, and what that one was asked.
    fn seat(status: u16, answer: &str) -> (Seat, Asked) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (noted, answer) = (Arc::clone(&asked), answer.to_owned());
        let server = tower::service_fn(move |request: Request<Body>| {
            let (noted, answer) = (Arc::clone(&noted), answer.clone());
            async move {
                let line = format!("{} {}", request.method(), request.uri());
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                noted.lock().unwrap().push((line, body));
                let answer = Response::builder()
                    .status(status)
                    .body(Body::from(answer.into_bytes()));
                Ok::<_, std::convert::Infallible>(answer.unwrap())
            }
        });
        let client = Client::new(server, "default");
        (Seat::new(client, "operators", "operator"), asked)
    }

    fn stored(version: &str, holder: &str) -> String {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "operator", "resourceVersion": version, "labels": {"kept": "yes"}},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 1},
        })
        .to_string()
    }

    fn failure(code: u16, reason: &str) -> String {
        json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "reason": reason, "message": "no", "code": code,
        })
        .to_string()
    }

    fn held_by(holder: &str) -> Record {
        Record {
            holder: holder.into(),
            duration_seconds: None,
            acquired: None,
            renewed: None,
            transitions: None,
        }
    }

    fn steps() -> [Step; 3] {
        [
            Step::Read,
            Step::Create(held_by("me")),
            Step::Replace {
                version: "7".into(),
                record: held_by("me"),
            },
        ]
    }

    #[tokio::test]
    async fn each_answer_is_told_as_what_it_means_for_the_step() {
        let version = "8".to_owned();
        let record = Record {
            duration_seconds: Some(1),
            ..held_by("me")
        };
        let found = Answer::Found {
            version: version.clone(),
            record: record.clone(),
        };
        let done = Answer::Stored { version, record };
        let lease = stored("8", "me");
        // Per step: the answer for the candidate, and whether something is said to people.
        let rows = [
            (
                200,
                lease,
                [(found, false), (done.clone(), false), (done, false)],
            ),
            (
                404,
                failure(404, "NotFound"),
                [
                    (Answer::Missing, false),
                    (Answer::Gone, true),
                    (Answer::Gone, false),
                ],
            ),
            (
                409,
                failure(409, "Conflict"),
                [
                    (Answer::Conflict, false),
                    (Answer::Conflict, false),
                    (Answer::Conflict, false),
                ],
            ),
            (
                500,
                failure(500, "InternalError"),
                [
                    (Answer::Failed, true),
                    (Answer::Failed, true),
                    (Answer::Failed, true),
                ],
            ),
        ];
        for (status, body, expected) in rows {
            for (step, expected) in steps().iter().zip(expected) {
                let (mut seat, _) = seat(status, &body);
                let (answer, said) = seat.carry_out(step).await;
                assert_eq!((answer, said.is_some()), expected, "{status} to {step:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_step_is_one_request_and_a_write_keeps_what_it_does_not_know() {
        let (mut seat, asked) = seat(200, &stored("7", "other"));
        for step in steps() {
            seat.carry_out(&step).await;
        }
        let unknown = Step::Replace {
            version: "6".into(),
            record: held_by("me"),
        };
        seat.carry_out(&unknown).await;
        for idle in [
            Step::Done,
            Step::Wait {
                until: std::time::Duration::ZERO,
            },
        ] {
            assert_eq!(seat.carry_out(&idle).await, (Answer::Missing, None));
        }
        let asked = std::mem::take(&mut *asked.lock().unwrap());
        let lines: Vec<&str> = asked.iter().map(|(line, _)| line.as_str()).collect();
        let one = format!("{LEASES}/operator");
        assert_eq!(
            lines,
            [
                format!("GET {one}"),
                format!("POST {LEASES}?"),
                format!("PUT {one}?"),
                format!("PUT {one}?")
            ]
        );
        let [_, created, replaced, blind] = &asked[..] else {
            unreachable!("four lines were compared")
        };
        assert_eq!(created.1["spec"]["holderIdentity"], "me");
        assert_eq!(replaced.1["metadata"]["resourceVersion"], "7");
        assert_eq!(replaced.1["metadata"]["labels"]["kept"], "yes");
        assert_eq!(blind.1["metadata"]["resourceVersion"], "6");
        assert!(
            blind.1["metadata"]["labels"].is_null(),
            "of another version"
        );
    }

    #[tokio::test]
    async fn a_hint_is_a_lease_that_was_given_up_or_deleted_and_nothing_else() {
        let event = |kind: &str, holder: &str| {
            let object: Value = serde_json::from_str(&stored("9", holder)).unwrap();
            let mut line = json!({"type": kind, "object": object}).to_string();
            line.push('\n');
            line
        };
        let held = event("MODIFIED", "other");
        let rows = [
            (held.clone() + &event("MODIFIED", ""), true),
            (held.clone() + &event("ADDED", ""), true),
            (held.clone() + &event("DELETED", "other"), true),
            (held.clone() + &event("BOOKMARK", "") + &held, false),
            (held, false),
            (
                json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1",
                    "status": "Failure", "message": "too old", "reason": "Expired", "code": 410}})
                .to_string()
                    + "\n"
                    + &event("DELETED", "other"),
                false,
            ),
            (String::new(), false),
        ];
        for (events, expected) in rows {
            let (mut seat, asked) = seat(200, &events);
            assert!(!seat.given_up().await, "nothing was seen yet");
            seat.last = Some(serde_json::from_str(&stored("8", "other")).unwrap());
            assert_eq!(seat.given_up().await, expected, "{events}");
            let asked = asked.lock().unwrap();
            let [(line, _)] = &asked[..] else {
                panic!("one watch, not {asked:?}")
            };
            assert!(
                line.contains("metadata.name%3Doperator") && line.contains("resourceVersion=8"),
                "{line}"
            );
        }
    }

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
