//! What was seen of a plan, as the oracles want it: in the operator's time.

mod known;

use std::collections::BTreeMap;
use std::time::Duration;

use fabric_simulator::{Entry, JobStatus};
use fault_proxy::{Answered, Step, Verb};
use jiff::Timestamp;
use oracles::{
    Answer, Capture, Facts, Guard, History, Identity, Job, JobIds, Kind, LeaseWrite, Lifecycle,
    ProcessEvent, Quota, Reply, Request, Resource, Secret, Version, Writer,
};
use serde_json::Value;

use crate::stage::{PLURAL, Stage};
use crate::world::Edition;

/// What clocks, sockets and two busy cores make uncertain: 150 ms of real time at factor 20.
const UNCERTAIN: Duration = Duration::from_millis(150);

/// The history of a stage, with the facts that every plan has.
#[must_use]
pub fn history(stage: &Stage<'_>, quiet: Duration) -> History {
    let seen = Seen::of(stage);
    let mut facts = Facts::until(stage.now());
    facts.tolerance = UNCERTAIN * stage.pace.factor;
    facts.quiet = quiet;
    facts.quota = Some(Quota {
        requests: 200,
        window: Duration::from_secs(60),
    });
    let identities = vec![identity(&stage.identity)];
    facts.identities.insert(stage.namespace.clone(), identities);
    History {
        resources: seen.resources(),
        requests: seen.requests(),
        jobs: seen.jobs(),
        processes: seen.processes(),
        api_requests: seen.api_requests(),
        shown: seen.shown(),
        leases: seen.leases(),
        captures: seen.captures(),
        secrets: seen.secrets(),
        ..History::new(facts)
    }
}

/// The writes of the Lease that were stored, in order.
#[must_use]
pub fn leases(stage: &Stage<'_>) -> Vec<LeaseWrite> {
    Seen::of(stage).leases()
}

struct Seen<'a> {
    stage: &'a Stage<'a>,
    steps: Vec<Step>,
    ledger: Vec<Entry>,
    editions: Vec<Edition>,
}

impl<'a> Seen<'a> {
    fn of(stage: &'a Stage<'a>) -> Self {
        Self {
            stage,
            steps: stage.recorder.steps(),
            ledger: stage.fabric.ledger(),
            editions: stage.world.stored.of(&stage.namespace),
        }
    }

    fn at(&self, real: Timestamp) -> Timestamp {
        self.stage.pace.at(real)
    }

    /// The process that sent a step: the last one that its replica had started by then.
    fn process(&self, step: &Step) -> Option<String> {
        let (_, replica) = step.proxy.rsplit_once('-')?;
        let replica = self.stage.replicas.iter().find(|it| it.name() == replica)?;
        let events = replica.events();
        let mut starts = events
            .iter()
            .rev()
            .filter(|(_, time, what)| *what == Lifecycle::Started && *time <= step.time);
        starts.next().map(|(process, ..)| process.clone())
    }

    fn resources(&self) -> Vec<Resource> {
        let mut resources: Vec<Resource> = Vec::new();
        for edition in &self.editions {
            let uid = edition.uid();
            if !resources.iter().any(|resource| resource.uid == uid) {
                resources.push(Resource {
                    uid: uid.to_owned(),
                    namespace: self.stage.namespace.clone(),
                    name: edition.name().to_owned(),
                    versions: Vec::new(),
                    deletion_requested: None,
                    gone: None,
                });
            }
            let resource = resources.iter_mut().find(|resource| resource.uid == uid);
            let resource = resource.expect("it was just added");
            if edition.deleted {
                resource.deletion_requested = Some(self.at(edition.seen));
                resource.gone = Some(self.at(edition.seen));
            } else {
                resource.versions.push(self.version(edition));
            }
        }
        resources
    }

