//! Suspended: a preflight before the first attempt, only looks while one is unresolved, no effect
//! after acceptance.

use super::*;

pub(super) fn suspended() -> Story {
    Story::start(Wish {
        suspend: true,
        ..wish()
    })
}

fn resume(story: Story) -> Story {
    story.edit(|wish| wish.suspend = false)
}

fn suspend(story: Story) -> Story {
    story.edit(|wish| wish.suspend = true)
}

#[test]
fn a_suspended_resource_looks_at_the_job_once_shows_it_and_sends_nothing() {
    let story = suspended();
    assert_eq!(story.step(), Step::Look);
    let story = story.answer(running());
    assert_eq!(story.step(), Step::Wait { until: None });
    assert_eq!(story.ready(), (Value::Unknown, Reason::Suspended));
    let stored = story.core.stored();
    assert_eq!(stored.attempts, 0);
    assert_eq!(stored.start_time, None);
    let shown = stored.job.as_ref().map(|job| &job.status);
    assert_eq!(shown, Some(&JobStatus::InProgress));
    let story = story.advance(1_000_000);
    assert_eq!(story.step(), Step::Wait { until: None });
    assert_eq!(story.restart().step(), Step::Wait { until: None });
}

#[test]
fn a_preflight_shows_the_identity_that_would_act_and_an_attempt_the_one_that_did() {
    let mut other = identity();
    other.name = "other".into();
    let mut story = suspended();
    story.core = story.core.looked_at_by(identity());
    let story = story.answer(running());
    assert_eq!(story.core.stored().identity, Some(identity()));
    let mut story = resume(story).answer(accepted());
    story.core = story.core.looked_at_by(other);
    assert_eq!(story.core.current().identity, Some(identity()));
}

#[test]
fn a_preflight_that_sees_the_end_shows_it_and_ends_nothing() {
    for status in [JobStatus::Completed, JobStatus::Cancelled] {
        let story = suspended().answer(seen(status.clone(), None));
        assert!(!story.core.is_over());
        assert_eq!(story.ready(), (Value::Unknown, Reason::Suspended));
        assert_eq!(story.cancelled_is(), (Value::Unknown, Reason::Pending));
        assert_eq!(resume(story).step(), Step::Request);
    }
}

#[test]
fn what_a_preflight_saw_tells_the_end_when_fabric_no_longer_shows_it() {
    let story = resume(suspended().answer(cancelled()))
        .answer(already_completed())
        .answer(refused(Refusal::JobNotFound));
    assert_eq!(story.ready(), (Value::True, Reason::JobAlreadyCancelled));
    assert_eq!(story.cancelled_is().0, Value::True);
}

#[test]
fn a_preflight_that_meets_a_problem_shows_it_and_tries_again_slowly_until_it_succeeds() {
    let story = suspended().answer(refused(Refusal::PermissionDenied));
    assert_eq!(story.ready(), (Value::Unknown, Reason::Suspended));
    assert!(
        story.message().contains("lacks a right"),
        "{}",
        story.message()
    );
    assert!(story.waits() >= 30);
    let story = story.advance(3600).store();
    assert_eq!(
        story.ready().0,
        Value::Unknown,
        "suspended is never stalled"
    );
    assert_eq!(story.step(), Step::Look);
    let story = story.answer(running());
    assert!(!story.message().contains("lacks"), "{}", story.message());
    assert_eq!(story.step(), Step::Wait { until: None });
}

#[test]
fn a_preflight_that_does_not_find_the_job_ends_nothing_and_is_forgotten_on_resume() {
    let story = suspended()
        .answer(refused(Refusal::JobNotFound))
        .advance(3600)
        .answer(refused(Refusal::JobNotFound));
    assert!(!story.core.is_over());
    let story = resume(story);
    assert_eq!(story.step(), Step::Request);
    let story = story.intent();
    assert_eq!(
        story.ready(),
        (Value::Unknown, Reason::RequestingCancellation)
    );
}

