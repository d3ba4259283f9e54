//! What the pages say, checked without a cluster: commands, flags, links, fields and reasons.
//! `tests/walkthrough.rs` follows the pages on a real API server.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use fabric_job_operator::api::conditions::{Group, ORDER, REASONS};
use fabric_job_operator::api::crd;
use serde_json::Value;

#[path = "docs/page.rs"]
mod page;
#[path = "docs/proofs.rs"]
mod proofs;

use page::{Kind, Page, pages, root};

#[test]
fn every_block_says_what_becomes_of_it() {
    for page in pages() {
        for block in page.blocks() {
            let place = block.place;
            assert!(
                block.kind.is_some(),
                "{place}: tests/docs/page.rs lists the fences that a test stands behind"
            );
        }
    }
}

#[test]
fn commands_that_are_shown_exist() {
    let mut checked = 0;
    for page in pages() {
        let blocks = page.blocks();
        let shown = blocks
            .iter()
            .filter(|block| matches!(block.kind, Some(Kind::Checked | Kind::Operator)))
            .flat_map(|block| block.commands());
        let named = code_spans(&page).into_iter().filter(|span| {
            let first = span.split(' ').next().unwrap_or_default();
            ["make", "cargo", "bash"].contains(&first) && span.contains(' ')
        });
        for command in shown.chain(named) {
            if let Err(problem) = check(&command) {
                panic!("{}: `{command}`: {problem}", page.name);
            }
            checked += 1;
        }
    }
    assert!(checked > 5, "only {checked} commands were found");
}

