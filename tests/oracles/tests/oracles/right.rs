//! Histories that keep every promise, each with something that could be taken for a breach.

use oracles::{Answer, ApiRequest, Kind, Lifecycle, judge};
use serde_json::json;

use crate::story::{PROCESS, Story, at, condition, identity, secs, working};

#[track_caller]
fn passes(story: &Story) {
    let found = judge(&story.history);
    let text: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{}", text.join("\n"));
}

#[test]
fn the_ordinary_course_passes() {
    passes(&Story::plain());
}

#[test]
fn a_new_attempt_after_a_crash_and_a_lost_answer_passes() {
    let mut story = Story::new();
    story.job(1, &[(0, "InProgress"), (90, "Cancelled")]);
    let it = story.resource("team-a", "stop", 1, 2);
    story.intent(it, 3);
    story.cancel(it, 3, 202, Some(60));
    story.request(0).reached = false;
    story.process("operator-1", 4, Lifecycle::Crashed);
    story.process("operator-2", 5, Lifecycle::Started);
    story.call(Kind::Look, it, 28, 200).process = Some("operator-2".into());
    story.reply(1).job_status = Some("InProgress".into());
    story.intent_as("operator-2", it, 30);
    story.call(Kind::Cancel, it, 30, 202).process = Some("operator-2".into());
    story.accepted(it, 31, 91);
    story.look(it, 92, "Cancelled");
    story.end(it, 93, "True", "JobCancelled", "True", "True");
    passes(&story);
}

#[test]
fn a_refused_token_is_replaced_under_the_same_intent() {
    let mut story = Story::new();
    story.job(1, &[(0, "InProgress"), (20, "Cancelled")]);
    let it = story.resource("team-a", "stop", 1, 2);
    story.intent(it, 3);
    story.refused(Kind::Cancel, it, 3, 401, "TokenExpired");
    story.cancel(it, 6, 202, Some(20));
    story.accepted(it, 7, 27);
    story.look(it, 27, "Cancelled");
    story.end(it, 28, "True", "JobCancelled", "True", "True");
    passes(&story);
}

#[test]
fn a_throttled_identity_waits_probes_once_and_goes_on() {
    let mut story = Story::new();
    let all: Vec<_> = (1..4)
        .map(|number| {
            story.job(number, &[(0, "InProgress"), (100, "Cancelled")]);
            story.resource("team-a", &format!("stop-{number}"), number, 2)
        })
        .collect();
    story.intent(all[0], 3);
    // Sent before the answer that closes the gate.
    story.intent(all[1], 3);
    story.cancel(all[0], 3, 429, Some(30));
    story.cancel(all[1], 4, 429, Some(30));
    for (index, second) in [(0, 40), (1, 42), (2, 43)] {
        story.intent(all[index], second);
        story.cancel(all[index], second, 202, Some(60));
    }
    for (index, second) in [(0, 41), (1, 43), (2, 44)] {
        story.accepted(all[index], second, second + 60);
    }
    for (index, it) in all.into_iter().enumerate() {
        let second = 120 + i64::try_from(index).unwrap();
        story.look(it, second, "Cancelled");
        story.end(it, second + 1, "True", "JobCancelled", "True", "True");
    }
    passes(&story);
}

#[test]
fn a_job_that_runs_on_is_asked_again_after_ten_minutes() {
    let mut story = Story::new();
    story.job(1, &[(0, "InProgress"), (700, "Completed")]);
    let it = story.resource("team-a", "stop", 1, 2);
    story.intent(it, 3);
    story.cancel(it, 3, 202, Some(60));
    story.accepted(it, 4, 64);
    story.look(it, 64, "InProgress");
    story.write(it, 65, |status| {
        status["job"]["status"] = json!("InProgress")
    });
    story.look(it, 600, "InProgress");
    story.intent(it, 604);
    story.cancel(it, 604, 202, Some(60));
    story.look(it, 720, "Completed");
    story.end(it, 721, "True", "JobEndedOtherwise", "True", "False");
    passes(&story);
}

#[test]
fn two_resources_for_one_job_pass_each_with_a_request_of_its_own() {
    let mut story = Story::new();
    story.job(1, &[(0, "InProgress"), (20, "Cancelled")]);
    let first = story.resource("team-a", "stop", 1, 2);
    let second = story.resource("team-b", "stop", 1, 2);
    story.intent(first, 3);
    story.intent(second, 3);
    story.cancel(second, 3, 202, Some(60));
    story.cancel(first, 4, 202, Some(60));
    story.accepted(second, 4, 64);
    story.accepted(first, 5, 65);
    for (it, when) in [(second, 64), (first, 66)] {
        story.look(it, when, "Cancelled");
        story.end(it, when + 1, "True", "JobCancelled", "True", "True");
    }
    passes(&story);
}

