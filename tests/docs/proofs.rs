//! What `docs/testing.md` says shows a promise exists: tests, plans, seeds, faults, rules of the
//! model, judges and kept inputs. The page explains the names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use oracles::{ORACLES, Property};

use crate::page::{Page, root};

/// A row of a table whose last column names what shows something.
struct Row {
    table: String,
    cells: Vec<String>,
}

impl Row {
    fn id(&self) -> &str {
        &self.cells[0]
    }

    /// The code spans of its last cell.
    fn proofs(&self) -> Vec<&str> {
        let last = self.cells.last().expect("a row has cells");
        last.split('`').skip(1).step_by(2).collect()
    }

    /// Whether it says that something is not shown on this machine.
    fn admits_a_gap(&self) -> bool {
        let last = self.cells.last().expect("a row has cells");
        last.contains("Not here:")
    }
}

/// The rows of all tables whose last column is `shown by`, `found again by` or `caught by`.
fn rows() -> Vec<Row> {
    let page = Page::read("docs/testing.md".into());
    let (prose, _) = page.parts();
    let mut found = Vec::new();
    let mut heading = String::new();
    let mut is_table_of_proofs = false;
    for line in prose.lines() {
        if let Some(title) = line.strip_prefix('#') {
            heading = title.trim_start_matches('#').trim().to_owned();
        }
        let Some(row) = line.strip_prefix("| ").and_then(|it| it.strip_suffix(" |")) else {
            is_table_of_proofs = is_table_of_proofs && line.starts_with("|--");
            continue;
        };
        let cells: Vec<String> = row.split(" | ").map(str::to_owned).collect();
        let last = cells[cells.len() - 1].as_str();
        if ["shown by", "found again by", "caught by"].contains(&last) {
            is_table_of_proofs = true;
        } else if is_table_of_proofs {
            let table = heading.clone();
            found.push(Row { table, cells });
        }
    }
    found
}

#[test]
fn every_promise_and_every_fault_has_one_row() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows() {
        *counts.entry(row.id().to_owned()).or_default() += 1;
    }
    let promises = (1..=13).map(|number| format!("S{number}"));
    let ends = (1..=5).map(|number| format!("L{number}"));
    let faults = (1..=30).map(|number| format!("R{number:02}"));
    for id in promises.chain(ends).chain(faults) {
        assert_eq!(counts.get(&id), Some(&1), "the rows of {id}");
    }
}

#[test]
fn promises_are_worded_as_the_oracles_word_them() {
    let rows = rows();
    for property in Property::ALL {
        if property == Property::Differential {
            continue;
        }
        let row = rows.iter().find(|row| row.id() == property.id());
        let row = row.expect("another test asks for each row");
        let bare = |text: &str| text.trim_end_matches('.').replace('`', "");
        let (ours, theirs) = (bare(&row.cells[1]), bare(property.sentence()));
        assert_eq!(ours, theirs, "{}", property.id());
    }
}

#[test]
fn what_the_page_names_as_proof_exists() {
    let mut names = 0;
    for row in rows() {
        let place = format!("docs/testing.md, {}, {}", row.table, row.id());
        let proofs = row.proofs();
        names += proofs.len();
        assert!(
            !proofs.is_empty() || row.admits_a_gap(),
            "{place} names nothing"
        );
        for proof in proofs {
            if let Err(problem) = check(proof) {
                panic!("{place} names `{proof}`: {problem}");
            }
        }
    }
    assert!(names > 200, "only {names} names were found");
}

#[test]
fn a_proof_that_does_not_exist_is_noticed() {
    for right in [
        "lib::every_law_holds_in_every_reachable_state",
        "fabric::the_quota_closes_the_gate_for_that_identity",
        "model: Fence",
        "model: NoFence",
        "model: a hand-over and nothing else",
        "oracle: S1",
        "campaign: */crash-before",
        "campaign: finished/*",
        "campaign: finished/cancel-10.1/terminated",
        "campaign: R18/endless-body",
        "simulation: Act::Crash",
        "simulation: seed 1842",
        "resource: a Secret of another namespace is refused",
        "fuzz: steps",
        "fuzz: token_answer/wrong_secret",
    ] {
        assert_eq!(check(right), Ok(()), "{right}");
    }
    for wrong in [
        "lib::every_law_holds_in_every_reachable",
        "lib::the_quota_closes_the_gate_for_that_identity",
        "no_such_target::the_quota_closes_the_gate_for_that_identity",
        "fabric",
        "model: Fenc",
        "model: a hand-over and nothing",
        "oracle: S14",
        "oracle: D",
        "campaign: */crash",
        "campaign: unfinished/*",
        "campaign: finished/cancel-10.1/terminate",
        "campaign: finished/cancel/terminated",
        "campaign: R18/endless",
        "simulation: Act::Cras",
        "simulation: Crash",
        "simulation: seed 184",
        "resource: a Secret of another namespace",
        "fuzz: step",
        "fuzz: token_answer/no_such_input",
        "guess: S1",
    ] {
        assert!(check(wrong).is_err(), "{wrong}");
    }
}

