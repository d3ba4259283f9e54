//! Histories, told in seconds from a fixed moment.

use std::time::Duration;

use jiff::Timestamp;
use oracles::{
    Answer, ApiRequest, Capture, Contact, Facts, Guard, History, Identity, Job, JobIds, Kind,
    LeaseWrite, Lifecycle, ProcessEvent, Quota, Reply, Request, Resource, Secret, Shown, Version,
    Writer,
};
use serde_json::{Value, json};

pub const SECRET: &str = "nY7~vQ.x2Rk-LwT9_bHc4ZpF8sJd1GmA";
pub const PROCESS: &str = "operator-1";

/// So many seconds after the beginning.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + second).unwrap()
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn job(number: u32) -> JobIds {
    JobIds {
        workspace_id: "00000000-0000-4000-8000-000000000001".into(),
        item_id: "00000000-0000-4000-8000-000000000002".into(),
        job_instance_id: format!("00000000-0000-4000-8000-1{number:011}"),
    }
}

/// The identity of a namespace.
pub fn identity(namespace: &str) -> Identity {
    Identity {
        tenant_id: "tenant".into(),
        client_id: format!("client-of-{namespace}"),
    }
}

pub fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": "A sentence.",
           "observedGeneration": 1, "lastTransitionTime": at(0).to_string()})
}

/// The conditions while the operator works.
pub fn working(reason: &str, accepted: &str) -> Value {
    json!([
        condition("Ready", "Unknown", reason),
        condition("Reconciling", "True", reason),
        condition("Accepted", accepted, "Pending"),
        condition("Cancelled", "Unknown", "Pending"),
    ])
}

/// The conditions of an end.
pub fn ended(ready: &str, reason: &str, accepted: &str, cancelled: &str) -> Value {
    let mut all = vec![condition("Ready", ready, reason)];
    if ready == "False" {
        all.push(condition("Stalled", "True", reason));
    }
    all.push(condition("Accepted", accepted, reason));
    all.push(condition("Cancelled", cancelled, reason));
    Value::Array(all)
}

/// A history under construction.
pub struct Story {
    pub history: History,
    versions: u64,
}

impl Story {
    /// One process, its facts, and nothing else yet.
    pub fn new() -> Self {
        let mut facts = Facts::until(at(20_000));
        facts.quiet = secs(3600);
        facts.ends_within = Some(secs(7200));
        facts.quota = Some(Quota {
            requests: 5,
            window: secs(60),
        });
        facts.fair_slack = Some(secs(30));
        facts.origins = vec!["fabric:443".into(), "kubernetes:443".into()];
        for namespace in ["team-a", "team-b"] {
            facts
                .identities
                .insert(namespace.into(), vec![identity(namespace)]);
        }
        let mut history = History::new(facts);
        history.contacts.push(Contact {
            time: at(0),
            origin: "fabric:443".into(),
        });
        history.secrets.push(Secret {
            name: "the client secret of team-a".into(),
            value: SECRET.into(),
            allowed: vec!["entra".into()],
        });
        let mut story = Self {
            history,
            versions: 0,
        };
        story.capture("entra", &format!("client_secret={SECRET}"));
        story.capture("log", "team-a/stop: the job is cancelled");
        story.process(PROCESS, 0, Lifecycle::Started);
        story.process(PROCESS, 1, Lifecycle::Ready);
        story
    }

    /// The ordinary course of one cancellation, in `team-a`, of job 1: intent, request, 202,
    /// one look that shows the end, four versions.
    pub fn plain() -> Self {
        let mut story = Self::new();
        story.job(1, &[(0, "InProgress"), (20, "Cancelled")]);
        let it = story.resource("team-a", "stop", 1, 2);
        story.intent(it, 3);
        story.cancel(it, 3, 202, Some(60));
        story.accepted(it, 4, 64);
        story.look(it, 64, "Cancelled");
        story.end(it, 65, "True", "JobCancelled", "True", "True");
        story
    }

    pub fn capture(&mut self, channel: &str, text: &str) {
        self.history.captures.push(Capture {
            channel: channel.into(),
            stream: "1".into(),
            bytes: text.as_bytes().to_vec(),
        });
    }

    pub fn process(&mut self, process: &str, second: i64, what: Lifecycle) {
        self.history.processes.push(ProcessEvent {
            process: process.into(),
            time: at(second),
            what,
        });
    }

