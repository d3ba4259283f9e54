//! What a cancellation costs: writes of the resource, requests, looks.

use super::*;

#[test]
fn the_happy_path_costs_three_writes_one_request_and_one_look() {
    let story = Story::start(wish())
        .answer(accepted_after(60))
        .wait()
        .answer(cancelled());
    assert_eq!((story.writes, story.requests, story.looks), (3, 1, 1));
    assert_eq!(story.ready(), (Value::True, Reason::JobCancelled));
    assert_eq!(story.accepted_is(), (Value::True, Reason::CancelAccepted));
    assert_eq!(story.cancelled_is(), (Value::True, Reason::JobCancelled));
}

#[test]
fn each_other_job_status_seen_before_the_end_costs_one_more() {
    let statuses = [
        JobStatus::NotStarted,
        JobStatus::NotStarted,
        JobStatus::InProgress,
        JobStatus::InProgress,
        JobStatus::Other("Dehydrated".into()),
        JobStatus::Other("Dehydrated".into()),
    ];
    let mut story = Story::start(wish()).answer(accepted());
    for status in statuses {
        story = story.wait().answer(seen(status, None));
    }
    let story = story.wait().answer(cancelled());
    assert_eq!(story.writes, 3 + 3);
}

#[test]
fn details_that_change_from_look_to_look_cost_nothing_and_are_right_at_the_end() {
    let look = |status: JobStatus, start: u64| {
        let Observation::JobSeen { mut job, .. } = seen(status, None) else {
            unreachable!("a look")
        };
        job.start_time = Some(later(t0(), secs(start)));
        Observation::JobSeen {
            job,
            retry_after: None,
        }
    };
    let story = Story::start(wish())
        .answer(accepted())
        .wait()
        .answer(look(JobStatus::InProgress, 1))
        .wait()
        .answer(look(JobStatus::InProgress, 2));
    assert_eq!(story.writes, 3);
    let start = |story: &Story| story.facts().job.as_ref().and_then(|job| job.start_time);
    assert_eq!(start(&story), Some(later(t0(), secs(1))));
    let story = story.wait().answer(look(JobStatus::Failed, 3));
    assert_eq!(start(&story), Some(later(t0(), secs(3))));
    assert_eq!(story.writes, 4);
}

#[test]
fn a_trouble_shorter_than_10_s_costs_no_write() {
    let story = Story::start(wish())
        .answer(lost())
        .advance(3)
        .answer(no_answer(Source::Fabric))
        .advance(3)
        .answer(running())
        .answer(throttled(2))
        .advance(9)
        .answer(accepted())
        .wait()
        .answer(no_answer(Source::Entra))
        .advance(5)
        .answer(cancelled());
    // Three attempts, one acceptance, one end.
    assert_eq!(story.facts().attempts, 3);
    assert_eq!(story.writes, 5);
}

#[test]
fn a_passing_trouble_costs_one_write_however_long_it_lasts_and_one_when_it_is_over() {
    let mut story = Story::accepted().wait().answer(running());
    let before = story.writes;
    story = story.wait();
    for _ in 0..10 {
        story = story.answer(no_answer(Source::Fabric)).wait().store();
    }
    assert_eq!(story.writes, before + 1);
    let story = story.answer(running());
    assert_eq!(story.writes, before + 2);
    assert_eq!(story.wait().answer(cancelled()).writes, before + 3);
}

#[test]
fn what_a_person_must_end_costs_one_write_at_once_one_when_it_stalls_and_one_when_it_is_over() {
    let story = Story::accepted();
    let before = story.writes;
    let mut story = story.wait().answer(refused(Refusal::PermissionDenied));
    assert_eq!(story.writes, before + 1);
    while story.now < later(t0(), secs(1800)) {
        story = match story.step() {
            Step::Look => story.answer(refused(Refusal::PermissionDenied)),
            _ => story.wait().store(),
        };
    }
    assert_eq!(story.writes, before + 2);
    let story = story.answer(running());
    // The new status and the healed trouble share a write.
    assert_eq!(story.writes, before + 3);
}

