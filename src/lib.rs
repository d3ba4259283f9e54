//! fabric-job-operator: asks Microsoft Fabric to cancel a job instance and records how it ended.
//!
//! The map. An arrow means "may import"; an arrow that is not drawn is a decision
//! (`docs/architecture.md` gives the reasons, `tests/architecture.rs` checks them).
//!
//! ```text
//! main ─► cli ─► controller ──► api
//!          │         ├────────► cancellation      (imports none of ours)
//!          │         ├────────► fabric ──► cancellation, entra (AccessToken), outbound, telemetry
//!          │         ├────────► entra  ──► outbound, telemetry
//!          │         └────────► telemetry
//!          ├───► election ────► telemetry             (controller never sees it)
//!          └───► fabric, entra, outbound, telemetry, api    (to build them)
//!
//! outbound ──► telemetry    (text cleaning; what is safe to send a secret to is decided here)
//! ```

pub mod api;
pub mod cancellation;
pub mod cli;
pub mod controller;
pub mod election;
pub mod entra;
pub mod fabric;
pub mod outbound;
pub mod telemetry;
