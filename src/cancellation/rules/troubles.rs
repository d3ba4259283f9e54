//! What stands in the way: when it is shown, when it stalls, what is kept of it.

use super::*;

const PEOPLE: [Refusal; 8] = [
    Refusal::TargetNotFound,
    Refusal::CapacityPaused,
    Refusal::PermissionDenied,
    Refusal::AuthenticationFailed,
    Refusal::CredentialsNotFound,
    Refusal::CredentialsInvalid,
    Refusal::IdentityNotAllowed,
    Refusal::WorkspaceNotAllowed,
];

fn with_code(refusal: Refusal, code: &str) -> Observation {
    Observation::Refused {
        refusal,
        retry_after: None,
        error: error(code),
        advice: None,
    }
}

fn code(story: &Story) -> Option<&str> {
    let last = story.core.stored().last_error.as_ref()?;
    Some(&last.error.code)
}

#[test]
fn a_passing_trouble_is_shown_once_it_lasted_10_s() {
    for (answer, reason) in [
        (no_answer(Source::Fabric), Reason::FabricUnavailable),
        (no_answer(Source::Entra), Reason::EntraUnavailable),
        (no_answer(Source::Kubernetes), Reason::ResolvingCredentials),
        (throttled(100), Reason::Throttled),
        (lost(), Reason::FabricUnavailable),
    ] {
        let story = Story::start(wish()).answer(answer);
        assert_eq!(story.ready().1, Reason::RequestingCancellation);
        let story = story.advance(9).store();
        assert_eq!(story.ready().1, Reason::RequestingCancellation);
        let story = story.advance(1).store();
        assert_eq!(story.ready(), (Value::Unknown, reason));
        let story = story.advance(3000);
        assert_eq!(story.ready(), (Value::Unknown, reason), "never stalled");
    }
}

#[test]
fn the_operator_wakes_to_show_a_trouble_to_stall_and_to_replace_the_error() {
    let story = Story::accepted().advance(100).answer(throttled(1000));
    let begun = story.now;
    let wake = |story: &Story| story.core.wake_at(story.now);
    assert_eq!(wake(&story), Some(later(begun, secs(10))));

    let story = Story::accepted()
        .advance(100)
        .answer(refused(Refusal::PermissionDenied));
    let story = story.edit(|wish| wish.active_deadline = secs(100_000));
    let story = story.answer(Observation::Refused {
        refusal: Refusal::PermissionDenied,
        retry_after: Some(secs(5000)),
        error: error("SomeCode"),
        advice: None,
    });
    let story = story.advance(10);
    assert_eq!(wake(&story), Some(later(begun, secs(60))));
    let story = story.advance(50);
    assert_eq!(wake(&story), Some(later(begun, secs(120))));
    let story = story.advance(60).store();
    assert_eq!(story.ready().0, Value::False);
    assert_eq!(wake(&story), Some(later(begun, secs(5000))));
}

#[test]
fn the_operator_wakes_to_show_that_nothing_happened_yet() {
    let story = Story::start(wish()).before_the_intent(Observation::Held {
        until: later(t0(), secs(300)),
        by: Hold::Fabric,
    });
    assert_eq!(story.core.wake_at(story.now), Some(later(t0(), secs(10))));
    let story = Story::start(wish());
    assert_eq!(
        story.core.wake_at(story.now),
        Some(t0()),
        "something is due"
    );
}

#[test]
fn what_a_person_must_end_is_shown_at_once_and_stalls_after_two_minutes() {
    for refusal in PEOPLE {
        let reason = Reason::from(refusal);
        let story = Story::start(wish()).answer(refused(refusal));
        assert_eq!(story.ready(), (Value::Unknown, reason));
        let story = story.advance(119);
        assert_eq!(story.ready(), (Value::Unknown, reason));
        assert!(!story.core.conditions(story.now).stalled);
        let story = story.advance(1).store();
        assert_eq!(story.ready(), (Value::False, reason));
        assert!(story.core.conditions(story.now).stalled);
        assert!(!story.core.is_over(), "stalled is not ended");
        let story = story.answer(accepted());
        assert_eq!(
            story.ready(),
            (Value::Unknown, Reason::WaitingForCancellation),
            "cleared on success"
        );
    }
}

#[test]
fn trying_again_does_not_restart_the_two_minutes() {
    let story = Story::start(wish()).answer(refused(Refusal::PermissionDenied));
    let story = story.wait().answer(refused(Refusal::PermissionDenied));
    let story = story.advance(90);
    assert_eq!(story.ready(), (Value::False, Reason::PermissionDenied));
}

