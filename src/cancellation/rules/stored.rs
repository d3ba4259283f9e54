//! Stored times that cannot be: written by a clock that was wrong, or by hand.

use super::*;
use crate::cancellation::policy::UNKNOWN_GRACE;

const DAY: u64 = 86_400;

fn ahead(seconds: u64) -> Option<Timestamp> {
    Some(later(t0(), secs(seconds)))
}

/// The operator starts and finds these facts.
fn found(facts: Facts) -> Story {
    let mut story = Story::start(wish());
    story.core = Cancellation::new(wish(), facts, story.now);
    story
}

#[test]
fn a_deadline_does_not_come_late_because_its_start_was_stored_a_day_ahead() {
    let story = found(Facts {
        start_time: ahead(DAY),
        ..Facts::default()
    });
    assert_eq!(story.core.deadline(), ahead(3600));
    assert_eq!(story.facts().start_time, ahead(DAY), "the record stays");
    let story = Story::start(wish()).stored_by_others(|stored| {
        stored.attempts = 1;
        stored.start_time = ahead(DAY);
    });
    assert_eq!(story.core.deadline(), ahead(3600));
}

#[test]
fn a_start_stored_a_day_ahead_counts_no_more_once_the_clock_was_started_anew() {
    let story = found(Facts {
        start_time: ahead(DAY),
        ..Facts::default()
    });
    let story = story.edit(|wish| wish.suspend = true).store();
    assert_eq!(
        story.facts().start_time,
        None,
        "suspended before any attempt"
    );
    let story = story.advance(1000).edit(|wish| wish.suspend = false);
    let story = story.answer(refused(Refusal::PermissionDenied));
    assert_eq!(story.facts().start_time, ahead(1000));
    assert_eq!(story.core.deadline(), ahead(1000 + 3600));
}

#[test]
fn an_intent_stored_a_day_ahead_is_looked_at_after_the_usual_grace() {
    let story = found(Facts {
        attempts: 1,
        start_time: Some(t0()),
        request_time: ahead(DAY),
        ..Facts::default()
    });
    assert_eq!(story.waits(), UNKNOWN_GRACE.as_secs().cast_signed());
}

#[test]
fn a_trouble_stored_a_day_ahead_stalls_after_two_minutes_from_now() {
    let trouble = Story::start(wish()).answer(refused(Refusal::PermissionDenied));
    let mut facts = trouble.core.stored().clone();
    facts
        .last_error
        .as_mut()
        .expect("the trouble is stored")
        .time = later(t0(), secs(DAY));
    let story = found(facts).advance(119);
    assert_eq!(story.ready(), (Value::Unknown, Reason::PermissionDenied));
    let story = story.advance(1);
    assert_eq!(story.ready(), (Value::False, Reason::PermissionDenied));
}

#[test]
fn an_end_stored_a_day_ahead_is_evidence_and_stays_as_it_is() {
    let end = Facts {
        completion_time: ahead(DAY),
        start_time: ahead(DAY),
        ..Facts::default()
    };
    let story = found(end.clone());
    assert_eq!(story.step(), Step::Finished);
    assert_eq!(story.facts(), &end);
}
