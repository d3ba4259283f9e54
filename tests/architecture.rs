//! The rooms and their arrows (`src/lib.rs` draws them, `docs/architecture.md` explains them),
//! checked against the source. Each rule is shown a sample that breaks it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path as FilePath, PathBuf};
use std::process::Command;

#[path = "architecture/source.rs"]
mod source;

use source::{Path, Source};

/// Who may import whom. A pair that is missing is a decision.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "api",
            "controller",
            "election",
            "entra",
            "fabric",
            "outbound",
            "telemetry",
        ],
    ),
    (
        "controller",
        &["api", "cancellation", "entra", "fabric", "telemetry"],
    ),
    (
        "fabric",
        &["cancellation", "entra", "outbound", "telemetry"],
    ),
    ("entra", &["outbound", "telemetry"]),
    ("election", &["telemetry"]),
    ("outbound", &["telemetry"]),
    ("telemetry", &[]),
    ("cancellation", &[]),
    ("api", &[]),
];

/// Rooms that read clocks; the others are given `now`.
const CLOCK_ROOMS: &[&str] = &["main", "cli", "controller", "election", "telemetry"];

/// About 400 is the rule of thumb; beyond this a file holds more than one concern.
const MOST_LINES: usize = 450;

/// A rule looks at one source file and says what breaks it.
type Rule = fn(&Source) -> Vec<String>;

fn root() -> &'static FilePath {
    FilePath::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file below `folder`, but for build output.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn name_of(file: &FilePath) -> String {
    let name = file.strip_prefix(root()).unwrap();
    name.to_str().unwrap().to_owned()
}

/// The operator's source without its tests.
fn operator() -> Vec<Source> {
    let mut sources: Vec<Source> = rust_files("src")
        .iter()
        .map(|file| Source::parse(&name_of(file), &fs::read_to_string(file).unwrap()))
        .collect();
    let tests: BTreeSet<Vec<String>> = sources
        .iter()
        .flat_map(|source| {
            source
                .test_modules
                .iter()
                .map(|name| [source.module.as_slice(), std::slice::from_ref(name)].concat())
        })
        .collect();
    sources.retain(|source| !tests.iter().any(|test| source.module.starts_with(test)));
    sources
}

fn room(source: &Source) -> &str {
    match source.name.as_str() {
        "src/main.rs" => "main",
        "src/lib.rs" => "lib",
        _ => &source.module[0],
    }
}

/// The file's name without folder and ending.
fn stem(source: &Source) -> &str {
    source.module.last().map_or("", String::as_str)
}

/// The complaint about each path that `is_wrong` says something about.
fn complain(source: &Source, is_wrong: impl Fn(&Path) -> Option<String>) -> Vec<String> {
    source
        .paths
        .iter()
        .filter_map(|path| {
            is_wrong(path).map(|why| format!("{}:{}: {why}", source.name, path.line))
        })
        .collect()
}

/// The room that a path leads to, when it leads to one of ours.
fn destination(path: &Path) -> Option<&str> {
    match path.segments.as_slice() {
        [root, room, ..] if root == "crate" || root == "fabric_job_operator" => Some(room),
        _ => None,
    }
}

fn arrows(source: &Source) -> Vec<String> {
    let from = room(source);
    let Some((_, allowed)) = ARROWS.iter().find(|(room, _)| *room == from) else {
        return Vec::new();
    };
    complain(source, |path| {
        let to = destination(path)?;
        let is_room = ARROWS.iter().any(|(room, _)| *room == to);
        (is_room && to != from && !allowed.contains(&to))
            .then(|| format!("{from} must not import {to} ({})", path.text()))
    })
}

fn fabric_takes_only_the_token_from_entra(source: &Source) -> Vec<String> {
    if room(source) != "fabric" {
        return Vec::new();
    }
    complain(source, |path| {
        let beyond = path.segments.get(2).map(String::as_str);
        (destination(path) == Some("entra") && beyond != Some("AccessToken")).then(|| {
            format!(
                "fabric may use AccessToken alone of entra, not {}",
                path.text()
            )
        })
    })
}

