//! What to do next about one cancellation, and what was learned: pure, without I/O, clock or async.
