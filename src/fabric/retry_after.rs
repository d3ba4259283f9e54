//! The `Retry-After` header, in every form that servers send.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};

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
            // A leap second is read as the one before it, and no wait may become shorter.
            let leap = SignedDuration::from_secs(i64::from(value.contains(":60")));
            let wait = date.duration_since(sent) + leap;
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;

    fn read(values: &[&str], date: Option<&str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        }
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_str(date).unwrap());
        }
        retry_after(&headers, now())
    }

    fn now() -> Timestamp {
        "2026-02-06T08:30:00Z".parse().unwrap()
    }

    #[test]
    fn every_form_is_read_and_nothing_else() {
        let date = "Fri, 06 Feb 2026 08:31:00 GMT";
        let server = Some("Fri, 06 Feb 2026 08:30:50 GMT");
        let leap = "Sat, 31 Dec 2016 23:59:60 GMT";
        for (values, server, expected) in [
            (vec![], None, None),
            (vec!["0"], None, Some(0.0)),
            (vec!["60"], None, Some(60.0)),
            (vec![" 60 "], None, Some(60.0)),
            (vec!["+60"], None, Some(60.0)),
            (vec!["1.5"], None, Some(1.5)),
            (vec!["-5"], None, Some(0.0)),
            (vec!["-1.5"], None, Some(0.0)),
            (vec!["604801"], None, Some(604_800.0)),
            (
                vec!["99999999999999999999999999999999"],
                None,
                Some(604_800.0),
            ),
            (vec!["1e3"], None, None),
            (vec!["inf"], None, None),
            (vec!["NaN"], None, None),
            (vec!["1.2.3"], None, None),
            (vec!["-"], None, None),
            (vec![""], None, None),
            (vec!["soon"], None, None),
            (vec!["5", "50"], None, Some(50.0)),
            (vec!["50", "5"], None, Some(50.0)),
            (vec!["soon", "5"], None, Some(5.0)),
            (vec!["5, 50"], None, Some(50.0)),
            (vec![date], None, Some(60.0)),
            (vec![date], server, Some(10.0)),
            (vec![date], Some("garbage"), Some(60.0)),
            (vec!["Fri, 06 Feb 2026 08:29:00 GMT"], None, Some(0.0)),
            (vec!["Fri, 06 Feb 2099 08:29:00 GMT"], None, Some(604_800.0)),
            (vec!["Thu, 06 Feb 2026 08:31:00 GMT"], None, None),
            (vec![date, "90"], None, Some(90.0)),
            // A leap second, asked for and shown.
            (
                vec![leap],
                Some("Sat, 31 Dec 2016 23:59:50 GMT"),
                Some(10.0),
            ),
            (
                vec!["Sun, 01 Jan 2017 00:00:10 GMT"],
                Some(leap),
                Some(11.0),
            ),
        ] {
            let expected = expected.map(Duration::from_secs_f64);
            assert_eq!(read(&values, server), expected, "{values:?} {server:?}");
        }
    }

    proptest! {
        #[test]
        fn any_value_is_read_within_bounds(
            values in prop::collection::vec("[ -~]{0,60}|-?[0-9]{1,40}(\\.[0-9]{1,40})?", 0..4),
            date in prop::option::of("[ -~]{0,60}"),
        ) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            if let Some(wait) = read(&values, date.as_deref()) {
                prop_assert!(wait <= LONGEST);
            }
        }

        #[test]
        fn whole_seconds_are_never_shortened(seconds in 0..=604_800_u64) {
            prop_assert_eq!(
                read(&[&seconds.to_string()], None),
                Some(Duration::from_secs(seconds))
            );
        }

        #[test]
        fn a_date_means_the_same_as_its_distance_from_the_servers_clock(
            sent in 0..4_000_000_000_i64,
            wait in 0..604_800_i64,
        ) {
            let http_date = |seconds: i64| {
                Timestamp::from_second(seconds)
                    .unwrap()
                    .to_zoned(TimeZone::UTC)
                    .strftime("%a, %d %b %Y %H:%M:%S GMT")
                    .to_string()
            };
            prop_assert_eq!(
                read(&[&http_date(sent + wait)], Some(&http_date(sent))),
                Some(Duration::from_secs(u64::try_from(wait).unwrap()))
            );
        }
    }
}
