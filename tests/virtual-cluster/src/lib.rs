//! The operator on virtual time: the real kube `Controller` and client between a Kubernetes API
//! server in memory and the Fabric simulator in memory, all under tokio's paused time. Hours of
//! waiting take milliseconds, and a run is the same each time.

pub mod api_server;
pub mod clock;
pub mod operator;
pub mod process;
