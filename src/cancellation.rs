//! What to do next about one cancellation, and what was learned: pure.
//!
//! No I/O, no clock, no async, no randomness, no logging: the time is an argument, news comes
//! in as an [`Observation`], and the answer is a value. The shell around it (`controller`)
//! carries out at most one effect per answer.

mod job;
mod observation;

pub use job::{Job, JobFailure, JobInstance, JobStatus};
pub use observation::{Observation, Refusal, ServiceError, Source, Throttle};
