//! Intent, acceptance, definite answers and unknown ones, "already over", repeats, the end.

use super::*;

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

// --- already over

#[test]
fn already_over_is_looked_at_at_once_and_costs_no_write_before_the_look() {
    let story = Story::already_over();
    assert_eq!(story.step(), Step::Look);
    assert_eq!(story.writes, 1);
    let story = story.answer(seen(JobStatus::Completed, None));
    assert_eq!(story.ready(), (Value::True, Reason::JobAlreadyFinished));
    assert_eq!(story.writes, 2);
}

#[test]
fn already_over_honours_a_wait_that_fabric_named_and_ignores_none() {
    let with = |retry_after: u64| {
        Story::start(wish()).answer(Observation::AlreadyCompleted {
            retry_after: Some(secs(retry_after)),
        })
    };
    assert_eq!(with(20).waits(), 20);
    assert_eq!(with(20).writes, 2, "what is waited with is stored");
    assert_eq!(with(0).step(), Step::Look);
}

#[test]
fn already_over_with_a_stale_look_is_only_looked_at_even_after_a_restart() {
    let mut story = Story::already_over().answer(running());
    assert_eq!(story.accepted_is(), (Value::False, Reason::NotNeeded));
    assert_eq!(
        story.ready(),
        (Value::Unknown, Reason::WaitingForCancellation)
    );
    assert_eq!(story.writes, 2);
    for _ in 0..40 {
        story = story.wait().restart();
        assert_eq!(story.step(), Step::Look);
        story = story.answer(running());
        assert_eq!(story.accepted_is(), (Value::False, Reason::NotNeeded));
    }
    let story = story.wait().answer(seen(JobStatus::Failed, None));
    assert_eq!(story.ready(), (Value::True, Reason::JobAlreadyFinished));
    assert_eq!(story.requests, 1);
}

#[test]
fn already_over_that_no_look_can_show_at_once_is_stored_as_not_needed() {
    let story = Story::already_over().answer(no_answer(Source::Fabric));
    let stored = story.core.stored().conditions.clone().expect("stored");
    assert_eq!(pair(&stored.accepted), (Value::False, Reason::NotNeeded));
}

#[test]
fn already_over_and_then_not_found_in_any_way_is_finished_and_leaves_open_how() {
    for refusal in [Refusal::JobNotFound, Refusal::TargetNotFound] {
        let story = Story::already_over().answer(refused(refusal));
        assert_eq!(story.ready(), (Value::True, Reason::JobAlreadyFinished));
        assert_eq!(
            story.cancelled_is(),
            (Value::Unknown, Reason::JobAlreadyFinished)
        );
        assert_eq!(story.accepted_is(), (Value::False, Reason::NotNeeded));
        assert_eq!(story.step(), Step::Finished);
    }
}

#[test]
fn already_over_and_then_hidden_is_not_found_only_when_nothing_else_is_in_the_way() {
    let story = Story::already_over().answer(refused(Refusal::CapacityPaused));
    assert_eq!(story.ready(), (Value::Unknown, Reason::CapacityPaused));
    assert_eq!(story.wait().step(), Step::Look);
}

#[test]
fn an_unbelieved_failure_is_no_evidence_when_the_job_is_not_found_any_more() {
    let story = Story::already_over()
        .answer(suspicious())
        .wait()
        .answer(refused(Refusal::JobNotFound));
    assert_eq!(
        story.cancelled_is(),
        (Value::Unknown, Reason::JobAlreadyFinished)
    );
}

#[test]
fn an_accepted_job_is_not_believed_to_be_gone_after_one_look_even_if_a_repeat_met_its_end() {
    let story = ten_minutes_later()
        .answer(already_completed())
        .answer(refused(Refusal::JobNotFound));
    assert_eq!(story.ready(), (Value::Unknown, Reason::JobNotFound));
    let story = story.wait().answer(refused(Refusal::JobNotFound));
    assert_eq!(story.ready(), (Value::False, Reason::JobNotFound));
    assert_eq!(story.accepted_is(), (Value::True, Reason::CancelAccepted));
}

// --- repeats

