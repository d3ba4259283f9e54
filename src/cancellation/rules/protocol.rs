//! Intent, acceptance, definite answers and unknown ones.

use super::{repeats::ten_minutes_later, *};

// --- intent and acceptance

#[test]
fn a_fresh_wish_asks_at_once_and_its_intent_says_who_when_and_which_attempt() {
    let story = Story::start(wish());
    assert_eq!(story.step(), Step::Request);
    let story = story.intent();
    let stored = story.core.stored();
    assert_eq!(stored.attempts, 1);
    assert_eq!(stored.request_time, Some(t0()));
    assert_eq!(stored.identity, Some(identity()));
    assert_eq!(stored.start_time, Some(t0()));
    assert_eq!(stored.observed_generation, Some(1));
    assert_eq!(
        story.ready(),
        (Value::Unknown, Reason::RequestingCancellation)
    );
}

#[test]
fn an_intent_that_could_not_be_stored_changes_nothing() {
    let story = Story::start(wish());
    let before = story.core.clone();
    let _refused_by_the_api_server = story.core.intent(identity(), story.now);
    assert_eq!(story.core, before);
}

#[test]
fn an_intent_whose_request_was_not_sent_licenses_a_new_attempt_at_once() {
    let mut story = Story::start(wish()).intent();
    story.core = story.core.not_sent();
    assert_eq!(story.step(), Step::Request);
    assert_eq!(story.intent().core.stored().attempts, 2);
}

#[test]
fn acceptance_records_when_where_which_request_and_the_time_to_leave_fabric_alone() {
    let story = Story::start(wish()).advance(7).answer(accepted_after(60));
    let stored = story.core.stored();
    assert_eq!(stored.accepted_time, Some(story.now));
    assert_eq!(stored.location.as_deref(), Some("https://example.invalid/"));
    assert_eq!(stored.request_id.as_deref(), Some("request"));
    assert_eq!(stored.not_before, Some(later(story.now, secs(60))));
    assert_eq!(story.accepted_is(), (Value::True, Reason::CancelAccepted));
    assert_eq!(
        story.ready(),
        (Value::Unknown, Reason::WaitingForCancellation)
    );
    assert_eq!(
        story.cancelled_is(),
        (Value::Unknown, Reason::WaitingForCancellation)
    );
}

#[test]
fn an_acceptance_that_met_a_conflict_is_stored_with_the_next_write() {
    let story = Story::start(wish())
        .answer_unstored(accepted())
        .stored_by_others(|_a_label_changed| {})
        .store();
    assert!(story.core.stored().accepted_time.is_some());
    assert!(matches!(story.step(), Step::Wait { .. }));
}

#[test]
fn an_acceptance_survives_an_intent_of_somebody_else() {
    let story = Story::start(wish())
        .answer_unstored(accepted_after(600))
        .stored_by_others(|stored| stored.attempts = 2)
        .store();
    let stored = story.core.stored();
    assert_eq!(stored.attempts, 2);
    assert_eq!(stored.accepted_time, Some(t0()));
    assert_eq!(stored.request_id.as_deref(), Some("request"));
    assert!(stored.location.is_some());
    assert_eq!(story.waits(), 600, "what Fabric asked for is kept too");
}

#[test]
fn an_acceptance_that_somebody_else_stored_with_their_intent_is_theirs() {
    let story = Story::start(wish())
        .answer_unstored(accepted())
        .stored_by_others(|stored| {
            stored.attempts = 2;
            stored.accepted_time = Some(later(t0(), secs(1)));
            stored.location = Some("theirs".into());
        });
    assert_eq!(story.facts().location.as_deref(), Some("theirs"));
}

#[test]
fn what_was_seen_and_could_not_be_stored_is_kept() {
    let label = |_: &mut Facts| {};
    for story in [
        Story::accepted().wait().answer_unstored(running()),
        Story::start(wish())
            .answer(lost())
            .wait()
            .answer_unstored(running()),
        Story::start(wish()).answer_unstored(accepted()),
        Story::accepted().wait().answer_unstored(cancelled()),
    ] {
        let before = story.facts().clone();
        let story = story.stored_by_others(label);
        assert_eq!(story.facts(), &before);
    }
}

#[test]
fn an_acceptance_that_somebody_else_stored_counts() {
    let story = Story::start(wish()).intent();
    let at = story.now;
    let story = story.stored_by_others(|stored| {
        stored.accepted_time = Some(at);
        stored.location = Some("theirs".into());
    });
    assert!(story.core.is_accepted());
    assert_eq!(story.facts().location.as_deref(), Some("theirs"));
    assert_eq!(story.step(), Step::Look);
}

