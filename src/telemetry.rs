//! Logs, metrics and probes.

pub(crate) mod text;
