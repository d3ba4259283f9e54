//! Every message as users read it: `../messages.txt`, to be reviewed as prose.
//!
//! After a deliberate change: `UPDATE_MESSAGES=1 cargo test --lib messages`.

use std::{collections::BTreeSet, fmt::Write as _};

use super::*;
use crate::cancellation::invalid_spec;

/// What is so, and the story that leads there.
fn stories() -> Vec<(&'static str, Story)> {
    let people = |refusal| Story::start(wish()).before_the_intent(refused(refusal));
    let fails = || {
        Story::start(Wish {
            finished_is_success: false,
            ..wish()
        })
    };
    let suspended = || {
        Story::start(Wish {
            suspend: true,
            ..wish()
        })
    };
    let another = "the jobs of this item are closed to this identity: create a new \
                   FabricJobCancellation that uses another one";
    let advised = |refusal| Observation::Refused {
        refusal,
        retry_after: None,
        error: error("SomeCode"),
        advice: Some(another.into()),
    };
    let passing = |answer| Story::start(wish()).answer(answer).advance(10);
    let gone = |story: Story| {
        let story = story.answer(refused(Refusal::JobNotFound));
        story.wait().answer(refused(Refusal::JobNotFound))
    };
    let late = |story: Story| {
        story
            .advance(3600)
            .answer(running())
            .answer(Observation::DeadlinePassed)
    };
    let given_up = |story: Story| story.advance(3600).answer(Observation::DeadlinePassed);
    let queued = passing(Observation::Held {
        until: later(t0(), secs(60)),
        by: Hold::OwnQuota,
    });
    vec![
        ("just applied", Story::start(wish())),
        ("our own quota is used up", queued),
        ("suspended before anything was sent", suspended()),
        (
            "suspended, and the preflight met a problem",
            suspended().answer(refused(Refusal::PermissionDenied)),
        ),
        (
            "suspended after an attempt",
            Story::start(wish())
                .answer(lost())
                .edit(|wish| wish.suspend = true),
        ),
        (
            "the credentials could not be read",
            passing(no_answer(Source::Kubernetes)),
        ),
        (
            "the intent is stored, the request on its way",
            Story::start(wish()).intent(),
        ),
        ("accepted", Story::accepted()),
        (
            "already over, how is not known yet",
            Story::already_over().answer(running()),
        ),
        ("the identity is throttled", passing(throttled(600))),
        (
            "the capacity is throttled",
            passing(Observation::Throttled {
                by: Throttle::Capacity,
                retry_after: Some(secs(600)),
                error: error("TooManyRequestsForCapacity"),
            }),
        ),
        ("Fabric does not answer", passing(lost())),
        ("Entra does not answer", passing(no_answer(Source::Entra))),
        (
            "the job was not found once",
            Story::start(wish()).answer(refused(Refusal::JobNotFound)),
        ),
        ("no credentials", people(Refusal::CredentialsNotFound)),
        ("unusable credentials", people(Refusal::CredentialsInvalid)),
        (
            "credentials that may not be used",
            people(Refusal::IdentityNotAllowed),
        ),
        (
            "a workspace that is not listed",
            people(Refusal::WorkspaceNotAllowed),
        ),
        ("a refused identity", people(Refusal::AuthenticationFailed)),
        ("a missing right", people(Refusal::PermissionDenied)),
        (
            "an unknown workspace or item",
            people(Refusal::TargetNotFound),
        ),
        ("a paused capacity", people(Refusal::CapacityPaused)),
        ("cancelled", Story::accepted().wait().answer(cancelled())),
        (
            "cancelled by somebody else before",
            Story::already_over().answer(cancelled()),
        ),
        (
            "over before the request",
            Story::already_over().answer(seen(JobStatus::Completed, None)),
        ),
        (
            "over before the request, which is a failure",
            fails()
                .answer(already_completed())
                .answer(seen(JobStatus::Failed, None)),
        ),
        (
            "over after a lost answer",
            Story::start(wish())
                .answer(lost())
                .wait()
                .answer(seen(JobStatus::Completed, None)),
        ),
        (
            "over, and not shown any more",
            Story::already_over().answer(refused(Refusal::JobNotFound)),
        ),
        (
            "ended by itself after the acceptance",
            Story::accepted()
                .wait()
                .answer(seen(JobStatus::Completed, None)),
        ),
        (
            "ended by itself after the acceptance, which is a failure",
            fails()
                .answer(accepted())
                .wait()
                .answer(seen(JobStatus::Failed, None)),
        ),
        ("not found", gone(Story::start(wish()))),
        (
            "not found, which is fine",
            gone(Story::start(Wish {
                missing_is_success: true,
                ..wish()
            })),
        ),
        ("accepted, then not found", gone(Story::accepted().wait())),
        (
            "rejected",
            Story::start(wish()).answer(refused(Refusal::RequestRejected)),
        ),
        (
            "rejected, and it is known what would help",
            Story::start(wish()).answer(advised(Refusal::RequestRejected)),
        ),
        (
            "a look was rejected, and it is known what would help",
            Story::accepted()
                .wait()
                .answer(advised(Refusal::RequestRejected))
                .advance(10),
        ),
        ("too late after acceptance", late(Story::accepted())),
        (
            "too late after \"already over\"",
            late(Story::already_over()),
        ),
        (
            "too late after a lost answer",
            late(Story::start(wish()).answer(lost())),
        ),
        (
            "too late, every attempt was refused",
            given_up(people(Refusal::CredentialsNotFound)),
        ),
        (
            "too late, not found once",
            given_up(
                Story::start(wish())
                    .answer(throttled(3550))
                    .wait()
                    .answer(refused(Refusal::JobNotFound)),
            ),
        ),
        (
            "too late, throttled for longer than that",
            given_up(Story::start(wish()).answer(throttled(100_000))),
        ),
        (
            "too late, accepted with a longer wait than that",
            given_up(Story::start(wish()).answer(accepted_after(100_000))),
        ),
    ]
}

