//! An accepted request whose job runs on is repeated: after ten minutes, twice at most.

use super::*;

/// Accepted ten minutes ago, looked at every 30 s, still running.
pub(super) fn ten_minutes_later() -> Story {
    let story = looks_for(Story::accepted(), 600);
    assert_eq!(story.step(), Step::Request);
    story
}

/// Looks that show the job running, for this long or until something else is due.
pub(super) fn looks_for(mut story: Story, seconds: u64) -> Story {
    let end = later(story.now, secs(seconds));
    while story.now < end {
        match story.step() {
            Step::Look => story = story.answer(running()),
            Step::Wait { .. } => story = story.wait(),
            _ => break,
        }
    }
    story
}

#[test]
fn a_job_that_runs_on_is_asked_again_after_ten_minutes_twice_and_never_more() {
    let story = ten_minutes_later();
    assert_eq!(story.now, later(t0(), secs(600)));
    let story = looks_for(story.answer(accepted()), 600);
    assert_eq!(story.now, later(t0(), secs(1200)));
    assert_eq!(story.step(), Step::Request);
    let story = looks_for(story.answer(accepted()), 2300);
    assert_eq!((story.requests, story.facts().attempts), (3, 3));
    assert_eq!(
        story.facts().accepted_time,
        Some(t0()),
        "the first acceptance stays"
    );
    let story = story.answer(cancelled());
    assert_eq!(story.ready(), (Value::True, Reason::JobCancelled));
}

#[test]
fn a_repeat_needs_two_looks_since_the_request() {
    let story = Story::start(wish())
        .answer(accepted_after(900))
        .wait()
        .answer(running());
    assert!(matches!(story.step(), Step::Wait { .. }), "after one look");
    let story = story.wait();
    assert_eq!(story.step(), Step::Look);
    assert_eq!(story.answer(running()).step(), Step::Request);
}

#[test]
fn a_repeat_is_not_made_a_second_early() {
    let story =
        looks_for(Story::accepted(), 570).answer(seen(JobStatus::InProgress, Some(secs(29))));
    let story = story.wait();
    assert_eq!(story.now, later(t0(), secs(599)));
    assert_eq!(story.step(), Step::Look);
    assert_eq!(story.advance(1).step(), Step::Request);
}

#[test]
fn a_repeat_waits_for_what_fabric_asked_for_and_not_for_our_own_pace() {
    let story = looks_for(Story::accepted(), 570);
    let asked = story
        .clone()
        .answer(seen(JobStatus::InProgress, Some(secs(50))));
    assert_eq!(asked.advance(30).waits(), 20);
    let free = story
        .answer(seen(JobStatus::InProgress, Some(secs(15))))
        .wait()
        .answer(running())
        .advance(15);
    assert_eq!(free.step(), Step::Request);
}

#[test]
fn restarts_add_no_repeats() {
    let mut story = Story::accepted();
    while story.now < later(t0(), secs(3500)) {
        story = match story.step() {
            Step::Request => story.answer(accepted()).restart(),
            Step::Look => {
                let story = story.answer(running());
                if story.looks.is_multiple_of(3) {
                    story.restart()
                } else {
                    story
                }
            }
            _ => story.wait(),
        };
    }
    assert_eq!(story.requests, 3);
}

#[test]
fn a_repeat_whose_answer_is_lost_counts() {
    let story = looks_for(ten_minutes_later().answer(lost()).wait(), 600);
    assert_eq!(story.step(), Step::Request);
    let story = looks_for(story.answer(lost()).wait(), 2000);
    assert_eq!(story.requests, 3);
    assert_ne!(story.step(), Step::Request);
}

#[test]
fn a_late_repeat_counts_as_the_last() {
    let story = Story::start(wish())
        .answer(accepted_after(1300))
        .wait()
        .answer(running())
        .wait()
        .answer(running());
    assert_eq!(story.step(), Step::Request);
    let story = looks_for(story.answer(accepted()), 2000);
    assert_eq!(
        story.requests, 2,
        "restarts could not tell it from the second"
    );
}

#[test]
fn a_repeat_is_not_begun_without_20_s_before_the_deadline() {
    let hasty = |deadline| {
        let wish = Wish {
            active_deadline: secs(deadline),
            ..wish()
        };
        looks_for(Story::start(wish).answer(accepted()), 600)
    };
    assert_eq!(hasty(620).step(), Step::Request);
    assert_eq!(hasty(619).step(), Step::Look);
}

#[test]
fn nothing_is_repeated_once_fabric_said_that_the_job_is_over_or_not_there() {
    let story = looks_for(ten_minutes_later().answer(already_completed()), 1500);
    assert_eq!(story.requests, 2);
    let story = looks_for(Story::accepted(), 570)
        .answer(refused(Refusal::JobNotFound))
        .advance(30);
    assert!(matches!(story.step(), Step::Wait { .. }));
}