    fn version(&self, edition: &Edition) -> Version {
        let wrote = self.steps.iter().find_map(|step| {
            if step.call.verb != Verb::Patch || step.call.resource != PLURAL {
                return None;
            }
            let index = step.answers.iter().position(|answer| {
                let metadata = &answer.json()["metadata"];
                answer.status == 200 && metadata["resourceVersion"] == edition.resource_version()
            });
            Some((step, index?))
        });
        let (writer, guard, answer, stored) = match wrote {
            None => (
                Writer::Other("an author".into()),
                Guard::NotSeen,
                Answer::NotSeen,
                edition.seen,
            ),
            Some((step, index)) => {
                let named = step.json()["metadata"]["resourceVersion"].clone();
                let guard = named.as_str().map_or(Guard::Unguarded, |version| {
                    Guard::ResourceVersion(version.to_owned())
                });
                let is_last = index + 1 == step.answers.len();
                let answered = step.answers[index].time;
                let reached = step.end_time.unwrap_or(answered);
                let answer = if step.reached && is_last {
                    Answer::Reached(self.at(reached))
                } else {
                    Answer::Lost
                };
                let stored = edition.seen.min(answered);
                (Writer::Operator(self.process(step)), guard, answer, stored)
            }
        };
        Version {
            resource_version: edition.resource_version().to_owned(),
            stored: self.at(stored),
            object: edition.object.clone(),
            writer,
            guard,
            answer,
        }
    }

    fn requests(&self) -> Vec<Request> {
        let calls = self
            .steps
            .iter()
            .filter(|step| matches!(step.call.verb, Verb::Cancel | Verb::Look));
        calls.flat_map(|step| self.deliveries(step)).collect()
    }

    fn deliveries(&self, step: &Step) -> Vec<Request> {
        let parts: Vec<&str> = step.uri.split('/').collect();
        let part = |index: usize| parts.get(index).copied().unwrap_or_default().to_owned();
        let sent = Request {
            sequence: step.sequence * 10,
            kind: if step.call.verb == Verb::Cancel {
                Kind::Cancel
            } else {
                Kind::Look
            },
            job: JobIds {
                workspace_id: part(3),
                item_id: part(5),
                job_instance_id: step.call.name.clone(),
            },
            identity: self.bearer(step),
            process: self.process(step),
            sent: self.at(step.time),
            arrived: None,
            reply: None,
            reached: false,
            processed: false,
            duplicate: false,
        };
        if step.answers.is_empty() {
            return vec![sent];
        }
        let last = step.answers.len() - 1;
        // A 202 says everything before its body breaks off.
        let is_cut = step.fault.as_ref().is_some_and(|it| it.starts_with("Cut"));
        let reached = step.reached || (is_cut && step.call.verb == Verb::Cancel);
        let each = step.answers.iter().enumerate().map(|(index, answer)| {
            let entry = self.entry(answer);
            Request {
                sequence: sent.sequence + index as u64,
                arrived: entry.map(|entry| entry.time),
                reply: Some(self.reply(answer, entry)),
                reached: reached && index == last,
                processed: entry.is_some_and(|entry| entry.processed),
                duplicate: index > 0,
                ..sent.clone()
            }
        });
        each.collect()
    }

    /// What the simulator's ledger says about an answer.
    fn entry(&self, answer: &Answered) -> Option<&Entry> {
        let id = answer.headers.get("requestid")?.to_str().ok()?;
        let id: uuid::Uuid = id.parse().ok()?;
        self.ledger.iter().find(|entry| entry.request_id == id)
    }

    fn reply(&self, answer: &Answered, entry: Option<&Entry>) -> Reply {
        let header = |name: &str| answer.headers.get(name)?.to_str().ok().map(str::to_owned);
        let body = answer.json();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Reply {
            time: self.at(answer.time),
            status: answer.status,
            error_code: entry
                .and_then(|entry| entry.error_code.clone())
                .or_else(|| text(&body["errorCode"])),
            retry_after: header("retry-after")
                .and_then(|seconds| seconds.parse().ok())
                .map(Duration::from_secs),
            job_status: text(&body["status"]),
        }
    }

    /// Whose token a request carried, if Entra gave it out.
    fn bearer(&self, step: &Step) -> Option<Identity> {
        let carried = step.headers.get("authorization")?.to_str().ok()?;
        let token = carried.strip_prefix("Bearer ")?;
        let given = self.tokens().iter().any(|given| given == token);
        given.then(|| identity(&self.stage.identity))
    }

    fn tokens(&self) -> Vec<String> {
        let exchanges = self
            .steps
            .iter()
            .filter(|step| step.call.verb == Verb::Token);
        exchanges
            .flat_map(|step| &step.answers)
            .filter_map(|answer| answer.json()["access_token"].as_str().map(str::to_owned))
            .collect()
    }