#[test]
fn a_refused_attempt_that_is_repeated_costs_only_its_intent_and_stalls_once() {
    let mut story = Story::start(wish());
    while story.now < later(t0(), secs(2000)) {
        story = match story.step() {
            Step::Request => story.answer(refused(Refusal::PermissionDenied)),
            _ => story.visit(),
        };
    }
    let intents = story.facts().attempts;
    assert!(intents > 5, "{intents} attempts");
    assert_eq!(story.writes, intents + 2, "refused, and stalled");
    assert_eq!(story.ready(), (Value::False, Reason::PermissionDenied));
}

#[test]
fn nothing_is_due_while_waiting() {
    let patient = Wish {
        active_deadline: secs(100_000),
        ..wish()
    };
    for mut story in [
        Story::start(patient.clone()).answer(accepted_after(40_000)),
        Story::start(patient.clone())
            .answer(already_completed())
            .answer(seen(JobStatus::InProgress, Some(secs(40_000)))),
        Story::start(Wish {
            suspend: true,
            ..patient.clone()
        })
        .answer(running()),
        Story::start(patient.clone())
            .answer(throttled(40_000))
            .advance(10)
            .store(),
        Story::start(patient)
            .answer(accepted_after(40_000))
            .restart(),
    ] {
        let before = story.writes;
        let mut visits = 0;
        while let Some(wake) = story.core.wake_at(story.now) {
            if wake >= later(t0(), secs(40_000)) {
                break;
            }
            assert!(wake > story.now, "it never sleeps");
            story.now = wake;
            story = story.store();
            visits += 1;
        }
        assert_eq!(story.writes, before);
        assert!(visits <= 3, "{visits} visits in eleven hours");
    }
}

#[test]
fn events_without_news_cost_nothing() {
    let story = Story::accepted();
    let before = story.writes;
    let mut story = story;
    for _ in 0..100 {
        story = story
            .advance(1)
            .stored_by_others(|_a_label_changed| {})
            .store();
    }
    assert_eq!((story.writes, story.looks), (before, 0));
}

#[test]
fn a_first_write_that_says_nothing_yet_waits_10_s_for_the_intent() {
    let story = Story::start(wish());
    assert_eq!(story.core.due_write(story.now), None);
    let story = story.advance(9);
    assert_eq!(story.core.due_write(story.now), None);
    let story = story.advance(1).store();
    assert_eq!(story.writes, 1);
    assert_eq!(story.ready(), (Value::Unknown, Reason::Pending));
}

#[test]
fn a_trouble_before_the_first_write_is_shown_at_once_where_a_person_must_act() {
    let story = Story::start(wish()).before_the_intent(refused(Refusal::CredentialsNotFound));
    assert_eq!(story.writes, 1);
    let story = Story::start(wish()).before_the_intent(no_answer(Source::Entra));
    assert_eq!(story.writes, 0);
    let story = story.advance(10).store();
    assert_eq!(story.writes, 1);
    assert_eq!(story.ready(), (Value::Unknown, Reason::EntraUnavailable));
}

#[test]
fn a_lost_answer_followed_by_a_running_job_is_told_by_the_next_intent() {
    let story = Story::start(wish()).answer(lost()).wait().answer(running());
    assert_eq!(story.writes, 1);
    let story = story.intent();
    assert_eq!(story.writes, 2);
    let stored = story.core.stored();
    let accepted = stored.conditions.as_ref().map(|c| pair(&c.accepted));
    assert_eq!(accepted, Some((Value::Unknown, Reason::AnswerLost)));
    assert!(stored.job.is_some());
}

#[test]
fn an_unstored_acceptance_is_due_even_when_a_repeat_is() {
    let mut story = Story::start(wish()).answer_unstored(accepted());
    while story.step() != Step::Request {
        story = match story.step() {
            Step::Look => story.answer_unstored(running()),
            _ => story.wait(),
        };
    }
    assert!(story.store().core.stored().accepted_time.is_some());
}