/// Accepted ten minutes ago, looked at every 30 s, still running.
fn ten_minutes_later() -> Story {
    let story = looks_for(Story::accepted(), 600);
    assert_eq!(story.step(), Step::Request);
    story
}

/// Looks that show the job running, for this long or until something else is due.
fn looks_for(mut story: Story, seconds: u64) -> Story {
    let end = later(story.now, secs(seconds));
    while story.now < end {
        match story.step() {
            Step::Look => story = story.answer(running()),
            Step::Wait { .. } => story = story.wait(),
            _ => break,
        }
    }
    story
}

#[test]
fn a_job_that_runs_on_is_asked_again_after_ten_minutes_twice_and_never_more() {
    let story = ten_minutes_later();
    assert_eq!(story.now, later(t0(), secs(600)));
    let story = looks_for(story.answer(accepted()), 600);
    assert_eq!(story.now, later(t0(), secs(1200)));
    assert_eq!(story.step(), Step::Request);
    let story = looks_for(story.answer(accepted()), 2300);
    assert_eq!((story.requests, story.facts().attempts), (3, 3));
    assert_eq!(
        story.facts().accepted_time,
        Some(t0()),
        "the first acceptance stays"
    );
    let story = story.answer(cancelled());
    assert_eq!(story.ready(), (Value::True, Reason::JobCancelled));
}

#[test]
fn a_repeat_needs_two_looks_since_the_request() {
    let story = Story::start(wish())
        .answer(accepted_after(900))
        .wait()
        .answer(running());
    assert!(matches!(story.step(), Step::Wait { .. }), "after one look");
    let story = story.wait();
    assert_eq!(story.step(), Step::Look);
    assert_eq!(story.answer(running()).step(), Step::Request);
}

#[test]
fn a_repeat_is_not_made_a_second_early() {
    let story =
        looks_for(Story::accepted(), 570).answer(seen(JobStatus::InProgress, Some(secs(29))));
    let story = story.wait();
    assert_eq!(story.now, later(t0(), secs(599)));
    assert_eq!(story.step(), Step::Look);
    assert_eq!(story.advance(1).step(), Step::Request);
}

#[test]
fn a_repeat_waits_for_what_fabric_asked_for_and_not_for_our_own_pace() {
    let story = looks_for(Story::accepted(), 570);
    let asked = story
        .clone()
        .answer(seen(JobStatus::InProgress, Some(secs(50))));
    assert_eq!(asked.advance(30).waits(), 20);
    let free = story
        .answer(seen(JobStatus::InProgress, Some(secs(15))))
        .wait()
        .answer(running())
        .advance(15);
    assert_eq!(free.step(), Step::Request);
}

#[test]
fn restarts_add_no_repeats() {
    let mut story = Story::accepted();
    while story.now < later(t0(), secs(3500)) {
        story = match story.step() {
            Step::Request => story.answer(accepted()).restart(),
            Step::Look => {
                let story = story.answer(running());
                if story.looks.is_multiple_of(3) {
                    story.restart()
                } else {
                    story
                }
            }
            _ => story.wait(),
        };
    }
    assert_eq!(story.requests, 3);
}

#[test]
fn a_repeat_whose_answer_is_lost_counts() {
    let story = looks_for(ten_minutes_later().answer(lost()).wait(), 600);
    assert_eq!(story.step(), Step::Request);
    let story = looks_for(story.answer(lost()).wait(), 2000);
    assert_eq!(story.requests, 3);
    assert_ne!(story.step(), Step::Request);
}

#[test]
fn a_late_repeat_counts_as_the_last() {
    let story = Story::start(wish())
        .answer(accepted_after(1300))
        .wait()
        .answer(running())
        .wait()
        .answer(running());
    assert_eq!(story.step(), Step::Request);
    let story = looks_for(story.answer(accepted()), 2000);
    assert_eq!(
        story.requests, 2,
        "restarts could not tell it from the second"
    );
}

