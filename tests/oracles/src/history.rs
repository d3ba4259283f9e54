//! What was seen of a run, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

/// Everything that was seen of a run. See the crate's text for how to fill it.
#[derive(Clone, Debug)]
pub struct History {
    /// What the scenario allows.
    pub facts: Facts,
    /// Every cancellation that existed, one per uid.
    pub resources: Vec<Resource>,
    /// Every call to Fabric's job routes, in the order of sending.
    pub requests: Vec<Request>,
    /// The true states of the jobs.
    pub jobs: Vec<Job>,
    /// What became of the operator's processes, in the order of time.
    pub processes: Vec<ProcessEvent>,
    /// Every request of the operator to the Kubernetes API, in the order of time. Watches need
    /// not be listed.
    pub api_requests: Vec<ApiRequest>,
    /// Which editions processes were shown, in the order of time, where that is known.
    pub shown: Vec<Shown>,
    /// Every write of the Lease that was stored, in order; empty where nobody is elected.
    pub leases: Vec<LeaseWrite>,
    /// Every connection that the operator opened, as far as it was seen.
    pub contacts: Vec<Contact>,
    /// All bytes that were seen.
    pub captures: Vec<Capture>,
    /// What must not be found in the captures.
    pub secrets: Vec<Secret>,
}

impl History {
    /// A history in which nothing happened.
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        Self {
            facts,
            resources: Vec::new(),
            requests: Vec::new(),
            jobs: Vec::new(),
            processes: Vec::new(),
            api_requests: Vec::new(),
            shown: Vec::new(),
            leases: Vec::new(),
            contacts: Vec::new(),
            captures: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// The resources that name this job.
    pub(crate) fn resources_of<'a>(
        &'a self,
        job: &'a JobIds,
    ) -> impl Iterator<Item = (usize, &'a Resource)> {
        self.resources
            .iter()
            .enumerate()
            .filter(move |(_, resource)| resource.job().as_ref() == Some(job))
    }
}

/// What the scenario allows, and what cannot be seen in the rest.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When the observation ended.
    pub until: Timestamp,
    /// How far two times of different origin may differ. Applied in the operator's favour.
    pub tolerance: Duration,
    /// How long each ended resource has to be seen quiet. Zero when it is not judged.
    pub quiet: Duration,
    /// Until then old events or an API server that fell behind may have shown an ended resource
    /// as it was before; what is asked because of that, and changes nothing, is not judged.
    pub stale_until: Option<Timestamp>,
    /// Until then a process may not have been shown what another one stored: its watch got no
    /// answer. What it stored itself, and was told itself, it knows.
    pub unseen_until: Option<Timestamp>,
    /// How long a resource may take from its creation to its end at most. `None`: it has to be
    /// ended when the observation ends.
    pub ends_within: Option<Duration>,
    /// Uids of resources that this scenario leaves without an end. Those that are suspended, or
    /// deleted before their end, need not be named.
    pub may_stay_open: BTreeSet<String>,
    /// Fabric's quota per identity; `None` when it is not judged.
    pub quota: Option<Quota>,
    /// What a first request may come later than its fair share of the quota; `None` when it is
    /// not judged, as in scenarios with faults.
    pub fair_slack: Option<Duration>,
    /// Processed cancel requests beyond the bound that each resource may have, for losses that
    /// show in no request.
    pub extra_posts: usize,
    /// The identities that stand for each namespace, the earlier ones of a rotation too. A
    /// namespace that is not listed is not judged.
    pub identities: BTreeMap<String, Vec<Identity>>,
    /// The origins that the operator may connect to, for example `127.0.0.1:8099`.
    pub origins: Vec<String>,
    /// How many requests to the Kubernetes API one process may make about one resource within
    /// ten seconds.
    pub busy_limit: usize,
}

impl Facts {
    /// The usual facts of a run that was observed until then: no tolerance, no quiet time, ends
    /// wanted, quota and fairness not judged.
    #[must_use]
    pub fn until(until: Timestamp) -> Self {
        Self {
            until,
            tolerance: Duration::ZERO,
            quiet: Duration::ZERO,
            stale_until: None,
            unseen_until: None,
            ends_within: None,
            may_stay_open: BTreeSet::new(),
            quota: None,
            fair_slack: None,
            extra_posts: 0,
            identities: BTreeMap::new(),
            origins: Vec::new(),
            busy_limit: 20,
        }
    }
}

/// So many requests within so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many requests.
    pub requests: usize,
    /// The length of the server's window.
    pub window: Duration,
}

/// One cancellation, from its creation to its deletion.
#[derive(Clone, Debug)]
pub struct Resource {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// What was stored, in order; the first is what its author created.
    pub versions: Vec<Version>,
    /// When somebody asked for its deletion.
    pub deletion_requested: Option<Timestamp>,
    /// When it was gone.
    pub gone: Option<Timestamp>,
}

/// One stored edition of an object.
#[derive(Clone, Debug)]
pub struct Version {
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// When it was stored; where only the event was seen, when that was seen.
    pub stored: Timestamp,
    /// The whole object.
    pub object: Value,
    /// Who wrote it.
    pub writer: Writer,
    /// The resourceVersion that the write named.
    pub guard: Guard,
    /// What became of the answer to the write.
    pub answer: Answer,
}

