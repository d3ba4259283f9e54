//! Every answer of the job routes against the published Swagger.

use std::time::Duration;

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use fabric_simulator::{Access, JobStatus, QuotaLimit, Settings};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Answered, Client, start};

/// Where the real service, and so the simulator, does not keep to the schema: the place, what is
/// true there, and how it is known.
fn deviations() -> [(&'static str, Value, &'static str); 3] {
    [
        (
            "/definitions/ItemJobInstance/properties/endTimeUtc",
            json!({ "type": ["string", "null"] }),
            "recorded traffic, and the Swagger's own examples: null until the end",
        ),
        (
            "/definitions/ItemJobInstance/properties/failureReason",
            json!({ "anyOf": [{ "$ref": "#/definitions/ErrorResponse" }, { "type": "null" }] }),
            "recorded traffic, and the Swagger's own examples: null unless failed",
        ),
        (
            "/definitions/PaginatedResponse/properties/continuationToken",
            json!({ "type": ["string", "null"] }),
            "the published Spark example: null on the last page, when the settings ask for it",
        ),
    ]
}

const LOOK: (&str, &str) = ("get", "/instances/{jobInstanceId}");
const LIST: (&str, &str) = ("get", "/instances");
const RUN: (&str, &str) = ("post", "/{jobType}/instances");
const CANCEL: (&str, &str) = ("post", "/instances/{jobInstanceId}/cancel");

struct Contract {
    swagger: Value,
    schemas: Schemas,
    instance: SchemaIndex,
    list: SchemaIndex,
    error: SchemaIndex,
}

impl Contract {
    /// The published contract, but for these deviations.
    fn with(deviations: &[(&str, Value, &str)]) -> Self {
        let mut swagger: Value =
            serde_json::from_str(include_str!("../../job-scheduler.swagger.json"))
                .expect("the Swagger is JSON");
        for (place, truth, _) in deviations {
            *swagger
                .pointer_mut(place)
                .expect("the deviation's place exists") = truth.clone();
        }
        // Its definition of the request's body refers to another file, and is not about answers.
        let mut definitions = swagger["definitions"].clone();
        let map = definitions
            .as_object_mut()
            .expect("definitions are an object");
        map.remove("Parameter");
        map.remove("RunOnDemandItemJobRequest");

        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V4);
        compiler.enable_format_assertions();
        let document = "mem:///swagger.json";
        compiler
            .add_resource(document, json!({ "definitions": definitions }))
            .expect("the document is added once");
        let mut schemas = Schemas::new();
        let mut compile = |name: &str| {
            compiler
                .compile(&format!("{document}#/definitions/{name}"), &mut schemas)
                .unwrap_or_else(|error| panic!("{name}: {error:#}"))
        };
        let instance = compile("ItemJobInstance");
        let list = compile("ItemJobInstances");
        let error = compile("ErrorResponse");
        Self {
            swagger,
            schemas,
            instance,
            list,
            error,
        }
    }

    /// What about the answer is not as published.
    fn complaint(&self, (method, route): (&str, &str), answer: &Answered) -> Option<String> {
        let path = format!("/workspaces/{{workspaceId}}/items/{{itemId}}/jobs{route}");
        let responses = &self.swagger["paths"][&path][method]["responses"];
        assert!(responses.is_object(), "{method} {path} is published");
        let published = &responses[answer.status.to_string()];
        let response = if published.is_null() {
            if answer.status < 400 {
                return Some(format!("success {} is not published", answer.status));
            }
            &responses["default"]
        } else {
            published
        };
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let Some(value) = answer.header(name) else {
                return Some(format!("header {name} is missing"));
            };
            if header["type"] == "integer" && value.parse::<u64>().is_err() {
                return Some(format!("header {name} is no integer: {value}"));
            }
        }
        let Some(schema) = response["schema"]["$ref"].as_str() else {
            return (!answer.text.is_empty()).then(|| "a body where none is published".to_owned());
        };
        let schema = match schema {
            "#/definitions/ItemJobInstance" => self.instance,
            "#/definitions/ItemJobInstances" => self.list,
            "#/definitions/ErrorResponse" => self.error,
            other => return Some(format!("unknown schema {other}")),
        };
        let content = answer.header("content-type").unwrap_or_default();
        if !content.starts_with("application/json") {
            return Some(format!("content type {content}"));
        }
        self.schemas
            .validate(&answer.json, schema)
            .err()
            .map(|error| format!("{error:#}"))
    }
}

