//! Hours of waiting in milliseconds: the real kube `Controller` and client against an API server
//! in memory, under tokio's paused time.

mod api_server;
mod clock;
mod operator;
mod scenarios;
mod toy;
