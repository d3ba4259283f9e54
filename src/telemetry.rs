//! Logs, metrics and probes.