#[test]
fn a_repeat_is_not_begun_without_20_s_before_the_deadline() {
    let hasty = |deadline| {
        let wish = Wish {
            active_deadline: secs(deadline),
            ..wish()
        };
        looks_for(Story::start(wish).answer(accepted()), 600)
    };
    assert_eq!(hasty(620).step(), Step::Request);
    assert_eq!(hasty(619).step(), Step::Look);
}

#[test]
fn nothing_is_repeated_once_fabric_said_that_the_job_is_over_or_not_there() {
    let story = looks_for(ten_minutes_later().answer(already_completed()), 1500);
    assert_eq!(story.requests, 2);
    let story = looks_for(Story::accepted(), 570)
        .answer(refused(Refusal::JobNotFound))
        .advance(30);
    assert!(matches!(story.step(), Step::Wait { .. }));
}

// --- the end

#[test]
fn a_stored_end_never_changes_and_causes_no_further_request() {
    let story = Story::accepted().wait().answer(cancelled());
    assert_eq!(story.step(), Step::Finished);
    let end = story.core.clone();
    for seen in [
        accepted(),
        running(),
        lost(),
        refused(Refusal::JobNotFound),
        Observation::DeadlinePassed,
    ] {
        assert_eq!(story.clone().hear(seen).core, end);
    }
    let story = story.advance(100_000).restart();
    assert_eq!(story.step(), Step::Finished);
    assert_eq!(story.core.due_write(story.now), None);
    assert_eq!(story.core.wake_at(story.now), None);
}

#[test]
fn a_new_generation_costs_one_write_in_any_state() {
    for story in [
        Story::start(Wish {
            suspend: true,
            ..wish()
        })
        .store(),
        Story::start(wish())
            .before_the_intent(refused(Refusal::CredentialsNotFound))
            .advance(1),
        Story::start(wish()).answer(refused(Refusal::PermissionDenied)),
        Story::accepted(),
        Story::accepted().wait().answer(cancelled()),
    ] {
        let before = story.writes;
        let story = story.edit(|wish| wish.finished_is_success = false);
        // What is to be sent at once carries the generation in its intent.
        let story = if story.step() == Step::Request {
            story.intent()
        } else {
            story.store()
        };
        assert_eq!(story.writes, before + 1);
        assert_eq!(story.core.stored().observed_generation, Some(2));
        let story = story.store();
        assert_eq!(story.writes, before + 1);
    }
}

#[test]
fn an_edit_after_the_end_changes_the_generation_and_nothing_else() {
    let story = Story::accepted()
        .wait()
        .answer(seen(JobStatus::Failed, None));
    let end = story.core.stored().clone();
    let story = story
        .advance(500)
        .edit(|wish| {
            wish.finished_is_success = false;
            wish.active_deadline = secs(100_000);
            wish.suspend = true;
        })
        .store();
    assert_eq!(
        story.core.stored(),
        &Facts {
            observed_generation: Some(2),
            ..end
        }
    );
    assert_eq!(story.step(), Step::Finished);
}

#[test]
fn an_end_that_somebody_else_stored_is_the_end() {
    let theirs = Story::accepted()
        .wait()
        .answer(cancelled())
        .core
        .stored()
        .clone();
    let story = Story::accepted().stored_by_others(|stored| *stored = theirs.clone());
    assert!(story.core.is_over());
    assert_eq!(story.core.current(), &theirs);
    assert_eq!(story.step(), Step::Finished);
}

#[test]
fn a_finished_resource_expires_after_its_time_to_live_and_is_visited_then() {
    let keep = Story::accepted().wait().answer(cancelled());
    assert_eq!(keep.core.expires_at(), None);
    let story = Story::start(Wish {
        ttl: Some(secs(600)),
        ..wish()
    });
    assert_eq!(story.core.expires_at(), None, "not before the end");
    let story = story.answer(accepted()).wait().answer_unstored(cancelled());
    assert_eq!(
        story.core.expires_at(),
        None,
        "not before the end is stored"
    );
    let story = story.store();
    let end = later(story.now, secs(600));
    assert_eq!(story.core.expires_at(), Some(end));
    assert_eq!(story.core.wake_at(story.now), Some(end));
    let late = story.advance(700);
    assert_eq!(late.core.wake_at(late.now), Some(late.now));
}
