//! The quota of an identity and its gate: S7 and S10.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::history::{Facts, History, Identity, Quota, Request};
use crate::property::{Property, Violation};
use crate::status::plus;

/// One answer closes the gate at most this long.
const LONGEST: Duration = Duration::from_secs(600);

/// For how long an answer without `Retry-After` closes it.
const DEFAULT: Duration = Duration::from_secs(60);

/// Error codes of a 429 that speak of the identity's quota; none does, too.
const OF_THE_IDENTITY: [&str; 2] = ["RequestBlocked", "TooManyRequests"];

/// The requests of one process with one identity, in the order of sending.
type Sent<'a> = BTreeMap<Option<&'a str>, Vec<&'a Request>>;

/// A time in which a process knew that the gate was closed.
struct Closed {
    since: Timestamp,
    until: Timestamp,
}

/// S7: a process that was told to wait sends nothing with this identity until then, and then one
/// probe; another process, which could not know, sends one.
#[must_use]
pub fn s7_closed_gate(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    for (identity, sent) in by_identity(history) {
        let closed: BTreeMap<_, _> = sent
            .iter()
            .map(|(process, requests)| (*process, closed(requests)))
            .collect();
        for (process, requests) in &sent {
            for gap in &closed[process] {
                found.extend(through_the_gate(&history.facts, identity, gap, requests));
                found.extend(herd(&history.facts, identity, gap, requests));
            }
            for (_, gaps) in closed.iter().filter(|(other, _)| *other != process) {
                found.extend(
                    gaps.iter()
                        .filter_map(|gap| strangers(&history.facts, identity, gap, requests)),
                );
            }
        }
    }
    found
}

/// S10: within any time as long as the server's window, one process sends at most the quota.
/// What one process had used up, its successor cannot know.
#[must_use]
pub fn s10_within_quota(history: &History) -> Vec<Violation> {
    let Some(Quota {
        requests: most,
        window,
    }) = history.facts.quota
    else {
        return Vec::new();
    };
    let window = window.saturating_sub(history.facts.tolerance);
    let mut found = Vec::new();
    for (identity, sent) in by_identity(history) {
        for requests in sent.values() {
            let mut arrived: Vec<_> = requests.iter().filter_map(|it| it.arrived).collect();
            arrived.sort_unstable();
            let too_many = arrived
                .windows(most + 1)
                .find(|many| many[most] < plus(many[0], window));
            found.extend(too_many.map(|many| {
                Violation::new(
                    Property::S10,
                    name_of(identity),
                    [many[0], many[most]],
                    format!("more than {most} requests arrived within {window:?}"),
                )
            }));
        }
    }
    found
}

fn by_identity(history: &History) -> BTreeMap<&Identity, Sent<'_>> {
    let mut all: BTreeMap<_, Sent<'_>> = BTreeMap::new();
    for request in history.requests.iter().filter(|it| !it.duplicate) {
        if let Some(identity) = &request.identity {
            all.entry(identity)
                .or_default()
                .entry(request.process.as_deref())
                .or_default()
                .push(request);
        }
    }
    for requests in all.values_mut().flat_map(BTreeMap::values_mut) {
        requests.sort_by_key(|request| (request.sent, request.sequence));
    }
    all
}

/// When the answers to these requests closed the gate, overlapping times joined.
fn closed(requests: &[&Request]) -> Vec<Closed> {
    let mut all: Vec<Closed> = requests
        .iter()
        .filter(|request| request.reached)
        .filter_map(|request| request.reply.as_ref())
        .filter(|reply| {
            let code = reply.error_code.as_deref();
            reply.status == 429 && code.is_none_or(|code| OF_THE_IDENTITY.contains(&code))
        })
        .map(|reply| Closed {
            since: reply.time,
            until: plus(
                reply.time,
                reply.retry_after.unwrap_or(DEFAULT).min(LONGEST),
            ),
        })
        .collect();
    all.sort_by_key(|gap| gap.since);
    let mut joined: Vec<Closed> = Vec::new();
    for gap in all {
        match joined.last_mut() {
            Some(last) if gap.since <= last.until => last.until = last.until.max(gap.until),
            _ => joined.push(gap),
        }
    }
    joined
}

fn through_the_gate(
    facts: &Facts,
    identity: &Identity,
    gap: &Closed,
    requests: &[&Request],
) -> Option<Violation> {
    let through = requests
        .iter()
        .find(|it| facts.before(gap.since, it.sent) && facts.before(it.sent, gap.until))?;
    Some(Violation::new(
        Property::S7,
        name_of(identity),
        [through.sent, gap.since, gap.until],
        format!(
            "request {} was sent while the gate was closed",
            through.sequence
        ),
    ))
}

/// More than one request when the gate opens, before the first of them was answered.
fn herd(
    facts: &Facts,
    identity: &Identity,
    gap: &Closed,
    requests: &[&Request],
) -> Option<Violation> {
    let mut after = requests
        .iter()
        .filter(|it| !facts.before(it.sent, gap.until));
    let probe = after.next()?;
    let reply = probe.reply.as_ref().filter(|_| probe.reached)?;
    let second = after.find(|it| facts.before(it.sent, reply.time))?;
    Some(Violation::new(
        Property::S7,
        name_of(identity),
        [second.sent, probe.sent, reply.time],
        format!(
            "request {} was sent while the probe, request {}, was not answered",
            second.sequence, probe.sequence
        ),
    ))
}

/// More than one request of a process that did not know, before it had an answer.
fn strangers(
    facts: &Facts,
    identity: &Identity,
    gap: &Closed,
    requests: &[&Request],
) -> Option<Violation> {
    let learned = requests
        .iter()
        .filter(|it| it.reached)
        .filter_map(|it| it.reply.as_ref())
        .map(|reply| reply.time)
        .min()
        .unwrap_or(Timestamp::MAX);
    let mut blind = requests.iter().filter(|it| {
        facts.before(gap.since, it.sent)
            && facts.before(it.sent, gap.until)
            && facts.before(it.sent, learned)
    });
    let (first, second) = (blind.next()?, blind.next()?);
    Some(Violation::new(
        Property::S7,
        name_of(identity),
        [second.sent, first.sent, gap.until],
        format!(
            "requests {} and {} of a new process were sent while the gate was closed",
            first.sequence, second.sequence
        ),
    ))
}

fn name_of(identity: &Identity) -> String {
    format!("identity {}/{}", identity.tenant_id, identity.client_id)
}
