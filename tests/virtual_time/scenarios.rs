//! What the operator does over hours, days and in trouble.

mod budget;
mod cluster;
mod crowds;
mod deadline;
mod election;
mod faults;
mod forged;
mod isolation;
mod long;
mod other_identity;
mod quota;
mod restored;
mod shared_source;
mod shutdown;
mod throttling;
mod versions;
mod waiting;
