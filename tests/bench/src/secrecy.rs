//! Secrets and tokens stay where they belong.

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use uuid::Uuid;

use crate::Scene;

/// How every client secret of a scene begins; 32 hexadecimal digits follow.
const SECRET: &str = "secret-";

/// How every token of the simulated Entra begins; many hexadecimal digits follow.
const TOKEN: &str = "simulated.";

/// A new client secret of the form that [`Scene::assert_nothing_leaked`] recognises.
#[must_use]
pub fn new_secret() -> String {
    format!("{SECRET}{}", Uuid::new_v4().simple())
}

impl Scene {
    /// Checks that neither a client secret nor a token stands in any operator's log, in a
    /// resource, in an Event, or in a place of a request where it does not belong.
    ///
    /// # Panics
    /// When one does, with the line.
    pub async fn assert_nothing_leaked(&self) {
        assert_clean("the operator's log", &self.log());
        for (group, version, kind) in [
            ("fabricjobs.dev", "v1alpha1", "FabricJobCancellation"),
            ("events.k8s.io", "v1", "Event"),
        ] {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client(), &self.namespace, &resource);
            let listed = api.list(&ListParams::default()).await;
            for object in listed.expect("the API server lists") {
                let text = serde_json::to_string(&object).expect("an object is valid JSON");
                assert_clean(kind, &text);
            }
        }
        for entry in self.fabric.ledger() {
            assert!(entry.misplaced_credentials.is_empty(), "{entry:#?}");
        }
    }
}

fn assert_clean(place: &str, text: &str) {
    for line in text.lines() {
        assert!(
            !shows_a_credential(line),
            "{place} shows a credential: {line}"
        );
    }
}

fn shows_a_credential(line: &str) -> bool {
    [SECRET, TOKEN].iter().any(|prefix| {
        line.match_indices(prefix).any(|(at, _)| {
            let rest = &line.as_bytes()[at + prefix.len()..];
            // A part of one is already too much.
            rest.iter()
                .take_while(|byte| byte.is_ascii_hexdigit())
                .count()
                >= 8
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_and_a_token_are_recognised_and_their_names_are_not() {
        assert!(shows_a_credential(&format!(
            "{{\"x\":\"{}\"}}",
            new_secret()
        )));
        assert!(shows_a_credential("Bearer simulated.0123456789abcdef"));
        assert!(!shows_a_credential(
            "Secret team-a/secret-store has no key; simulated.example"
        ));
    }
}
