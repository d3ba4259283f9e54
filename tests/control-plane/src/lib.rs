//! A real etcd and kube-apiserver for tests: RBAC, client certificates, ServiceAccount tokens and
//! an audit log, on ports of their own, in a temporary folder, ended when dropped.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let plane = control_plane::ControlPlane::start().await?;
//! plane.apply("{apiVersion: v1, kind: Namespace, metadata: {name: team-a}}").await?;
//! let kubeconfig = plane.kubeconfig_service_account("team-a", "operator").await?;
//! let audit = plane.audit().await?;
//! assert_eq!(audit.by_user("system:serviceaccount:team-a:operator").len(), 0);
//! # drop(kubeconfig);
//! # Ok(())
//! # }
//! ```
//!
//! Test binaries share one control plane per run through [`Suite`]. What this is not (a cluster:
//! no controllers, no scheduler, no nodes) is listed in this crate's README.

mod alarm;
mod another;
mod apiserver;
mod audit;
mod certificates;
mod clock;
mod error;
mod folder;
mod kubeconfig;
mod kubectl;
mod link;
mod plane;
mod process;
mod rbac;
mod suite;
mod tools;

pub use another::AnotherApiServer;
pub use audit::{Audit, AuditEntry, Stage};
pub use error::Error;
pub use kubectl::KubectlOutput;
pub use plane::ControlPlane;
pub use process::spawn_tethered;
pub use suite::Suite;
pub use tools::{Tools, Unavailable};