#[test]
fn what_is_suspended_deleted_or_edited_passes() {
    let mut story = Story::plain();
    story.job(2, &[(0, "InProgress")]);
    let suspended = story.resource("team-a", "later", 2, 100);
    story.edit(suspended, 101, |object| {
        object["spec"]["suspend"] = json!(true)
    });
    story.write(suspended, 102, |status| {
        status["conditions"] = working("Suspended", "Unknown");
    });
    story.look(suspended, 102, "InProgress");
    let deleted = story.resource("team-b", "never-mind", 2, 200);
    story.history.resources[deleted].deletion_requested = Some(at(201));
    story.history.resources[deleted].gone = Some(at(201));
    // A knob of the ended one: the status catches up with the generation, and that is all.
    story.edit(0, 300, |object| {
        object["metadata"]["generation"] = json!(2);
        object["spec"]["activeDeadlineSeconds"] = json!(7200);
    });
    story.write(0, 301, |_| {});
    passes(&story);
}

#[test]
fn a_missing_job_and_a_deadline_pass() {
    let mut story = Story::new();
    story.job(2, &[(0, "InProgress")]);
    let missing = story.resource("team-a", "missing", 1, 2);
    story.intent(missing, 3);
    story.refused(Kind::Cancel, missing, 3, 404, "JobInstanceNotFound");
    story.write(missing, 4, |status| {
        status["conditions"] = working("JobNotFound", "Unknown");
    });
    story.refused(Kind::Look, missing, 64, 404, "JobInstanceNotFound");
    story.end(missing, 65, "False", "JobNotFound", "False", "Unknown");
    let stuck = story.resource("team-b", "stuck", 2, 100);
    story.intent(stuck, 103);
    story.refused(Kind::Cancel, stuck, 103, 403, "InsufficientPrivileges");
    story.write(stuck, 104, |status| {
        status["conditions"] = working("PermissionDenied", "Unknown");
    });
    story.write(stuck, 230, |status| {
        status["conditions"] = json!([
            condition("Ready", "False", "PermissionDenied"),
            condition("Stalled", "True", "PermissionDenied"),
            condition("Accepted", "Unknown", "Pending"),
            condition("Cancelled", "Unknown", "Pending"),
        ]);
    });
    // What stands in the way now is another thing of the same kind.
    story.write(stuck, 300, |status| {
        status["conditions"][0]["message"] = json!("Another right is missing.");
    });
    story.end(stuck, 3703, "False", "DeadlineExceeded", "False", "Unknown");
    passes(&story);
}

#[test]
fn what_was_seen_a_moment_late_passes_within_the_tolerance() {
    let mut story = Story::plain();
    story.history.facts.tolerance = secs(2);
    story.history.resources[0].versions[1].stored = at(4);
    story.history.resources[0].versions[3].stored = at(66);
    story.request(1).sent = at(63);
    passes(&story);
}

#[test]
fn a_restored_end_is_evidence_and_nothing_is_done_for_it() {
    let mut story = Story::plain();
    let object = story.last(0).object.clone();
    let restored = story.resource("team-a", "restored", 1, 9000);
    story.last(restored).object["status"] = object["status"].clone();
    passes(&story);
    assert_eq!(story.request(0).identity, Some(identity("team-a")));
}

#[test]
fn a_read_in_the_moment_before_the_end_was_sent_does_not_show_it() {
    let mut story = Story::plain();
    let end = story.history.api_requests.pop().unwrap();
    story.asked(0, 65, "get", 200);
    story.history.api_requests.push(end);
    story.last(0).answer = Answer::Lost;
    story.asked(0, 78, "patch", 409);
    story.asked(0, 78, "get", 200);
    passes(&story);
}

#[test]
fn a_process_that_takes_over_with_an_older_view_is_refused_once_and_reads() {
    let mut story = Story::plain();
    story.asked(0, 90, "patch", 409);
    story.asked(0, 95, "get", 200);
    for request in story.history.api_requests.iter_mut().rev().take(2) {
        request.process = Some("operator-2".into());
    }
    passes(&story);
}

