//! How it ended: every history with every last look, as a table.

use super::*;
use crate::cancellation::{invalid_spec, whole_second};

use Reason::{
    AnswerLost, CancelAccepted, DeadlineExceeded, JobAlreadyCancelled, JobAlreadyFinished,
    JobCancelled, JobEndedOtherwise, JobNotFound, NotNeeded, RequestRejected,
};

/// What happened before the last look.
#[derive(Clone, Copy, Debug)]
enum History {
    /// Accepted.
    Taken,
    /// The answer was lost, and no look was made yet.
    Lost,
    /// The answer was lost; a later attempt was accepted.
    LostTaken,
    /// The answer was lost; a later attempt met "already over".
    LostOver,
    /// Met "already over".
    Over,
    /// Refused for a while; then met "already over".
    RefusedOver,
    /// Accepted; a repeat met "already over".
    TakenOver,
    /// Not found once; only looks since.
    Missing,
}

const HISTORIES: [History; 8] = [
    History::Taken,
    History::Lost,
    History::LostTaken,
    History::LostOver,
    History::Over,
    History::RefusedOver,
    History::TakenOver,
    History::Missing,
];

fn story(history: History, wish: Wish) -> Story {
    let story = Story::start(wish);
    let story = match history {
        History::Taken => story.answer(accepted()),
        History::Lost => story.answer(lost()),
        History::LostTaken => story
            .answer(lost())
            .wait()
            .answer(running())
            .answer(accepted()),
        History::LostOver => story
            .answer(lost())
            .wait()
            .answer(running())
            .answer(already_completed()),
        History::Over => story.answer(already_completed()),
        History::RefusedOver => story
            .answer(refused(Refusal::PermissionDenied))
            .wait()
            .answer(already_completed()),
        History::TakenOver => {
            let mut story = story.answer(accepted());
            while story.step() != Step::Request {
                story = match story.step() {
                    Step::Look => story.answer(running()),
                    _ => story.wait(),
                };
            }
            story.answer(already_completed())
        }
        History::Missing => story.answer(refused(Refusal::JobNotFound)),
    };
    match story.step() {
        Step::Wait { .. } => story.wait(),
        _ => story,
    }
}

/// How it ended: Ready's reason, and the values and reasons of Accepted and Cancelled.
type End = (Reason, (Value, Reason), (Value, Reason));

fn end(story: &Story) -> End {
    assert!(story.core.is_over(), "not over: {story:?}");
    assert_eq!(story.facts().completion_time, Some(whole_second(story.now)));
    (story.ready().1, story.accepted_is(), story.cancelled_is())
}

const TAKEN: (Value, Reason) = (Value::True, CancelAccepted);
const OPEN: (Value, Reason) = (Value::Unknown, AnswerLost);
const OVER: (Value, Reason) = (Value::False, NotNeeded);

#[test]
fn a_job_seen_as_cancelled_is_ours_unless_no_request_can_have_done_it() {
    for history in HISTORIES {
        let expected = match history {
            History::Taken | History::LostTaken | History::TakenOver => (JobCancelled, TAKEN),
            History::Lost | History::LostOver => (JobCancelled, OPEN),
            History::Over | History::RefusedOver => (JobAlreadyCancelled, OVER),
            History::Missing => (JobAlreadyCancelled, (Value::False, JobAlreadyCancelled)),
        };
        // The policies are about other ends.
        for success in [true, false] {
            let wish = Wish {
                finished_is_success: success,
                missing_is_success: success,
                ..wish()
            };
            let story = story(history, wish).answer(cancelled());
            let (reason, accepted) = expected;
            assert_eq!(
                end(&story),
                (reason, accepted, (Value::True, reason)),
                "{history:?}"
            );
            assert_eq!(story.ready().0, Value::True);
            assert!(!story.core.conditions(story.now).stalled);
        }
    }
}

#[test]
fn a_job_that_ended_otherwise_is_judged_by_finished_job_policy() {
    for status in [JobStatus::Completed, JobStatus::Failed, JobStatus::Deduped] {
        for history in HISTORIES {
            let (reason, accepted) = match history {
                History::Taken | History::LostTaken | History::TakenOver => {
                    (JobEndedOtherwise, TAKEN)
                }
                History::Lost | History::LostOver => (JobAlreadyFinished, OPEN),
                History::Over | History::RefusedOver => (JobAlreadyFinished, OVER),
                History::Missing => (JobAlreadyFinished, (Value::False, JobAlreadyFinished)),
            };
            for success in [true, false] {
                let wish = Wish {
                    finished_is_success: success,
                    missing_is_success: !success,
                    ..wish()
                };
                let story = story(history, wish).answer(seen(status.clone(), None));
                assert_eq!(
                    end(&story),
                    (reason, accepted, (Value::False, reason)),
                    "{history:?} {status:?}"
                );
                let value = if success { Value::True } else { Value::False };
                assert_eq!(story.ready().0, value);
                assert_eq!(story.core.conditions(story.now).stalled, !success);
                assert!(story.message().contains(status.as_str()));
            }
        }
    }
}