#[test]
fn a_restart_does_not_restart_the_two_minutes() {
    let story = Story::start(wish())
        .answer(refused(Refusal::PermissionDenied))
        .advance(100)
        .restart();
    assert_eq!(story.ready(), (Value::Unknown, Reason::PermissionDenied));
    assert_eq!(
        story.advance(20).ready(),
        (Value::False, Reason::PermissionDenied)
    );
}

#[test]
fn work_in_progress_is_no_trouble_after_a_restart() {
    let story = Story::start(wish()).intent().restart().advance(3600);
    let story = story.advance(300).answer(Observation::DeadlinePassed);
    assert!(!story.message().contains("stood in the way"));
}

#[test]
fn a_passing_trouble_that_is_shown_stays_so_after_a_restart() {
    let held = Observation::Held {
        until: later(t0(), secs(1000)),
        by: Hold::Fabric,
    };
    for answer in [held, no_answer(Source::Entra)] {
        let story = Story::start(wish())
            .before_the_intent(answer)
            .advance(10)
            .store()
            .restart();
        assert_eq!(story.core.due_write(story.now), None);
        let story = story.edit(|wish| wish.suspend = true);
        let writes = story.writes;
        assert_eq!(story.store().writes, writes + 1);
    }
}

#[test]
fn a_trouble_that_began_by_a_clock_that_is_ahead_began_now() {
    let mut story = Story::start(wish()).answer(refused(Refusal::PermissionDenied));
    story.now = later(t0(), Duration::ZERO)
        .saturating_sub(secs(3600))
        .expect("an hour before");
    let story = story.restart().advance(120);
    assert_eq!(story.ready(), (Value::False, Reason::PermissionDenied));
}

#[test]
fn what_has_stalled_is_stalled_after_a_restart_whatever_was_noted_last() {
    let mut story = Story::start(wish());
    for name in ["One", "Two", "Three"] {
        story = story
            .answer(with_code(Refusal::PermissionDenied, name))
            .advance(400);
    }
    let story = story.answer(with_code(Refusal::PermissionDenied, "Four"));
    assert_eq!(code(&story), Some("Four"));
    assert_eq!(story.ready().0, Value::False);
    let again = story.restart();
    assert_eq!(again.ready(), (Value::False, Reason::PermissionDenied));
    assert_eq!(again.core.due_write(again.now), None);
}

#[test]
fn a_success_restarts_the_two_minutes() {
    let story = Story::accepted()
        .wait()
        .answer(refused(Refusal::PermissionDenied))
        .wait()
        .answer(running())
        .wait()
        .answer(refused(Refusal::PermissionDenied))
        .advance(119);
    assert_eq!(story.ready(), (Value::Unknown, Reason::PermissionDenied));
}

#[test]
fn a_blip_while_a_trouble_is_shown_changes_nothing() {
    let story = Story::accepted()
        .wait()
        .answer(refused(Refusal::PermissionDenied));
    let (writes, began) = (story.writes, story.now);
    let story = story.wait().answer(no_answer(Source::Fabric));
    assert_eq!(story.ready(), (Value::Unknown, Reason::PermissionDenied));
    let story = story.wait().answer(refused(Refusal::PermissionDenied));
    assert_eq!(story.writes, writes);
    assert_eq!(
        story.facts().last_error.as_ref().map(|last| last.time),
        Some(began)
    );
    let mut story = story;
    story.now = later(began, secs(120));
    assert_eq!(
        story.ready(),
        (Value::False, Reason::PermissionDenied),
        "it lasted all the time"
    );
}

#[test]
fn a_shown_trouble_stalls_on_time_while_a_blip_covers_it() {
    let story = Story::accepted()
        .wait()
        .answer(refused(Refusal::PermissionDenied));
    let story = story.advance(115).answer(no_answer(Source::Fabric));
    let at = later(story.now, secs(5));
    let mut story = story;
    story.now = at;
    assert_eq!(story.ready(), (Value::False, Reason::PermissionDenied));
}

#[test]
fn another_trouble_that_lasts_replaces_the_one_shown() {
    let story = Story::accepted()
        .wait()
        .answer(refused(Refusal::PermissionDenied))
        .wait()
        .answer(no_answer(Source::Entra))
        .advance(10)
        .store();
    assert_eq!(story.ready(), (Value::Unknown, Reason::EntraUnavailable));
    let story = story.answer(refused(Refusal::CapacityPaused));
    assert_eq!(story.ready(), (Value::Unknown, Reason::CapacityPaused));
    assert_eq!(story.clone().advance(119).ready().0, Value::Unknown);
    assert_eq!(story.advance(120).ready().0, Value::False);
}