    /// A process is shown an edition of a resource, counted from 0.
    pub fn shown(&mut self, process: &str, index: usize, second: i64, version: usize) {
        let resource = &self.history.resources[index];
        self.history.shown.push(Shown {
            time: at(second),
            process: process.into(),
            uid: resource.uid.clone(),
            resource_version: resource.versions[version].resource_version.clone(),
        });
    }

    /// A process takes, keeps or gives up the Lease.
    pub fn lease(&mut self, process: &str, second: i64, holds: bool) {
        self.history.leases.push(LeaseWrite {
            process: process.into(),
            sent: at(second),
            stored: at(second),
            holds,
            told: true,
        });
        self.history.leases.sort_by_key(|write| write.stored);
    }

    pub fn job(&mut self, number: u32, states: &[(i64, &str)]) {
        self.history.jobs.push(Job {
            ids: job(number),
            states: states
                .iter()
                .map(|(second, status)| (at(*second), (*status).to_owned()))
                .collect(),
        });
    }

    /// A resource as its author created it; its index.
    pub fn resource(&mut self, namespace: &str, name: &str, number: u32, second: i64) -> usize {
        let index = self.history.resources.len();
        let uid = format!("uid-{index}");
        let ids = job(number);
        let object = json!({
            "metadata": {"namespace": namespace, "name": name, "uid": uid, "generation": 1},
            "spec": {"workspaceId": ids.workspace_id, "itemId": ids.item_id,
                     "jobInstanceId": ids.job_instance_id},
            "status": {"observedGeneration": -1},
        });
        self.history.resources.push(Resource {
            uid,
            namespace: namespace.into(),
            name: name.into(),
            versions: Vec::new(),
            deletion_requested: None,
            gone: None,
        });
        self.store(index, second, object, Writer::Other("alice".into()));
        index
    }

    fn store(&mut self, index: usize, second: i64, mut object: Value, writer: Writer) {
        self.versions += 1;
        object["metadata"]["resourceVersion"] = json!(self.versions.to_string());
        let resource = &mut self.history.resources[index];
        let before = resource.versions.last();
        resource.versions.push(Version {
            guard: before.map_or(Guard::NotSeen, |version| {
                Guard::ResourceVersion(version.resource_version.clone())
            }),
            resource_version: self.versions.to_string(),
            stored: at(second),
            object,
            writer,
            answer: Answer::Reached(at(second)),
        });
    }

    pub fn last(&mut self, index: usize) -> &mut Version {
        self.history.resources[index].versions.last_mut().unwrap()
    }

    /// Somebody else changes the object.
    pub fn edit(&mut self, index: usize, second: i64, change: impl FnOnce(&mut Value)) {
        let mut object = self.last(index).object.clone();
        change(&mut object);
        self.store(index, second, object, Writer::Other("alice".into()));
    }

