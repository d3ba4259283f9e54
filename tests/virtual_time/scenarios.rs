//! What the operator does over hours, days and in trouble.

mod budget;
mod cluster;
mod deadline;
mod election;
mod faults;
mod isolation;
mod shared_source;
mod shutdown;
mod throttling;
mod waiting;
