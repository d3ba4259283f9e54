//! Faults that are no single step: rows of the table R01 to R29, each by its own name.

mod servers;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fabric_simulator::Settings;
use fault_proxy::{Answer, AnswerBody, Fault, Loss, Rule, RuleHandle, Step, Verb};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use serde_json::json;

use crate::stage::{PLURAL, Stage};

/// A fault over more than one step, met by the scenario `cancel`.
#[derive(Clone, Copy)]
pub struct Named {
    /// The row of the table and what happens, as plans are named.
    pub name: &'static str,
    /// Sets the trap.
    pub set: Set,
    /// How Fabric behaves otherwise.
    pub settings: fn(&mut Settings),
    /// Whether the outcome of an attempt may stay unknown.
    pub may_lose_an_answer: bool,
    /// How long the fault lasts in virtual time, with the waits that Fabric asks for; `None` when it
    /// is as long as real servers take to start.
    pub lasts: Option<Duration>,
}

type Set = for<'a> fn(&'a Stage<'a>) -> LocalBoxFuture<'a, Vec<RuleHandle>>;

/// A fault that is over at once.
const MOMENT: Option<Duration> = Some(Duration::ZERO);

/// All of them.
pub const NAMED: &[Named] = &[
    Named {
        name: "R05/moved-to-an-api-server-that-fell-behind",
        set: |stage| servers::fell_behind(stage).boxed_local(),
        settings: |_| {},
        may_lose_an_answer: true,
        lasts: Some(servers::BEHIND),
    },
    Named {
        name: "R05/moved-to-an-api-server-whose-etcd-is-gone",
        set: |stage| servers::etcd_is_gone(stage).boxed_local(),
        settings: |_| {},
        may_lose_an_answer: true,
        lasts: Some(servers::BEHIND),
    },
    Named {
        name: "R09/two-api-servers-restart-one-after-the-other",
        set: |stage| servers::restart_one_after_the_other(stage).boxed_local(),
        settings: |settings| settings.cancel_takes = Duration::from_secs(100_000),
        may_lose_an_answer: false,
        lasts: None,
    },
    Named {
        name: "R08/every-watch-breaks-off",
        set: |stage| ready(every_watch_breaks_off(stage)).boxed_local(),
        settings: |_| {},
        may_lose_an_answer: false,
        lasts: MOMENT,
    },
    Named {
        name: "R14/api-server-unreachable-after-the-request",
        set: |stage| ready(api_server_unreachable(stage)).boxed_local(),
        settings: |_| {},
        may_lose_an_answer: true,
        lasts: Some(OUTAGE),
    },
    Named {
        name: "R16/throttled-in-every-form",
        set: |stage| ready(throttled_in_every_form(stage)).boxed_local(),
        settings: |_| {},
        may_lose_an_answer: false,
        lasts: Some(THROTTLED),
    },
    Named {
        name: "R17/server-errors-and-web-pages",
        set: |stage| ready(server_errors(stage)).boxed_local(),
        settings: |_| {},
        may_lose_an_answer: true,
        lasts: MOMENT,
    },
    Named {
        name: "R18/endless-body",
        set: |stage| ready(endless_body(stage)).boxed_local(),
        settings: |_| {},
        may_lose_an_answer: false,
        lasts: MOMENT,
    },
    Named {
        name: "R18/answers-in-tiny-pieces",
        set: |stage| ready(tiny_pieces(stage)).boxed_local(),
        settings: |_| {},
        may_lose_an_answer: false,
        lasts: MOMENT,
    },
    Named {
        name: "R18/resets-in-the-body",
        set: |stage| ready(resets_in_the_body(stage)).boxed_local(),
        settings: |_| {},
        may_lose_an_answer: true,
        lasts: MOMENT,
    },
    Named {
        name: "R26/api-server-throttles",
        set: |stage| ready(api_server_throttles(stage)).boxed_local(),
        settings: |_| {},
        may_lose_an_answer: true,
        lasts: MOMENT,
    },
];

/// Each watch of the operator is cut in the middle of its first event.
fn every_watch_breaks_off(stage: &Stage<'_>) -> Vec<RuleHandle> {
    let rule =
        Rule::on(|step| step.call.verb == Verb::Event && step.call.subresource != "BOOKMARK");
    vec![
        stage
            .operator()
            .api
            .rule(rule.times(3).fault(Fault::Cut(100))),
    ]
}

/// How long the API server is out of reach.
const OUTAGE: Duration = Duration::from_secs(40);

