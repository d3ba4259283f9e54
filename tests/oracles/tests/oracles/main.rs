//! The judges are judged: wrong histories are found, right ones pass.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod right;
mod secrets;
mod story;
mod wrong;
