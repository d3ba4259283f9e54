//! For each property the histories that break it.

use std::collections::BTreeSet;

use oracles::{
    Answer, ApiRequest, Contact, DIFFERS, Guard, Kind, Lifecycle, ORACLES, Property, Violation,
    Writer, equal_apart_from, same_end,
};
use serde_json::json;

use crate::story::{PROCESS, SECRET, Story, at, condition, ended, identity, secs, working};

/// A property, what goes wrong, and the change of the ordinary course that does it.
type Wrong = (Property, &'static str, fn(&mut Story));

/// Moves the versions from `index` on, and is told again by `and`.
fn from_version(story: &mut Story, index: usize) {
    story.history.resources[0].versions.truncate(index);
    story.history.api_requests.clear();
}

fn api_get(story: &mut Story, time: i64) {
    story.history.api_requests.push(ApiRequest {
        time: at(time),
        process: Some(PROCESS.into()),
        verb: "get".into(),
        resource: "fabricjobcancellations".into(),
        namespace: "team-a".into(),
        name: "stop".into(),
        code: 200,
    });
}

/// The one process leads from the beginning of the ordinary course to its last look.
fn elected(story: &mut Story) {
    story.lease("operator-0", -20, true);
    story.lease("operator-0", -1, false);
    for second in 0..32 {
        story.lease(PROCESS, second * 2, true);
    }
}

/// The ordinary course up to its 202, which is 429 for so long instead.
fn throttled(story: &mut Story, seconds: u64) {
    from_version(story, 2);
    story.history.requests.truncate(1);
    story.request(0).processed = false;
    story.reply(0).status = 429;
    story.reply(0).retry_after = Some(secs(seconds));
    story.history.facts.ends_within = None;
}

/// Another resource of `team-a` with a stored intent at that second.
fn another(story: &mut Story, number: u32, second: i64) -> usize {
    story.job(number, &[(0, "InProgress")]);
    let it = story.resource("team-a", &format!("stop-{number}"), number, 2);
    story.intent(it, second);
    it
}

const WRONG: &[Wrong] = &[
    (Property::S1, "no look showed Cancelled", |story| {
        story.reply(1).job_status = Some("InProgress".into());
    }),
    (
        Property::S1,
        "the look that showed it never came back",
        |story| {
            story.request(1).reached = false;
        },
    ),
    (Property::S1, "the look came after the write", |story| {
        story.reply(1).time = at(70);
    }),
    (Property::S1, "the job was not cancelled", |story| {
        story.history.jobs[0].states[1].1 = "Completed".into();
    }),
    (Property::S1, "accepted although nothing said so", |story| {
        story.reply(0).status = 500;
    }),
    (
        Property::S1,
        "cancelled is told as ended otherwise",
        |story| {
            story.last(0).object["status"]["conditions"] =
                ended("True", "JobEndedOtherwise", "True", "False");
        },
    ),
    (
        Property::S1,
        "accepted, and told as finished before",
        |story| {
            story.reply(1).job_status = Some("Completed".into());
            story.last(0).object["status"]["job"]["status"] = json!("Completed");
            story.last(0).object["status"]["conditions"] =
                ended("True", "JobAlreadyFinished", "True", "False");
        },
    ),
    (
        Property::S1,
        "accepted, and told as cancelled before",
        |story| {
            story.last(0).object["status"]["conditions"] =
                ended("True", "JobAlreadyCancelled", "True", "True");
        },
    ),
    (
        Property::S1,
        "cancelled by somebody else, and told as ours",
        |story| {
            from_version(story, 2);
            story.history.requests.clear();
            story.refused(Kind::Cancel, 0, 30, 400, "JobAlreadyCompleted");
            story.request(0).sent = at(3);
            story.look(0, 31, "Cancelled");
            story.end(0, 33, "True", "JobCancelled", "False", "True");
        },
    ),
    (Property::S1, "a deadline that has not come", |story| {
        story.reply(1).job_status = Some("InProgress".into());
        story.last(0).object["status"]["conditions"] =
            ended("False", "DeadlineExceeded", "True", "Unknown");
    }),
    (
        Property::S1,
        "a deadline although the end was shown",
        |story| {
            story.last(0).stored = at(4000);
            story.last(0).object["status"]["conditions"] =
                ended("False", "DeadlineExceeded", "True", "Unknown");
        },
    ),
    (Property::S1, "not found after one answer", |story| {
        story.refused(Kind::Look, 0, 65, 404, "JobInstanceNotFound");
        story.last(0).stored = at(70);
        story.last(0).object["status"]["conditions"] =
            ended("False", "JobNotFound", "True", "Unknown");
    }),
    (
        Property::S1,
        "rejected although nothing was refused",
        |story| {
            story.last(0).object["status"]["conditions"] =
                ended("False", "RequestRejected", "True", "Unknown");
        },
    ),
    (Property::S1, "the policy is not followed", |story| {
        story.reply(1).job_status = Some("Completed".into());
        story.last(0).object["status"]["job"]["status"] = json!("Completed");
        story.last(0).object["spec"]["finishedJobPolicy"] = json!("Fail");
        story.last(0).object["status"]["conditions"] =
            ended("True", "JobEndedOtherwise", "True", "False");
    }),
    (Property::S2, "no intent", |story| {
        story.history.resources[0].versions.remove(1);
    }),
    (Property::S2, "the intent came after", |story| {
        story.request(0).sent = at(2);
    }),
    (Property::S2, "the intent had not been answered", |story| {
        story.history.resources[0].versions[1].answer = Answer::Reached(at(5));
    }),
    (Property::S2, "the answer to the intent was lost", |story| {
        story.history.resources[0].versions[1].answer = Answer::Lost;
    }),
    (Property::S2, "the intent is another process's", |story| {
        story.history.resources[0].versions[1].writer = Writer::Operator(Some("operator-2".into()));
    }),
    (Property::S2, "the intent is not the operator's", |story| {
        story.history.resources[0].versions[1].writer = Writer::Other("mallory".into());
    }),
    (Property::S2, "the intent had expired", |story| {
        story.request(0).sent = at(20);
    }),
    (Property::S2, "sent twice under one intent", |story| {
        story.cancel(0, 10, 500, None);
    }),
    (
        Property::S2,
        "a third one after two refused tokens",
        |story| {
            story.reply(0).status = 401;
            story.cancel(0, 5, 401, None);
            story.cancel(0, 7, 202, None);
        },
    ),
    (Property::S3, "two processed with one attempt", |story| {
        story.cancel(0, 10, 202, None);
    }),
    (Property::S4, "two processed without any fault", |story| {
        story.history.resources[0].versions.truncate(3);
        story.intent(0, 30);
        story.cancel(0, 30, 202, None);
    }),
    (
        Property::S4,
        "a repeat before ten minutes have passed",
        |story| {
            story.history.resources[0].versions.truncate(3);
            story.intent(0, 590);
            story.cancel(0, 590, 202, None);
        },
    ),
    (Property::S4, "a third repeat", |story| {
        story.history.resources[0].versions.truncate(3);
        for second in [610, 1220, 1830] {
            story.intent(0, second);
            story.cancel(0, second, 202, None);
        }
    }),
    (
        Property::S4,
        "an attempt is begun in spite of SIGTERM",
        |story| {
            story.process(PROCESS, 3, Lifecycle::Terminated);
            story.history.resources[0].versions.truncate(3);
            story.intent(0, 30);
        },
    ),
    (Property::S5, "sent after the end", |story| {
        story.cancel(0, 100, 400, None);
    }),
    (Property::S5, "sent after a deletion", |story| {
        story.history.resources[0].gone = Some(at(80));
        story.history.resources[0].versions.truncate(1);
        story.request(0).sent = at(90);
    }),
    (Property::S5, "the intent showed a suspension", |story| {
        story.history.resources[0].versions[1].object["spec"]["suspend"] = json!(true);
    }),
    (Property::S5, "the intent showed a deletion", |story| {
        story.history.resources[0].versions[1].object["metadata"]["deletionTimestamp"] =
            json!(at(2).to_string());
    }),
    (Property::S6, "attempts went back", |story| {
        story.last(0).object["status"]["attempts"] = json!(0);
    }),
    (Property::S6, "attempts jumped", |story| {
        story.last(0).object["status"]["attempts"] = json!(3);
    }),
    (Property::S6, "acceptance was forgotten", |story| {
        let status = &mut story.last(0).object["status"];
        status.as_object_mut().unwrap().remove("acceptedTime");
        status["conditions"] = ended("True", "JobCancelled", "Unknown", "True");
    }),
    (Property::S6, "the acceptance moved", |story| {
        story.last(0).object["status"]["acceptedTime"] = json!(at(60).to_string());
    }),
    (
        Property::S6,
        "requestTime moved without an attempt",
        |story| {
            story.last(0).object["status"]["requestTime"] = json!(at(60).to_string());
        },
    ),
    (
        Property::S6,
        "the deadline's clock was set again",
        |story| {
            story.last(0).object["status"]["startTime"] = json!(at(60).to_string());
        },
    ),
    (Property::S6, "the end moved", |story| {
        story.write(0, 100, |status| {
            status["completionTime"] = json!(at(100).to_string())
        });
    }),
    (Property::S6, "an ended status changed", |story| {
        story.write(0, 100, |status| {
            status["job"]["status"] = json!("Completed")
        });
    }),
    (Property::S6, "Ready False without Stalled", |story| {
        story.last(0).object["status"]["conditions"] = json!([
            condition("Ready", "False", "JobCancelled"),
            condition("Accepted", "True", "CancelAccepted"),
            condition("Cancelled", "True", "JobCancelled"),
        ]);
    }),
    (Property::S6, "Reconciling and Stalled", |story| {
        let conditions = &mut story.last(0).object["status"]["conditions"];
        let list = conditions.as_array_mut().unwrap();
        list.push(condition("Reconciling", "True", "JobCancelled"));
    }),
    (Property::S6, "an end that Ready does not know", |story| {
        story.last(0).object["status"]["conditions"] = working("WaitingForCancellation", "True");
    }),
    (Property::S6, "Ready True before the end", |story| {
        let status = &mut story.last(0).object["status"];
        status.as_object_mut().unwrap().remove("completionTime");
    }),
    (Property::S6, "Accepted without its time", |story| {
        story.history.resources[0].versions[1].object["status"]["conditions"] =
            working("RequestingCancellation", "True");
    }),
    (Property::S6, "Cancelled without that job status", |story| {
        story.last(0).object["status"]["job"]["status"] = json!("InProgress");
    }),
    (Property::S6, "a condition that stands twice", |story| {
        let conditions = &mut story.last(0).object["status"]["conditions"];
        let list = conditions.as_array_mut().unwrap();
        list.push(condition("Accepted", "True", "CancelAccepted"));
    }),
    (Property::S7, "sent through the closed gate", |story| {
        throttled(story, 60);
        let it = another(story, 2, 30);
        story.cancel(it, 30, 202, None);
    }),
    (
        Property::S7,
        "a 429 without Retry-After closes it for a minute",
        |story| {
            throttled(story, 0);
            story.reply(0).retry_after = None;
            let it = another(story, 2, 30);
            story.cancel(it, 30, 202, None);
        },
    ),
    (Property::S7, "two probes when it opens", |story| {
        throttled(story, 30);
        for number in [2, 3] {
            let it = another(story, number, 40);
            story.cancel(it, 40, 202, None);
        }
    }),
    (
        Property::S7,
        "a new process sends two before it was answered",
        |story| {
            throttled(story, 60);
            for number in [2, 3] {
                let it = another(story, number, 20);
                story.call(Kind::Cancel, it, 20, 202).process = Some("operator-2".into());
            }
        },
    ),
    (Property::S8, "a connection to another origin", |story| {
        story.history.contacts.push(Contact {
            time: at(9),
            origin: "evil.example:443".into(),
        });
    }),
    (Property::S8, "the secret in the log", |story| {
        story.capture("log", &format!("failed with {SECRET}"));
    }),
    (Property::S9, "a look before the stored time", |story| {
        story.reply(0).retry_after = None;
        story.request(1).sent = at(50);
    }),
    (
        Property::S9,
        "a look before the time that it stored itself, while watches are silent",
        |story| {
            story.history.facts.unseen_until = Some(at(3000));
            story.reply(0).retry_after = None;
            story.request(1).sent = at(50);
        },
    ),
    (
        Property::S9,
        "a look before the Retry-After of a look",
        |story| {
            story.look(0, 66, "InProgress");
            story.reply(2).retry_after = Some(secs(100));
            story.look(0, 100, "InProgress");
        },
    ),
    (
        Property::S9,
        "a look before the Retry-After of the request",
        |story| {
            story.history.resources[0].versions[2].object["status"]["notBeforeTime"] = json!(null);
            story.request(1).sent = at(50);
        },
    ),
    (
        Property::S10,
        "six requests in a minute with a quota of five",
        |story| {
            for second in 100..106 {
                story.look(0, second, "InProgress");
            }
        },
    ),
    (
        Property::S11,
        "the write was meant for the object before",
        |story| {
            let it = story.resource("team-a", "stop", 1, 100);
            story.intent(it, 101);
            story.last(it).guard = Guard::ResourceVersion("4".into());
        },
    ),
    (Property::S11, "a write without resourceVersion", |story| {
        story.last(0).guard = Guard::Unguarded;
    }),
    (
        Property::S11,
        "a write over a version that it had not seen",
        |story| {
            story.last(0).guard = Guard::ResourceVersion("2".into());
        },
    ),
    (Property::S11, "facts from before the object", |story| {
        let it = story.resource("team-a", "stop", 1, 100);
        story.intent(it, 101);
        story.last(it).guard = Guard::NotSeen;
        story.last(it).object["status"]["startTime"] = json!(at(3).to_string());
    }),
    (Property::S12, "another namespace's token", |story| {
        story.request(1).identity = Some(identity("team-b"));
    }),
    (
        Property::S12,
        "another namespace's identity in the status",
        |story| {
            story.last(0).object["status"]["identity"]["clientId"] = json!("client-of-team-b");
        },
    ),
    (
        Property::S13,
        "another identity than the intent's",
        |story| {
            story.history.resources[0].versions[1].object["status"]["identity"]["clientId"] =
                json!("client-of-yesterday");
        },
    ),
    (Property::S13, "no known token", |story| {
        story.request(0).identity = None;
    }),
    (Property::L1, "no end", |story| {
        story.history.resources[0].versions.pop();
    }),
    (Property::L1, "a late end", |story| {
        story.last(0).stored = at(8000);
    }),
    (
        Property::L2,
        "the first of two waits for several minutes",
        |story| {
            let it = another(story, 2, 200);
            story.cancel(it, 200, 202, None);
        },
    ),
    (Property::L3, "a look after the end", |story| {
        story.look(0, 1000, "Cancelled");
    }),
    (Property::L3, "a write after the end", |story| {
        story.write(0, 1000, |status| status["note"] = json!("still here"));
    }),
    (Property::L3, "a read after the end", |story| {
        api_get(story, 1000)
    }),
    (
        Property::L3,
        "a second read after the end whose answer was lost",
        |story| {
            story.last(0).answer = Answer::Lost;
            api_get(story, 105);
            api_get(story, 200);
        },
    ),
    (
        Property::L3,
        "an end without an answer that is written again for ever",
        |story| {
            story.last(0).answer = Answer::Lost;
            story.asked(0, 500, "patch", 409);
        },
    ),
    (
        Property::L3,
        "another process that was refused once writes again",
        |story| {
            story.asked(0, 500, "patch", 409);
            story.asked(0, 510, "patch", 409);
            for request in story.history.api_requests.iter_mut().rev().take(2) {
                request.process = Some("operator-2".into());
            }
        },
    ),
    (
        Property::L3,
        "a read by a process that was shown an older edition, and then the end",
        |story| {
            story.process("operator-2", 900, Lifecycle::Started);
            for (second, version) in [(901, 2), (905, 3)] {
                story.shown("operator-2", 0, second, version);
            }
            api_get(story, 910);
            story.history.api_requests.last_mut().unwrap().process = Some("operator-2".into());
        },
    ),
    (
        Property::L3,
        "another process that read the end writes",
        |story| {
            story.asked(0, 500, "get", 200);
            story.asked(0, 510, "patch", 409);
            for request in story.history.api_requests.iter_mut().rev().take(2) {
                request.process = Some("operator-2".into());
            }
        },
    ),
    (
        Property::L3,
        "caught up, answered and written again",
        |story| {
            story.edited_after_the_end(0, 500, 505);
            story.last(0).answer = Answer::NotSeen;
            story.asked(0, 510, "patch", 409);
        },
    ),
    (
        Property::L3,
        "caught up without an answer, read and written again",
        |story| {
            story.edited_after_the_end(0, 500, 505);
            story.asked(0, 510, "get", 200);
            story.asked(0, 520, "patch", 409);
        },
    ),
    (
        Property::L3,
        "caught up without an answer and written again for ever",
        |story| {
            story.edited_after_the_end(0, 500, 505);
            story.asked(0, 900, "patch", 0);
        },
    ),
    (
        Property::L3,
        "a read by a process that was shown an older edition before there was an end",
        |story| {
            story.shown(PROCESS, 0, 5, 2);
            api_get(story, 1000);
        },
    ),
    (
        Property::L3,
        "a process that was shown an old edition alone is refused for ever",
        |story| {
            story.shown("operator-2", 0, 901, 2);
            story.asked(0, 19_000, "patch", 409);
            story.history.api_requests.last_mut().unwrap().process = Some("operator-2".into());
        },
    ),
    (
        Property::L3,
        "another process that writes without an answer for ever",
        |story| {
            story.asked(0, 19_000, "patch", 0);
            story.history.api_requests.last_mut().unwrap().process = Some("operator-2".into());
        },
    ),
    (Property::L3, "not observed for long enough", |story| {
        story.history.facts.until = at(600);
    }),
    (Property::L4, "only the wording changed", |story| {
        story.write(0, 1000, |status| {
            status["conditions"][0]["message"] = json!("Another sentence.");
        });
    }),
    (Property::L4, "a busy loop", |story| {
        for _ in 0..25 {
            api_get(story, 30);
        }
    }),
    (Property::L5, "a finalizer of the operator", |story| {
        story.last(0).object["metadata"]["finalizers"] = json!(["fabricjobs.dev/cleanup"]);
    }),
    (Property::L5, "a deletion that took a minute", |story| {
        story.history.resources[0].deletion_requested = Some(at(100));
        story.history.resources[0].gone = Some(at(160));
    }),
    (Property::L5, "a deletion that never came", |story| {
        story.history.resources[0].deletion_requested = Some(at(100));
    }),
    (
        Property::Fence,
        "a process that never held the Lease",
        |story| {
            story.lease("operator-2", 0, true);
        },
    ),
    (
        Property::Fence,
        "another one had taken the Lease",
        |story| {
            elected(story);
            story.lease("operator-2", 63, true);
        },
    ),
    (Property::Fence, "the Lease was given up", |story| {
        elected(story);
        story.lease(PROCESS, 63, false);
    }),
    (Property::Fence, "the last renewal was 11 s old", |story| {
        elected(story);
        story.history.leases.retain(|write| write.sent < at(54));
    }),
    (Property::Fence, "the Lease was only claimed", |story| {
        elected(story);
        story
            .history
            .leases
            .retain(|write| write.process == PROCESS);
    }),
    (Property::Differential, "another reason", |story| {
        story.last(0).object["status"]["conditions"][0]["reason"] = json!("JobEndedOtherwise");
    }),
    (Property::Differential, "a condition more", |story| {
        let conditions = &mut story.last(0).object["status"]["conditions"];
        let list = conditions.as_array_mut().unwrap();
        list.push(condition("Stalled", "True", "JobCancelled"));
    }),
];

/// What the judge of this property finds.
fn found(property: Property, story: &mut Story) -> Vec<Violation> {
    match ORACLES.iter().find(|(of, _)| *of == property) {
        Some((_, oracle)) => oracle(&story.history),
        None => {
            let reference = Story::plain().last(0).object.clone();
            equal_apart_from(&story.last(0).object, &reference, DIFFERS)
        }
    }
}

#[test]
fn every_wrong_history_is_found_by_the_judge_of_its_property_and_the_right_one_by_none() {
    let mut missed = Vec::new();
    for (property, what, change) in WRONG {
        assert_eq!(found(*property, &mut Story::plain()), []);
        let mut story = Story::plain();
        change(&mut story);
        let violations = found(*property, &mut story);
        if violations.is_empty() {
            missed.push(format!("{}: {what}", property.id()));
        }
        for violation in violations {
            assert_eq!(violation.property, *property, "{what}");
            let text = violation.to_string();
            assert!(text.contains(property.sentence()), "{text}");
            assert!(!text.contains(SECRET), "a report shows a secret");
        }
    }
    assert!(missed.is_empty(), "not found:\n{}", missed.join("\n"));
}

#[test]
fn every_property_has_a_wrong_history_and_all_but_the_differential_one_a_judge() {
    let shown: BTreeSet<_> = WRONG.iter().map(|(property, ..)| *property).collect();
    assert_eq!(shown, Property::ALL.into_iter().collect());
    let judged: BTreeSet<_> = ORACLES.iter().map(|(property, _)| *property).collect();
    let missing: Vec<_> = shown.difference(&judged).collect();
    assert_eq!(missing, [&Property::Differential]);
    let ids: BTreeSet<_> = Property::ALL.iter().map(|it| it.id()).collect();
    assert_eq!(ids.len(), Property::ALL.len(), "an id stands twice");
}

#[test]
fn a_lost_answer_explains_an_unknown_acceptance_and_no_other_end() {
    let reference = Story::plain().last(0).object.clone();
    let end = |change: fn(&mut serde_json::Value)| {
        let mut story = Story::plain();
        let status = &mut story.last(0).object["status"];
        let unknown = condition("Accepted", "Unknown", "AnswerLost");
        status["conditions"][1] = unknown;
        status.as_object_mut().unwrap().remove("location");
        change(status);
        story.last(0).object.clone()
    };
    let unknown = end(|_| {});
    assert_eq!(same_end(&unknown, &reference, true), []);
    assert_ne!(same_end(&unknown, &reference, false), []);
    let otherwise = end(|status| status["conditions"][0]["reason"] = json!("JobAlreadyFinished"));
    assert_ne!(same_end(&otherwise, &reference, true), []);
    let no_goal = end(|status| status["conditions"][0]["status"] = json!("False"));
    assert_ne!(same_end(&no_goal, &reference, true), []);
    let known = Story::plain().last(0).object.clone();
    let mut other = known.clone();
    other["status"]["location"] = json!("https://fabric/2");
    assert_ne!(same_end(&other, &known, true), [], "nothing was lost");
    assert_ne!(same_end(&serde_json::Value::Null, &reference, true), []);
}
