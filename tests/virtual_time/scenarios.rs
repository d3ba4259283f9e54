//! What the operator does over hours, days and in trouble.

mod budget;
mod cluster;
mod deadline;
mod faults;
mod isolation;
mod quota;
mod shared_source;
mod shutdown;
mod throttling;
mod waiting;