    fn jobs(&self) -> Vec<Job> {
        let begin = self.stage.pace.epoch;
        let jobs = self.stage.fabric.jobs().into_iter().map(|job| {
            let mut states = vec![(begin, "InProgress".to_owned())];
            if let Some(end) = job.end_time {
                states.push((end, status(&job.status)));
            }
            Job {
                ids: JobIds {
                    workspace_id: job.job.workspace_id.to_string(),
                    item_id: job.job.item_id.to_string(),
                    job_instance_id: job.job.job_instance_id.to_string(),
                },
                states,
            }
        });
        jobs.collect()
    }

    fn processes(&self) -> Vec<ProcessEvent> {
        let mut events: Vec<ProcessEvent> = self
            .stage
            .replicas
            .iter()
            .flat_map(|replica| replica.events())
            .map(|(process, time, what)| ProcessEvent {
                process,
                time: self.at(time),
                what,
            })
            .collect();
        events.sort_by_key(|event| event.time);
        events
    }

    fn captures(&self) -> Vec<Capture> {
        let mut captures = Vec::new();
        let mut add = |channel: String, stream: String, bytes: Vec<u8>| {
            captures.push(Capture {
                channel,
                stream,
                bytes,
            });
        };
        for capture in self.stage.recorder.captures() {
            let peer = capture.proxy.split('-').next().unwrap_or_default();
            let stream = capture.connection.to_string();
            add(format!("to-{peer}"), stream.clone(), capture.from_client);
            add(format!("from-{peer}"), stream, capture.to_client);
        }
        for replica in &self.stage.replicas {
            let log = replica.log().into_bytes();
            add("log".into(), replica.name().to_owned(), log);
        }
        for edition in &self.editions {
            let stream = edition.resource_version().to_owned();
            let text = edition.object.to_string().into_bytes();
            add("status".into(), stream, text);
        }
        captures
    }

    fn secrets(&self) -> Vec<Secret> {
        let secret = |name: &str, value: &str, allowed: &[&str]| Secret {
            name: name.to_owned(),
            value: value.as_bytes().to_vec(),
            allowed: allowed.iter().map(|it| (*it).to_owned()).collect(),
        };
        let mut secrets = vec![secret(
            "the operator's token for the API server",
            &self.stage.api_token,
            &["to-api"],
        )];
        let known = self.stage.client_secrets.lock();
        for value in known.expect("no holder of the lock panics").iter() {
            let random = value.trim_start_matches("secret-");
            // The API server hands it out, in base64, which the oracle knows.
            let allowed = ["to-entra", "from-api"];
            secrets.push(secret("a client secret", random, &allowed));
        }
        for token in self.tokens() {
            let random = token.trim_start_matches("simulated.");
            secrets.push(secret("a token", random, &["from-entra", "to-fabric"]));
        }
        secrets
    }
}

fn identity(identity: &fabric_simulator::Identity) -> Identity {
    Identity {
        tenant_id: identity.tenant_id.clone(),
        client_id: identity.client_id.clone(),
    }
}

fn status(status: &JobStatus) -> String {
    let value = serde_json::to_value(status).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// How each object of the stage stands, by name: its last edition, comparable with that of
/// another run. Names that belong to the run are replaced, and conditions are found by type.
#[must_use]
pub fn ends(stage: &Stage<'_>) -> BTreeMap<String, Value> {
    let mut ends = BTreeMap::new();
    for edition in stage.world.stored.of(&stage.namespace) {
        let mut text = edition.object.to_string();
        text = text.replace(&stage.namespace, "NAMESPACE");
        for replica in &stage.replicas {
            text = text.replace(&replica.fabric.address().to_string(), "FABRIC");
            text = text.replace(&replica.entra.address().to_string(), "ENTRA");
        }
        let mut object: Value = serde_json::from_str(&text).unwrap_or_default();
        if let Some(conditions) = object["status"]["conditions"].as_array() {
            let by_type = conditions.iter().map(|condition| {
                let name = condition["type"].as_str().unwrap_or_default();
                (name.to_owned(), condition.clone())
            });
            let by_type: serde_json::Map<String, Value> = by_type.collect();
            object["status"]["conditions"] = Value::Object(by_type);
        }
        ends.insert(edition.name().to_owned(), object);
        if edition.deleted {
            ends.remove(edition.name());
        }
    }
    ends
}