/// The API server refuses every connection for a while, from the request on.
fn api_server_unreachable(stage: &Stage<'_>) -> Vec<RuleHandle> {
    let replica = Arc::clone(stage.operator());
    let outage = stage.pace.real(OUTAGE);
    let rule = Rule::on(|step| step.call.verb == Verb::Cancel).after(move |_| {
        let replica = Arc::clone(&replica);
        async move { replica.cut_off(outage) }
    });
    vec![stage.operator().fabric.rule(rule)]
}

/// What the four answers ask for: 3 s, by default a minute, 5 s at least, and 20 s.
const THROTTLED: Duration = Duration::from_secs(3 + 60 + 5 + 20);

/// A number, nothing, zero, and a larger number.
fn throttled_in_every_form(stage: &Stage<'_>) -> Vec<RuleHandle> {
    let body = json!({ "errorCode": "RequestBlocked", "message": "wait" });
    let forms = [Some("3"), None, Some("0"), Some("20")];
    let rules = forms.iter().enumerate().map(|(index, form)| {
        let mut answer = Answer::json(429, &body);
        if let Some(seconds) = form {
            answer = answer.header("retry-after", seconds);
        }
        nth_call(stage, index, Fault::Answer(answer))
    });
    rules.collect()
}

/// 500, 502, 503 and 504, with an empty body, a web page, and the wrong content type.
fn server_errors(stage: &Stage<'_>) -> Vec<RuleHandle> {
    let page = "<html><body>Bad gateway</body></html>";
    let answers = [
        (500, "", "text/plain"),
        (502, page, "text/html"),
        (503, "[]", "application/json"),
        (504, page, "application/json"),
    ];
    let rules = answers
        .iter()
        .enumerate()
        .map(|(index, (status, body, kind))| {
            let answer = Answer {
                status: *status,
                headers: vec![("content-type".into(), (*kind).into())],
                body: AnswerBody::Whole(Bytes::from_static(body.as_bytes())),
            };
            nth_call(stage, index, Fault::Answer(answer))
        });
    rules.collect()
}

/// A look is answered with a body that never ends.
fn endless_body(stage: &Stage<'_>) -> Vec<RuleHandle> {
    let answer = Answer {
        status: 200,
        headers: vec![("content-type".into(), "application/json".into())],
        body: AnswerBody::Endless(Bytes::from(vec![b' '; 16_384]), Duration::from_millis(1)),
    };
    let rule = Rule::on(|step| step.call.verb == Verb::Look);
    vec![
        stage
            .operator()
            .fabric
            .rule(rule.fault(Fault::Answer(answer))),
    ]
}

/// Every answer of Fabric and Entra comes in pieces of seven bytes.
fn tiny_pieces(stage: &Stage<'_>) -> Vec<RuleHandle> {
    let slow = || Fault::Slice(7, Duration::from_millis(2));
    let replica = stage.operator();
    vec![
        replica
            .fabric
            .rule(Rule::on(|_| true).always().fault(slow())),
        replica
            .entra
            .rule(Rule::on(|_| true).always().fault(slow())),
    ]
}

/// The first four answers of Fabric break off after some bytes.
fn resets_in_the_body(stage: &Stage<'_>) -> Vec<RuleHandle> {
    let rules = (0..4).map(|index| nth_call(stage, index, Fault::Cut(index)));
    rules.collect()
}

/// The API server throttles the first six writes, and loses one.
fn api_server_throttles(stage: &Stage<'_>) -> Vec<RuleHandle> {
    let api = &stage.operator().api;
    let writes = |step: &Step| step.call.verb == Verb::Patch && step.call.resource == PLURAL;
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too many requests", "reason": "TooManyRequests", "code": 429,
    });
    let answer = Answer::json(429, &status).header("retry-after", "1");
    vec![
        api.rule(
            Rule::on(writes)
                .times(3)
                .fault(Fault::Answer(answer.clone())),
        ),
        api.rule(
            Rule::on(writes)
                .nth(5)
                .times(3)
                .fault(Fault::Answer(answer)),
        ),
        api.rule(Rule::on(writes).nth(9).fault(Fault::Lose(Loss::Reset))),
    ]
}

/// The fault for one call of Fabric's, counted from 0.
fn nth_call(stage: &Stage<'_>, index: usize, fault: Fault) -> RuleHandle {
    let rule = Rule::on(|step| matches!(step.call.verb, Verb::Cancel | Verb::Look));
    let nth = u32::try_from(index).expect("a small number") + 1;
    stage.operator().fabric.rule(rule.nth(nth).fault(fault))
}