/// Names of crates, as Rust spells them, that these rooms must not see.
fn foreign_crates(source: &Source) -> Vec<String> {
    const HTTP: &[&str] = &[
        "axum",
        "http",
        "http_body_util",
        "hyper",
        "reqwest",
        "tower",
    ];
    const KUBE: &[&str] = &["k8s_openapi", "kube"];
    const PROCESS: &[&str] = &[
        "clap",
        "tokio",
        "tokio_util",
        "tracing",
        "tracing_subscriber",
    ];
    let room = room(source);
    let unseen: Vec<&str> = match room {
        "controller" => [&["clap"], HTTP].concat(),
        // Record and candidate are values that a model checker explores.
        "election" if ["candidate", "record"].contains(&stem(source)) => {
            [PROCESS, HTTP, KUBE].concat()
        }
        "election" => [&["clap"], HTTP].concat(),
        // An exchange is made in outbound alone; its two users have no other way out.
        "fabric" | "entra" => [
            &[
                "axum",
                "clap",
                "http_body_util",
                "hyper",
                "reqwest",
                "tower",
            ],
            KUBE,
        ]
        .concat(),
        "outbound" => [&["axum", "clap"], KUBE].concat(),
        "cli" => vec!["reqwest"],
        "telemetry" => [&["clap", "reqwest"], KUBE].concat(),
        "api" => [HTTP, PROCESS].concat(),
        _ => return Vec::new(),
    };
    // kube has no call for documents that are not resources: `/openapi` and `/version`, which
    // tell what the cluster knows and its time, are asked for with a request of our own.
    let bare_requests = source.name == "src/controller/schema.rs";
    complain(source, |path| {
        let first = path.segments.first()?.as_str();
        let excused = bare_requests && first == "http";
        (path.segments.len() > 1 && unseen.contains(&first) && !excused)
            .then(|| format!("{room} must not see {}", path.text()))
    })
}

/// The core is a function: what it needs comes in, what it decides goes out.
fn the_core_is_pure(source: &Source) -> Vec<String> {
    const CRATES: &[&str] = &["alloc", "core", "crate", "jiff", "std", "url", "uuid"];
    const OUTSIDE: &[&str] = &["env", "fs", "io", "net", "os", "process", "thread"];
    if room(source) != "cancellation" {
        return Vec::new();
    }
    let known: BTreeSet<String> = dependencies("fabric-job-operator", true)
        .iter()
        .map(|name| name.replace('-', "_"))
        .collect();
    complain(source, |path| {
        let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            ["async" | "await"] => Some("the core does not wait".to_owned()),
            ["println" | "eprintln" | "print" | "eprint" | "dbg"] => {
                Some("the core does not print".to_owned())
            }
            ["std", part, ..] if OUTSIDE.contains(part) => {
                Some(format!("the core does no I/O ({})", path.text()))
            }
            [first, _, ..] if known.contains(*first) && !CRATES.contains(first) => Some(format!(
                "the core knows std, jiff, url and uuid alone, not {first}"
            )),
            _ => None,
        }
    })
}

/// Waiting is the work queue's job.
fn clients_never_sleep(source: &Source) -> Vec<String> {
    const WAITS: &[&str] = &["interval", "interval_at", "sleep", "sleep_until"];
    if !["fabric", "entra", "outbound"].contains(&room(source)) {
        return Vec::new();
    }
    complain(source, |path| {
        let last = path.segments.last()?.as_str();
        WAITS.contains(&last).then(|| {
            format!(
                "a client returns a delay instead of waiting ({})",
                path.text()
            )
        })
    })
}

