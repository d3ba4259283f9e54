//! The `Retry-After` header, in every form that servers send.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// The longest wait that is believed. Nothing waits longer than its deadline anyway, which is
/// at most this long.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long the server asks us to wait.
///
/// Whole seconds on Fabric's wire; also read are fractions and HTTP dates, which are measured
/// against the answer's own `Date` (a clock that differs from ours does no harm), else against
/// `now`. Negative is zero, more than seven days is seven days, and of several values the
/// longest counts. `None` when absent or unreadable.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let sent = headers
        .get(DATE)
        .and_then(|date| http_date(date.to_str().ok()?))
        .unwrap_or(now);
    headers
        .get_all(RETRY_AFTER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter_map(|value| one(value, sent))
        .max()
}

fn one(value: &str, sent: Timestamp) -> Option<Duration> {
    match http_date(value) {
        Some(date) => {
            let wait = date.duration_since(sent);
            Some(Duration::try_from(wait).map_or(Duration::ZERO, |wait| wait.min(LONGEST)))
        }
        // Two headers may arrive joined by a proxy: `30, 60`.
        None => value.split(',').filter_map(seconds).max(),
    }
}

fn http_date(value: &str) -> Option<Timestamp> {
    // Shorter is no date; longer is an attack on the parser.
    if !(20..=40).contains(&value.len()) {
        return None;
    }
    DateTimeParser::new().parse_timestamp(value.trim()).ok()
}

fn seconds(value: &str) -> Option<Duration> {
    let value = value.trim();
    // Rust's own parser also reads `inf`, `nan` and `1e9`, which no server means.
    if !value
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+'))
    {
        return None;
    }
    let seconds: f64 = value.parse().ok()?;
    Some(Duration::try_from_secs_f64(seconds.clamp(0.0, LONGEST.as_secs_f64())).unwrap_or(LONGEST))
}