/// Whether what a name stands for exists.
fn check(name: &str) -> Result<(), String> {
    if let Some((kind, what)) = name.split_once(": ") {
        let exists = match kind {
            "model" => is_in_the_model(what),
            "oracle" => ORACLES.iter().any(|(property, _)| property.id() == what),
            "campaign" => is_in_the_campaign(what),
            "simulation" => is_in_the_simulation(what),
            "resource" => {
                let row = format!("\"{what}\",");
                sources("tests/resource")
                    .iter()
                    .any(|source| source.contains(&row))
            }
            "fuzz" => root().join("tests/fuzz/corpus").join(what).exists(),
            _ => return Err("the page explains no such kind of name".into()),
        };
        return exists.then_some(()).ok_or("there is no such thing".into());
    }
    let (target, test) = name.split_once("::").ok_or("it is no name of a test")?;
    let sources = match target {
        "lib" => sources("src"),
        target => {
            let mut sources = sources(&format!("tests/{target}"));
            sources.extend(fs::read_to_string(
                root().join(format!("tests/{target}.rs")),
            ));
            sources
        }
    };
    let function = format!("fn {test}(");
    let exists = sources.iter().any(|source| source.contains(&function));
    exists.then_some(()).ok_or("there is no such test".into())
}

/// A rule by its name in the code, a fault that is planted, or a world that is explored.
fn is_in_the_model(what: &str) -> bool {
    let is_one_word = what.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let signs = if is_one_word {
        vec![
            format!("    {what} = \""),
            format!("pub const {what}: &str"),
            format!("Variant::{what})"),
            format!("Variant::{what},"),
        ]
    } else {
        vec![format!("name: \"{what}\"")]
    };
    let sources = sources("tests/model/src");
    let has = |sign: &String| sources.iter().any(|source| source.contains(sign));
    signs.iter().any(has)
}

/// A fault at any step, all plans of a scenario, one plan, or a fault with a name of its own.
fn is_in_the_campaign(what: &str) -> bool {
    let is_scenario = |name: &str| quoted("scenarios.rs", "name: ").contains(&name.to_owned());
    let is_variant = |name: &str| quoted("plan.rs", " => ").contains(&name.to_owned());
    let is_step = |name: &str| {
        let (label, nth) = name.rsplit_once('.').unwrap_or_default();
        !label.is_empty() && nth.parse::<u32>().is_ok()
    };
    let parts: Vec<&str> = what.split('/').collect();
    match parts.as_slice() {
        ["*", variant] => is_variant(variant),
        [scenario, "*"] => is_scenario(scenario),
        [scenario, step, variant] => is_scenario(scenario) && is_step(step) && is_variant(variant),
        _ => quoted("named.rs", "name: ").contains(&what.to_owned()),
    }
}

/// A seed that is kept, or something that seeds draw, as the code names it.
fn is_in_the_simulation(what: &str) -> bool {
    if let Some(seed) = what.strip_prefix("seed ") {
        let found = fs::read_to_string(root().join("tests/simulation/found.txt"));
        let found = found.expect("the seeds that found something can be read");
        return found
            .lines()
            .any(|line| line.starts_with(&format!("{seed} ")));
    }
    let is_end = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
    let is_named = |source: &String| source.split(what).skip(1).any(is_end);
    what.contains("::") && sources("tests/simulation").iter().any(is_named)
}

/// The texts in quotes directly after `before` in a file of the campaign.
fn quoted(file: &str, before: &str) -> Vec<String> {
    let path = root().join("tests/campaign/src").join(file);
    let text = fs::read_to_string(path).expect("the campaign can be read");
    let sign = format!("{before}\"");
    text.split(&sign)
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
        .collect()
}

/// The text of every Rust file below a folder; nothing where there is none.
fn sources(folder: &str) -> Vec<String> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|it| it == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    collect(&root().join(folder), &mut files);
    let read = |path: PathBuf| fs::read_to_string(path).expect("a source can be read");
    files.into_iter().map(read).collect()
}
