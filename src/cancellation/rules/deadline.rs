//! The deadline: no attempt in its last 20 s, one last look after it, five minutes at most.

use super::{suspension::suspended, *};

/// An ordinary wish with this deadline.
fn within(seconds: u64) -> Story {
    Story::start(Wish {
        active_deadline: secs(seconds),
        ..wish()
    })
}

#[test]
fn without_a_start_there_is_no_deadline() {
    assert_eq!(within(60).core.deadline(), None);
    let story = within(60).intent();
    assert_eq!(story.core.deadline(), Some(later(t0(), secs(60))));
}

#[test]
fn no_attempt_is_begun_unless_20_s_are_left() {
    let refused = |at| {
        within(100)
            .answer(refused(Refusal::PermissionDenied))
            .advance(at)
            .edit(|_| {})
    };
    assert_eq!(refused(80).step(), Step::Request);
    let story = refused(81);
    assert_eq!(story.waits(), 19, "to the deadline");
    let story = story.wait();
    assert_eq!(story.step(), Step::GiveUp);
}

#[test]
fn a_wait_for_a_request_ends_at_the_deadline() {
    assert_eq!(within(100).answer(throttled(500)).waits(), 100);
    assert_eq!(within(100).answer(accepted_after(99)).waits(), 99);
    assert_eq!(within(100).answer(accepted_after(500)).waits(), 100);
}

#[test]
fn a_verdict_that_could_not_be_stored_falls_when_the_deadline_is_raised() {
    let story = within(60)
        .answer(refused(Refusal::PermissionDenied))
        .advance(60)
        .answer_unstored(Observation::DeadlinePassed);
    assert!(story.core.is_over());
    let story = story.edit(|wish| wish.active_deadline = secs(3600));
    assert!(!story.core.is_over());
    assert_eq!(story.step(), Step::Request);
}

#[test]
fn what_fabric_said_stays_when_an_edit_meets_it_before_it_is_stored() {
    let ended_otherwise = within(60)
        .answer(accepted_after(50))
        .wait()
        .answer_unstored(seen(JobStatus::Completed, None));
    let already_finished = within(60)
        .answer(already_completed())
        .answer_unstored(seen(JobStatus::Completed, None));
    let mut not_found = within(600)
        .answer(accepted_after(50))
        .wait()
        .answer(refused(Refusal::JobNotFound));
    not_found = not_found
        .wait()
        .answer_unstored(refused(Refusal::JobNotFound));
    for (story, reason, cancelled) in [
        (ended_otherwise, Reason::JobEndedOtherwise, Value::False),
        (already_finished, Reason::JobAlreadyFinished, Value::False),
        (not_found, Reason::JobNotFound, Value::Unknown),
    ] {
        let before = story.ready().0;
        // The deadline passes before the conflict with the edit is over.
        let story = story.advance(600).edit(|wish| {
            wish.finished_is_success = !wish.finished_is_success;
            wish.missing_is_success = !wish.missing_is_success;
        });
        let after = match before {
            Value::True => Value::False,
            _ => Value::True,
        };
        assert_eq!(story.ready(), (after, reason), "judged by the new policy");
        assert_eq!(story.cancelled_is().0, cancelled, "{reason:?}");
        assert_eq!(story.step(), Step::Finished);
    }
}

#[test]
fn a_stored_end_is_not_judged_again_when_a_policy_is_edited() {
    let story = within(60)
        .answer(accepted_after(50))
        .wait()
        .answer(seen(JobStatus::Completed, None));
    assert_eq!(story.ready(), (Value::True, Reason::JobEndedOtherwise));
    let story = story.edit(|wish| wish.finished_is_success = false);
    assert_eq!(story.ready(), (Value::True, Reason::JobEndedOtherwise));
    assert_eq!(
        story.store().ready(),
        (Value::True, Reason::JobEndedOtherwise)
    );
}

