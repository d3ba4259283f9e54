//! That it goes on, ends, and then is quiet: L1 to L5.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::history::{
    Answer, ApiRequest, History, Identity, Kind, Request, Resource, Shown, Version,
};
use crate::property::{Property, Violation};
use crate::record::PERSON_MUST_ACT;
use crate::status::{may_be_same, plus, signed};

/// The plural of the cancellations in the API.
const PLURAL: &str = "fabricjobcancellations";

/// Within this time an API request belongs to one burst.
const BURST: Duration = Duration::from_secs(10);

/// L1: every resource that is wanted has an end, in time where the scenario says so.
#[must_use]
pub fn l1_ends(history: &History) -> Vec<Violation> {
    let facts = &history.facts;
    history
        .resources
        .iter()
        .filter(|resource| !facts.may_stay_open.contains(&resource.uid))
        .filter_map(|resource| {
            let title = resource.title();
            let created = resource.created()?;
            let latest = facts.ends_within.map(|within| plus(created, within));
            let Some(end) = resource.end() else {
                let unwanted = resource.deletion_requested.is_some()
                    || resource.gone.is_some()
                    || resource.versions.last()?.is_suspended();
                let early = latest.is_some_and(|latest| facts.before(facts.until, latest));
                return (!unwanted && !early).then(|| {
                    Violation::new(
                        Property::L1,
                        title,
                        [created, facts.until],
                        "it never ended",
                    )
                });
            };
            let late = latest.filter(|latest| facts.before(*latest, end.stored))?;
            Some(Violation::new(
                Property::L1,
                title,
                [end.stored, late],
                "it ended too late",
            ))
        })
        .collect()
}

/// L2: the first cancel request of a resource is not later than its turn: its place in the queue
/// of its namespace times the namespaces that wait with the same identity, at the speed of the
/// quota. Looks may take half of that speed.
#[must_use]
pub fn l2_fair(history: &History) -> Vec<Violation> {
    let (Some(slack), Some(quota)) = (history.facts.fair_slack, history.facts.quota) else {
        return Vec::new();
    };
    let mut queues: BTreeMap<Identity, Vec<(&Resource, Timestamp, Timestamp)>> = BTreeMap::new();
    for resource in &history.resources {
        let first = resource.job().and_then(|job| {
            history
                .requests
                .iter()
                .filter(|request| request.kind == Kind::Cancel && request.job == job)
                .min_by_key(|request| request.sent)
        });
        if let (Some(created), Some(first)) = (resource.created(), first)
            && let Some(identity) = &first.identity
        {
            let waited = (resource, created, first.sent);
            queues.entry(identity.clone()).or_default().push(waited);
        }
    }
    let mut found = Vec::new();
    for queue in queues.values() {
        for (resource, created, sent) in queue {
            let waiting: Vec<_> = queue
                .iter()
                .filter(|(_, theirs, until)| theirs <= sent && until >= created)
                .collect();
            let before_it = |(other, theirs, _): &&&(&Resource, Timestamp, Timestamp)| {
                other.namespace == resource.namespace && theirs <= created
            };
            let place = waiting.iter().filter(before_it).count();
            let namespaces: BTreeSet<_> = waiting.iter().map(|(it, ..)| &it.namespace).collect();
            let turns = (2 * place * namespaces.len()).div_ceil(quota.requests.max(1));
            let windows = u32::try_from(turns).unwrap_or(u32::MAX);
            let latest = plus(plus(*created, quota.window.saturating_mul(windows)), slack);
            if history.facts.before(latest, *sent) {
                found.push(Violation::new(
                    Property::L2,
                    resource.title(),
                    [*sent, latest],
                    format!(
                        "number {place} of its namespace, among {} namespaces, was requested too \
                         late",
                        namespaces.len()
                    ),
                ));
            }
        }
    }
    found
}

/// A write without an answer is tried again until a conflict is met by a read; this is how long
/// that may take.
const UNANSWERED: Duration = Duration::from_secs(300);

