//! Where requests go, and where secrets show: S8.

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use crate::history::{History, Secret};
use crate::property::{Property, Violation};

/// A part of this many bytes is already too much. Pieces overlap by half, so whatever part has
/// half as many bytes again is found wherever it begins.
const PIECE: usize = 12;

/// S8: the operator connects to the configured origins only, and no piece of a secret, in any
/// usual encoding, is seen in a channel where it does not belong.
#[must_use]
pub fn s8_nothing_leaves(history: &History) -> Vec<Violation> {
    let foreign = history.contacts.iter().filter_map(|contact| {
        let allowed = history.facts.origins.contains(&contact.origin);
        (!allowed).then(|| {
            Violation::new(
                Property::S8,
                contact.origin.clone(),
                [contact.time],
                "a connection to an origin that is not configured",
            )
        })
    });
    let leaks = leaks(history).into_iter().map(|(secret, channel, stream)| {
        Violation::new(
            Property::S8,
            format!("{channel} {stream}").trim().to_owned(),
            [history.facts.until],
            format!("a part of {secret} was seen"),
        )
    });
    foreign.chain(leaks).collect()
}

/// Which secret stands where: name, channel, stream.
fn leaks(history: &History) -> BTreeSet<(&str, &str, &str)> {
    let mut needles = BTreeMap::new();
    for (index, secret) in history.secrets.iter().enumerate() {
        for piece in pieces(secret) {
            needles.entry(piece).or_insert_with(Vec::new).push(index);
        }
    }
    if needles.is_empty() || history.captures.is_empty() {
        return BTreeSet::new();
    }
    let search = AhoCorasick::new(needles.keys()).expect("pieces are short and few");
    let owners: Vec<_> = needles.values().collect();
    let mut streams: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    for capture in &history.captures {
        streams
            .entry((capture.channel.as_str(), capture.stream.as_str()))
            .or_default()
            .extend(&capture.bytes);
    }
    let mut found = BTreeSet::new();
    for ((channel, stream), bytes) in &streams {
        for text in [bytes.clone(), unwrapped(bytes)] {
            for hit in search.find_overlapping_iter(&text) {
                for index in owners[hit.pattern().as_usize()] {
                    let secret = &history.secrets[*index];
                    if !secret.allowed.iter().any(|allowed| allowed == channel) {
                        found.insert((secret.name.as_str(), *channel, *stream));
                    }
                }
            }
        }
    }
    found
}

/// Without line ends and blanks, real ones and those escaped in JSON: long values are wrapped.
fn unwrapped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\\', [b'n' | b'r' | b't', after @ ..]) => after,
            _ => {
                if !first.is_ascii_whitespace() {
                    out.push(*first);
                }
                tail
            }
        };
    }
    out
}

/// All pieces of all usual encodings of a secret.
fn pieces(secret: &Secret) -> BTreeSet<Vec<u8>> {
    encodings(&secret.value)
        .iter()
        .flat_map(|encoded| {
            let step = PIECE / 2;
            let last = encoded.len().saturating_sub(PIECE);
            (0..=last)
                .step_by(step)
                .chain([last])
                .map(|from| encoded[from..(from + PIECE).min(encoded.len())].to_vec())
        })
        .filter(|piece| !piece.is_empty())
        .collect()
}

fn encodings(value: &[u8]) -> BTreeSet<Vec<u8>> {
    let percent = percent_encode(value, NON_ALPHANUMERIC).to_string();
    let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    let quoted = serde_json::to_string(&String::from_utf8_lossy(value))
        .expect("a text is valid JSON")
        .trim_matches('"')
        .to_owned();
    let mut all = BTreeSet::from([
        value.to_vec(),
        quoted.into_bytes(),
        // `-`, `.` and `_` need no escape, and some encoders leave them.
        form(value).into_bytes(),
        percent.to_lowercase().into_bytes(),
        percent.into_bytes(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
    ]);
    // Inside of a longer text (`id:secret`) the secret begins at any of three places of a group.
    for before in 0..3_usize {
        let text = [vec![0; before], value.to_vec()].concat();
        for engine in [STANDARD, URL_SAFE] {
            let encoded = engine.encode(&text);
            let encoded = encoded.trim_end_matches('=');
            // The first characters mix with what stands before, the last with what follows.
            let first = (before * 8).div_ceil(6);
            let last = text.len() * 8 / 6;
            if first < last {
                all.insert(encoded.as_bytes()[first..last].to_vec());
            }
        }
    }
    all
}

/// As a form sends it.
fn form(value: &[u8]) -> String {
    const KEPT: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'*')
        .remove(b'~');
    percent_encode(value, KEPT).to_string().replace("%20", "+")
}
