//! fabric-job-operator: asks Microsoft Fabric to cancel a job instance and records how it ended.
//!
//! The map. An arrow means "may import"; an arrow that is not drawn is a decision
//! (`docs/architecture.md` gives the reasons, `tests/architecture.rs` checks them).
//!
//! ```text
//! main ─► cli ─► controller ──► api
//!          │         ├────────► cancellation      (imports none of ours)
//!          │         ├────────► fabric ──► cancellation, entra (AccessToken), telemetry
//!          │         ├────────► entra  ──► telemetry
//!          │         └────────► telemetry
//!          └───► fabric, entra, telemetry, api    (to build them)
//! ```

pub mod api;
pub mod cancellation;
pub mod cli;
pub mod controller;
pub mod entra;
pub mod fabric;
pub mod telemetry;
