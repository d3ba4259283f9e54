//! What passed between processes and the API server.

use fault_proxy::{Step, Verb};
use oracles::{ApiRequest, LeaseWrite, Shown};
use serde_json::Value;

use super::Seen;
use crate::label::LEASES;
use crate::stage::PLURAL;

impl Seen<'_> {
    /// What was asked, apart from watches and what is no concern of any oracle.
    pub(super) fn api_requests(&self) -> Vec<ApiRequest> {
        let asked = self.steps.iter().filter(|step| {
            let foreign = matches!(step.call.verb, Verb::Event | Verb::Watch | Verb::Other);
            step.proxy.starts_with("api-") && !foreign
        });
        asked
            .map(|step| ApiRequest {
                time: self.at(step.time),
                process: self.process(step),
                verb: format!("{:?}", step.call.verb).to_lowercase(),
                resource: step.call.resource.clone(),
                namespace: step.call.namespace.clone(),
                name: step.call.name.clone(),
                code: step.status().unwrap_or(0),
            })
            .collect()
    }

    /// Which editions of cancellations went out to which process.
    pub(super) fn shown(&self) -> Vec<Shown> {
        let ours = self
            .steps
            .iter()
            .filter(|step| step.call.resource == PLURAL);
        let mut shown: Vec<Shown> = ours.flat_map(|step| self.shown_by(step)).collect();
        shown.sort_by_key(|shown| shown.time);
        shown
    }

    fn shown_by(&self, step: &Step) -> Vec<Shown> {
        let objects = match step.call.verb {
            Verb::Event if step.deliveries > 0 => vec![step.json()["object"].clone()],
            Verb::List if step.reached => {
                let answer = step.answer().map(fault_proxy::Answered::json);
                let items = answer.and_then(|it| it["items"].as_array().cloned());
                items.unwrap_or_default()
            }
            Verb::Get | Verb::Patch if step.reached => {
                step.answer().map(|it| vec![it.json()]).unwrap_or_default()
            }
            _ => return Vec::new(),
        };
        let (Some(process), Some(sent)) = (self.process(step), step.end_time) else {
            return Vec::new();
        };
        let replica = step.proxy.strip_prefix("api-");
        let mut replicas = self.stage.replicas.iter();
        let replica = replicas.find(|it| Some(it.name()) == replica);
        let time = replica.map_or(sent, |replica| replica.seen_at(sent));
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let each = objects.iter().filter_map(|object| {
            let metadata = &object["metadata"];
            Some(Shown {
                time: self.at(time),
                process: process.clone(),
                uid: text(&metadata["uid"])?,
                resource_version: text(&metadata["resourceVersion"])?,
            })
        });
        each.collect()
    }

    /// The writes of the Lease that were stored, in order.
    pub(super) fn leases(&self) -> Vec<LeaseWrite> {
        let writes = self.steps.iter().filter(|step| {
            let is_write = matches!(step.call.verb, Verb::Create | Verb::Update);
            is_write && step.call.resource == LEASES
        });
        let stored = writes.flat_map(|step| {
            let answers = step.answers.iter();
            let stored = answers.filter(|answer| matches!(answer.status, 200 | 201));
            stored.map(move |answer| (step, answer))
        });
        let mut leases: Vec<LeaseWrite> = stored
            .filter_map(|(step, answer)| {
                let holder = &step.json()["spec"]["holderIdentity"];
                Some(LeaseWrite {
                    process: self.process(step)?,
                    sent: self.at(step.time),
                    stored: self.at(answer.time),
                    holds: holder.as_str().is_some_and(|holder| !holder.is_empty()),
                    told: step.reached,
                })
            })
            .collect();
        leases.sort_by_key(|write| write.stored);
        leases
    }
}
