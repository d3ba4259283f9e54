//! Parses the command line and hands over; the only file that may end the process.

fn main() {}