fn clocks_are_read_in_few_rooms(source: &Source) -> Vec<String> {
    if CLOCK_ROOMS.contains(&room(source)) {
        return Vec::new();
    }
    complain(source, |path| {
        ["Instant", "SystemTime", "Timestamp", "Zoned"]
            .iter()
            .any(|clock| path.ends_with(&[clock, "now"]))
            .then(|| {
                format!(
                    "{} takes `now` as an argument ({})",
                    room(source),
                    path.text()
                )
            })
    })
}

fn only_main_ends_the_process(source: &Source) -> Vec<String> {
    if room(source) == "main" {
        return Vec::new();
    }
    complain(source, |path| {
        (path.ends_with(&["process", "exit"]) || path.ends_with(&["process", "abort"]))
            .then(|| format!("only main may end the process ({})", path.text()))
    })
}

fn files_are_short(source: &Source) -> Vec<String> {
    if source.lines <= MOST_LINES {
        return Vec::new();
    }
    let Source { name, lines, .. } = source;
    vec![format!(
        "{name} has {lines} lines without its tests, split it by concern at {MOST_LINES}"
    )]
}

fn names_say_what_a_file_holds(source: &Source) -> Vec<String> {
    const NAMELESS: &[&str] = &["common", "helpers", "misc", "mod", "types", "util", "utils"];
    let stem = source.name.rsplit('/').next().unwrap();
    let stem = stem.trim_end_matches(".rs");
    if !NAMELESS.contains(&stem) {
        return Vec::new();
    }
    vec![format!("{}: {stem} is no name for a file", source.name)]
}

fn lints_are_expected_with_a_reason(source: &Source) -> Vec<String> {
    source
        .attributes
        .iter()
        .filter(|(text, _)| {
            let text = text
                .split_once("cfg_attr(")
                .map_or(text.as_str(), |(_, inner)| inner);
            let bare = text.starts_with("allow(") || text.contains(",allow(");
            bare || (text.starts_with("expect(") && !text.contains("reason="))
        })
        .map(|(text, line)| {
            format!(
                "{}:{line}: #[expect(lint, reason = \"...\")], not {text}",
                source.name
            )
        })
        .collect()
}

/// The crates that a member of the workspace names in its Cargo.toml, those of its tests only
/// when asked for.
fn dependencies(member: &str, with_tests: bool) -> BTreeSet<String> {
    package(member)["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|dependency| with_tests || dependency["kind"].is_null())
        .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect()
}

/// A workspace member as Cargo describes it.
fn package(name: &str) -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|package| package["name"] == name)
        .unwrap_or_else(|| panic!("{name} is not a workspace member"))
        .clone()
}

/// A sample that breaks the rule: the file it could stand in, and its text.
type Sample = (&'static str, &'static str);

