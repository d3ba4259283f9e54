//! What another process stored about the same attempt: a process that started on an older
//! edition meets it later.

use super::*;

/// A process that began to work on `older`, and is then shown `newer`.
fn behind(older: &Story, newer: &Story) -> Story {
    let mut story = older.clone().restart();
    story.now = newer.now;
    story.core = story.core.refresh(
        newer.core.wish().clone(),
        newer.core.stored().clone(),
        newer.now,
    );
    story
}

#[test]
fn a_wait_that_another_process_stored_is_kept_too() {
    let older = Story::start(wish()).answer(accepted_after(10)).advance(10);
    let newer = older
        .clone()
        .answer(seen(JobStatus::InProgress, Some(secs(600))));
    assert_eq!(behind(&older, &newer).waits(), 600);
}

#[test]
fn nothing_is_sent_once_another_process_stored_that_the_job_was_already_over() {
    let older = Story::start(wish()).intent().advance(25);
    let newer = Story::already_over().answer(running()).advance(25);
    let mut story = older.restart().advance(25).answer_unstored(running());
    assert_eq!(story.step(), Step::Request);
    let stored = newer.core.stored().clone();
    story.core = story.core.refresh(wish(), stored, story.now);
    assert_ne!(story.step(), Step::Request);
    assert_eq!(story.accepted_is().1, Reason::AnswerLost);
    assert_eq!(story.cancelled_is().1, Reason::WaitingForCancellation);
}

#[test]
fn an_acceptance_that_another_process_stored_first_stands() {
    let asked = Story::start(wish()).intent();
    let first = asked.clone().advance(1).hear(accepted()).store();
    let mut second = asked.advance(3).hear(accepted());
    let stored = first.core.stored().clone();
    second.core = second.core.refresh(wish(), stored, second.now);
    assert_eq!(second.facts().accepted_time, first.facts().accepted_time);
}

#[test]
fn a_deadline_that_turns_out_to_be_later_takes_its_verdict_back_before_it_is_stored() {
    let story = Story::accepted().advance(3600).answer(running());
    let story = story.hear(Observation::DeadlinePassed);
    assert!(story.core.is_over());
    let longer = |wish: &mut Wish| wish.active_deadline += secs(600);
    let story = story.edit(longer);
    assert!(!story.core.is_over());
    assert_eq!(
        story.ready(),
        (Value::Unknown, Reason::WaitingForCancellation)
    );
    let other_knob = Story::accepted()
        .advance(3600)
        .answer(running())
        .hear(Observation::DeadlinePassed)
        .edit(|wish| wish.finished_is_success = false);
    assert_eq!(other_knob.step(), Step::GiveUp, "the verdict is the same");
}
