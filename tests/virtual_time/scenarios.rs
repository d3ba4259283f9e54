//! What the operator does over hours, days and in trouble.

mod budget;
mod cluster;
mod deadline;
mod faults;
mod isolation;
mod throttling;
mod waiting;
