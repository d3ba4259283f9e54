//! What was seen of a run, as the oracles want it.

use std::time::Duration;

use fabric_simulator::JobView;
use oracles::{
    Answer, ApiRequest, Capture, Facts, Guard, History, Job, JobIds, Quota, Request, Resource,
    Secret, Version, Writer,
};
use virtual_cluster::api_server::{CANCELLATIONS, Change, Entry, Event, NAMESPACE, Verb};

use crate::{
    log,
    run::{QUIET, World},
};

/// How far a process may be from the API server's clock, when its node's clock is wrong: what
/// counts as no difference, and what a `Date` in whole seconds leaves.
const WRONG_CLOCK: Duration = Duration::from_secs(8);

/// How long a stale view may work on after the calm: a conflict is met by a live read.
const UNSTALE: Duration = Duration::from_secs(300);

/// Where each secret belongs.
const ENTRA: &str = "entra";
const FABRIC: &str = "fabric";

/// Everything that was seen.
pub fn of(world: &World) -> History {
    let mut facts = Facts::until(world.calendar.now());
    facts.quiet = QUIET;
    facts.quota = Some(Quota {
        requests: 200,
        window: Duration::from_secs(60),
    });
    facts.identities = [(NAMESPACE.to_owned(), World::identities())].into();
    if !world.plan.clocks.is_empty() {
        facts.tolerance = WRONG_CLOCK;
    }
    let requests = world.server.requests();
    let calm = world.calendar.start() + world.plan.calm;
    if world.plan.shows_old() {
        facts.stale_until = Some(calm + UNSTALE);
    }
    if world.plan.replicas > 1 && requests.iter().any(is_silent_watch) {
        facts.unseen_until = Some(calm + UNSTALE);
    }
    let mut history = History::new(facts);
    history.resources = resources(&world.server.log(&CANCELLATIONS), &requests);
    history.processes = world.cluster.events();
    history.api_requests = requests
        .iter()
        .filter(|request| request.verb != Verb::Watch)
        .map(api_request)
        .collect();
    let calls = world.wire.calls();
    history.requests = calls
        .iter()
        .enumerate()
        .filter_map(|(index, call)| {
            let (kind, job) = call.kind.clone()?;
            Some(Request {
                sequence: index as u64,
                kind,
                job,
                identity: call.identity.clone(),
                process: Some(call.process.clone()),
                sent: call.sent,
                arrived: call.arrived,
                reply: call.reply.clone(),
                reached: call.reached,
                processed: call.processed && kind == oracles::Kind::Cancel,
                duplicate: false,
            })
        })
        .collect();
    history.jobs = (0..world.jobs.len())
        .filter_map(|index| {
            let forgotten = world.forgotten.get(&index).cloned();
            let id = world.jobs[index].job_instance_id;
            Some(job(world, &forgotten.or_else(|| world.fabric.job(id))?))
        })
        .collect();
    history.captures = captures(&requests, &calls);
    history.secrets = secrets(world);
    history
}

fn resources(log: &[Event], requests: &[Entry]) -> Vec<Resource> {
    let mut all: Vec<Resource> = Vec::new();
    for event in log.iter().filter(|event| event.key.kind == &CANCELLATIONS) {
        let uid = event.object["metadata"]["uid"].as_str().unwrap_or_default();
        let known = all.iter().position(|resource| resource.uid == uid);
        let index = known.unwrap_or_else(|| {
            all.push(Resource {
                uid: uid.to_owned(),
                namespace: event.key.namespace.clone(),
                name: event.key.name.clone(),
                versions: Vec::new(),
                deletion_requested: None,
                gone: None,
            });
            all.len() - 1
        });
        if event.change == Change::Deleted {
            all[index].deletion_requested = Some(event.time);
            all[index].gone = Some(event.time);
        } else {
            all[index].versions.push(version(event, requests));
        }
    }
    all
}

