//! A run as a person reads it: when, who, what.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::Value;
use virtual_cluster::api_server::{CANCELLATIONS, Change, Entry, Event, Verb};

use crate::{log, run::World, wire::Call};

/// One line for each thing that happened, in the order of time.
pub fn of(world: &World) -> String {
    let start = world.calendar.start();
    let mut lines: Vec<(Timestamp, String, String)> = Vec::new();
    for (time, what) in &world.acts {
        lines.push((*time, "world".into(), what.clone()));
    }
    for event in world.cluster.events() {
        lines.push((event.time, event.process, format!("{:?}", event.what)));
    }
    for request in world.server.requests() {
        lines.push((request.time, request.user.clone(), api_request(&request)));
    }
    for event in world.server.log(&CANCELLATIONS) {
        if event.key.kind == &CANCELLATIONS {
            lines.push((event.time, "stored".into(), stored(&event)));
        }
    }
    for line in log::lines() {
        lines.push((start + line.after, "log".into(), line.text()));
    }
    for call in world.wire.calls() {
        lines.push((call.sent, call.process.clone(), called(start, &call)));
    }
    lines.sort_by_key(|(time, ..)| *time);
    let mut text = format!(
        "seed {}: {:#?}\n{:#?}\n{:#?}\n{:#?}\n",
        world.plan.seed,
        world.plan.settings,
        world.plan.jobs,
        world.plan.resources,
        world.plan.weather
    );
    for (time, who, what) in lines {
        writeln!(text, "{} {who:<13} {what}", clock(start, time)).expect("a text takes everything");
    }
    text
}

/// Hours, minutes, seconds and milliseconds since the start.
fn clock(start: Timestamp, time: Timestamp) -> String {
    let millis = time.duration_since(start).as_millis();
    let (seconds, millis) = (millis / 1000, millis % 1000);
    format!(
        "{:02}:{:02}:{:02}.{millis:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

fn api_request(entry: &Entry) -> String {
    let fault = entry.fault.map(|fault| format!(" !{fault:?}"));
    let code = entry
        .code
        .map_or("lost".to_owned(), |code| code.to_string());
    let body: Value = serde_json::from_slice(&entry.body).unwrap_or_default();
    let guard = &body["metadata"]["resourceVersion"];
    let on = if entry.verb == Verb::Patch {
        format!(" on {guard}")
    } else {
        String::new()
    };
    let mut name = entry.name.as_deref().unwrap_or_default();
    if entry.resource == "events" {
        // kube puts the real time into it.
        name = name.rsplit_once('.').map_or(name, |(object, _)| object);
    }
    format!(
        "{:?} {} {}{on} -> {code}{}",
        entry.verb,
        entry.resource,
        name,
        fault.unwrap_or_default(),
    )
}

fn stored(event: &Event) -> String {
    let name = &event.key.name;
    if event.change == Change::Deleted {
        return format!("{name} {} deleted", event.version);
    }
    let status = &event.object["status"];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let conditions: Vec<_> = conditions
        .iter()
        .map(|it| {
            format!(
                "{}={}/{}",
                text(&it["type"]),
                text(&it["status"]),
                text(&it["reason"])
            )
        })
        .collect();
    let who = if event.cause.is_some() {
        ""
    } else {
        " by somebody"
    };
    format!(
        "{name} {}{who} generation {} suspend {} attempts {} requested {} accepted {} ended {} job {} not before {} {}",
        event.version,
        event.object["metadata"]["generation"],
        event.object["spec"]["suspend"],
        status["attempts"],
        text(&status["requestTime"]),
        text(&status["acceptedTime"]),
        text(&status["completionTime"]),
        text(&status["job"]["status"]),
        text(&status["notBeforeTime"]),
        conditions.join(" ")
    )
}

fn called(start: Timestamp, call: &Call) -> String {
    let reply = match &call.reply {
        None => "no answer".to_owned(),
        Some(reply) => format!(
            "{}{}{}{} at {}{}",
            reply.status,
            reply
                .error_code
                .iter()
                .map(|code| format!(" {code}"))
                .collect::<String>(),
            reply
                .retry_after
                .iter()
                .map(|hint| format!(" Retry-After {hint:?}"))
                .collect::<String>(),
            reply
                .job_status
                .iter()
                .map(|status| format!(" {status:?}"))
                .collect::<String>(),
            clock(start, reply.time),
            if call.reached { "" } else { " (lost)" }
        ),
    };
    let fault = call.fault.map(|fault| format!(" !{fault:?}"));
    format!(
        "{} {} -> {reply}{}",
        call.method,
        call.path,
        fault.unwrap_or_default()
    )
}
