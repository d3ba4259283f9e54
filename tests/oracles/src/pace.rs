//! Never early: S9.

use std::time::Duration;

use jiff::Timestamp;

use crate::history::{History, Request, Resource};
use crate::property::{Property, Violation};
use crate::status::{may_be_same, plus};

/// No hint asks for more than the longest deadline that a resource can have.
const LONGEST: Duration = Duration::from_secs(604_800);

/// S9: nothing is sent before the `notBeforeTime` that was stored when it was sent, and nothing
/// by a process before the `Retry-After` of an answer that it got.
///
/// A request names no resource. Where several name its job, at once or one after the other, it is
/// early when it is for each of them, and only stored times count, because the answer may have
/// been another's. Whoever is shown an old version does not know what was stored since.
#[must_use]
pub fn s9_never_early(history: &History) -> Vec<Violation> {
    let facts = &history.facts;
    let mut found = Vec::new();
    for request in history.requests.iter().filter(|it| !it.duplicate) {
        let candidates: Vec<_> = history
            .resources_of(&request.job)
            .map(|(_, resource)| resource)
            .filter(|resource| {
                let created = resource.created();
                let there = created.is_some_and(|at| !facts.before(request.sent, at));
                there
                    && resource
                        .gone
                        .is_none_or(|at| !facts.before(at, request.sent))
            })
            .collect();
        let alone = history.resources_of(&request.job).count() == 1;
        let stale = facts.stale_until.is_some_and(|until| request.sent < until);
        let early: Vec<_> = candidates
            .iter()
            .map(|resource| {
                let stored = (!stale)
                    .then(|| stored(history, resource, request))
                    .flatten();
                let hint = (alone && !stale)
                    .then(|| hint(history, resource, request))
                    .flatten();
                stored
                    .max(hint)
                    .filter(|(until, _)| facts.before(request.sent, *until))
            })
            .collect();
        if let Some(Some((until, why))) = early.first()
            && early.iter().all(Option::is_some)
        {
            found.push(Violation::new(
                Property::S9,
                candidates[0].title(),
                [request.sent, *until],
                format!("request {} was sent before {why}", request.sequence),
            ));
        }
    }
    found
}

type Until = (Timestamp, &'static str);

/// The `notBeforeTime` that certainly was stored and could be known, if the operator had stored it.
fn stored(history: &History, resource: &Resource, request: &Request) -> Option<Until> {
    let unseen = history.facts.unseen_until;
    let certain = resource.versions.iter().rev().find(|version| {
        let seen = unseen.is_none_or(|until| request.sent >= until);
        history.facts.before(version.stored, request.sent)
            && (seen || may_be_same(version.process(), request.process.as_deref()))
    })?;
    let until = certain.time("notBeforeTime")?;
    resource
        .versions
        .iter()
        .any(|version| version.is_operators() && version.time("notBeforeTime") == Some(until))
        .then_some((until, "the stored notBeforeTime"))
}

/// The latest time that an answer to this process asked for.
fn hint(history: &History, resource: &Resource, request: &Request) -> Option<Until> {
    let created = resource.created()?;
    history
        .requests
        .iter()
        .filter(|earlier| {
            earlier.job == request.job
                && earlier.reached
                && !history.facts.before(earlier.sent, created)
                && may_be_same(earlier.process.as_deref(), request.process.as_deref())
        })
        .filter_map(|earlier| earlier.reply.as_ref())
        .filter(|reply| history.facts.before(reply.time, request.sent))
        .filter_map(|reply| Some(plus(reply.time, reply.retry_after?.min(LONGEST))))
        .max()
        .map(|until| (until, "the Retry-After of an answer"))
}
