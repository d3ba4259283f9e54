//! Which intent each cancel request was sent under.

use std::time::Duration;

use crate::history::{Answer, History, Kind, Request, Resource, Version};
use crate::status::{may_be_same, plus};

/// How long an intent licenses its send, and the second to which stored times are cut.
const LICENCE: Duration = Duration::from_secs(16);

/// A cancel request with the intent that it was sent under.
pub(crate) struct Licence<'a> {
    pub(crate) request: &'a Request,
    pub(crate) intent: Option<Intent<'a>>,
}

/// A stored version that counts one attempt more.
#[derive(Clone, Copy)]
pub(crate) struct Intent<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) version: &'a Version,
}

impl Intent<'_> {
    pub(crate) fn is(&self, other: &Intent<'_>) -> bool {
        std::ptr::eq(self.version, other.version)
    }
}

/// The intents of a resource, in order.
pub(crate) fn intents(resource: &Resource) -> impl Iterator<Item = &Version> {
    resource
        .writes()
        .filter(|(before, after)| after.attempts() > before.attempts())
        .map(|(_, after)| after)
}

/// Every cancel request of the operator with its intent, in the order of sending.
///
/// A request names no resource and no attempt. It belongs to the latest intent that its process
/// had stored when it was sent; what follows a 401 is sent under the same intent. Where several
/// resources name the job, an intent that no other request used goes first, then one of a
/// resource that still exists, then one that has the token's identity.
pub(crate) fn licences(history: &History) -> Vec<Licence<'_>> {
    let mut requests: Vec<_> = history
        .requests
        .iter()
        .filter(|request| request.kind == Kind::Cancel && !request.duplicate)
        .collect();
    requests.sort_by_key(|request| (request.sent, request.sequence));
    let facts = &history.facts;
    let mut all: Vec<Licence<'_>> = Vec::new();
    for request in requests {
        let used = |intent: &Intent<'_>| {
            all.iter()
                .any(|other| other.intent.as_ref().is_some_and(|it| it.is(intent)))
        };
        let intent = history
            .resources_of(&request.job)
            .filter_map(|(_, resource)| candidate(history, resource, request, &used))
            .min_by_key(|intent| {
                let foreign = intent.version.identity() != request.identity;
                let latest = all
                    .iter()
                    .rev()
                    .find(|last| last.intent.as_ref().is_some_and(|it| it.is(intent)));
                let refused = latest.is_some_and(|latest| {
                    is_refused_token(latest.request) && latest.request.identity == request.identity
                });
                let requested = intent.version.time("requestTime");
                let expired =
                    requested.is_none_or(|at| facts.before(plus(at, LICENCE), request.sent));
                let gone = intent.resource.gone.is_some_and(|gone| gone < request.sent);
                (
                    expired,
                    used(intent) && !refused,
                    gone,
                    foreign,
                    intent.version.stored,
                )
            });
        all.push(Licence { request, intent });
    }
    all
}

fn candidate<'a>(
    history: &History,
    resource: &'a Resource,
    request: &Request,
    used: &impl Fn(&Intent<'a>) -> bool,
) -> Option<Intent<'a>> {
    let facts = &history.facts;
    let known = |version: &&Version| {
        let answered = match version.answer {
            Answer::NotSeen => true,
            Answer::Lost => false,
            Answer::Reached(time) => !facts.before(request.sent, time),
        };
        answered && may_be_same(version.process(), request.process.as_deref())
    };
    let all: Vec<_> = intents(resource)
        .filter(known)
        .map(|version| Intent { resource, version })
        .collect();
    let latest = all
        .iter()
        .rev()
        .find(|intent| intent.version.stored <= request.sent);
    // What was seen a moment after the request may have been stored a moment before it.
    let just_after = || {
        all.iter().find(|intent| {
            let stored = intent.version.stored;
            stored > request.sent && !facts.before(request.sent, stored) && !used(intent)
        })
    };
    latest
        .filter(|intent| !used(intent))
        .or_else(just_after)
        .or(latest)
        .copied()
}

/// A refused token is met once with a fresh one, under the same intent.
pub(crate) fn is_refused_token(request: &Request) -> bool {
    request.reached && request.reply.as_ref().is_some_and(|it| it.status == 401)
}