#[test]
fn nothing_sent_or_all_refused_gives_up_at_once() {
    let story = within(100)
        .answer(refused(Refusal::PermissionDenied))
        .advance(100);
    assert_eq!(story.step(), Step::GiveUp);
    let story = story.answer(Observation::DeadlinePassed);
    assert_eq!(story.ready(), (Value::False, Reason::DeadlineExceeded));
    assert_eq!(
        story.accepted_is(),
        (Value::False, Reason::DeadlineExceeded)
    );
    assert_eq!(
        story.cancelled_is(),
        (Value::Unknown, Reason::DeadlineExceeded)
    );
    assert_eq!(story.facts().completion_time, Some(story.now));
}

#[test]
fn whatever_may_have_had_an_effect_gets_one_readable_look_after_the_deadline() {
    for story in [
        within(100).answer(accepted_after(90)),
        within(100).answer(already_completed()).answer(running()),
        within(100).answer(lost()),
        within(100)
            .answer(lost())
            .wait()
            .answer(running())
            .answer(throttled(90)),
        within(100).intent(),
        within(100).intent().restart(),
    ] {
        let story = story.advance(100);
        assert_eq!(story.step(), Step::Look);
        let gave_up = story.clone().answer(running());
        assert_eq!(gave_up.step(), Step::GiveUp);
        let ended = story.answer(cancelled());
        assert_eq!(ended.ready().0, Value::True);
    }
}

#[test]
fn a_look_before_the_deadline_is_not_the_last_one() {
    let story = within(100)
        .answer(accepted_after(99))
        .wait()
        .answer(running());
    let story = story.advance(1);
    assert_eq!(story.waits(), 29, "our own pace is kept");
    let story = story.wait();
    assert_eq!(story.step(), Step::Look);
    assert_eq!(story.answer(running()).step(), Step::GiveUp);
}

#[test]
fn a_look_at_the_very_deadline_is_the_last_one() {
    let story = within(100)
        .answer(accepted_after(100))
        .wait()
        .answer(running());
    assert_eq!(story.step(), Step::GiveUp);
}

#[test]
fn the_last_look_is_tried_for_five_minutes() {
    let mut story = within(100).answer(accepted()).advance(100);
    let mut looks = 0;
    while story.step() != Step::GiveUp {
        story = match story.step() {
            Step::Look => {
                looks += 1;
                story.answer(no_answer(Source::Fabric))
            }
            _ => story.wait(),
        };
    }
    assert!(looks > 5, "{looks} looks");
    assert_eq!(story.now, later(t0(), secs(400)));
}

#[test]
fn a_longer_wait_that_ends_within_the_five_minutes_is_followed_by_the_last_look() {
    let story = within(100).answer(accepted_after(399)).wait();
    assert_eq!(story.now, later(t0(), secs(100)));
    assert_eq!(story.waits(), 299);
    assert_eq!(story.wait().step(), Step::Look);
}

#[test]
fn a_wait_that_reaches_beyond_the_five_minutes_is_honoured_instead() {
    let story = within(100).answer(accepted_after(400)).wait();
    assert_eq!(story.step(), Step::GiveUp);
    let story = story.answer(Observation::DeadlinePassed);
    assert_eq!(story.looks, 0);
    assert!(story.message().contains("Fabric asked for a longer wait"));
    let friendly = within(100)
        .answer(accepted())
        .advance(100)
        .answer(running())
        .answer(Observation::DeadlinePassed);
    assert!(!friendly.message().contains("longer wait"));
}

#[test]
fn a_failure_that_is_not_believed_is_not_the_last_look() {
    let mut story = within(100).answer(accepted_after(100)).wait();
    for _ in 0..2 {
        story = story.answer(suspicious());
        assert!(!story.core.is_over());
        story = story.wait();
    }
    let story = story.answer(suspicious());
    assert_eq!(story.ready(), (Value::True, Reason::JobEndedOtherwise));
}

