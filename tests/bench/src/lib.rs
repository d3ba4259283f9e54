//! The test bench: a real control plane, a simulated Fabric, and the operator as a process.
//!
//! Nothing here imports the operator: its resources are handled as JSON and its program is
//! started like any other, with the rights of its own ClusterRole.

pub mod demo;
mod evidence;
mod manifests;
mod operator;
mod scene;
mod secrecy;

pub use evidence::assert_not_before;
pub use manifests::{Cancellation, Manifests, furnish};
pub use operator::{Operator, OperatorOptions};
pub use rustix::process::Signal;
pub use scene::{Scene, Setup, condition, reason};
pub use secrecy::new_secret;

/// The ClusterRole that the operator runs under, here as in every installation.
pub const CLUSTER_ROLE: &str =
    include_str!("../../../charts/fabric-job-operator/files/clusterrole.yaml");

/// The Role for the Lease, here as in every installation.
pub const LEASE_ROLE: &str =
    include_str!("../../../charts/fabric-job-operator/files/lease-role.yaml");

/// Adds journeys to a suite, each under its own name.
#[macro_export]
macro_rules! journeys {
    ($suite:expr; $($journey:ident),+ $(,)?) => {
        $suite$(.test(stringify!($journey), $journey))+
    };
}