/// When the operator learned that this write is stored: at once, or, where its answer was lost,
/// when it next read the resource.
fn learned(history: &History, resource: &Resource, write: &Version) -> Timestamp {
    if write.answer != Answer::Lost {
        return write.stored;
    }
    let about_it = |request: &ApiRequest| {
        request.resource == PLURAL
            && request.namespace == resource.namespace
            && request.name == resource.name
    };
    // What was read before it was sent, in the same moment, does not show it.
    let sent = history.api_requests.iter().rposition(|request| {
        about_it(request)
            && request.verb != "get"
            && request.time <= write.stored
            && may_be_same(request.process.as_deref(), write.process())
    });
    let since = sent.map_or(0, |sent| sent + 1);
    let read = history.api_requests[since..].iter().find(|request| {
        about_it(request)
            && request.verb == "get"
            && request.code == 200
            && request.time >= write.stored
    });
    let latest = plus(write.stored, UNANSWERED);
    read.map_or(latest, |read| read.time.min(latest))
}

/// L3: after the end nothing about the resource is sent to Fabric, asked of the API server or
/// written, apart from the generation that the status speaks of and the deletion by its TTL.
#[must_use]
pub fn l3_quiet(history: &History) -> Vec<Violation> {
    let facts = &history.facts;
    if facts.quiet.is_zero() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for resource in &history.resources {
        let Some(end) = resource.end() else { continue };
        let mut broken = |time: Timestamp, what: String| {
            found.push(Violation::new(
                Property::L3,
                resource.title(),
                [time, end.stored],
                what,
            ));
        };
        let observed = facts.until.duration_since(end.stored);
        if resource.gone.is_none() && observed < signed(facts.quiet) {
            broken(
                facts.until,
                "the observation ended before the quiet time was over".into(),
            );
        }
        let known = learned(history, resource, end);
        let asked_from = known.max(facts.stale_until.unwrap_or(known));
        for request in requests_for_nobody(history, resource, asked_from) {
            broken(
                request.0,
                format!("request {} was sent after the end", request.1),
            );
        }
        for (before, after) in resource.writes() {
            let generation = before.status()["observedGeneration"].as_i64();
            let caught_up = generation != after.status()["observedGeneration"].as_i64();
            if before.is_over() && !caught_up {
                broken(after.stored, "it was written after the end".into());
            }
        }
        // Whoever had no answer to the write that catches up tries it again.
        let unanswered: Vec<_> = resource
            .writes()
            .filter(|(before, after)| before.is_over() && after.answer == Answer::Lost)
            .map(|(_, after)| (after, learned(history, resource, after)))
            .collect();
        let ttl =
            |version: &&Version| version.object["spec"]["ttlSecondsAfterFinished"].is_number();
        for request in history.api_requests.iter().filter(|request| {
            request.resource == PLURAL
                && request.namespace == resource.namespace
                && request.name == resource.name
                && facts.before(asked_from, request.time)
                && resource
                    .gone
                    .is_none_or(|gone| !facts.before(gone, request.time))
        }) {
            // A name can be given again in the moment in which it is free.
            let successor = history.resources.iter().any(|other| {
                let same = (&other.namespace, &other.name) == (&resource.namespace, &resource.name);
                let later = other
                    .created()
                    .is_some_and(|at| at >= end.stored && at <= request.time);
                same && other.uid != resource.uid && later
            });
            if successor {
                continue;
            }
            let now = resource.at(request.time);
            let unobserved =
                now.is_some_and(|it| it.generation() != it.status()["observedGeneration"].as_i64());
            // The answer to the write that catches up comes after the version is stored.
            let just_written =
                now.is_some_and(|it| it.is_operators() && !facts.before(it.stored, request.time));
            let deletes = now.filter(ttl).is_some();
            let tried_again = unanswered.iter().any(|(write, known)| {
                may_be_same(request.process.as_deref(), write.process())
                    && !facts.before(request.time, write.stored)
                    && !facts.before(*known, request.time)
            });
            // Whoever did not know has learned of it long before the quiet time is over.
            let late = plus(request.time, facts.quiet / 2) > facts.until;
            let may_not_know = if history.shown.is_empty() {
                is_a_latecomers(history, resource, end, request)
            } else {
                is_behind(history, resource, request)
            };
            let latecomer = may_not_know && !late;
            if !(unobserved || just_written || deletes || tried_again || latecomer) {
                broken(
                    request.time,
                    format!("the API server got a {} after the end", request.verb),
                );
            }
        }
    }
    found
}