#[test]
fn trouble_with_the_identity_is_over_once_an_intent_could_be_stored() {
    for answer in [
        no_answer(Source::Kubernetes),
        no_answer(Source::Entra),
        refused(Refusal::CredentialsNotFound),
        refused(Refusal::CredentialsInvalid),
        refused(Refusal::IdentityNotAllowed),
        refused(Refusal::WorkspaceNotAllowed),
    ] {
        let story = Story::start(wish())
            .before_the_intent(answer)
            .advance(400)
            .store();
        let story = story.intent();
        let stored = story.core.stored().conditions.clone().expect("stored");
        let working = (Value::Unknown, Reason::RequestingCancellation);
        assert_eq!(pair(&stored.ready), working);
        assert_eq!(story.ready(), working);
    }
    for answer in [
        refused(Refusal::PermissionDenied),
        refused(Refusal::AuthenticationFailed),
        no_answer(Source::Fabric),
        throttled(20),
    ] {
        let story = Story::start(wish()).answer(answer).advance(400).store();
        let before = story.ready();
        assert_eq!(
            story.intent().ready(),
            before,
            "Fabric has not answered yet"
        );
    }
}

#[test]
fn the_advice_of_whoever_knows_more_is_shown_as_it_is() {
    let advised = |advice: &str| Observation::Refused {
        refusal: Refusal::CredentialsInvalid,
        retry_after: None,
        error: error("SecretKeyMissing"),
        advice: Some(advice.into()),
    };
    let story = Story::start(wish()).before_the_intent(advised("Add the key."));
    assert_eq!(story.message(), "Add the key.");
    assert_eq!(story.clone().restart().message(), "Add the key.");
    let story = story
        .wait()
        .before_the_intent(advised("Add the other key."));
    assert_eq!(story.message(), "Add the other key.");
}

#[test]
fn the_error_of_a_trouble_is_stored_with_it_and_says_when_it_began() {
    let story = Story::start(wish())
        .advance(5)
        .answer(with_code(Refusal::PermissionDenied, "Forbidden"));
    let last = story.core.stored().last_error.clone().expect("an error");
    assert_eq!(last.time, story.now);
    assert_eq!(last.error, error("Forbidden"));
    let began = story.now;
    let story = story
        .wait()
        .answer(with_code(Refusal::PermissionDenied, "Forbidden"));
    assert_eq!(
        story.facts().last_error.as_ref().map(|last| last.time),
        Some(began)
    );
}

#[test]
fn another_code_of_the_same_trouble_is_stored_at_most_once_a_minute() {
    let story = Story::accepted().advance(100);
    let story = story.answer(with_code(Refusal::PermissionDenied, "One"));
    let writes = story.writes;
    let story = story
        .advance(59)
        .answer(with_code(Refusal::PermissionDenied, "Two"));
    assert_eq!((code(&story), story.writes), (Some("One"), writes));
    let story = story.advance(1).edit(|_| {}).store();
    let writes = story.writes;
    let story = story.answer(with_code(Refusal::PermissionDenied, "Three"));
    assert_eq!((code(&story), story.writes), (Some("Three"), writes + 1));
    assert_eq!(
        story
            .core
            .stored()
            .last_error
            .as_ref()
            .map(|last| last.time),
        Some(story.now)
    );
}

#[test]
fn a_new_trouble_brings_its_own_error_at_once() {
    let story = Story::accepted()
        .wait()
        .answer(with_code(Refusal::PermissionDenied, "One"))
        .edit(|_| {})
        .answer(with_code(Refusal::CapacityPaused, "Two"));
    assert_eq!(code(&story), Some("Two"));
    let story = story.edit(|_| {}).answer(running()).edit(|_| {});
    assert_eq!(code(&story), Some("Two"), "kept after a success");
    let story = story
        .advance(30)
        .answer(with_code(Refusal::CapacityPaused, "Two"));
    let last = story.core.stored().last_error.clone().expect("an error");
    assert_eq!(last.time, story.now, "the same after a success began anew");
}

#[test]
fn an_error_that_is_not_shown_is_not_stored_for_its_own_sake() {
    let story = Story::accepted()
        .wait()
        .answer(with_code(Refusal::PermissionDenied, "One"))
        .advance(100);
    let writes = story.writes;
    let story = story.answer(no_answer(Source::Fabric));
    assert_eq!((code(&story), story.writes), (Some("One"), writes));
}

#[test]
fn an_error_is_kept_after_the_end() {
    let story = Story::start(wish())
        .answer(with_code(Refusal::PermissionDenied, "One"))
        .wait()
        .answer(accepted())
        .wait()
        .answer(cancelled());
    assert_eq!(code(&story), Some("One"));
}