#[test]
fn an_intent_of_somebody_else_is_looked_at_after_its_grace() {
    let story = Story::start(wish()).before_the_intent(refused(Refusal::CredentialsNotFound));
    let at = story.now;
    let story = story.stored_by_others(|stored| {
        stored.attempts = 1;
        stored.request_time = Some(at);
    });
    assert_eq!(story.facts().attempts, 1);
    assert_eq!(story.waits(), 25);
    assert_eq!(story.wait().step(), Step::Look);
}

#[test]
fn somebody_elses_intent_does_not_undo_that_the_job_is_over() {
    let story = Story::start(wish())
        .answer_unstored(already_completed())
        .stored_by_others(|stored| stored.attempts = 2)
        .wait()
        .answer(running());
    assert_eq!(story.accepted_is(), (Value::Unknown, Reason::AnswerLost));
    assert_eq!(story.advance(3000).step(), Step::Look, "never a request");
}

#[test]
fn somebody_elses_intent_does_not_undo_that_an_answer_was_lost() {
    let story = Story::start(wish())
        .answer(lost())
        .wait()
        .answer_unstored(running())
        .stored_by_others(|stored| stored.attempts = 2);
    assert_eq!(story.accepted_is(), (Value::Unknown, Reason::AnswerLost));
}

#[test]
fn an_old_status_put_back_undoes_nothing_that_this_process_knows() {
    let accepted = Story::accepted();
    let story = accepted
        .clone()
        .stored_by_others(|stored| *stored = Facts::default())
        .store();
    assert_eq!(story.core.stored().attempts, 1);
    assert_eq!(story.core.stored().accepted_time, Some(t0()));
    let ended = accepted.wait().answer(cancelled());
    let completion = ended.core.stored().completion_time;
    let story = ended
        .stored_by_others(|stored| *stored = Facts::default())
        .store();
    assert_eq!(story.core.stored().completion_time, completion);
    assert_eq!(story.step(), Step::Finished);
}

#[test]
fn a_request_without_an_answer_is_unknown_when_the_resource_is_seen_again() {
    let story = Story::start(wish())
        .intent()
        .advance(5)
        .stored_by_others(|_| {});
    assert_eq!(story.waits(), 20);
}

#[test]
fn a_deleted_resource_asks_nothing_stores_nothing_and_is_not_visited() {
    for story in [
        Story::start(wish()),
        Story::start(wish()).intent(),
        Story::accepted().advance(60),
    ] {
        let story = story.edit(|wish| wish.deleting = true);
        assert_eq!(story.step(), Step::Finished);
        assert_eq!(story.core.due_write(story.now), None);
        assert_eq!(story.core.wake_at(story.now), None);
    }
}

// --- definite answers

#[test]
fn a_definite_answer_means_that_the_attempt_did_nothing_and_a_new_one_follows() {
    for answer in [
        throttled(30),
        Observation::Throttled {
            by: Throttle::Capacity,
            retry_after: Some(secs(30)),
            error: error("TooManyRequestsForCapacity"),
        },
        refused(Refusal::AuthenticationFailed),
        refused(Refusal::PermissionDenied),
        refused(Refusal::TargetNotFound),
        refused(Refusal::CapacityPaused),
    ] {
        let story = Story::start(wish()).answer(answer.clone());
        assert_eq!(story.accepted_is(), (Value::Unknown, Reason::Pending));
        let story = story.wait();
        assert_eq!(story.step(), Step::Request, "{answer:?}");
        let story = story.answer(accepted());
        assert_eq!(story.facts().attempts, 2);
    }
}

#[test]
fn a_definite_answer_to_a_repeat_leaves_the_acceptance_alone() {
    for answer in [
        throttled(30),
        refused(Refusal::PermissionDenied),
        refused(Refusal::RequestRejected),
        lost(),
        no_answer(Source::Entra),
    ] {
        let story = ten_minutes_later().answer(answer.clone());
        assert!(!story.core.is_over(), "{answer:?} ended it");
        assert_eq!(story.accepted_is(), (Value::True, Reason::CancelAccepted));
        assert_eq!(story.wait().step(), Step::Look, "{answer:?}");
    }
}