#[test]
fn an_edit_does_not_make_a_missing_job_believed_or_sent_for_sooner() {
    let story = Story::accepted()
        .wait()
        .answer(refused(Refusal::JobNotFound))
        .edit(|_| {});
    assert_eq!(story.ready(), (Value::Unknown, Reason::JobNotFound));
    assert_eq!(story.waits(), 60);
}

#[test]
fn resuming_sends_at_once() {
    let story = resume(suspended().answer(running()));
    assert_eq!(story.step(), Step::Request);
    let writes = story.writes;
    let story = story.store();
    assert_eq!(story.writes, writes, "the intent says it all");
    let story = story.answer(accepted());
    assert_eq!(story.facts().attempts, 1);
    assert_eq!(story.facts().start_time, Some(story.now));
}

#[test]
fn resuming_while_fabric_asked_to_wait_shows_pending() {
    let story = suspended().answer(seen(JobStatus::InProgress, Some(secs(40))));
    let story = resume(story.advance(10)).store();
    assert_eq!(story.waits(), 30);
    let stored = story.core.stored().conditions.clone().expect("stored");
    assert_eq!(pair(&stored.ready), (Value::Unknown, Reason::Pending));
    assert_eq!(story.core.stored().observed_generation, Some(2));
}

#[test]
fn suspending_before_the_first_attempt_clears_the_clock() {
    let story = Story::start(wish())
        .before_the_intent(refused(Refusal::CredentialsNotFound))
        .advance(100);
    assert!(story.core.deadline().is_some());
    let story = suspend(story);
    assert_eq!(story.core.deadline(), None);
    let story = story.store();
    assert_eq!(story.core.stored().start_time, None);
    let story = resume(story.advance(100_000));
    assert_eq!(story.step(), Step::Request);
}

#[test]
fn a_suspension_that_arrives_with_a_write_clears_the_clock_too() {
    let mut story = Story::start(wish()).hear(refused(Refusal::CredentialsNotFound));
    let facts = story.core.due_write(story.now).expect("a trouble to store");
    let suspended = Wish {
        suspend: true,
        generation: 2,
        ..wish()
    };
    story.core = story.core.written(suspended, facts);
    assert_eq!(story.core.deadline(), None);
}

#[test]
fn suspending_after_an_attempt_keeps_the_clock() {
    let story = suspend(Story::start(wish()).answer(refused(Refusal::PermissionDenied))).store();
    assert_eq!(story.core.stored().start_time, Some(t0()));
    assert_eq!(story.waits(), 3600, "nothing to do before the deadline");
    assert_eq!(story.wait().step(), Step::GiveUp);
}

#[test]
fn suspending_an_unresolved_attempt_looks_and_does_not_send() {
    let story = suspend(Story::start(wish()).answer(lost()));
    assert_eq!(story.step(), Step::Look);
    let story = story.answer(running());
    assert_eq!(story.ready(), (Value::Unknown, Reason::Suspended));
    assert!(
        story
            .message()
            .contains("an earlier one may still take effect")
    );
    assert_eq!(story.waits(), 3600, "nothing more until the deadline");
    assert_eq!(resume(story).step(), Step::Request);
    let story = suspend(Story::start(wish()).answer(lost())).answer(cancelled());
    assert_eq!(story.ready(), (Value::True, Reason::JobCancelled));
}

#[test]
fn suspending_after_acceptance_has_no_effect_but_holds_back_repeats() {
    let story = suspend(Story::accepted()).store();
    assert_eq!(
        story.ready(),
        (Value::Unknown, Reason::WaitingForCancellation)
    );
    let mut story = story.wait();
    for _ in 0..50 {
        assert_eq!(story.step(), Step::Look);
        story = story.answer(running()).wait();
    }
    let story = resume(story);
    assert_eq!(story.step(), Step::Request);
}

#[test]
fn suspending_after_already_over_has_no_effect() {
    let story = suspend(Story::already_over().answer(running()));
    assert_eq!(
        story.ready(),
        (Value::Unknown, Reason::WaitingForCancellation)
    );
    assert_eq!(story.wait().step(), Step::Look);
}