/// Requests about the job of an ended resource while no other resource wants them.
fn requests_for_nobody<'a>(
    history: &'a History,
    resource: &'a Resource,
    end: Timestamp,
) -> impl Iterator<Item = (Timestamp, u64)> + 'a {
    let facts = &history.facts;
    let job = resource.job();
    history
        .requests
        .iter()
        .filter(move |request| {
            Some(&request.job) == job.as_ref()
                && !request.duplicate
                && facts.before(end, request.sent)
        })
        .filter(move |request| {
            !history
                .resources_of(&request.job)
                .filter(|(_, other)| other.uid != resource.uid)
                .any(|(_, other)| {
                    let created = other.created();
                    created.is_some_and(|at| !facts.before(request.sent, at))
                        && other.gone.is_none_or(|at| !facts.before(at, request.sent))
                        && other
                            .end()
                            .is_none_or(|end| !facts.before(end.stored, request.sent))
                })
        })
        .filter(move |request| !is_first_of_a_latecomer(history, resource, request))
        .map(|request| (request.sent, request.sequence))
}

/// Whether a process that did not write the end looks for the first time since: it took over with
/// an older view. Its write is refused, and it then knows.
fn is_first_of_a_latecomer(history: &History, resource: &Resource, request: &Request) -> bool {
    let Some(end) = resource.end() else {
        return false;
    };
    let (writer, process) = (end.process(), request.process.as_deref());
    let earlier = history.requests.iter().any(|other| {
        other.job == request.job
            && other.process.as_deref() == process
            && other.sequence < request.sequence
            && other.sent >= end.stored
    });
    request.kind == Kind::Look
        && process.is_some()
        && writer.is_some()
        && writer != process
        && !earlier
}

/// The same at the API server: what such a process writes is refused, once, and then it reads.
fn is_a_latecomers(
    history: &History,
    resource: &Resource,
    end: &Version,
    request: &ApiRequest,
) -> bool {
    let (Some(writer), Some(process)) = (end.process(), request.process.as_deref()) else {
        return false;
    };
    let told = |other: &ApiRequest| match other.verb.as_str() {
        "get" => other.code == 200,
        _ => other.code == 409,
    };
    let mut earlier = history.api_requests.iter().filter(|other| {
        other.process.as_deref() == Some(process)
            && other.resource == PLURAL
            && other.namespace == resource.namespace
            && other.name == resource.name
            && other.time >= end.stored
            && other.time < request.time
    });
    let reads = request.verb == "get";
    let knows = earlier.any(|other| told(other) && (other.verb == "get" || !reads));
    writer != process && !knows && (reads || request.code != 200)
}

/// Whether a process cannot know of the end: it was shown older editions and none that has the end,
/// and it either did not write the end, or saw the resource without it afterwards. Its writes are
/// refused, and then it reads.
fn is_behind(history: &History, resource: &Resource, request: &ApiRequest) -> bool {
    let Some(end) = resource.end() else {
        return false;
    };
    let (before, after): (Vec<_>, Vec<_>) = history
        .shown
        .iter()
        .filter(|shown| {
            shown.uid == resource.uid
                && request.process.as_ref() == Some(&shown.process)
                && shown.time <= request.time
        })
        .partition(|shown| {
            let versions = resource.versions.iter();
            let mut older = versions.take_while(|version| !version.is_over());
            older.any(|version| version.resource_version == shown.resource_version)
        });
    // What was shown a moment ago may not be worked upon yet.
    let knows = |shown: &&Shown| history.facts.before(shown.time, request.time);
    let is_anothers = end.process() != request.process.as_deref();
    let is_old = |shown: &&Shown| is_anothers || shown.time >= end.stored;
    !after.iter().any(knows) && before.iter().any(is_old)
}