#[test]
fn a_rejected_request_is_an_end_and_a_rejected_look_is_not() {
    let story = Story::start(wish()).answer(refused(Refusal::RequestRejected));
    assert_eq!(story.ready(), (Value::False, Reason::RequestRejected));
    assert_eq!(story.accepted_is(), (Value::False, Reason::RequestRejected));
    assert_eq!(
        story.cancelled_is(),
        (Value::Unknown, Reason::RequestRejected)
    );
    assert_eq!(story.step(), Step::Finished);

    let story = Story::start(wish())
        .answer(lost())
        .wait()
        .answer(refused(Refusal::RequestRejected))
        .advance(10);
    assert_eq!(story.ready(), (Value::Unknown, Reason::FabricUnavailable));
    assert_eq!(story.wait().step(), Step::Look);
}

// --- unknown outcomes

#[test]
fn a_lost_answer_is_followed_by_a_look_and_a_job_that_still_runs_by_a_new_attempt_at_once() {
    let story = Story::start(wish()).answer(lost());
    assert_eq!(story.waits(), 1);
    let story = story.wait();
    assert_eq!(story.step(), Step::Look);
    let story = story.answer(running());
    assert_eq!(story.step(), Step::Request);
    assert_eq!(story.accepted_is(), (Value::Unknown, Reason::AnswerLost));
    let story = story.answer(accepted());
    assert_eq!(story.accepted_is(), (Value::True, Reason::CancelAccepted));
    assert_eq!((story.facts().attempts, story.requests), (2, 2));
}

#[test]
fn a_lost_answer_whose_look_is_refused_is_still_looked_at_and_never_sent_again() {
    for answer in [
        refused(Refusal::PermissionDenied),
        throttled(20),
        no_answer(Source::Fabric),
        no_answer(Source::Entra),
        Observation::Held {
            until: later(t0(), secs(40)),
            by: Hold::Fabric,
        },
    ] {
        let story = Story::start(wish())
            .answer(lost())
            .wait()
            .answer(answer.clone())
            .wait();
        assert_eq!(story.step(), Step::Look, "{answer:?}");
    }
}

#[test]
fn a_lost_answer_and_an_unavailable_server_keep_the_wait_that_the_server_named() {
    let story = Story::start(wish()).answer(Observation::Unknown {
        retry_after: Some(secs(120)),
        error: error("ServiceUnavailable"),
    });
    assert_eq!(story.waits(), 120);
    let story = story.wait().answer(Observation::Inconclusive {
        from: Source::Fabric,
        retry_after: Some(secs(90)),
        error: error("ServiceUnavailable"),
    });
    assert_eq!(story.waits(), 90);
}

#[test]
fn an_intent_found_after_a_restart_is_looked_at_25_s_after_it_was_stored() {
    let story = Story::start(wish()).intent().advance(3).restart();
    assert_eq!(story.waits(), 22);
    let story = story.wait();
    assert_eq!(story.step(), Step::Look);
    let story = story.answer(running());
    assert_eq!(story.step(), Step::Request);
    assert_eq!(story.intent().core.stored().attempts, 2);
}

#[test]
fn an_intent_found_long_after_is_looked_at_at_once() {
    let story = Story::start(wish()).intent().advance(1000).restart();
    assert_eq!(story.step(), Step::Look);
}

#[test]
fn an_intent_from_a_clock_that_is_ahead_delays_the_look_by_25_s_at_most() {
    let mut story = Story::start(wish()).intent();
    story.now = later(t0(), Duration::ZERO)
        .saturating_sub(secs(3600))
        .expect("an hour before");
    assert_eq!(story.restart().waits(), 25);
}

#[test]
fn an_intent_without_a_time_is_looked_at_25_s_after_the_first_sight() {
    let story = Story::start(wish()).intent();
    let mut stored = story.core.stored().clone();
    stored.request_time = None;
    let core = Cancellation::new(wish(), stored, story.now);
    assert_eq!(Story { core, ..story }.waits(), 25);
}

#[test]
fn a_restart_between_acceptance_and_its_record_costs_one_more_request() {
    let story = Story::start(wish())
        .answer_unstored(accepted())
        .restart()
        .wait()
        .answer(running())
        .answer(already_completed())
        .answer(cancelled());
    assert_eq!(story.requests, 2);
    assert_eq!(story.ready(), (Value::True, Reason::JobCancelled));
    assert_eq!(story.accepted_is(), (Value::Unknown, Reason::AnswerLost));
}

#[test]
fn a_lost_answer_is_remembered_after_a_restart() {
    let story = Story::start(wish())
        .answer(lost())
        .wait()
        .answer(running())
        .answer(throttled(3))
        .restart();
    assert_eq!(story.accepted_is(), (Value::Unknown, Reason::AnswerLost));
}