fn all() -> Vec<(&'static str, Conditions)> {
    let mut all: Vec<_> = stories()
        .into_iter()
        .map(|(title, story)| (title, story.core.conditions(story.now)))
        .collect();
    for (title, story) in [
        ("a spec that cannot be used", Story::start(wish())),
        (
            "a spec that cannot be used any more, after a request",
            Story::start(wish()).answer(lost()),
        ),
        (
            "a spec that cannot be used any more, after acceptance",
            Story::accepted(),
        ),
        (
            "a spec that cannot be used any more, after \"already over\"",
            Story::already_over().answer(running()),
        ),
    ] {
        let conditions = invalid_spec(story.core.stored(), "`spec.itemId` is not a UUID");
        all.push((title, conditions));
    }
    all
}

fn table() -> String {
    let mut text = String::new();
    let mut told = BTreeSet::new();
    for (title, conditions) in all() {
        writeln!(text, "# {title}").expect("a String takes all");
        for (name, verdict) in [
            ("Ready", &conditions.ready),
            ("Accepted", &conditions.accepted),
            ("Cancelled", &conditions.cancelled),
        ] {
            let line = format!(
                "{name}={:?} {}: {}",
                verdict.value,
                verdict.reason.as_str(),
                verdict.message
            );
            // What was told before is not repeated, Ready excepted.
            if told.insert(line.clone()) || name == "Ready" {
                writeln!(text, "{line}").expect("a String takes all");
            }
        }
        text.push('\n');
    }
    text
}

#[test]
fn every_message_reads_as_reviewed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cancellation/messages.txt");
    if std::env::var_os("UPDATE_MESSAGES").is_some() {
        std::fs::write(path, table()).expect("the table can be written");
    }
    let reviewed = std::fs::read_to_string(path).expect("the table can be read");
    for (now, before) in table().lines().zip(reviewed.lines()) {
        assert_eq!(now, before, "see the top of messages.rs");
    }
    assert_eq!(table().len(), reviewed.len(), "see the top of messages.rs");
}

#[test]
fn every_reason_has_a_message() {
    let told: BTreeSet<_> = all()
        .into_iter()
        .flat_map(|(_, c)| [c.ready.reason, c.accepted.reason, c.cancelled.reason])
        .collect();
    for reason in Reason::ALL {
        assert!(told.contains(&reason), "{} has no message", reason.as_str());
        assert_eq!(Reason::parse(reason.as_str()), Some(reason));
    }
    assert_eq!(Reason::parse("FromTheFuture"), None);
}

#[test]
fn where_a_person_must_act_the_message_says_what_to_do() {
    let fixes = [
        "Create ", "create ", "Correct ", "Ask ", "Check ", "Give ", "Resume ", "correct ",
        "Look at ", "Delete ",
    ];
    for (title, conditions) in all() {
        let ready = conditions.ready;
        let policy = ready.message.contains("Policy` is Fail");
        if (ready.reason.needs_a_person() || conditions.stalled) && !policy {
            assert!(
                fixes.iter().any(|fix| ready.message.contains(fix)),
                "{title}: no fix in {:?}",
                ready.message
            );
        }
    }
}

#[test]
fn no_message_is_longer_than_a_condition_may_be_or_carries_what_a_server_said() {
    for (title, conditions) in all() {
        for verdict in [conditions.ready, conditions.accepted, conditions.cancelled] {
            assert!(verdict.message.len() < 1024, "{title}");
            assert!(
                verdict.message.ends_with('.'),
                "{title}: {}",
                verdict.message
            );
            assert!(!verdict.message.contains("fleeting"), "{title}");
            assert!(
                !verdict.message.contains("  "),
                "{title}: {}",
                verdict.message
            );
        }
    }
}
