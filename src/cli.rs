//! Flags and environment to a configuration; subcommands.
