//! How long Fabric is left alone.

use super::*;

fn look_after(retry_after: Option<u64>) -> i64 {
    Story::accepted()
        .wait()
        .answer(seen(JobStatus::InProgress, retry_after.map(secs)))
        .waits()
}

#[test]
fn a_hint_is_honoured_as_it_is_zero_becomes_5_s_and_none_30_s() {
    assert_eq!(look_after(Some(0)), 5);
    assert_eq!(look_after(Some(1)), 1);
    assert_eq!(look_after(Some(29)), 29);
    assert_eq!(look_after(None), 30);
    assert_eq!(Story::accepted().waits(), 30);
    let accepted = |hint: u64| Story::start(wish()).answer(accepted_after(hint)).waits();
    assert_eq!(accepted(0), 5);
    assert_eq!(accepted(60), 60);
}

#[test]
fn a_day_is_a_day() {
    let patient = Wish {
        active_deadline: secs(604_800),
        ..wish()
    };
    let day = 86_400;
    let story = Story::start(patient.clone()).answer(accepted_after(day));
    assert_eq!(story.waits(), 86_400);
    assert_eq!(story.clone().restart().waits(), 86_400);
    assert_eq!(story.edit(|_| {}).waits(), 86_400);
    let story = Story::start(patient).answer(throttled(day));
    assert!((86_401..=86_406).contains(&story.waits()));
}

#[test]
fn throttling_without_a_number_waits_61_s_and_a_spread_of_5_s_at_most() {
    let waits = Story::start(wish()).answer(throttled(None)).waits();
    assert!((61..=66).contains(&waits), "{waits}");
    let waits = Story::start(wish()).answer(throttled(50)).waits();
    assert!((51..=56).contains(&waits), "{waits}");
}

#[test]
fn resources_that_were_throttled_together_come_back_apart() {
    let waits = |id| {
        let mut wish = wish();
        wish.job.job_instance_id = Uuid::from_u128(id);
        Story::start(wish).answer(throttled(None)).waits()
    };
    let all: std::collections::BTreeSet<_> = (0..50).map(waits).collect();
    assert!(all.len() > 3, "{all:?}");
}

#[test]
fn an_edit_does_not_shorten_what_fabric_asked_for() {
    let story = Story::start(wish()).answer(throttled(500)).advance(1);
    let before = story.waits();
    assert_eq!(story.edit(|_| {}).waits(), before);
}

#[test]
fn a_shorter_hint_does_not_shorten_a_longer_one() {
    let story = Story::start(wish()).answer(throttled(500));
    let waits = story.waits();
    let story = story.hear(throttled(5));
    assert_eq!(story.waits(), waits);
    let story = Story::start(wish()).answer(Observation::Refused {
        refusal: Refusal::PermissionDenied,
        retry_after: Some(secs(300)),
        error: error("Forbidden"),
        advice: None,
    });
    assert_eq!(story.edit(|_| {}).waits(), 300);
}

#[test]
fn a_stored_time_is_rounded_so_that_nothing_is_early() {
    let mut story = Story::start(wish());
    story.now = t0()
        .saturating_add(Duration::from_millis(300))
        .expect("a time");
    let story = story.answer(accepted_after(10));
    assert_eq!(story.core.stored().not_before, Some(later(t0(), secs(11))));
    assert_eq!(story.core.stored().accepted_time, Some(t0()));
}

#[test]
fn a_closed_gate_holds_until_it_says() {
    let story = Story::start(wish()).before_the_intent(Observation::Held {
        until: later(t0(), secs(45)),
        by: Hold::Fabric,
    });
    assert_eq!(story.waits(), 45);
    assert_eq!((story.requests, story.facts().attempts), (0, 0));
    assert_eq!(story.wait().step(), Step::Request);
}

#[test]
fn passing_failures_are_retried_after_1_s_doubling_to_a_minute() {
    let mut story = Story::accepted().wait();
    let mut waits = Vec::new();
    for _ in 0..8 {
        story = story.answer(no_answer(Source::Fabric));
        waits.push(story.waits());
        story = story.wait();
    }
    for (waited, least) in waits.iter().zip([1, 2, 4, 8, 16, 32, 60, 60]) {
        assert!((least..=least * 5 / 4 + 1).contains(waited), "{waits:?}");
    }
    let story = story
        .answer(running())
        .wait()
        .answer(no_answer(Source::Fabric));
    assert!(story.waits() <= 1, "a success starts anew");
}

#[test]
fn what_a_person_must_end_is_retried_after_30_s_doubling_to_five_minutes() {
    let mut story = Story::accepted().wait();
    // Passing failures before do not count.
    for _ in 0..5 {
        story = story.answer(no_answer(Source::Fabric)).wait();
    }
    let mut waits = Vec::new();
    for _ in 0..6 {
        story = story.answer(refused(Refusal::PermissionDenied));
        waits.push(story.waits());
        story = story.wait();
    }
    for (waited, least) in waits.iter().zip([30, 60, 120, 240, 300, 300]) {
        assert!((least..=least * 5 / 4).contains(waited), "{waits:?}");
    }
    let story = story
        .answer(refused(Refusal::PermissionDenied))
        .edit(|_| {});
    assert_eq!(story.step(), Step::Look, "at once on a new generation");
    let story = story.answer(refused(Refusal::PermissionDenied));
    assert!(story.waits() <= 38, "and slowly from the start again");
}

#[test]
fn every_throttling_spreads_anew() {
    let mut story = Story::start(wish());
    let mut waits = std::collections::BTreeSet::new();
    for _ in 0..8 {
        story = story.answer(throttled(100));
        waits.insert(story.waits());
        story = story.wait();
    }
    assert!(waits.len() > 2, "{waits:?}");
}

fn asks_to_come_back(from: Source, after: u64) -> Observation {
    Observation::Inconclusive {
        from,
        retry_after: Some(secs(after)),
        error: error("temporarily_unavailable"),
    }
}

#[test]
fn what_entra_or_the_kubernetes_api_asks_for_is_kept_but_is_not_fabrics_word() {
    for from in [Source::Entra, Source::Kubernetes] {
        let story = Story::start(wish()).before_the_intent(asks_to_come_back(from, 300));
        assert_eq!(story.waits(), 300);
        let story = story.advance(10).store();
        assert_eq!(story.core.stored().not_before, None, "{from:?}");
        assert_eq!(story.edit(|_| {}).step(), Step::Request, "the author acted");

        let short = Story::start(wish())
            .before_the_intent(asks_to_come_back(from, 0))
            .waits();
        assert!((1..=2).contains(&short), "never shorter than our own pause");
    }
    let story = Story::accepted()
        .wait()
        .answer(asks_to_come_back(Source::Fabric, 300))
        .advance(10)
        .edit(|_| {})
        .store();
    assert_eq!(story.waits(), 290, "Fabric's word stands");
    assert!(story.core.stored().not_before.is_some());
}

#[test]
fn a_wait_that_entra_asks_for_beyond_the_deadline_is_not_called_fabrics() {
    for from in [Source::Entra, Source::Kubernetes] {
        let story = Story::accepted()
            .wait()
            .answer(asks_to_come_back(from, 100_000));
        let story = story.wait();
        assert_eq!(Some(story.now), story.core.deadline());
        let story = story.wait();
        assert_eq!(story.step(), Step::GiveUp);
        let story = story.answer(Observation::DeadlinePassed);
        assert!(
            !story.message().contains("Fabric asked"),
            "{}",
            story.message()
        );
    }
}
