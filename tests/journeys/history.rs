//! Every edition of a scene's cancellations, as a watch showed them, and the laws that each obeys.

use std::time::Duration;

use bench::{Scene, condition, reason};
use fabric_job_operator::api::conditions::REASONS;
use futures::TryStreamExt;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, watcher};
use serde_json::Value;
use tokio::sync::watch;

/// The longest that a test waits for what a watch must show.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a watch of the scene's cancellations has shown. It ends with the test's runtime.
pub struct History {
    seen: watch::Receiver<Vec<Value>>,
}

impl History {
    /// Begins; whatever is written after this call is seen.
    pub async fn of(scene: &Scene) -> Self {
        let (sender, seen) = watch::channel(Vec::new());
        let (listed, ready) = tokio::sync::oneshot::channel();
        let events = watcher(scene.cancellations(), watcher::Config::default());
        tokio::spawn(async move {
            let mut listed = Some(listed);
            let mut events = std::pin::pin!(events);
            while let Ok(Some(event)) = events.try_next().await {
                match event {
                    watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                        sender.send_modify(|seen| seen.push(json(&object)));
                    }
                    watcher::Event::InitDone => {
                        if let Some(listed) = listed.take() {
                            let _ = listed.send(());
                        }
                    }
                    watcher::Event::Init | watcher::Event::Delete(_) => {}
                }
            }
        });
        ready.await.expect("the cancellations can be watched");
        Self { seen }
    }

    /// The editions of one cancellation up to `last`, after a check that they obey the laws.
    pub async fn up_to(&self, last: &Value) -> Vec<Value> {
        let mut seen = self.seen.clone();
        let caught_up = seen.wait_for(|seen| seen.contains(last));
        tokio::time::timeout(PATIENCE, caught_up)
            .await
            .expect("the watch catches up")
            .expect("the watch goes on");
        let uid = &last["metadata"]["uid"];
        let mut editions: Vec<_> = self
            .seen
            .borrow()
            .iter()
            .filter(|edition| edition["metadata"]["uid"] == *uid)
            .cloned()
            .collect();
        let end = editions.iter().position(|edition| edition == last);
        editions.truncate(end.expect("it was seen") + 1);
        check(&editions);
        editions
    }

    /// The reasons that a condition had, one after the other.
    pub async fn reasons(&self, last: &Value, type_: &str) -> Vec<String> {
        let mut reasons: Vec<_> = self
            .up_to(last)
            .await
            .iter()
            .map(|edition| reason(edition, type_).to_owned())
            .filter(|reason| !reason.is_empty())
            .collect();
        reasons.dedup();
        reasons
    }
}

fn check(editions: &[Value]) {
    editions.iter().for_each(lawful);
    for pair in editions.windows(2) {
        let (before, after) = (&pair[0]["status"], &pair[1]["status"]);
        let shown = || format!("{before:#}\nbecame\n{after:#}");
        for field in [
            "acceptedTime",
            "completionTime",
            "location",
            "requestId",
            "identity",
        ] {
            assert!(
                before[field].is_null() || field == "identity" || before[field] == after[field],
                "{field} changed: {}",
                shown()
            );
        }
        let attempts = |status: &Value| status["attempts"].as_u64().unwrap_or(0);
        assert!(attempts(before) <= attempts(after), "{}", shown());
        if before["completionTime"].is_string() {
            assert_eq!(before["job"], after["job"], "{}", shown());
            for type_ in ["Ready", "Stalled", "Accepted", "Cancelled"] {
                let mut was = condition(&pair[0], type_).clone();
                let mut is = condition(&pair[1], type_).clone();
                for condition in [&mut was, &mut is] {
                    if let Some(condition) = condition.as_object_mut() {
                        condition.remove("observedGeneration");
                    }
                }
                assert_eq!(was, is, "{}", shown());
            }
        }
    }
}

/// What holds for every edition of every cancellation.
pub fn lawful(resource: &Value) {
    let status = &resource["status"];
    let Some(conditions) = status["conditions"].as_array().filter(|c| !c.is_empty()) else {
        return;
    };
    let is = |type_: &str| condition(resource, type_)["status"].as_str().unwrap_or("");
    for condition in conditions {
        let reason = condition["reason"].as_str().unwrap_or("");
        let documented = REASONS.iter().any(|doc| doc.name == reason);
        assert!(documented, "{reason} is documented: {resource:#}");
        let message = condition["message"].as_str().unwrap_or("");
        assert!(message.ends_with('.'), "a sentence: {message}");
    }
    let (reconciling, stalled) = match is("Ready") {
        "Unknown" => ("True", ""),
        "True" => ("", ""),
        "False" => ("", "True"),
        other => panic!("Ready is {other:?}: {resource:#}"),
    };
    assert_eq!(is("Reconciling"), reconciling, "{resource:#}");
    assert_eq!(is("Stalled"), stalled, "{resource:#}");
    for type_ in ["Reconciling", "Stalled"] {
        if !is(type_).is_empty() {
            assert_eq!(reason(resource, type_), reason(resource, "Ready"));
        }
    }
    if status["completionTime"].is_string() {
        assert_ne!(is("Ready"), "Unknown", "{resource:#}");
    } else {
        assert_ne!(is("Ready"), "True", "{resource:#}");
    }
    if is("Cancelled") == "True" {
        assert_eq!(status["job"]["status"], "Cancelled", "{resource:#}");
        assert!(status["completionTime"].is_string(), "{resource:#}");
    }
    assert_eq!(is("Accepted") == "True", status["acceptedTime"].is_string());
}

/// Waits for the Event about a cancellation with this reason; its type and note.
pub async fn event(scene: &Scene, name: &str, reason: &str) -> (String, String) {
    let api: Api<Event> = Api::namespaced(scene.client(), &scene.namespace);
    let events =
        kube::runtime::WatchStreamExt::applied_objects(watcher(api, watcher::Config::default()));
    let found = async {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.try_next().await.expect("Events can be watched") {
            let about = event.regarding.as_ref().and_then(|it| it.name.as_deref());
            if about == Some(name) && event.reason.as_deref() == Some(reason) {
                return (
                    event.type_.unwrap_or_default(),
                    event.note.unwrap_or_default(),
                );
            }
        }
        panic!("the watch of Events ended")
    };
    tokio::time::timeout(PATIENCE, found)
        .await
        .unwrap_or_else(|_| panic!("{name} has no Event {reason}"))
}

fn json(object: &DynamicObject) -> Value {
    serde_json::to_value(object).expect("a resource is valid JSON")
}
