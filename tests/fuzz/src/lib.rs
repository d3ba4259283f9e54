//! Fuzz targets: what comes from outside, and the laws that must hold whatever it is.
//!
//! Each target is a plain function of bytes that panics when a law is broken. `make fuzz` runs
//! them under libFuzzer with coverage; an ordinary test replays every file of
//! `corpus/<target>/`, so an input that broke something once is kept there under a name that
//! says what it broke.
//!
//! The targets see the public API, with answers of memory in place of a network. The one thing
//! that is private otherwise, how a stored object becomes the core's value, is opened by the
//! operator's feature `fuzzing`.

mod entra;
mod fabric;
mod memory;
mod resource;
mod steps;

pub use entra::token_answer;
pub use fabric::{cancel_answer, job_body, job_times, location, retry_after};
pub use resource::resource;
pub use steps::steps;

/// A target: panics when a law is broken.
pub type Target = fn(&[u8]);

/// Every target under the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("retry_after", retry_after),
    ("job_times", job_times),
    ("job_body", job_body),
    ("cancel_answer", cancel_answer),
    ("location", location),
    ("token_answer", token_answer),
    ("resource", resource),
    ("steps", steps),
];
