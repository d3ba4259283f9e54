//! Cancel requests against their intents: S2, S3, S4 and S5.

use std::time::Duration;

use jiff::Timestamp;

use crate::history::{History, JobIds, Lifecycle, Request, Resource, Version};
use crate::licence::{Intent, Licence, intents, is_refused_token, licences};
use crate::property::{Property, Violation};
use crate::status::plus;

/// How long an intent licenses its one send.
const LICENCE: Duration = Duration::from_secs(15);

/// Stored times are whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// A request is given up after this.
const WHOLE_CALL: Duration = Duration::from_secs(20);

/// An accepted request is repeated after this, so often at most.
const REPEAT: (Duration, usize) = (Duration::from_secs(600), 2);

/// What was begun before a SIGTERM may be stored this long after it.
const IN_FLIGHT: Duration = Duration::from_secs(5);

/// S2: each cancel request has an intent of its own that was stored, and answered, before it, at
/// most 15 s ago. After a 401 it may be sent once more under the same one.
#[must_use]
pub fn s2_intent_first(history: &History) -> Vec<Violation> {
    let facts = &history.facts;
    let all = licences(history);
    let mut found = Vec::new();
    for (index, licence) in all.iter().enumerate() {
        let sent = licence.request.sent;
        let Some(intent) = &licence.intent else {
            found.push(Violation::new(
                Property::S2,
                whose(history, &licence.request.job),
                [sent],
                format!(
                    "cancel request {} was sent without a stored and answered intent",
                    licence.request.sequence
                ),
            ));
            continue;
        };
        let attempt = intent.version.attempts();
        let mut broken = |times: Vec<Timestamp>, what: String| {
            found.push(Violation::new(
                Property::S2,
                intent.resource.title(),
                times,
                format!("cancel request {} {what}", licence.request.sequence),
            ));
        };
        match intent.version.time("requestTime") {
            None => broken(
                vec![sent, intent.version.stored],
                format!("was sent, but the intent of attempt {attempt} has no requestTime"),
            ),
            Some(time) if facts.before(sent, time) => broken(
                vec![sent, time],
                format!("was sent before the requestTime of attempt {attempt}"),
            ),
            Some(time) if facts.before(plus(plus(time, LICENCE), SECOND), sent) => broken(
                vec![sent, time],
                format!("was sent when the intent of attempt {attempt} had expired"),
            ),
            Some(_) => {}
        }
        let earlier: Vec<_> = same_intent(&all[..index], intent).collect();
        let sent_again = earlier.len() == 1 && is_refused_token(earlier[0]);
        if !earlier.is_empty() && !sent_again {
            broken(
                vec![sent, earlier[0].sent],
                format!(
                    "was sent under the intent of attempt {attempt}, which request {} had used",
                    earlier[0].sequence
                ),
            );
        }
    }
    found
}

/// S3: at most one processed cancel request for each recorded attempt.
#[must_use]
pub fn s3_once_per_attempt(history: &History) -> Vec<Violation> {
    let all: Vec<_> = licences(history)
        .into_iter()
        .filter(|licence| licence.request.processed)
        .collect();
    let mut found = Vec::new();
    for (index, licence) in all.iter().enumerate() {
        let Some(intent) = &licence.intent else {
            continue;
        };
        if let Some(first) = same_intent(&all[..index], intent).next() {
            found.push(Violation::new(
                Property::S3,
                intent.resource.title(),
                [licence.request.sent, first.sent],
                format!(
                    "Fabric processed requests {} and {} of attempt {}",
                    first.sequence,
                    licence.request.sequence,
                    intent.version.attempts()
                ),
            ));
        }
    }
    found
}

/// S4: processed cancel requests are at most 1 + crashes + lost answers + the repeats of an
/// accepted request that Fabric did not follow; and a process that was asked to end begins none.
#[must_use]
pub fn s4_counts(history: &History) -> Vec<Violation> {
    let all = licences(history);
    let mut found = Vec::new();
    for resource in &history.resources {
        found.extend(begun_while_ending(history, resource));
        let processed: Vec<&Request> = all
            .iter()
            .filter(|licence| licence.request.processed && belongs(history, licence, resource))
            .map(|licence| licence.request)
            .collect();
        let (Some(first), Some(last)) = (processed.first(), processed.last()) else {
            continue;
        };
        let crashes = crashes(history)
            .filter(|(_, time)| {
                !history.facts.before(*time, first.sent) && !history.facts.before(last.sent, *time)
            })
            .count();
        let lost = processed
            .iter()
            .enumerate()
            .filter(|(index, request)| {
                let next = processed.get(index + 1).map_or(last.sent, |next| next.sent);
                is_lost(history, request, next)
            })
            .count();
        let repeats = processed
            .windows(2)
            .filter(|pair| is_repeat(history, resource, pair[0], pair[1]))
            .count()
            .min(REPEAT.1);
        let most = 1 + crashes + lost + repeats + history.facts.extra_posts;
        if processed.len() > most {
            found.push(Violation::new(
                Property::S4,
                resource.title(),
                processed.iter().map(|request| request.sent),
                format!(
                    "Fabric processed {} cancel requests; {crashes} crashes, {lost} lost answers \
                     and {repeats} repeats allow {most}",
                    processed.len()
                ),
            ));
        }
    }
    found
}

