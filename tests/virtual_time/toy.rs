//! The bench itself: a toy controller, and the facts of a real API server that the bench copies.

mod controller;
mod facts;
