//! Text from outside, made fit to be shown in a log or a status: bounded, on one line, and
//! without tokens.

use std::error::Error;

/// Longest message, in characters: design section 4, `lastError.message`.
pub(crate) const MESSAGE: usize = 256;
/// Longest code or name (error codes, job types, request ids), in characters.
pub(crate) const NAME: usize = 128;
/// Longest advice of our own, in characters. It names objects, whose names take up to 253 each.
pub(crate) const ADVICE: usize = 1_024;
/// Longest URL that is recorded, in characters. Fabric's own take about 190.
pub(crate) const URL: usize = 512;

/// Shown instead of a text that carries a token: not even a part of it is kept.
pub(crate) const WITHHELD: &str = "(withheld: the text carries a secret)";

/// A run of this many token characters after `eyJ` or `Bearer ` is taken for a token.
const TOKEN_RUN: usize = 16;

/// Makes one clean line of at most `limit` characters: white space becomes single spaces,
/// control and invisible formatting characters go, and a text with a token in it is withheld.
pub(crate) fn clean(raw: &str, limit: usize) -> String {
    let mut line = String::new();
    let mut gap = false;
    for c in raw.chars() {
        if c.is_whitespace() {
            gap = true;
        } else if !c.is_control() && !is_invisible(c) {
            if gap && !line.is_empty() {
                line.push(' ');
            }
            gap = false;
            line.push(c);
        }
    }
    if carries_token(&line) {
        return WITHHELD.to_owned();
    }
    match line.char_indices().nth(limit) {
        Some((end, _)) => {
            line.truncate(end);
            line
        }
        None => line,
    }
}

/// As [`clean`]; `None` when nothing is left.
pub(crate) fn clean_some(raw: &str, limit: usize) -> Option<String> {
    Some(clean(raw, limit)).filter(|text| !text.is_empty())
}

/// An error with its causes, on one line. A cause whose text the line already holds is left out:
/// kube repeats some in its own text.
pub fn in_one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line.replace('\n', " ")
}

/// Characters that reorder or hide what surrounds them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// Whether something in `line` looks like a JSON web token or a bearer credential. Fabric never
/// sends one; a proxy that echoes the request's headers does.
fn carries_token(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    ["eyj", "bearer "].iter().any(|mark| {
        lower.match_indices(mark).any(|(at, _)| {
            lower[at + mark.len()..]
                .bytes()
                .take_while(|b| b.is_ascii_alphanumeric() || b"-_.~+/=".contains(b))
                .count()
                >= TOKEN_RUN
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_one_clean_line() {
        for (raw, expected) in [
            ("plain", "plain"),
            ("  two\r\n lines\t ", "two lines"),
            ("bell\u{7} and \u{1b}[31mred", "bell and [31mred"),
            ("a\u{202e}b\u{200b}c\u{feff}", "abc"),
            ("\u{0}", ""),
        ] {
            assert_eq!(clean(raw, MESSAGE), expected);
        }
        assert_eq!(clean_some(" \n", MESSAGE), None);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Outer<E: Error + 'static> {
        text: &'static str,
        source: E,
    }

    #[test]
    fn an_error_is_told_with_its_causes_once_each_on_one_line() {
        let kernel = std::io::Error::other("connection\nrefused");
        let repeating = Outer {
            text: "connect: connection\nrefused",
            source: kernel,
        };
        let outer = Outer {
            text: "no answer",
            source: repeating,
        };
        assert_eq!(
            in_one_line(&outer),
            "no answer: connect: connection refused"
        );
    }

    #[test]
    fn a_text_is_cut_at_a_character_and_not_inside_one() {
        assert_eq!(clean(&"é".repeat(300), 256), "é".repeat(256));
        assert_eq!(clean("abc", 3), "abc");
        assert_eq!(clean("abcd", 3), "abc");
    }

    #[test]
    fn a_text_with_a_token_is_withheld_even_where_it_would_be_cut() {
        for raw in [
            "Bearer abcdefghijklmnop",
            "header was: bearer\nabcdefghijklmnop",
            "eyJ0eXAiOiJKV1QiLCJhbGciOi",
            &format!("{} eyJ0eXAiOiJKV1QiLCJhbGciOi", "x".repeat(250)),
            "eyJ0eXAi\u{0}OiJKV1QiLCJhbGciOi",
        ] {
            assert_eq!(clean(raw, MESSAGE), WITHHELD, "{raw}");
        }
        for raw in ["the bearer token is missing", "eyJ", "Bearer realm=x"] {
            assert_eq!(clean(raw, MESSAGE), raw);
        }
    }
}