/// Each rule with samples that break it and samples that come close without breaking it.
const RULES: &[(Rule, &[Sample], &[Sample])] = &[
    (
        arrows,
        &[
            ("src/main.rs", "use fabric_job_operator::fabric::Client;"),
            (
                "src/fabric/gate.rs",
                "use crate::{cancellation::Job, controller};",
            ),
            (
                "src/fabric.rs",
                "fn f() { select! { _ = crate::api::crd() => {} } }",
            ),
            ("src/fabric/wire.rs", "use super::super::api::Spec;"),
            (
                "src/cancellation/step.rs",
                "mod inner { use super::super::super::telemetry::Metrics; }",
            ),
            ("src/cli.rs", "fn f(_: crate::cancellation::Job) {}"),
            ("src/outbound/client.rs", "use crate::fabric::Endpoint;"),
            (
                "src/controller/visit.rs",
                "use crate::outbound::exchange::send;",
            ),
        ],
        &[
            (
                "src/fabric/gate.rs",
                "// use crate::api::Spec;\nconst A: &str = \"crate::api\";",
            ),
            (
                "src/fabric/gate.rs",
                "use super::wire; use crate::cancellation::Job;",
            ),
            (
                "src/fabric.rs",
                "#[cfg(test)] mod tests { use crate::controller::run; }",
            ),
            ("src/main.rs", "use fabric_job_operator::cli;"),
            ("src/entra/grant.rs", "use crate::outbound::Transport;"),
        ],
    ),
    (
        fabric_takes_only_the_token_from_entra,
        &[
            (
                "src/fabric.rs",
                "use crate::entra::{AccessToken, Credential};",
            ),
            ("src/fabric.rs", "use crate::entra;"),
        ],
        &[("src/fabric.rs", "use crate::entra::{AccessToken};")],
    ),
    (
        foreign_crates,
        &[
            (
                "src/election/candidate.rs",
                "use tokio::time::Instant; fn f(now: Instant) {}",
            ),
            ("src/controller/status.rs", "use http::StatusCode;"),
            ("src/controller.rs", "fn f(e: &reqwest::Error) {}"),
            ("src/entra/cache.rs", "use kube::{api::Api, Client};"),
            ("src/api/v1alpha1.rs", "use tracing::info;"),
            ("src/fabric.rs", "use tower::ServiceExt;"),
            ("src/cli.rs", "use reqwest::Client;"),
        ],
        &[
            ("src/controller.rs", "use kube::Client; fn f(http: u8) {}"),
            (
                "src/outbound/client.rs",
                "use reqwest::Client; use http::StatusCode;",
            ),
            ("src/fabric.rs", "use http::StatusCode;"),
        ],
    ),
    (
        the_core_is_pure,
        &[
            ("src/cancellation.rs", "use serde::Serialize;"),
            ("src/cancellation/step.rs", "async fn f() {}"),
            (
                "src/cancellation/step.rs",
                "fn f() { tracing::info!(\"x\") }",
            ),
            ("src/cancellation/step.rs", "use std::{fmt, env};"),
            ("src/cancellation/step.rs", "fn f() { println!() }"),
        ],
        &[
            (
                "src/cancellation.rs",
                "use std::fmt; use jiff::Timestamp; use uuid::Uuid;",
            ),
            ("src/fabric.rs", "async fn f() {}"),
        ],
    ),
    (
        clients_never_sleep,
        &[
            (
                "src/fabric/gate.rs",
                "async fn f() { tokio::time::sleep(D).await }",
            ),
            (
                "src/entra.rs",
                "use tokio::time::{timeout, sleep_until as until};",
            ),
        ],
        &[("src/entra.rs", "use tokio::time::timeout;")],
    ),
    (
        clocks_are_read_in_few_rooms,
        &[
            (
                "src/fabric/gate.rs",
                "fn f() { tokio::time::Instant::now(); }",
            ),
            (
                "src/cancellation/step.rs",
                "fn f() { let now = Timestamp::now(); }",
            ),
            (
                "src/entra/cache.rs",
                "const CLOCK: fn() -> SystemTime = std::time::SystemTime::now;",
            ),
        ],
        &[
            ("src/controller.rs", "fn f() { Timestamp::now(); }"),
            (
                "src/fabric/gate.rs",
                "fn f(now: Instant) { now.checked_add(D); }",
            ),
        ],
    ),
    (
        only_main_ends_the_process,
        &[
            ("src/cli.rs", "fn f() { std::process::exit(1) }"),
            ("src/cli.rs", "use std::process::{exit, Command};"),
        ],
        &[("src/main.rs", "fn f() { std::process::exit(1) }")],
    ),
    (
        names_say_what_a_file_holds,
        &[
            ("src/fabric/mod.rs", ""),
            ("src/utils.rs", ""),
            ("src/api/types.rs", ""),
        ],
        &[("src/fabric/wire.rs", "")],
    ),
    (
        lints_are_expected_with_a_reason,
        &[
            ("src/api.rs", "#![allow(dead_code)]"),
            (
                "src/api.rs",
                "#[allow(dead_code, reason = \"x\")] fn f() {}",
            ),
            (
                "src/api.rs",
                "#[cfg_attr(unix, allow(dead_code))] fn f() {}",
            ),
            ("src/api.rs", "#[expect(dead_code)] fn f() {}"),
        ],
        &[(
            "src/api.rs",
            "#[expect(dead_code, reason = \"x\")] fn allow() {}",
        )],
    ),
];

