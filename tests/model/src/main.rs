//! Explores the models of the protocol, the election and the quota gate: small bounds for CI,
//! larger ones with `--large`. Ends with a failure when a property does not hold, or when a fault
//! that was planted on purpose is not found.

mod check;
mod election;
mod gate;
mod protocol;
mod shared;

use std::fmt::Debug;
use std::hash::Hash;
use std::process::ExitCode;

use stateright::Model;

use check::{Found, check};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let large = arguments.iter().any(|argument| argument == "--large");
    let only = arguments
        .iter()
        .find(|argument| !argument.starts_with("--"));
    let mut run = Run {
        only: only.cloned(),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        failed: false,
        seconds: 0.0,
    };
    let bounds = if large { "large" } else { "small" };
    println!("{} cores, {bounds} bounds", run.threads);
    println!(
        "{:>10} {:>10} {:>6} {:>7}",
        "states", "unique", "depth", "seconds"
    );
    for one in if large {
        protocol::large()
    } else {
        protocol::small()
    } {
        run.holds(format!("protocol: {}", one.name), one, protocol::describe);
    }
    for one in if large {
        election::large()
    } else {
        election::small()
    } {
        run.holds(format!("election: {}", one.name), one, election::describe);
    }
    for one in if large { gate::large() } else { gate::small() } {
        run.holds(format!("gate: {}", one.name), one, gate::describe);
    }
    println!("faults planted on purpose, until one of the properties fails that must:");
    for (one, expected) in protocol::variants() {
        let name = format!("protocol: {:?} ({})", one.variant, one.name);
        run.fails(name, one, expected, protocol::describe);
    }
    for (one, expected) in election::variants() {
        let name = format!("election: {:?} ({})", one.variant, one.name);
        run.fails(name, one, expected, election::describe);
    }
    for (one, expected) in gate::variants() {
        let name = format!("gate: {:?} ({})", one.variant, one.name);
        run.fails(name, one, expected, gate::describe);
    }
    let verdict = if run.failed { "FAILED" } else { "0 violations" };
    println!("{verdict}, {:.0} s", run.seconds);
    if run.failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// One run of this program.
struct Run {
    /// Only models whose name contains this.
    only: Option<String>,
    threads: usize,
    failed: bool,
    seconds: f64,
}

impl Run {
    fn skips(&self, name: &str) -> bool {
        self.only
            .as_ref()
            .is_some_and(|only| !name.contains(only.as_str()))
    }

    /// Every property of the model holds.
    fn holds<M>(&mut self, name: String, model: M, describe: fn(&M::State) -> String)
    where
        M: Model + Send + Sync + 'static,
        M::State: Clone + Debug + Eq + Hash + Send + Sync + 'static,
        M::Action: Clone + Debug + PartialEq,
    {
        if self.skips(&name) {
            return;
        }
        let found = check(model, self.threads, &[], describe);
        self.seconds += found.seconds;
        print(&name, &found);
        for (property, path) in &found.violated {
            self.failed = true;
            println!("    VIOLATED: {property}");
            for line in path {
                println!("        {line}");
            }
        }
    }

    /// Each of these properties of the model fails.
    fn fails<M>(
        &mut self,
        name: String,
        model: M,
        expected: &[&'static str],
        describe: fn(&M::State) -> String,
    ) where
        M: Model + Send + Sync + 'static,
        M::State: Clone + Debug + Eq + Hash + Send + Sync + 'static,
        M::Action: Clone + Debug + PartialEq,
    {
        if self.skips(&name) {
            return;
        }
        let found = check(model, self.threads, expected, describe);
        self.seconds += found.seconds;
        print(&name, &found);
        for property in expected {
            match found.violated.iter().find(|(name, _)| name == property) {
                Some((_, path)) => println!("    after {:>2} steps: {property}", path.len() - 1),
                None => {
                    println!("    NOT FOUND: {property}");
                    self.failed = true;
                }
            }
        }
    }
}

fn print(name: &str, found: &Found) {
    let Found {
        states,
        unique,
        depth,
        seconds,
        ..
    } = found;
    println!("{states:>10} {unique:>10} {depth:>6} {seconds:>7.1}  {name}");
}
