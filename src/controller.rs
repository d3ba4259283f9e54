//! The shell around the core: watch, reconcile, credentials, status, events.