#[test]
fn the_source_keeps_every_rule() {
    let sources = operator();
    assert!(sources.len() > 10, "the source was not found");
    let broken: Vec<String> = RULES
        .iter()
        .map(|(rule, ..)| *rule)
        .chain([files_are_short as Rule])
        .flat_map(|rule| sources.iter().flat_map(rule))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_test_bench_keeps_the_rules_about_files_and_lints() {
    let broken: Vec<String> = rust_files("tests")
        .iter()
        .map(|file| Source::parse(&name_of(file), &fs::read_to_string(file).unwrap()))
        .flat_map(|source| {
            [
                names_say_what_a_file_holds(&source),
                lints_are_expected_with_a_reason(&source),
            ]
            .concat()
        })
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn each_rule_finds_what_breaks_it_and_nothing_else() {
    for (rule, bad, good) in RULES {
        for (name, text) in *bad {
            let found = rule(&Source::parse(name, text));
            assert!(!found.is_empty(), "not found in {name}: {text}");
        }
        for (name, text) in *good {
            let found = rule(&Source::parse(name, text));
            assert!(found.is_empty(), "{found:?} in {name}: {text}");
        }
    }
}

#[test]
fn a_long_file_is_found_and_its_tests_do_not_count() {
    let long = "fn f() {}\n".repeat(MOST_LINES + 1);
    assert_eq!(
        files_are_short(&Source::parse("src/api.rs", &long)).len(),
        1
    );
    let tested = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
    assert!(files_are_short(&Source::parse("src/api.rs", &tested)).is_empty());
    for first in [
        "#[cfg(test)]\nmod laws;\n",
        "#[cfg(test)]\n#[expect(dead_code, reason = \"x\")]\nfn g() {}\n",
    ] {
        let source = Source::parse("src/api.rs", &format!("{first}{long}"));
        assert_eq!(source.lines, MOST_LINES + 1, "what follows it counts");
        assert_eq!(files_are_short(&source).len(), 1);
    }
}

#[test]
fn the_map_lists_every_room() {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let known: BTreeSet<&str> = ARROWS
        .iter()
        .map(|(room, _)| *room)
        .filter(|room| *room != "main")
        .collect();
    assert_eq!(declared, known, "src/lib.rs and the table of arrows differ");

    let drawing: String = text
        .lines()
        .filter(|line| line.starts_with("//!"))
        .collect();
    for room in known {
        assert!(
            drawing.contains(room),
            "the drawing in src/lib.rs lacks {room}"
        );
    }
    for source in operator() {
        let room = room(&source);
        assert!(
            room == "lib" || ARROWS.iter().any(|(known, _)| *known == room),
            "{} stands in no room",
            source.name
        );
    }
}

#[test]
fn the_operator_and_its_judges_never_import_each_other() {
    const OPERATOR: &str = "fabric-job-operator";
    let operator = dependencies(OPERATOR, false);
    assert!(operator.contains("kube"), "{operator:?}");
    let judges = ["fabric-simulator", "control-plane", "oracles"];
    for judge in judges {
        assert!(
            !operator.contains(judge),
            "{judge}: they would share a mistake"
        );
        let known = dependencies(judge, true);
        assert!(known.contains("serde_json"), "{known:?}");
        assert!(
            !known.contains(OPERATOR),
            "{judge}: they would share a mistake"
        );
        // What the oracles are told must not come from one of those that they judge.
        let shared = judges.iter().find(|other| known.contains(**other));
        assert_eq!(shared, None, "{judge}: they would share a mistake");
    }
}
