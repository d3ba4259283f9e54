//! The parts of the schema that the Rust types cannot say: rules with their messages, and limits.
//!
//! Rules sit on fields, never on the whole spec: a rule on the spec would refuse an old object
//! that is applied again after a new version brought a new default. Every message says what is
//! allowed. Strings that a rule reads are bounded, so that the API server's cost estimate passes.

use kube::core::Rule;
use schemars::{Schema, SchemaGenerator, json_schema};

use crate::api::conditions;

/// Room for an id and for what people paste by mistake (braces, a whole URL): below this limit
/// they get the rule's message with an example, above it only "may not be more than".
pub(super) const ID_MAX: usize = 512;

/// Longest name of a Secret or ServiceAccount (a DNS subdomain).
pub(super) const NAME_MAX: usize = 253;

/// Longest comment, in characters.
pub(super) const COMMENT_MAX: usize = 512;

/// A lower-case UUID with dashes. `format: uuid` would accept upper case and missing dashes, and a
/// pattern has no message of its own.
pub(super) fn uuid(find_it: &str) -> Rule {
    Rule::new("self.matches('^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')").message(
        format!(
            "must be a lower-case UUID with dashes, for example 4b218778-e7a5-4d73-8187-f10824047715; find it {find_it}"
        )
        .as_str(),
    )
}

/// The field keeps the value it was created with.
pub(super) fn immutable() -> Rule {
    Rule::new("self == oldSelf").message(
        "field is immutable because it says which job is cancelled; create a new FabricJobCancellation for another job",
    )
}

/// A comment stays as it was, absent included. This cannot be a rule of the field: such a rule is
/// not evaluated when the field is added or removed.
pub(super) fn comment_is_immutable() -> Rule {
    Rule::new(
        "has(self.comment) == has(oldSelf.comment) && (!has(self.comment) || self.comment == oldSelf.comment)",
    )
    .field_path(".comment")
    .message(
        "field is immutable (it cannot be added or removed either) because it is part of the record; create a new FabricJobCancellation with the right comment",
    )
}

/// Who asked Fabric is part of the record once Fabric has accepted. The one rule that needs the
/// root of the resource, because it looks into the status.
pub(super) fn credentials_stay_once_accepted() -> Rule {
    Rule::new(
        "!has(oldSelf.status) || !has(oldSelf.status.acceptedTime) || (has(self.spec.credentials) == has(oldSelf.spec.credentials) && (!has(self.spec.credentials) || self.spec.credentials == oldSelf.spec.credentials))",
    )
    .field_path(".spec.credentials")
    .message(
        "field is immutable once Fabric has accepted the cancel request (status.acceptedTime is set); it can be changed before that, and another identity can ask in a new FabricJobCancellation",
    )
}

/// Events are named after the resource; a long name would make an invalid Event.
pub(super) fn short_name() -> Rule {
    Rule::new("self.metadata.name.size() <= 63").message(
        "metadata.name must be at most 63 characters, because the Events about a resource are named after it",
    )
}

/// One identity, named one way.
pub(super) fn exactly_one_credential() -> Rule {
    Rule::new("has(self.serviceAccountName) != has(self.secretRef)").message(
        "must set exactly one of `serviceAccountName` and `secretRef`; leave `credentials` out to use the namespace's default identity",
    )
}

/// The name of a Kubernetes object of the same namespace.
pub(super) fn object_name(kind: &str) -> Rule {
    Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')").message(
        format!(
            "must be the name of a {kind} in the same namespace: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
        )
        .as_str(),
    )
}

/// The conditions with the limits of metav1.Condition, which the published schema leaves out, and
/// with the catalogue of reasons.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {
                    "description": conditions::types_manual(),
                    "type": "string",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                },
                "status": {
                    "description": "True, False or Unknown. Ready is Unknown while the operator works.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                },
                "reason": {
                    "description": conditions::reasons_manual(),
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "description": "What is the case and what to do about it, for people. The text may change between versions: programs should read `reason`.",
                    "type": "string",
                    "maxLength": 32768,
                },
                "lastTransitionTime": {
                    "description": "When `status` last changed from one value to another.",
                    "type": "string",
                    "format": "date-time",
                },
                "observedGeneration": {
                    "description": "The metadata.generation that this condition speaks of. A condition with an older number is out of date.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
            },
        },
    })
}
