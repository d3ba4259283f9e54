//! Which of several replicas acts: the Lease.
//!
//! [`Candidate`] is one replica's part as a pure state machine with client-go's rules.

mod candidate;
mod record;

pub use candidate::{Answer, Candidate, Lost, Step};
pub use record::{Record, Terms};

#[cfg(test)]
mod laws;
#[cfg(test)]
mod rules;
