//! Logs, metrics and probes.

pub mod logs;
pub mod metrics;
pub mod probes;
pub(crate) mod text;

pub use metrics::Metrics;
pub use probes::Readiness;