fn version(event: &Event, requests: &[Entry]) -> Version {
    let cause = event.cause.as_ref();
    let request = cause.map(|cause| &requests[cause.request]);
    Version {
        resource_version: event.version.to_string(),
        stored: event.time,
        object: event.object.clone(),
        writer: match request {
            Some(request) => Writer::Operator(Some(request.user.clone())),
            None => Writer::Other("somebody".to_owned()),
        },
        guard: match cause.map(|cause| cause.guard.clone()) {
            Some(Some(version)) => Guard::ResourceVersion(version),
            Some(None) => Guard::Unguarded,
            None => Guard::NotSeen,
        },
        answer: match request.map(|request| request.reached) {
            Some(Some(time)) => Answer::Reached(time),
            Some(None) => Answer::Lost,
            None => Answer::NotSeen,
        },
    }
}

fn api_request(entry: &Entry) -> ApiRequest {
    let verb = match entry.verb {
        Verb::Get => "get",
        Verb::List => "list",
        Verb::Watch => "watch",
        Verb::Create => "create",
        Verb::Update => "update",
        Verb::Patch => "patch",
        Verb::Delete => "delete",
    };
    ApiRequest {
        time: entry.time,
        process: Some(entry.user.clone()),
        verb: verb.to_owned(),
        resource: entry.resource.trim_end_matches("/status").to_owned(),
        namespace: NAMESPACE.to_owned(),
        name: entry.name.clone().unwrap_or_default(),
        code: entry.code.unwrap_or_default(),
    }
}

/// The states that a job truly had, as far as the oracles ask: how it began and how it ended.
fn job(world: &World, view: &JobView) -> Job {
    let mut states = Vec::new();
    let status = serde_json::to_value(&view.status).expect("a status is a text");
    let status = status.as_str().unwrap_or_default().to_owned();
    let start = world.calendar.start();
    match view.end_time {
        Some(end) if end > start => {
            states.push((start, "InProgress".to_owned()));
            states.push((end, status));
        }
        _ => states.push((start, status)),
    }
    Job {
        ids: JobIds {
            workspace_id: view.job.workspace_id.to_string(),
            item_id: view.job.item_id.to_string(),
            job_instance_id: view.job.job_instance_id.to_string(),
        },
        states,
    }
}

/// A watch of the cancellations that got no answer: until it is given up, its process does not learn
/// what another one stored.
fn is_silent_watch(request: &Entry) -> bool {
    request.verb == Verb::Watch
        && request.resource == CANCELLATIONS.plural
        && request.reached.is_none()
}

fn captures(requests: &[Entry], calls: &[crate::wire::Call]) -> Vec<Capture> {
    let sent = requests.iter().map(|request| Capture {
        channel: "kubernetes".to_owned(),
        stream: request.user.clone(),
        bytes: request.body.to_vec(),
    });
    let called = calls.iter().map(|call| {
        let entra = call.kind.is_none();
        Capture {
            channel: if entra { ENTRA } else { FABRIC }.to_owned(),
            stream: call.process.clone(),
            bytes: call.bytes.clone(),
        }
    });
    let logged = Capture {
        channel: "log".to_owned(),
        stream: String::new(),
        bytes: log::lines().into_iter().flat_map(|it| it.json).collect(),
    };
    sent.chain(called).chain([logged]).collect()
}

fn secrets(world: &World) -> Vec<Secret> {
    let secret = |name: String, value: &str, channel: &str| Secret {
        name,
        value: value.as_bytes().to_vec(),
        allowed: vec![channel.to_owned()],
    };
    let clients = world.client_secrets.iter().enumerate();
    let clients =
        clients.map(|(number, value)| secret(format!("client secret {number}"), value, ENTRA));
    let tokens = world.wire.tokens();
    let tokens = tokens.iter().enumerate().map(|(number, value)| {
        let random = value.trim_start_matches("simulated.");
        secret(format!("token {number}"), random, FABRIC)
    });
    clients.chain(tokens).collect()
}
