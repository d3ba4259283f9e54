//! The simulator as its users meet it.

mod behaviour;
mod client;
