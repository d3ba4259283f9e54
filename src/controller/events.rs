//! Kubernetes Events: few, one per fact, and never in the way of the work.

use std::time::Duration;

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};

use crate::api::FabricJobCancellation;
use crate::cancellation::{Facts, Value};

/// An Event's note holds at most this many bytes (events.k8s.io/v1).
const LONGEST_NOTE: usize = 1_024;

/// Publishing is not allowed to hold up the work for longer.
const DEADLINE: Duration = Duration::from_secs(5);

pub(super) struct Events(Recorder);

impl Events {
    pub(super) fn new(client: Client) -> Self {
        Self(Recorder::new(client, Reporter::from("fabric-job-operator")))
    }

    /// Publishes what became known with a write: acceptance, `Stalled`, the end.
    pub(super) async fn publish(
        &self,
        resource: &FabricJobCancellation,
        before: &Facts,
        after: &Facts,
    ) {
        for event in events(resource, before, after) {
            let reason = event.reason.clone();
            let reference = resource.object_ref(&());
            let published = self.0.publish(&event, &reference);
            let failure = match tokio::time::timeout(DEADLINE, published).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer from the Kubernetes API in time".to_owned(),
            };
            tracing::warn!(
                namespace = resource.namespace().unwrap_or_default(),
                name = resource.name_any(),
                reason,
                failure,
                "failed to publish an Event; nothing else is affected"
            );
        }
    }
}

/// The Events that the step from one stored edition to the next is worth.
fn events(resource: &FabricJobCancellation, before: &Facts, after: &Facts) -> Vec<Event> {
    let mut events = Vec::new();
    let mut add = |type_, reason: &str, action: &str, note: String| {
        events.push(Event {
            type_,
            reason: reason.to_owned(),
            note: Some(cut(note)),
            action: action.to_owned(),
            secondary: None,
        });
    };
    let comment = resource
        .spec
        .comment
        .as_ref()
        .map_or_else(String::new, |comment| format!(" Comment: {comment}"));
    if before.accepted_time.is_none() && after.accepted_time.is_some() {
        let identity = after
            .identity
            .as_ref()
            .map_or_else(String::new, |identity| {
                format!(
                    " Acted as {} {} (client id {}).",
                    identity.source, identity.name, identity.client_id
                )
            });
        let note = format!(
            "Fabric accepted the request to cancel job instance {}.{identity}{comment}",
            resource.spec.job_instance_id
        );
        add(EventType::Normal, "CancelAccepted", "Cancel", note);
    }
    let Some(conditions) = &after.conditions else {
        return events;
    };
    let ended = before.completion_time.is_none() && after.completion_time.is_some();
    let stalled = conditions.stalled && !before.conditions.as_ref().is_some_and(|c| c.stalled);
    let ready = &conditions.ready;
    if ended {
        let type_ = match ready.value {
            Value::True => EventType::Normal,
            Value::False | Value::Unknown => EventType::Warning,
        };
        let note = format!("{}{comment}", ready.message);
        add(type_, ready.reason.as_str(), "Cancel", note);
    } else if stalled {
        let note = ready.message.clone();
        add(EventType::Warning, ready.reason.as_str(), "Cancel", note);
    }
    events
}

/// Cuts at a character boundary.
fn cut(mut note: String) -> String {
    note.truncate(note.floor_char_boundary(LONGEST_NOTE));
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_at_a_character_boundary() {
        let note = cut("ä".repeat(600));
        assert_eq!(note.len(), 1_024);
        assert_eq!(cut("x".repeat(1_023) + "ä").len(), 1_023);
        assert_eq!(cut("short".into()), "short");
    }
}
