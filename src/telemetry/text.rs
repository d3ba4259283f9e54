//! Text from outside, made fit to be shown in a log or a status: bounded, on one line, and
//! without tokens.

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
