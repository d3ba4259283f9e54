//! The pages that people read, and the blocks in them.
//!
//! What is shown must work, so every fenced block says what it is:
//!
//! | fence | what becomes of it |
//! |---|---|
//! | `yaml` | applied with kubectl, in the order of the page |
//! | `yaml status` | a resource as kubectl shows it: compared with what the page really led to |
//! | `sh run` | run by bash, in the order of the page |
//! | `sh operator` | the operator, started with these arguments and the simulator's addresses |
//! | `sh checked` | not run: targets, tests and flags must exist |
//! | `text`, `mermaid` | output and pictures |

use std::fs;
use std::path::Path;

/// What a fenced block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Objects to apply.
    Manifest,
    /// A resource as it is shown.
    Status,
    /// Commands to run.
    Run,
    /// The command that starts the operator.
    Operator,
    /// Commands that are only checked.
    Checked,
    /// Nothing to do.
    Text,
}

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    /// What the fence says it is; `None` when that is no kind.
    pub kind: Option<Kind>,
    /// Its text.
    pub text: String,
    /// Page and line, for messages.
    pub place: String,
}

/// A page of Markdown.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its path in the repository.
    pub name: String,
    /// All of it.
    pub text: String,
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md, CONTRIBUTING.md and the pages of docs/.
pub fn pages() -> Vec<Page> {
    let mut names = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned()];
    let mut docs: Vec<String> = fs::read_dir(root().join("docs"))
        .expect("docs/ is there")
        .filter_map(|entry| {
            entry
                .expect("docs/ can be read")
                .file_name()
                .into_string()
                .ok()
        })
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("docs/{name}"))
        .collect();
    docs.sort();
    names.extend(docs);
    names.into_iter().map(Page::read).collect()
}

impl Page {
    /// Reads a page by its path in the repository.
    pub fn read(name: String) -> Self {
        let text = fs::read_to_string(root().join(&name));
        let text = text.unwrap_or_else(|error| panic!("failed to read {name}: {error}"));
        Self { name, text }
    }

    /// Its fenced blocks.
    pub fn blocks(&self) -> Vec<Block> {
        self.parts().1
    }

    /// Its text without the fenced blocks, and these.
    pub fn parts(&self) -> (String, Vec<Block>) {
        let mut prose = String::new();
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (number, line) in self.text.lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), open.take()) {
                (Some(_), Some(block)) => blocks.push(block),
                (Some(info), None) => {
                    open = Some(Block {
                        kind: kind(info.trim()),
                        text: String::new(),
                        place: format!("{}:{}", self.name, number + 1),
                    });
                    prose.push('\n');
                }
                (None, Some(mut block)) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                    open = Some(block);
                }
                (None, None) => {
                    prose.push_str(line);
                    prose.push('\n');
                }
            }
        }
        assert!(open.is_none(), "{} has a block without an end", self.name);
        (prose, blocks)
    }
}

impl Block {
    /// Its commands: lines, with those that end in a backslash joined.
    pub fn commands(&self) -> Vec<String> {
        let joined = self.text.replace("\\\n", " ");
        joined
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    }
}

fn kind(info: &str) -> Option<Kind> {
    Some(match info {
        "yaml" => Kind::Manifest,
        "yaml status" => Kind::Status,
        "sh run" => Kind::Run,
        "sh operator" => Kind::Operator,
        "sh checked" => Kind::Checked,
        "text" | "mermaid" => Kind::Text,
        _ => return None,
    })
}