/// S5: nothing is sent after a stored end, nor under an intent that showed a deletion or a
/// suspension.
#[must_use]
pub fn s5_none_unwanted(history: &History) -> Vec<Violation> {
    let facts = &history.facts;
    let mut found = Vec::new();
    for Licence { request, intent } in licences(history) {
        let sent = request.sent;
        let mut broken = |subject: String, since: Timestamp, what: &str| {
            found.push(Violation::new(
                Property::S5,
                subject,
                [sent, since],
                format!("cancel request {} was sent {what}", request.sequence),
            ));
        };
        if let Some(Intent { resource, version }) = intent {
            let title = resource.title();
            if version.is_deleting() {
                broken(
                    title.clone(),
                    version.stored,
                    "although it was being deleted",
                );
            }
            if version.is_suspended() {
                broken(title.clone(), version.stored, "although it was suspended");
            }
            if let Some(end) = resource.end()
                && facts.before(end.stored, sent)
            {
                broken(title, end.stored, "after the end was stored");
            }
        } else {
            // Sent for nobody: it is unwanted when nobody who named the job wanted it.
            let reasons: Vec<_> = history
                .resources_of(&request.job)
                .map(|(_, resource)| unwanted(history, resource, sent))
                .collect();
            if let Some(Some((since, what))) = reasons.first()
                && reasons.iter().all(Option::is_some)
            {
                broken(whose(history, &request.job), *since, what);
            }
        }
    }
    found
}

/// Since when, and why, nobody could want a request for this resource.
fn unwanted(
    history: &History,
    resource: &Resource,
    sent: Timestamp,
) -> Option<(Timestamp, &'static str)> {
    let facts = &history.facts;
    if let Some(gone) = resource.gone
        && facts.before(gone, sent)
    {
        return Some((gone, "after the deletion"));
    }
    let certain: Vec<&Version> = resource
        .versions
        .iter()
        .filter(|version| facts.before(version.stored, sent))
        .collect();
    let now = certain.last()?;
    match () {
        () if now.is_over() => Some((now.stored, "after the end was stored")),
        () if now.is_deleting() => Some((now.stored, "although it was being deleted")),
        () if now.is_suspended() => Some((now.stored, "although it was suspended")),
        () => None,
    }
}

fn begun_while_ending(history: &History, resource: &Resource) -> Vec<Violation> {
    let asked: Vec<_> = history
        .processes
        .iter()
        .filter(|event| event.what == Lifecycle::Terminated)
        .collect();
    intents(resource)
        .filter_map(|intent| {
            let process = intent.process()?;
            let event = asked.iter().find(|event| event.process == process)?;
            history
                .facts
                .before(plus(event.time, IN_FLIGHT), intent.stored)
                .then(|| {
                    Violation::new(
                        Property::S4,
                        resource.title(),
                        [intent.stored, event.time],
                        format!("process {process} began an attempt although it was asked to end"),
                    )
                })
        })
        .collect()
}

fn same_intent<'a>(
    all: &'a [Licence<'a>],
    intent: &'a Intent<'a>,
) -> impl Iterator<Item = &'a Request> {
    all.iter()
        .filter(|other| other.intent.as_ref().is_some_and(|it| it.is(intent)))
        .map(|other| other.request)
}

fn is_accepted(request: &Request) -> bool {
    let accepted = request
        .reply
        .as_ref()
        .is_some_and(|reply| (200..300).contains(&reply.status));
    request.reached && accepted
}

/// Whether the process could not know that Fabric had processed the request, although it lived.
/// It lived when the next request was sent: a later crash is another fault.
fn is_lost(history: &History, request: &Request, next: Timestamp) -> bool {
    let given_up = plus(request.sent, WHOLE_CALL);
    let died = crashes(history).any(|(process, time)| {
        request.process.as_deref() == Some(process)
            && request.sent <= time
            && time <= given_up.min(next)
    });
    !is_accepted(request) && !died
}

fn is_repeat(history: &History, resource: &Resource, before: &Request, request: &Request) -> bool {
    let accepted = resource
        .at(request.sent)
        .and_then(|version| version.time("acceptedTime"));
    // It is counted from the stored `acceptedTime`, which is cut to the second.
    let pause = plus(before.sent, REPEAT.0.saturating_sub(SECOND));
    accepted.is_some() && !history.facts.before(request.sent, pause)
}

fn belongs(history: &History, licence: &Licence<'_>, resource: &Resource) -> bool {
    match &licence.intent {
        Some(intent) => std::ptr::eq(intent.resource, resource),
        None => history
            .resources_of(&licence.request.job)
            .next()
            .is_some_and(|(_, first)| std::ptr::eq(first, resource)),
    }
}

fn crashes(history: &History) -> impl Iterator<Item = (&str, Timestamp)> {
    history
        .processes
        .iter()
        .filter(|event| event.what == Lifecycle::Crashed)
        .map(|event| (event.process.as_str(), event.time))
}

/// The resources that name a job, for a report.
fn whose(history: &History, job: &JobIds) -> String {
    let titles: Vec<_> = history
        .resources_of(job)
        .map(|(_, resource)| resource.title())
        .collect();
    if titles.is_empty() {
        format!("{job:?}, which no resource names")
    } else {
        titles.join(", ")
    }
}
