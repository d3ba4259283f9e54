//! Microsoft Fabric's job routes and Entra's token endpoint, for tests of clients.
//!
//! The simulator behaves as the published contract says (\[SPEC\], the Swagger of
//! `microsoft/fabric-rest-api-specs`) and as real traffic shows (\[REC\], the recordings in the tests
//! of `microsoft/fabric-cli`), also where the two differ; \[DOC\] is Microsoft Learn, \[SDK\]
//! `microsoft/fabric-sdk-go`. What no source establishes is a setting.
//!
//! It is also a judge: its [ledger](Handle::ledger) holds every request with identity and answer.
//! It is steered in process by a [`Handle`], or over HTTP below `/_simulator/` (see the README).
//!
//! Pure state machines (`fabric`, `entra`) decide what Fabric and Entra say; `service` is the thin
//! shell that speaks HTTP; `script` puts faults between the two; only `clock` reads a clock.

mod clock;
mod entra;
mod fabric;
mod handle;
mod ids;
mod ledger;
mod route;
mod script;
mod server;
mod service;
mod settings;
mod simulator;

pub use crate::{
    clock::{Clock, InvalidFactor},
    entra::{EntraRefusal, Identity},
    fabric::{
        Access, CancelEffect, FailureReason, JobChange, JobRef, JobSpec, JobStatus, JobView,
        WorkspaceSpec,
    },
    handle::{Handle, Seed},
    ledger::{Entry, NothingMatched, Outcome},
    route::Route,
    script::{
        Answer, AnswerBody, HoldPoint, InvalidRule, Rule, RuleState, ScriptHandle, ScriptedReply,
        TooFewArrivals,
    },
    server::StartError,
    service::{Connection, ConnectionDropped},
    settings::{LookRetryAfter, QuotaLimit, RepeatedCancel, Settings},
    simulator::{Config, Simulator},
};