/// Each kind of answer that the job routes give without a script.
async fn answers() -> Vec<((&'static str, &'static str), u16, Answered)> {
    let simulator = start(Settings {
        cancel_takes: Duration::ZERO,
        list_page_size: 1,
        null_continuation_token: true,
        null_end_time_when_cancelled: true,
        ..Settings::default()
    })
    .await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    let job = seed.job;
    let instances = client.job_url().rsplit_once('/').unwrap().0.to_owned();
    let run = || {
        client
            .http
            .post(instances.replace("/jobs/", "/jobs/Pipeline/"))
    };
    let mut seen = Vec::new();

    seen.push((LOOK, 200, client.look().await));
    seen.push((
        RUN,
        202,
        client
            .send(run().json(&json!({ "executionData": {} })))
            .await,
    ));
    seen.push((RUN, 400, client.send(run().body("no JSON")).await));
    let first = client.get(&instances).await;
    let next = first.json["continuationUri"].as_str().unwrap().to_owned();
    seen.push((LIST, 200, first));
    seen.push((LIST, 200, client.get(&next).await));
    seen.push((
        LIST,
        400,
        client
            .get(&format!("{instances}?continuationToken=x"))
            .await,
    ));
    seen.push((CANCEL, 202, client.cancel().await));
    seen.push((LOOK, 200, client.look().await));
    seen.push((CANCEL, 400, client.cancel().await));
    for status in [
        JobStatus::NotStarted,
        JobStatus::Failed,
        JobStatus::Completed,
        JobStatus::Deduped,
    ] {
        simulator.set_job_status(job.job_instance_id, status);
        seen.push((LOOK, 200, client.look().await));
    }

    let unknown = client.get(&format!("{instances}/{}", Uuid::new_v4())).await;
    seen.push((LOOK, 404, unknown));
    seen.push((LOOK, 400, client.get(&format!("{instances}/x")).await));
    simulator.grant(job.workspace_id, &seed.identity(), Access::Denied);
    seen.push((CANCEL, 403, client.cancel().await));
    seen.push((LIST, 403, client.get(&instances).await));
    simulator.set_capacity_paused(job.workspace_id, true);
    simulator.grant(job.workspace_id, &seed.identity(), Access::Execute);
    seen.push((RUN, 404, client.send(run()).await));

    let none = QuotaLimit {
        calls: 0,
        ..QuotaLimit::default()
    };
    simulator.update_settings(|settings| settings.quota = Some(none));
    seen.push((CANCEL, 429, client.cancel().await));
    seen.push((LOOK, 429, client.look().await));
    seen.push((LIST, 429, client.get(&instances).await));
    seen.push((RUN, 429, client.send(run()).await));
    simulator.revoke_tokens(&seed.identity());
    seen.push((CANCEL, 401, client.cancel().await));
    seen
}

#[tokio::test]
async fn every_answer_is_as_published_but_for_the_known_deviations() {
    let contract = Contract::with(&deviations());
    for (route, status, answer) in answers().await {
        assert_eq!(answer.status, status, "{route:?}: {answer:?}");
        assert_eq!(
            contract.complaint(route, &answer),
            None,
            "{route:?}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn each_known_deviation_is_needed() {
    let answers = answers().await;
    for (left_out, (place, _, _)) in deviations().iter().enumerate() {
        let others: Vec<_> = deviations()
            .into_iter()
            .enumerate()
            .filter(|(index, _)| *index != left_out)
            .map(|(_, deviation)| deviation)
            .collect();
        let contract = Contract::with(&others);
        let complaints = answers
            .iter()
            .filter_map(|(route, _, answer)| contract.complaint(*route, answer));
        assert!(complaints.count() > 0, "nothing deviates at {place}");
    }
}

#[tokio::test]
async fn a_wrong_answer_is_seen() {
    let contract = Contract::with(&deviations());
    let simulator = start(Settings::default()).await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    let wrong = [
        json!({ "id": "not-a-uuid" }),
        json!({ "status": 7 }),
        json!({ "status": "Cancelling" }),
        json!({ "failureReason": { "errorCode": "X" } }),
        json!({ "startTimeUtc": null }),
    ];
    for fields in wrong {
        let rule = fabric_simulator::Rule::on(fabric_simulator::Route::Job).overlay(fields.clone());
        simulator.script(rule);
        let answer = client.look().await;
        assert!(contract.complaint(LOOK, &answer).is_some(), "{fields}");
    }
}
