//! Flags and environment to a configuration; subcommands.

pub mod outbound;