/// Who wrote an edition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The operator: which process, if known.
    Operator(Option<String>),
    /// Anybody else: a user, a controller, a restore.
    Other(String),
}

/// What made a write conditional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// It was not seen.
    NotSeen,
    /// Nothing: the write would have hit whatever was there.
    Unguarded,
    /// The write named this resourceVersion.
    ResourceVersion(String),
}

/// What became of the answer to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was not seen.
    NotSeen,
    /// It never reached the writer.
    Lost,
    /// It went out to the writer then.
    Reached(Timestamp),
}

/// The three ids of a job instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobIds {
    /// `workspaceId`.
    pub workspace_id: String,
    /// `itemId`.
    pub item_id: String,
    /// `jobInstanceId`.
    pub job_instance_id: String,
}

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The Entra tenant.
    pub tenant_id: String,
    /// The Entra application (client).
    pub client_id: String,
}

/// Which call of Fabric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The POST that asks for the cancellation.
    Cancel,
    /// The GET that shows the job.
    Look,
}

/// One call to Fabric's job routes.
#[derive(Clone, Debug)]
pub struct Request {
    /// A number that is unique in the history.
    pub sequence: u64,
    /// Which call.
    pub kind: Kind,
    /// The ids in its path.
    pub job: JobIds,
    /// Whose token it carried; `None` when it carried none that anybody gave out.
    pub identity: Option<Identity>,
    /// The process that sent it, if known.
    pub process: Option<String>,
    /// When it left the operator.
    pub sent: Timestamp,
    /// When it arrived at Fabric; `None` when it never did.
    pub arrived: Option<Timestamp>,
    /// What was answered; `None` when nothing was.
    pub reply: Option<Reply>,
    /// Whether the answer reached the operator.
    pub reached: bool,
    /// Whether Fabric acted: a cancel request took effect.
    pub processed: bool,
    /// Whether it is a copy that a proxy made.
    pub duplicate: bool,
}

/// What Fabric, or a fault in its place, answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// When.
    pub time: Timestamp,
    /// The HTTP status.
    pub status: u16,
    /// Fabric's error code.
    pub error_code: Option<String>,
    /// `Retry-After`, as a duration from `time`; not below zero.
    pub retry_after: Option<Duration>,
    /// The job's status in the body of a look, as it was shown (it may be stale).
    pub job_status: Option<String>,
}

/// A job as it truly was.
#[derive(Clone, Debug)]
pub struct Job {
    /// Which.
    pub ids: JobIds,
    /// Since when it had which status, in order.
    pub states: Vec<(Timestamp, String)>,
}

/// Something that happened to a process of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEvent {
    /// Which: new for each start.
    pub process: String,
    /// When.
    pub time: Timestamp,
    /// What.
    pub what: Lifecycle,
}

/// What can happen to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// It was started.
    Started,
    /// It said that it is ready.
    Ready,
    /// It was killed, or it died.
    Crashed,
    /// It was asked to end (SIGTERM or SIGINT).
    Terminated,
    /// It ended as asked.
    Exited,
}

/// One request of the operator to the Kubernetes API.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    /// When it arrived.
    pub time: Timestamp,
    /// The process that sent it, if known.
    pub process: Option<String>,
    /// `get`, `patch`, `create`, ..., as in the audit log.
    pub verb: String,
    /// For example `fabricjobcancellations`.
    pub resource: String,
    /// The namespace; empty for what has none.
    pub namespace: String,
    /// The name; empty for a list.
    pub name: String,
    /// The HTTP status that was answered; 0 for none.
    pub code: u16,
}

/// An edition that went out to a process: in a list, an event, or an answer.
#[derive(Clone, Debug)]
pub struct Shown {
    /// When.
    pub time: Timestamp,
    /// To which process.
    pub process: String,
    /// Of which object.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
}

/// A write of the Lease that was stored.
#[derive(Clone, Debug)]
pub struct LeaseWrite {
    /// The process that sent it, and counts its lease from then.
    pub process: String,
    /// When it left that process.
    pub sent: Timestamp,
    /// When it was stored, or answered.
    pub stored: Timestamp,
    /// Whether it names a holder; a release names none.
    pub holds: bool,
    /// Whether its answer reached the process, which cannot count on it otherwise.
    pub told: bool,
}

/// A connection that the operator opened.
#[derive(Clone, Debug)]
pub struct Contact {
    /// When.
    pub time: Timestamp,
    /// Host and port.
    pub origin: String,
}

/// Bytes that were seen.
#[derive(Clone, Debug)]
pub struct Capture {
    /// What kind of place: `log`, `kubernetes`, `entra`, `fabric`, `status`, `metrics`, ...
    pub channel: String,
    /// Which stream of that kind; pieces of one stream are joined in order.
    pub stream: String,
    /// What was seen.
    pub bytes: Vec<u8>,
}

/// Something that must not be seen but where it belongs.
#[derive(Clone, Debug)]
pub struct Secret {
    /// What it is, for reports.
    pub name: String,
    /// Its bytes. Parts that stand elsewhere too (a fixed prefix) are left out.
    pub value: Vec<u8>,
    /// The channels where it belongs.
    pub allowed: Vec<String>,
}
