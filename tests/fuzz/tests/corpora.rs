//! Every input that is kept is replayed: what was found once stays fixed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use fuzz::TARGETS;

fn below(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found: Vec<_> = fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort();
    found
}

fn stem(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}

#[test]
fn every_kept_input_keeps_the_laws() {
    let mut broken = Vec::new();
    for (name, target) in TARGETS {
        let inputs = below(&format!("corpus/{name}"));
        assert!(inputs.len() >= 5, "{name} has few inputs");
        for path in inputs {
            let input = fs::read(&path).unwrap();
            if catch_unwind(|| target(&input)).is_err() {
                broken.push(path);
            }
        }
    }
    assert!(broken.is_empty(), "these inputs break a law: {broken:#?}");
}

#[test]
fn every_target_has_a_program_and_a_corpus_and_none_is_left_over() {
    let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    for folder in ["corpus", "targets"] {
        let paths = below(folder);
        let found: BTreeSet<_> = paths.iter().map(|path| stem(path)).collect();
        assert_eq!(found, names, "{folder}");
    }
    let manifest = include_str!("../Cargo.toml");
    for name in names {
        assert!(
            manifest.contains(&format!("path = \"targets/{name}.rs\"")),
            "{name} is not built"
        );
    }
}
