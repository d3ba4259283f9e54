//! The custom resource: data only.
