//! Hours of waiting in milliseconds: the real kube `Controller` and client against an API server
//! in memory, under tokio's paused time.

mod scenarios;
mod toy;