#[test]
fn not_found_after_the_deadline_is_believed_when_seen_twice() {
    let story = within(100)
        .answer(accepted_after(100))
        .wait()
        .answer(refused(Refusal::JobNotFound));
    assert_eq!(story.waits(), 60);
    let story = story.wait().answer(refused(Refusal::JobNotFound));
    assert_eq!(story.ready(), (Value::False, Reason::JobNotFound));
}

#[test]
fn a_start_before_the_creation_counts_from_the_creation() {
    let facts = Facts {
        start_time: Some(t0()),
        ..Facts::default()
    };
    let created = later(t0(), secs(5000));
    let late = Wish { created, ..wish() };
    let core = Cancellation::new(late, facts, created);
    assert_eq!(core.deadline(), Some(later(created, secs(3600))));
}

#[test]
fn an_edited_deadline_counts_from_the_same_start() {
    let story = within(100).answer(accepted()).advance(50);
    let story = story.edit(|wish| wish.active_deadline = secs(1000));
    assert_eq!(story.core.deadline(), Some(later(t0(), secs(1000))));
    let story = story.advance(500);
    assert_eq!(story.step(), Step::Look);
}

#[test]
fn throttling_eats_the_deadline() {
    let story = Story::start(wish())
        .before_the_intent(Observation::Held {
            until: later(t0(), secs(30)),
            by: Hold::Fabric,
        })
        .advance(10)
        .store();
    assert_eq!(story.core.stored().start_time, Some(story.now));
}

fn queued(until: u64) -> Observation {
    Observation::Held {
        until: later(t0(), secs(until)),
        by: Hold::OwnQuota,
    }
}

#[test]
fn waiting_for_our_own_quota_is_shown_after_ten_seconds_and_does_not_eat_the_deadline() {
    // The token took a second, so the wait begins a second after the resource was seen.
    let story = Story::start(wish()).advance(1).before_the_intent(queued(9));
    let story = story.wait().before_the_intent(queued(500));
    for second in 9..11 {
        assert_eq!(story.core.due_write(later(t0(), secs(second))), None);
    }
    let story = story.advance(2).store();
    assert_eq!(story.ready(), (Value::Unknown, Reason::Queued));
    assert_eq!((story.writes, story.core.stored().start_time), (1, None));
    let story = story.restart();
    assert_eq!(story.core.due_write(story.now), None);
    let story = story.advance(489).before_the_intent(queued(7_200)).wait();
    assert_eq!((story.step(), story.writes), (Step::Request, 1));
    let story = story.intent();
    assert_eq!(
        story.ready(),
        (Value::Unknown, Reason::RequestingCancellation)
    );
    assert_eq!(story.core.stored().start_time, Some(story.now));
}

#[test]
fn a_short_wait_for_our_own_quota_costs_no_write() {
    let story = Story::start(wish()).before_the_intent(queued(9)).wait();
    let story = story.intent();
    assert_eq!(story.core.stored().start_time, Some(story.now));
    let story = story.answer(accepted());
    let writes = story.writes;
    let story = story.wait();
    let until = later(story.now, secs(9));
    let story = story.answer(Observation::Held {
        until,
        by: Hold::OwnQuota,
    });
    assert_eq!(
        (story.ready().1, story.writes),
        (Reason::WaitingForCancellation, writes)
    );
}

#[test]
fn a_resumed_cancellation_that_waits_for_our_own_quota_has_no_clock_yet() {
    let story = suspended().edit(|wish| wish.suspend = false);
    let story = story.before_the_intent(queued(300)).store();
    assert_eq!(story.ready(), (Value::Unknown, Reason::Pending));
    assert_eq!(story.core.stored().start_time, None);
}

#[test]
fn a_clock_that_runs_goes_on_while_the_cancellation_waits_for_our_own_quota() {
    let story = Story::start(wish())
        .answer(refused(Refusal::PermissionDenied))
        .wait()
        .before_the_intent(queued(300))
        .advance(20)
        .store();
    assert_eq!(story.ready(), (Value::Unknown, Reason::Queued));
    assert_eq!(story.core.stored().start_time, Some(t0()));
}