#[test]
fn a_job_that_fabric_does_not_know_is_judged_by_missing_job_policy() {
    for history in HISTORIES {
        let (reason, accepted) = match history {
            History::Taken | History::LostTaken | History::TakenOver => (JobNotFound, TAKEN),
            History::Lost => (JobNotFound, OPEN),
            History::LostOver => (JobAlreadyFinished, OPEN),
            History::Over | History::RefusedOver => (JobAlreadyFinished, OVER),
            History::Missing => (JobNotFound, (Value::False, JobNotFound)),
        };
        for success in [true, false] {
            let wish = Wish {
                // Where Fabric said that it was over, the other policy decides.
                finished_is_success: success == (reason == JobAlreadyFinished),
                missing_is_success: success == (reason == JobNotFound),
                ..wish()
            };
            let expected = wish.missing_is_success == (reason == JobNotFound) && success
                || (reason == JobAlreadyFinished && wish.finished_is_success);
            let mut story = story(history, wish).answer(refused(Refusal::JobNotFound));
            while !story.core.is_over() {
                story = story.wait().answer(refused(Refusal::JobNotFound));
            }
            assert_eq!(
                end(&story),
                (reason, accepted, (Value::Unknown, reason)),
                "{history:?}"
            );
            let value = if expected { Value::True } else { Value::False };
            assert_eq!(story.ready().0, value, "{history:?} {success}");
        }
    }
}

#[test]
fn a_deadline_is_never_a_success_and_leaves_open_how_the_job_ends() {
    for history in HISTORIES {
        let accepted = match history {
            History::Taken | History::LostTaken | History::TakenOver => TAKEN,
            History::Lost | History::LostOver => OPEN,
            History::Over | History::RefusedOver => OVER,
            History::Missing => (Value::False, DeadlineExceeded),
        };
        let wish = Wish {
            finished_is_success: true,
            missing_is_success: true,
            ..wish()
        };
        let mut story = story(history, wish);
        while story.step() != Step::GiveUp {
            story = match story.step() {
                Step::Look => story.answer(no_answer(Source::Fabric)),
                Step::Request => story.answer(refused(Refusal::PermissionDenied)),
                _ => story.wait(),
            };
        }
        let story = story.answer(Observation::DeadlinePassed);
        assert_eq!(
            end(&story),
            (
                DeadlineExceeded,
                accepted,
                (Value::Unknown, DeadlineExceeded)
            ),
            "{history:?}"
        );
        assert_eq!(story.ready().0, Value::False);
    }
}

#[test]
fn a_rejection_is_never_a_success_and_forgets_no_lost_answer() {
    let wish = Wish {
        finished_is_success: true,
        missing_is_success: true,
        ..wish()
    };
    let story = Story::start(wish.clone()).answer(refused(Refusal::RequestRejected));
    assert_eq!(
        end(&story),
        (
            RequestRejected,
            (Value::False, RequestRejected),
            (Value::Unknown, RequestRejected)
        )
    );
    assert_eq!(story.ready().0, Value::False);
    let story = Story::start(wish)
        .answer(lost())
        .wait()
        .answer(running())
        .answer(refused(Refusal::RequestRejected));
    assert_eq!(
        end(&story),
        (RequestRejected, OPEN, (Value::Unknown, RequestRejected))
    );
}

#[test]
fn what_a_preflight_saw_is_no_verdict_of_a_deadline_or_a_rejection() {
    let preflight = || {
        Story::start(Wish {
            suspend: true,
            ..wish()
        })
        .answer(cancelled())
        .edit(|wish| wish.suspend = false)
    };
    let story = preflight().answer(refused(Refusal::RequestRejected));
    assert_eq!(story.cancelled_is().0, Value::Unknown);
    let story = preflight()
        .answer(refused(Refusal::PermissionDenied))
        .advance(3600)
        .answer(Observation::DeadlinePassed);
    assert_eq!(story.cancelled_is().0, Value::Unknown);
    let story = preflight()
        .answer(refused(Refusal::JobNotFound))
        .wait()
        .answer(refused(Refusal::JobNotFound));
    assert_eq!(story.cancelled_is().0, Value::Unknown);
}

#[test]
fn an_end_reads_the_same_after_a_restart() {
    for history in HISTORIES {
        let story = story(history, wish()).answer(cancelled());
        let before = story.core.conditions(story.now);
        let story = story.advance(10_000).restart();
        assert_eq!(story.core.conditions(story.now), before);
    }
}

#[test]
fn a_spec_that_cannot_be_used_any_more_does_not_undo_what_fabric_said() {
    let of = |story: &Story| invalid_spec(story.core.stored(), "it is odd");
    let told = |story: &Story| {
        let conditions = of(story);
        assert_eq!(pair(&conditions.ready), (Value::False, Reason::InvalidSpec));
        let nothing_sent = conditions.ready.message.contains("Nothing was sent");
        assert_eq!(nothing_sent, story.facts().attempts == 0);
        pair(&conditions.accepted)
    };
    assert_eq!(
        told(&Story::start(wish())),
        (Value::False, Reason::InvalidSpec)
    );
    assert_eq!(
        told(&Story::accepted()),
        (Value::True, Reason::CancelAccepted)
    );
    let story = Story::accepted();
    let stored = story.core.stored().conditions.clone().expect("stored");
    assert_eq!(of(&story).accepted, stored.accepted, "word for word");
    for unresolved in [
        Story::start(wish()).intent(),
        Story::start(wish()).answer(lost()),
    ] {
        assert_eq!(told(&unresolved), (Value::Unknown, Reason::AnswerLost));
    }
    let over = Story::already_over().answer(running());
    assert_eq!(
        over.core
            .stored()
            .conditions
            .as_ref()
            .map(|c| pair(&c.accepted)),
        Some((Value::False, Reason::NotNeeded))
    );
    assert_eq!(told(&over), (Value::False, Reason::NotNeeded));
}