/// L4: each write says something new, and no process makes more requests about one resource in
/// ten seconds than the scenario allows.
#[must_use]
pub fn l4_no_livelock(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    for resource in &history.resources {
        found.extend(
            resource
                .writes()
                .filter(|(before, after)| news(before) == news(after) && !tells_a_person(after))
                .map(|(before, after)| {
                    Violation::new(
                        Property::L4,
                        resource.title(),
                        [after.stored, before.stored],
                        format!(
                            "resourceVersion {} says nothing new",
                            after.resource_version
                        ),
                    )
                }),
        );
    }
    let most = history.facts.busy_limit;
    let mut asked: BTreeMap<_, Vec<Timestamp>> = BTreeMap::new();
    for request in history
        .api_requests
        .iter()
        .filter(|it| it.resource == PLURAL)
    {
        let about = (&request.process, &request.namespace, &request.name);
        asked.entry(about).or_default().push(request.time);
    }
    for ((_, namespace, name), mut times) in asked {
        times.sort_unstable();
        let burst = times
            .windows(most + 1)
            .find(|many| many[most] < plus(many[0], BURST));
        found.extend(burst.map(|many| {
            Violation::new(
                Property::L4,
                format!("{namespace}/{name}"),
                [many[0], many[most]],
                format!("more than {most} API requests within {BURST:?}"),
            )
        }));
    }
    found
}

/// Whether the wording itself is news: what a person must mend next, or why it is held back.
fn tells_a_person(version: &Version) -> bool {
    let reason = version.reason("Ready");
    reason == "Suspended" || PERSON_MUST_ACT.contains(&reason)
}

/// What a status says, without what is only wording: a write that changes messages alone feeds
/// the watch that caused it.
fn news(version: &Version) -> Value {
    let mut status = version.status().clone();
    if let Some(conditions) = status["conditions"].as_array_mut() {
        for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
            condition.remove("message");
            condition.remove("lastTransitionTime");
        }
    }
    if let Some(error) = status["lastError"].as_object_mut() {
        error.remove("message");
        error.remove("requestId");
    }
    status
}

/// L5: no finalizer is the operator's, and what is deleted is gone at once unless somebody
/// else's finalizer holds it.
#[must_use]
pub fn l5_deletion_is_free(history: &History) -> Vec<Violation> {
    let facts = &history.facts;
    let finalizers = |version: &Version| -> BTreeSet<String> {
        let listed = version.object["metadata"]["finalizers"].as_array();
        let names = listed.into_iter().flatten().filter_map(Value::as_str);
        names.map(str::to_owned).collect()
    };
    let mut found = Vec::new();
    for resource in &history.resources {
        for (before, after) in resource.writes() {
            if !finalizers(after).is_subset(&finalizers(before)) {
                found.push(Violation::new(
                    Property::L5,
                    resource.title(),
                    [after.stored],
                    "the operator added a finalizer",
                ));
            }
        }
        let held = resource
            .versions
            .last()
            .is_some_and(|version| !finalizers(version).is_empty());
        if let Some(asked) = resource.deletion_requested
            && !held
            && facts.before(asked, resource.gone.unwrap_or(facts.until))
        {
            found.push(Violation::new(
                Property::L5,
                resource.title(),
                [asked, resource.gone.unwrap_or(facts.until)],
                "the deletion took time",
            ));
        }
    }
    found
}
