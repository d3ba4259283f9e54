//! "Already over", and the end.

use super::{repeats::ten_minutes_later, *};

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

#[test]
fn a_process_that_takes_no_further_step_stores_that_the_job_was_over() {
    let story = Story::start(wish()).answer_unstored(already_completed());
    assert_eq!(story.step(), Step::Look);
    assert_eq!(
        story.core.due_write(story.now),
        None,
        "the look's write says it"
    );
    let last = story.core.due_last_write(story.now).expect("news");
    let accepted = last.conditions.expect("conditions").accepted;
    assert_eq!(
        (accepted.value, accepted.reason),
        (Value::False, Reason::NotNeeded)
    );
}

#[test]
fn nothing_is_stored_last_for_a_resource_that_is_being_deleted_or_has_ended() {
    let mut story = Story::start(wish()).answer_unstored(already_completed());
    let mut wish = story.core.wish().clone();
    wish.deleting = true;
    let stored = story.core.stored().clone();
    story.core = story.core.refresh(wish, stored, story.now);
    assert_eq!(story.core.due_last_write(story.now), None);
    let story = Story::accepted().wait().answer(cancelled());
    assert_eq!(story.core.due_last_write(story.now), None);
}

#[test]
fn that_the_job_was_over_is_known_from_the_answer_to_the_request_alone() {
    assert!(Story::already_over().core.is_already_completed());
    assert!(!Story::accepted().core.is_already_completed());
    assert!(!Story::start(wish()).core.is_already_completed());
}
