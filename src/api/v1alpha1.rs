//! Version v1alpha1 of group `fabricjobs.dev`.
//!
//! The doc comments of the fields are the manual that users read with `kubectl explain fjc.spec`
//! and `kubectl explain fjc.status`, so they are written for them. There is no conversion webhook:
//! a field name chosen here stays for ever.

mod lenient;
mod schema;
mod spec;
mod status;

pub use spec::{
    Credentials, FabricJobCancellation, FabricJobCancellationSpec, FinishedJobPolicy,
    MissingJobPolicy, SecretReference,
};
pub use status::{
    FabricJobCancellationStatus, FailureReason, Identity, IdentitySource, JobSummary, LastError,
};