    /// The operator changes the status.
    pub fn write_as(
        &mut self,
        process: &str,
        index: usize,
        second: i64,
        change: impl FnOnce(&mut Value),
    ) {
        let mut object = self.last(index).object.clone();
        object["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
        change(&mut object["status"]);
        let resource = &self.history.resources[index];
        self.history.api_requests.push(ApiRequest {
            time: at(second),
            process: Some(process.into()),
            verb: "patch".into(),
            resource: "fabricjobcancellations".into(),
            namespace: resource.namespace.clone(),
            name: resource.name.clone(),
            code: 200,
        });
        self.store(
            index,
            second,
            object,
            Writer::Operator(Some(process.into())),
        );
    }

    pub fn write(&mut self, index: usize, second: i64, change: impl FnOnce(&mut Value)) {
        self.write_as(PROCESS, index, second, change);
    }

    pub fn intent(&mut self, index: usize, second: i64) {
        self.intent_as(PROCESS, index, second);
    }

    pub fn intent_as(&mut self, process: &str, index: usize, second: i64) {
        let who = identity(&self.history.resources[index].namespace);
        self.write_as(process, index, second, |status| {
            let attempts = status["attempts"].as_u64().unwrap_or(0);
            status["attempts"] = json!(attempts + 1);
            status["requestTime"] = json!(at(second).to_string());
            if status["startTime"].is_null() {
                status["startTime"] = json!(at(second).to_string());
            }
            status["identity"] = json!({"source": "Secret", "name": "fabric-credentials",
                "tenantId": who.tenant_id, "clientId": who.client_id});
            if status["acceptedTime"].is_null() {
                status["conditions"] = working("RequestingCancellation", "Unknown");
            }
        });
    }

    pub fn accepted(&mut self, index: usize, second: i64, not_before: i64) {
        self.write(index, second, |status| {
            status["acceptedTime"] = json!(at(second).to_string());
            status["notBeforeTime"] = json!(at(not_before).to_string());
            status["location"] = json!("https://fabric/1");
            status["requestId"] = json!("r-1");
            status["conditions"] = working("WaitingForCancellation", "True");
        });
    }

    /// After the end the author edits a knob; the write that catches up gets no answer.
    pub fn edited_after_the_end(&mut self, index: usize, edited: i64, written: i64) {
        self.edit(index, edited, |object| {
            object["metadata"]["generation"] = json!(2);
        });
        self.write(index, written, |_| {});
        self.last(index).answer = Answer::Lost;
    }

    /// The operator asks the API server about the resource.
    pub fn asked(&mut self, index: usize, second: i64, verb: &str, code: u16) {
        let resource = &self.history.resources[index];
        self.history.api_requests.push(ApiRequest {
            time: at(second),
            process: Some(PROCESS.into()),
            verb: verb.into(),
            resource: "fabricjobcancellations".into(),
            namespace: resource.namespace.clone(),
            name: resource.name.clone(),
            code,
        });
    }

    /// The end, with Ready, its reason, Accepted and Cancelled.
    pub fn end(
        &mut self,
        index: usize,
        second: i64,
        ready: &str,
        reason: &str,
        accepted: &str,
        cancelled: &str,
    ) {
        let shown = self.history.requests.iter().rev().find_map(|request| {
            let reply = request.reply.as_ref()?;
            reply.job_status.clone()
        });
        self.write(index, second, |status| {
            status["completionTime"] = json!(at(second).to_string());
            if let Some(shown) = shown {
                status["job"]["status"] = json!(shown);
            }
            status["conditions"] = ended(ready, reason, accepted, cancelled);
        });
    }

    /// A call that is answered in the second after.
    pub fn call(&mut self, kind: Kind, index: usize, second: i64, status: u16) -> &mut Request {
        let resource = &self.history.resources[index];
        let spec = &resource.versions[0].object["spec"];
        let id = |field: &str| spec[field].as_str().unwrap().to_owned();
        let request = Request {
            sequence: self.history.requests.len() as u64 + 1,
            kind,
            job: JobIds {
                workspace_id: id("workspaceId"),
                item_id: id("itemId"),
                job_instance_id: id("jobInstanceId"),
            },
            identity: Some(identity(&resource.namespace)),
            process: Some(PROCESS.into()),
            sent: at(second),
            arrived: Some(at(second)),
            reply: Some(Reply {
                time: at(second + 1),
                status,
                error_code: None,
                retry_after: None,
                job_status: None,
            }),
            reached: true,
            processed: kind == Kind::Cancel && status == 202,
            duplicate: false,
        };
        self.history.requests.push(request);
        self.history.requests.last_mut().unwrap()
    }

    pub fn cancel(&mut self, index: usize, second: i64, status: u16, retry_after: Option<u64>) {
        let request = self.call(Kind::Cancel, index, second, status);
        request.reply.as_mut().unwrap().retry_after = retry_after.map(secs);
    }

    pub fn look(&mut self, index: usize, second: i64, shown: &str) {
        let request = self.call(Kind::Look, index, second, 200);
        request.reply.as_mut().unwrap().job_status = Some(shown.into());
    }

    /// A call that Fabric refuses with this error code.
    pub fn refused(&mut self, kind: Kind, index: usize, second: i64, status: u16, code: &str) {
        let request = self.call(kind, index, second, status);
        request.reply.as_mut().unwrap().error_code = Some(code.into());
    }

    pub fn request(&mut self, index: usize) -> &mut Request {
        &mut self.history.requests[index]
    }

    pub fn reply(&mut self, index: usize) -> &mut Reply {
        self.request(index).reply.as_mut().unwrap()
    }
}