#[test]
fn a_process_whose_watch_is_silent_does_not_know_what_another_one_stored() {
    let mut story = Story::plain();
    story.reply(0).retry_after = None;
    story.request(1).sent = at(50);
    story.request(1).process = Some("operator-2".into());
    assert!(
        !oracles::judge(&story.history).is_empty(),
        "with a watch it knows"
    );
    story.history.facts.unseen_until = Some(at(3000));
    passes(&story);
}

#[test]
fn a_write_that_catches_up_after_the_end_is_tried_again_until_it_is_read() {
    let mut story = Story::plain();
    story.edited_after_the_end(0, 500, 505);
    story.asked(0, 508, "patch", 0);
    story.asked(0, 515, "patch", 409);
    story.asked(0, 515, "get", 200);
    passes(&story);
}

#[test]
fn what_a_preflight_showed_does_not_forbid_a_deadline() {
    let mut story = Story::new();
    story.job(1, &[(0, "Completed")]);
    let it = story.resource("team-a", "stop", 1, 2);
    story.look(it, 3, "Completed");
    story.intent(it, 5);
    story.refused(Kind::Cancel, it, 5, 404, "JobInstanceNotFound");
    story.end(it, 3606, "False", "DeadlineExceeded", "False", "Unknown");
    passes(&story);
}

#[test]
fn an_end_whose_answer_was_lost_is_written_again_until_it_is_read() {
    let mut story = Story::plain();
    story.last(0).answer = Answer::Lost;
    let end = story.last(0).stored;
    for (after, verb, code) in [(2, "patch", 0), (5, "patch", 409), (5, "get", 200)] {
        story.history.api_requests.push(ApiRequest {
            time: end + secs(after),
            process: Some("operator-1".into()),
            verb: verb.into(),
            resource: "fabricjobcancellations".into(),
            namespace: "team-a".into(),
            name: "stop".into(),
            code,
        });
    }
    passes(&story);
}

#[test]
fn a_request_of_a_resource_that_was_created_anew_is_not_its_predecessors() {
    let mut story = Story::new();
    story.job(1, &[(0, "InProgress"), (20, "Cancelled")]);
    let first = story.resource("team-a", "stop", 1, 2);
    story.intent(first, 3);
    story.refused(Kind::Cancel, first, 3, 401, "TokenExpired");
    story.history.resources[first].deletion_requested = Some(at(5));
    story.history.resources[first].gone = Some(at(5));
    let second = story.resource("team-a", "stop", 1, 6);
    story.intent(second, 7);
    story.cancel(second, 7, 202, Some(20));
    story.accepted(second, 8, 28);
    story.look(second, 28, "Cancelled");
    story.end(second, 29, "True", "JobCancelled", "True", "True");
    passes(&story);
}

#[test]
fn who_was_shown_an_older_edition_writes_is_refused_and_reads() {
    let mut story = Story::plain();
    story.process("operator-2", 900, Lifecycle::Started);
    story.shown("operator-2", 0, 901, 1);
    story.shown("operator-2", 0, 903, 3);
    for (second, verb, code) in [(902, "patch", 409), (903, "get", 200)] {
        story.history.api_requests.push(ApiRequest {
            time: at(second),
            process: Some("operator-2".into()),
            verb: verb.into(),
            resource: "fabricjobcancellations".into(),
            namespace: "team-a".into(),
            name: "stop".into(),
            code,
        });
    }
    // What the read shows came after it was asked.
    story.history.shown[1].time = at(904);
    passes(&story);
}

#[test]
fn a_leader_works_from_the_end_of_its_claim_until_it_hands_over() {
    let mut story = Story::plain();
    for second in -9..32 {
        story.lease(PROCESS, second * 2, true);
    }
    story.history.requests[1].process = Some("operator-2".into());
    story.process("operator-2", 50, Lifecycle::Started);
    story.lease(PROCESS, 63, false);
    story.lease("operator-2", 63, true);
    passes(&story);
}

#[test]
fn a_leader_that_was_cut_off_records_what_it_had_begun_and_is_refused() {
    let mut story = Story::plain();
    story.process("operator-2", 1, Lifecycle::Started);
    story.shown("operator-2", 0, 4, 1);
    for (second, verb, code) in [(100, "patch", 409), (101, "get", 200)] {
        story.history.api_requests.push(ApiRequest {
            time: at(second),
            process: Some("operator-2".into()),
            verb: verb.into(),
            resource: "fabricjobcancellations".into(),
            namespace: "team-a".into(),
            name: "stop".into(),
            code,
        });
    }
    passes(&story);
}