#[test]
fn a_command_that_does_not_exist_is_noticed() {
    for wrong in [
        "make dome",
        "cargo run -- run --no-such-flag",
        "cargo run -- walk",
        "cargo test --test no_such_test",
        "cargo run -p no-such-package",
        "bash .ci/walk",
        "npm start",
    ] {
        assert!(check(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn flags_that_are_named_exist() {
    let help = help();
    for page in pages() {
        for span in code_spans(&page) {
            let flag = span.split([' ', '=']).next().unwrap_or_default();
            if flag.starts_with("--") {
                let place = &page.name;
                assert!(
                    has_flag(&help, flag),
                    "{place} names {flag}; --help does not"
                );
            }
        }
    }
}

#[test]
fn links_and_files_that_are_named_exist() {
    let mut links = 0;
    for page in pages() {
        let folder = root().join(&page.name);
        let folder = folder.parent().expect("a page is in a folder");
        for link in links_of(&prose(&page)) {
            links += 1;
            if link.starts_with("http") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() {
                root().join(&page.name)
            } else {
                folder.join(path)
            };
            assert!(target.exists(), "{} links to {link}", page.name);
            if !anchor.is_empty() {
                let text = fs::read_to_string(&target).expect("a page can be read");
                assert!(
                    anchors(&text).contains(anchor),
                    "{} links to {link}: there is no such heading",
                    page.name
                );
            }
        }
        for span in code_spans(&page) {
            let folders = ["src/", "tests/", "docs/", "crds/", "charts/", ".ci/"];
            let is_path = folders.iter().any(|folder| span.starts_with(folder));
            if is_path && !span.contains([' ', '<', '*', '{']) {
                assert!(root().join(&span).exists(), "{} names {span}", page.name);
            }
        }
    }
    assert!(links > 5, "only {links} links were found");
}

/// `UPDATE_DOCS=1` writes the tables anew.
#[test]
fn the_documented_reasons_are_the_reasons_of_the_code() {
    const BEGIN: &str =
        "<!-- reasons: begin (written by UPDATE_DOCS=1 cargo test --test docs) -->\n";
    const END: &str = "<!-- reasons: end -->";
    let page = Page::read("docs/cancellation.md".into());
    let (before, rest) = page.text.split_once(BEGIN).expect("where the tables begin");
    let (written, after) = rest.split_once(END).expect("where the tables end");
    let expected = reason_tables();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let text = format!("{before}{BEGIN}{expected}{END}{after}");
        fs::write(root().join(&page.name), text).expect("the page can be written");
        return;
    }
    assert!(
        written == expected,
        "the reasons of docs/cancellation.md are stale: UPDATE_DOCS=1 cargo test --test docs"
    );
}

#[test]
fn every_field_and_condition_is_documented() {
    let page = Page::read("docs/cancellation.md".into());
    let crd = serde_json::to_value(crd()).expect("a CRD is valid JSON");
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let words: BTreeSet<String> = page
        .text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .map(str::to_owned)
        .collect();
    let mut fields = Vec::new();
    for part in ["spec", "status"] {
        collect(&schema[part], &mut fields);
    }
    assert!(fields.len() > 30, "only {} fields were found", fields.len());
    for name in fields.iter().map(String::as_str).chain(ORDER) {
        assert!(words.contains(name), "docs/cancellation.md lacks {name}");
    }
}

/// The names of the fields below a schema, but not those of Kubernetes' own conditions.
fn collect(schema: &Value, fields: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        fields.push(name.clone());
        if name != "conditions" {
            collect(field, fields);
        }
    }
}

fn reason_tables() -> String {
    let groups = [
        (Group::Working, "Under way", "`Ready` is Unknown."),
        (
            Group::PersonMustAct,
            "A person must act",
            "Not ended: it heals by itself once the cause is gone. `Ready` is Unknown, and False \
             with `Stalled` after two minutes.",
        ),
        (
            Group::Ended,
            "Ended",
            "`Ready` is True, or False where a policy says so.",
        ),
        (
            Group::EndedAlwaysFalse,
            "Ended without success",
            "`Ready` is False.",
        ),
        (
            Group::RequestOnly,
            "Only on the condition Accepted",
            "They say what became of the request.",
        ),
    ];
    let mut text = String::new();
    for (group, title, introduction) in groups {
        text.push_str(&format!(
            "\n### {title}\n\n{introduction}\n\n| reason | meaning | what to do |\n|---|---|---|\n"
        ));
        for reason in REASONS.iter().filter(|reason| reason.group == group) {
            text.push_str(&format!(
                "| `{}` | {} | {} |\n",
                reason.name, reason.meaning, reason.what_to_do
            ));
        }
    }
    text.push('\n');
    text
}

/// Whether what a command names exists.
fn check(command: &str) -> Result<(), String> {
    // What stands in quotes is the value of an assignment.
    let bare: String = command.split('"').step_by(2).collect();
    let words: Vec<&str> = bare
        .split_whitespace()
        .skip_while(|word| is_assignment(word))
        .collect();
    match words.as_slice() {
        ["make"] => Ok(()),
        ["make", rest @ ..] => rest
            .iter()
            .filter(|word| !is_assignment(word))
            .try_for_each(|target| {
                let makefile = read("Makefile");
                let is_there = makefile
                    .lines()
                    .any(|line| line.starts_with(&format!("{target}:")));
                is_there
                    .then_some(())
                    .ok_or(format!("the Makefile has no target {target}"))
            }),
        ["bash", script] => exists(script),
        [
            "cargo",
            "run",
            "--",
            subcommand @ ("run" | "crd"),
            flags @ ..,
        ] => {
            let help = help_of(&[subcommand, "--help"]);
            flags
                .iter()
                .filter(|word| word.starts_with("--"))
                .map(|word| word.split('=').next().unwrap_or_default())
                .try_for_each(|flag| {
                    let known = has_flag(&help, flag);
                    known.then_some(()).ok_or(format!("--help has no {flag}"))
                })
        }
        ["cargo", "run", "--", ..] => Err("the operator has no such subcommand".into()),
        ["cargo", "build" | "test" | "run" | "doc", flags @ ..] => {
            flags.windows(2).try_for_each(|pair| match pair {
                ["--test", name] => exists(&format!("tests/{name}.rs"))
                    .or_else(|_| exists(&format!("tests/{name}/main.rs"))),
                ["-p", package] => {
                    let is_member = read("Cargo.toml").contains(&format!("\"tests/{package}\""));
                    let is_ours = is_member || *package == "fabric-job-operator";
                    is_ours
                        .then_some(())
                        .ok_or(format!("there is no package {package}"))
                }
                _ => Ok(()),
            })
        }
        _ => Err("this test does not know the command; teach it, or use another fence".into()),
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    })
}

fn exists(path: &str) -> Result<(), String> {
    let found = root().join(path).exists();
    found.then_some(()).ok_or(format!("there is no {path}"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect("a file of the repository can be read")
}

fn help() -> String {
    help_of(&["--help"])
}

fn help_of(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_fabric-job-operator"))
        .args(arguments)
        .output()
        .expect("the operator can be started");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn has_flag(help: &str, flag: &str) -> bool {
    let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    help.split(is_end).any(|word| word == flag)
}

fn prose(page: &Page) -> String {
    page.parts().0
}

/// The code spans of a page's prose.
fn code_spans(page: &Page) -> Vec<String> {
    prose(page)
        .split("\n\n")
        .flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2))
        .map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// The targets of `[text](target)`.
fn links_of(prose: &str) -> Vec<String> {
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}
