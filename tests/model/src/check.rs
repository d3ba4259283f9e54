//! Runs a model and says what was found.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// What the exploration of one model found.
pub struct Found {
    /// States reached, repeats included.
    pub states: usize,
    /// Different ones.
    pub unique: usize,
    /// The longest path.
    pub depth: usize,
    /// Wall clock.
    pub seconds: f64,
    /// Properties that do not hold, each with the actions that lead there.
    pub violated: Vec<(&'static str, Vec<String>)>,
}

/// Explores `model`: every reachable state, or until all of `expected` have failed.
#[expect(
    clippy::disallowed_methods,
    reason = "how long a proof takes is printed, and nothing depends on it"
)]
pub fn check<M>(
    model: M,
    threads: usize,
    expected: &[&'static str],
    describe: fn(&M::State) -> String,
) -> Found
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Eq + Hash + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let start = Instant::now();
    let builder = model.checker().threads(threads);
    let until = match expected {
        [] => HasDiscoveries::All,
        some => HasDiscoveries::AllOf(some.iter().copied().collect()),
    };
    let checker = builder.finish_when(until).spawn_bfs().join();
    let mut discoveries = checker.discoveries();
    let mut violated = Vec::new();
    for property in checker.model().properties() {
        let found = discoveries.remove(property.name);
        let fails = match property.expectation {
            Expectation::Always | Expectation::Eventually => found.is_some(),
            Expectation::Sometimes => found.is_none() && expected.is_empty(),
        };
        if fails {
            let path = found.map_or_else(Vec::new, |path| {
                path.into_vec()
                    .into_iter()
                    .map(|(state, action)| {
                        let action = action.map_or_else(String::new, |done| format!("{done:?}"));
                        format!("{}  {action}", describe(&state))
                    })
                    .collect()
            });
            violated.push((property.name, path));
        }
    }
    Found {
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        seconds: start.elapsed().as_secs_f64(),
        violated,
    }
}
