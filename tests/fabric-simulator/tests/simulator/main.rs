//! The simulator as its users meet it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, outside of test functions"
)]

mod behaviour;
mod client;
mod contract;
mod in_memory;
mod process;
