//! The search for secrets: every encoding is found, and what only looks alike is not.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use oracles::{Capture, s8_nothing_leaves};

use crate::story::{SECRET, Story};

fn is_found(text: &str) -> bool {
    let mut story = Story::plain();
    story.capture("log", text);
    !s8_nothing_leaves(&story.history).is_empty()
}

#[test]
fn a_secret_is_found_in_every_usual_encoding_and_in_parts() {
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut wrapped = SECRET.to_owned();
    wrapped.insert_str(20, "\n    ");
    wrapped.insert_str(10, "\\r\\n");
    let mut texts = vec![
        SECRET.to_owned(),
        hex.to_uppercase(),
        hex,
        SECRET
            .replace('~', "%7E")
            .replace('.', "%2E")
            .replace('-', "%2D")
            .replace('_', "%5F"),
        SECRET.replace('~', "%7e"),
        wrapped,
        format!("a part {} of it", &SECRET[3..21]),
        URL_SAFE_NO_PAD.encode(format!("{{\"secret\":\"{SECRET}\"}}")),
    ];
    // Basic authentication, wherever the secret begins in its group.
    texts.extend((0..3).map(|length| STANDARD.encode(format!("{}:{SECRET}", "x".repeat(length)))));
    for text in texts {
        assert!(is_found(&text), "{text}");
    }
}

#[test]
fn a_secret_that_is_cut_in_two_by_the_capture_is_found() {
    let mut story = Story::plain();
    story.capture("log", &SECRET[..11]);
    story.capture("log", &SECRET[11..]);
    assert_eq!(s8_nothing_leaves(&story.history).len(), 1);
}

#[test]
fn pieces_of_different_streams_are_not_joined() {
    let mut story = Story::plain();
    for (stream, part) in [("1", &SECRET[..11]), ("2", &SECRET[11..20])] {
        story.history.captures.push(Capture {
            channel: "fabric".into(),
            stream: stream.into(),
            bytes: part.as_bytes().to_vec(),
        });
    }
    assert_eq!(s8_nothing_leaves(&story.history), []);
}

#[test]
fn a_secret_at_its_allowed_place_is_no_leak() {
    let mut story = Story::plain();
    story
        .history
        .captures
        .retain(|capture| capture.channel == "entra");
    assert_eq!(s8_nothing_leaves(&story.history), []);
    assert!(!is_found("client_secret=*** nY7 vQ x2Rk"));
}

#[test]
fn a_short_secret_is_searched_as_a_whole() {
    let mut story = Story::plain();
    story.history.secrets[0].value = b"hunter2".to_vec();
    assert_eq!(s8_nothing_leaves(&story.history), []);
    story.capture("metrics", "x{password=\"hunter2\"} 1");
    assert_eq!(s8_nothing_leaves(&story.history).len(), 1);
}
