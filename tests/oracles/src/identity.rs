//! Whose token: S12 and S13.

use crate::history::{History, Identity};
use crate::licence::licences;
use crate::property::{Property, Violation};

/// S12: each request about a job carries an identity of a namespace that has a resource for it,
/// and a status names an identity of its own namespace.
#[must_use]
pub fn s12_own_identity(history: &History) -> Vec<Violation> {
    let owned = |namespace: &str, identity: &Identity| {
        history
            .facts
            .identities
            .get(namespace)
            .is_none_or(|own| own.contains(identity))
    };
    let mut found = Vec::new();
    for request in history.requests.iter().filter(|it| !it.duplicate) {
        let Some(identity) = &request.identity else {
            continue;
        };
        let resources: Vec<_> = history
            .resources_of(&request.job)
            .map(|(_, resource)| resource)
            .collect();
        let foreign = !resources.iter().any(|it| owned(&it.namespace, identity));
        if let Some(first) = resources.first()
            && foreign
        {
            found.push(Violation::new(
                Property::S12,
                first.title(),
                [request.sent],
                format!(
                    "request {} carried a token of {identity:?}",
                    request.sequence
                ),
            ));
        }
    }
    for resource in &history.resources {
        for (before, after) in resource.writes() {
            if let Some(identity) = after.identity()
                && before.identity().as_ref() != Some(&identity)
                && !owned(&resource.namespace, &identity)
            {
                found.push(Violation::new(
                    Property::S12,
                    resource.title(),
                    [after.stored],
                    format!("the status names {identity:?}"),
                ));
            }
        }
    }
    found
}

/// S13: each cancel request carries a token of the identity that its intent stored.
#[must_use]
pub fn s13_intents_identity(history: &History) -> Vec<Violation> {
    licences(history)
        .into_iter()
        .filter_map(|licence| {
            let intent = licence.intent?;
            let stored = intent.version.identity();
            let carried = &licence.request.identity;
            (stored.is_none() || stored != *carried).then(|| {
                Violation::new(
                    Property::S13,
                    intent.resource.title(),
                    [licence.request.sent, intent.version.stored],
                    format!(
                        "request {} carried a token of {carried:?}, its intent stored {stored:?}",
                        licence.request.sequence
                    ),
                )
            })
        })
        .collect()
}
