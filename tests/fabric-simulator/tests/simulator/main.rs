//! The simulator as its users meet it.

mod behaviour;
mod client;
mod contract;
mod in_memory;
mod process;
