//! Rust source as tokens: which paths it names, and where. Tokens rather than a syntax tree,
//! because a macro's arguments (`select!`, `info!`) count as well; rather than lines, because
//! comments and texts do not.

use std::iter::Peekable;

use proc_macro2::token_stream::IntoIter;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path as written, `use` groups spelled out: `crate::{a, b::C}` is two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub segments: Vec<String>,
    pub line: usize,
}

impl Path {
    pub fn text(&self) -> String {
        self.segments.join("::")
    }

    /// Whether it ends in these segments.
    pub fn ends_with(&self, end: &[&str]) -> bool {
        self.segments.len() >= end.len()
            && self.segments[self.segments.len() - end.len()..]
                .iter()
                .zip(end)
                .all(|(segment, wanted)| segment == wanted)
    }
}

/// One source file without its tests.
#[derive(Debug)]
pub struct Source {
    /// Below the repository's root.
    pub name: String,
    /// The module it holds: `src/fabric/gate.rs` is `["fabric", "gate"]`.
    pub module: Vec<String>,
    /// Paths outside `#[cfg(test)]`, `self::` and `super::` resolved to `crate::`. A lone name
    /// is a path of one segment.
    pub paths: Vec<Path>,
    /// Attributes outside `#[cfg(test)]`, as text, with their lines.
    pub attributes: Vec<(String, usize)>,
    /// Modules declared under `#[cfg(test)]` that live in files of their own.
    pub test_modules: Vec<String>,
    /// Lines outside `#[cfg(test)]` items.
    pub lines: usize,
}

impl Source {
    pub fn parse(name: &str, text: &str) -> Self {
        let tokens: TokenStream = text
            .parse()
            .unwrap_or_else(|error| panic!("{name} is not Rust: {error}"));
        let module = name
            .trim_start_matches("src/")
            .trim_end_matches(".rs")
            .split('/')
            .map(str::to_owned)
            .filter(|part| part != "lib" && part != "main")
            .collect::<Vec<_>>();
        let mut source = Self {
            name: name.to_owned(),
            paths: Vec::new(),
            attributes: Vec::new(),
            test_modules: Vec::new(),
            lines: text.lines().count(),
            module: module.clone(),
        };
        source.read(tokens, &module);
        source
    }

    fn read(&mut self, tokens: TokenStream, module: &[String]) {
        let mut tokens = tokens.into_iter().peekable();
        let mut last_words: [String; 2] = Default::default();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Punct(mark) if mark.as_char() == '#' => {
                    if is_punct(tokens.peek(), '!') {
                        tokens.next();
                    }
                    if let Some(TokenTree::Group(group)) = tokens.peek().cloned()
                        && group.delimiter() == Delimiter::Bracket
                    {
                        tokens.next();
                        let text = squeezed(&group.stream());
                        let line = group.span_open().start().line;
                        if text == "cfg(test)" {
                            let last = self.skip_item(&mut tokens).unwrap_or(line);
                            self.lines -= last + 1 - line;
                        } else {
                            self.attributes.push((text, line));
                            self.read(group.stream(), module);
                        }
                    }
                }
                TokenTree::Group(group) => {
                    // `mod name { ... }` is one room deeper.
                    let inner = match &last_words {
                        [word, name] if word == "mod" && group.delimiter() == Delimiter::Brace => {
                            [module, std::slice::from_ref(name)].concat()
                        }
                        _ => module.to_vec(),
                    };
                    self.read(group.stream(), &inner);
                }
                TokenTree::Ident(first) => {
                    let line = first.span().start().line;
                    let first = first.to_string();
                    last_words = [std::mem::take(&mut last_words[1]), first.clone()];
                    self.path(vec![first], line, &mut tokens, module);
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => last_words = Default::default(),
            }
        }
    }

    /// Reads the rest of a path, or of each path of a group.
    fn path(
        &mut self,
        mut segments: Vec<String>,
        line: usize,
        tokens: &mut Peekable<IntoIter>,
        module: &[String],
    ) {
        while follows_path_separator(tokens) {
            match tokens.peek().cloned() {
                Some(TokenTree::Ident(next)) => {
                    tokens.next();
                    segments.push(next.to_string());
                }
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    tokens.next();
                    let mut group = group.stream().into_iter().peekable();
                    while let Some(token) = group.next() {
                        if let TokenTree::Ident(name) = token {
                            let line = name.span().start().line;
                            let name = name.to_string();
                            let inner = [segments.as_slice(), &[name]].concat();
                            self.path(inner, line, &mut group, module);
                        }
                    }
                    return;
                }
                // `*`, or the `<` of a turbofish.
                _ => break,
            }
        }
        self.paths.push(Path {
            segments: resolved(segments, module),
            line,
        });
    }

    /// Skips what `#[cfg(test)]` stands before: up to its block, or its semicolon. Tells the line
    /// on which that ends.
    fn skip_item(&mut self, tokens: &mut Peekable<IntoIter>) -> Option<usize> {
        let mut words = Vec::new();
        for token in tokens {
            match token {
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    return Some(group.span_close().end().line);
                }
                TokenTree::Punct(mark) if mark.as_char() == ';' => {
                    if let [.., word, name] = words.as_slice()
                        && word == "mod"
                    {
                        self.test_modules.push(String::clone(name));
                    }
                    return Some(mark.span().end().line);
                }
                TokenTree::Ident(word) => words.push(word.to_string()),
                _ => {}
            }
        }
        None
    }
}

/// Takes the `::` that may come next.
fn follows_path_separator(tokens: &mut Peekable<IntoIter>) -> bool {
    let mut ahead = tokens.clone();
    if !is_punct(ahead.next().as_ref(), ':') || !is_punct(ahead.next().as_ref(), ':') {
        return false;
    }
    *tokens = ahead;
    true
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(mark)) if mark.as_char() == wanted)
}

/// `self::` and `super::` as the path from the crate's root.
fn resolved(segments: Vec<String>, module: &[String]) -> Vec<String> {
    let mut depth = module.len();
    let mut rest = segments.as_slice();
    let mut relative = false;
    // A lone `self` is a method's receiver.
    while let [first, tail @ ..] = rest
        && !tail.is_empty()
        && (first == "super" || first == "self")
    {
        relative = true;
        depth -= usize::from(first == "super" && depth > 0);
        rest = tail;
    }
    if !relative {
        return segments;
    }
    let mut absolute = vec!["crate".to_owned()];
    absolute.extend_from_slice(&module[..depth]);
    absolute.extend_from_slice(rest);
    absolute
}

/// The tokens as text without blanks.
fn squeezed(tokens: &TokenStream) -> String {
    tokens.to_string().split_whitespace().collect()
}
