//! Each rule of the election as a short story about one candidate.

use std::time::Duration;

use jiff::Timestamp;

use super::{Answer, Candidate, Lost, Record, Step, Terms};

const TERMS: Terms = Terms::STANDARD;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The clock on the wall of the candidate under test. It may say anything.
fn wall(now: Duration) -> Timestamp {
    Timestamp::from_second(1_000_000 + i64::try_from(now.as_secs()).unwrap()).unwrap()
}

/// A candidate with its time. Answers take no time unless a story says so.
struct Story {
    me: Candidate,
    now: Duration,
}

impl Story {
    fn new() -> Self {
        Self {
            me: Candidate::new("me", TERMS),
            now: s(100),
        }
    }

    /// A story that begins when the candidate is about to create the Lease.
    fn before_a_claim() -> Self {
        let mut story = Self::new();
        story.now = s(96);
        story.answer(Answer::Missing);
        story.at(100);
        story.answer(Answer::Missing);
        story
    }

    /// A story in which the candidate has just created the Lease.
    fn of_a_claim() -> Self {
        let mut story = Self::before_a_claim();
        story.stored("1");
        story
    }

    /// A story that begins when the candidate has just become leader of a Lease that it created.
    fn of_a_leader() -> Self {
        let mut story = Self::before_a_claim();
        let claim = story.written();
        story.stored("1");
        story.at(115);
        story.finds("1", &claim);
        story.stored("2");
        assert_eq!(story.me.leads_until(story.now), Some(s(130)));
        story
    }

    fn step(&self) -> Step {
        let step = self.me.next_step(self.now, wall(self.now));
        assert_eq!(step, self.me.next_step(self.now, wall(self.now)));
        step
    }

    /// The step that is due now has this answer, at once.
    fn answer(&mut self, answer: Answer) {
        self.answer_after(s(0), answer);
    }

    fn answer_after(&mut self, delay: Duration, answer: Answer) {
        let (step, sent) = (self.step(), self.now);
        assert!(
            matches!(step, Step::Read | Step::Create(_) | Step::Replace { .. }),
            "{step:?} has no answer"
        );
        self.now += delay;
        self.me = self.me.clone().record(&step, answer, sent, self.now, s(0));
    }

    /// The write that is due is stored as this version.
    fn stored(&mut self, version: &str) {
        let record = self.written();
        let version = version.to_owned();
        self.answer(Answer::Stored { version, record });
    }

    /// What the write that is due would write.
    fn written(&self) -> Record {
        match self.step() {
            Step::Create(record) | Step::Replace { record, .. } => record,
            other => panic!("{other:?} is no write"),
        }
    }

    fn finds(&mut self, version: &str, record: &Record) {
        assert_eq!(self.step(), Step::Read);
        self.answer(found(version, record));
    }

    /// It is this time now, in seconds.
    fn at(&mut self, second: u64) {
        self.now = s(second);
    }

    /// Waits as long as the candidate wants to; gives the time.
    fn waits(&mut self) -> u64 {
        let Step::Wait { until } = self.step() else {
            panic!("{:?} is no wait", self.step())
        };
        assert!(until > self.now, "a wait has an end, and not in the past");
        self.now = until;
        until.as_secs()
    }

    /// Reads this same Lease whenever it is due until the candidate writes; gives the time.
    fn takes_over_from(&mut self, record: &Record) -> u64 {
        for _ in 0..200 {
            match self.step() {
                Step::Wait { .. } => drop(self.waits()),
                Step::Read => self.finds("7", record),
                Step::Replace { .. } => return self.now.as_secs(),
                other => panic!("{other:?}"),
            }
        }
        panic!("it waits for ever")
    }
}

fn found(version: &str, record: &Record) -> Answer {
    Answer::Found {
        version: version.to_owned(),
        record: record.clone(),
    }
}

fn held_by(holder: &str) -> Record {
    Record {
        holder: holder.to_owned(),
        duration_seconds: Some(15),
        acquired: Some(Timestamp::UNIX_EPOCH),
        renewed: Some(Timestamp::UNIX_EPOCH),
        transitions: Some(3),
    }
}

fn released() -> Record {
    Record {
        duration_seconds: Some(1),
        ..held_by("")
    }
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let mut story = Story::new();
    story.finds("7", &released());
    let Step::Replace { version, record } = story.step() else {
        panic!("{:?}", story.step())
    };
    assert_eq!(version, "7");
    assert_eq!(record.holder, "me");
    assert_eq!(record.duration_seconds, Some(15));
    assert_eq!(record.transitions, Some(4), "the holder changes");
    assert_eq!(record.acquired, Some(wall(story.now)));
    story.stored("8");
    assert_eq!(story.me.leads_until(story.now), Some(s(115)));
}

#[test]
fn the_lease_of_another_is_respected_until_it_did_not_change_for_15_s() {
    let mut story = Story::new();
    story.finds("7", &held_by("other"));
    assert_eq!(story.me.leads_until(story.now), None);
    assert_eq!(story.waits(), 102);
    let renewed = Record {
        renewed: Some(Timestamp::from_second(1).unwrap()),
        ..held_by("other")
    };
    story.finds("8", &renewed);
    assert_eq!(story.takes_over_from(&renewed), 117, "102 s + 15 s");
    assert_eq!(story.written().transitions, Some(4));
}

#[test]
fn another_version_of_the_same_record_is_no_sign_of_life() {
    let mut story = Story::new();
    story.finds("7", &held_by("other"));
    for version in 8..16 {
        if matches!(story.step(), Step::Replace { .. }) {
            break;
        }
        story.waits();
        story.finds(&version.to_string(), &held_by("other"));
    }
    assert_eq!(story.now, s(115), "annotations do not keep a dead leader");
    assert!(matches!(story.step(), Step::Replace { .. }));
}

#[test]
fn a_lease_that_stays_missing_is_claimed_and_led_when_the_claim_has_stood() {
    let mut story = Story::new();
    story.now = s(96);
    story.answer(Answer::Missing);
    while let Step::Wait { .. } = story.step() {
        story.waits();
        story.answer(Answer::Missing);
    }
    assert_eq!(story.now, s(100), "a leader would have created it by now");
    let claim = story.written();
    assert_eq!(claim.transitions, Some(0));
    story.answer_after(
        s(1),
        Answer::Stored {
            version: "1".into(),
            record: claim.clone(),
        },
    );
    assert_eq!(
        story.me.leads_until(story.now),
        None,
        "whoever led may not know yet"
    );
    while let Step::Wait { .. } = story.step() {
        story.waits();
        story.finds("1", &claim);
    }
    assert_eq!(story.now, s(116), "a whole lease after the answer");
    assert!(matches!(story.step(), Step::Replace { .. }));
    assert_eq!(story.written().transitions, Some(0));
    story.stored("2");
    assert_eq!(story.me.leads_until(story.now), Some(s(131)));
}

#[test]
fn a_claim_that_somebody_else_overtook_waits_for_him() {
    let mut story = Story::of_a_claim();
    story.at(114);
    story.finds("2", &held_by("other"));
    assert_eq!(story.takes_over_from(&held_by("other")), 129);
}

#[test]
fn a_claim_whose_answer_was_lost_has_to_stand_from_when_it_is_seen() {
    let mut story = Story::before_a_claim();
    let claim = story.written();
    story.answer_after(s(5), Answer::Failed);
    story.finds("1", &claim);
    assert_eq!(story.me.leads_until(story.now), None);
    assert_eq!(story.takes_over_from(&claim), 120);
}

#[test]
fn a_lease_that_vanishes_again_and_again_is_claimed_anew_each_time() {
    let mut story = Story::of_a_claim();
    story.at(111);
    story.answer(Answer::Missing);
    story.at(115);
    story.answer(Answer::Missing);
    assert!(matches!(story.step(), Step::Create(_)));
    story.stored("9");
    assert_eq!(story.me.leads_until(story.now), None);
}

#[test]
fn bad_numbers_never_mean_two_leaders_nor_a_wait_for_ever() {
    let cases = [
        ("missing", None, 115),
        ("zero", Some(0), 115),
        ("negative", Some(-7), 115),
        ("the smallest", Some(i32::MIN), 115),
        ("too short", Some(1), 115),
        ("longer than ours", Some(30), 130),
        ("an hour", Some(3600), 160),
        ("huge", Some(i32::MAX), 160),
    ];
    for (what, duration_seconds, expected) in cases {
        let mut story = Story::new();
        let record = Record {
            duration_seconds,
            ..held_by("other")
        };
        assert_eq!(story.takes_over_from(&record), expected, "{what}");
        assert_eq!(story.written().duration_seconds, Some(15), "{what}");
    }
}

#[test]
fn bad_transitions_and_times_are_replaced_by_good_ones() {
    for (before, after) in [
        (None, 1),
        (Some(-5), 1),
        (Some(0), 1),
        (Some(i32::MAX), i32::MAX),
    ] {
        let mut story = Story::new();
        let record = Record {
            transitions: before,
            acquired: None,
            renewed: Some(Timestamp::MAX),
            ..held_by("other")
        };
        assert_eq!(story.takes_over_from(&record), 115, "times mean nothing");
        let written = story.written();
        assert_eq!(written.transitions, Some(after), "{before:?}");
        assert_eq!(written.renewed, Some(wall(story.now)));
    }
}

#[test]
fn a_holder_that_was_erased_by_hand_may_still_lead() {
    for duration_seconds in [None, Some(0), Some(15)] {
        let mut story = Story::new();
        let record = Record {
            duration_seconds,
            ..held_by("")
        };
        assert_eq!(story.takes_over_from(&record), 115);
    }
}

#[test]
fn our_name_in_a_record_that_we_did_not_write_is_a_strangers() {
    let mut story = Story::new();
    assert_eq!(story.takes_over_from(&held_by("me")), 115);
    assert_eq!(story.me.leads_until(story.now), None);
    story.stored("8");
    assert_eq!(story.me.leads_until(story.now), Some(s(130)));
}

#[test]
fn the_lease_counts_from_before_the_renewal_was_sent() {
    let mut story = Story::of_a_leader();
    assert_eq!(story.waits(), 117);
    let record = story.written();
    assert_eq!(record.transitions, Some(0), "the holder is the same");
    assert_eq!(record.acquired, Some(wall(s(100))), "when it was claimed");
    assert_eq!(record.renewed, Some(wall(s(117))));
    let stored = Answer::Stored {
        version: "2".into(),
        record,
    };
    story.answer_after(s(4), stored);
    assert_eq!(story.now, s(121));
    assert_eq!(story.me.leads_until(story.now), Some(s(132)));
    assert!(matches!(story.step(), Step::Replace { version, .. } if version == "2"));
}

#[test]
fn a_leader_that_cannot_renew_for_10_s_steps_down() {
    let mut story = Story::of_a_leader();
    story.waits();
    while story.now < s(125) {
        match story.step() {
            Step::Wait { .. } => drop(story.waits()),
            _ => story.answer(Answer::Failed),
        }
    }
    assert_eq!(story.me.leads_until(s(124)), Some(s(130)));
    assert_eq!(story.me.leads_until(s(125)), None);
    assert_eq!(story.step(), Step::StepDown(Lost::NotRenewed));
}

#[test]
fn a_leader_whose_calls_hang_has_no_more_patience_than_time() {
    let mut story = Story::of_a_leader();
    assert_eq!(story.me.patience(s(117)), s(5));
    story.waits();
    story.answer_after(s(5), Answer::Failed);
    assert_eq!(story.now, s(122));
    assert_eq!(story.me.patience(story.now), s(3), "125 s is the end");
    story.answer_after(s(3), Answer::Failed);
    assert_eq!(story.step(), Step::StepDown(Lost::NotRenewed));
}

#[test]
fn endless_conflicts_end_in_stepping_down_and_not_in_a_storm() {
    let mut story = Story::of_a_leader();
    let ours = held_by("me");
    let mut calls = 0;
    loop {
        match story.step() {
            Step::Wait { .. } => drop(story.waits()),
            Step::Read => story.finds("9", &ours),
            Step::Replace { .. } => {
                calls += 1;
                story.answer(Answer::Conflict);
            }
            Step::StepDown(lost) => break assert_eq!(lost, Lost::NotRenewed),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(story.now, s(125));
    assert!(calls <= 10, "{calls} writes in 10 s");
}

#[test]
fn a_renewal_that_succeeds_too_late_does_not_count() {
    for (sent, answered) in [(124, 126), (117, 200)] {
        let mut story = Story::of_a_leader();
        story.at(sent);
        let record = story.written();
        let stored = Answer::Stored {
            version: "2".into(),
            record,
        };
        // The process was stopped between the question and the answer.
        story.answer_after(s(answered - sent), stored);
        assert_eq!(story.me.leads_until(story.now), None);
        assert_eq!(story.step(), Step::StepDown(Lost::NotRenewed));
    }
}

#[test]
fn a_lost_answer_to_its_own_renewal_is_recognised() {
    let mut story = Story::of_a_leader();
    story.waits();
    let lost = story.written();
    story.answer_after(s(5), Answer::Failed);
    story.finds("2", &lost);
    assert_eq!(
        story.me.leads_until(story.now),
        Some(s(132)),
        "117 s, when it was sent, + 15 s"
    );
    assert!(matches!(story.step(), Step::Replace { version, .. } if version == "2"));
}

#[test]
fn a_lost_answer_to_taking_the_lease_is_recognised() {
    let mut story = Story::new();
    story.finds("7", &released());
    let lost = story.written();
    story.answer_after(s(5), Answer::Failed);
    story.finds("8", &lost);
    assert_eq!(story.me.leads_until(story.now), Some(s(115)));
}

#[test]
fn an_old_write_of_our_own_that_surfaces_late_is_a_strangers() {
    // From 110 s on, a leader by this write would have had to end.
    for seen in [110, 111] {
        let mut story = Story::new();
        story.finds("7", &released());
        let lost = story.written();
        story.answer_after(s(5), Answer::Failed);
        story.at(seen);
        assert_eq!(story.takes_over_from(&lost), seen + 15);
    }
}

#[test]
fn a_leader_that_reads_another_name_steps_down() {
    let mut story = Story::of_a_leader();
    story.waits();
    story.answer(Answer::Conflict);
    story.finds("9", &held_by("other"));
    assert_eq!(story.me.leads_until(story.now), None);
    let taken = Lost::TakenBy("other".into());
    assert_eq!(story.step(), Step::StepDown(taken));
}

#[test]
fn an_edit_of_our_lease_is_written_over_and_is_no_renewal() {
    let mut story = Story::of_a_leader();
    story.waits();
    story.answer(Answer::Conflict);
    let edited = Record {
        duration_seconds: Some(86_400),
        transitions: Some(40),
        ..held_by("me")
    };
    story.finds("9", &edited);
    assert_eq!(story.me.leads_until(story.now), Some(s(130)));
    assert_eq!(story.written().duration_seconds, Some(15));
    assert_eq!(story.written().transitions, Some(40));
    story.stored("10");
    assert_eq!(story.me.leads_until(story.now), Some(s(132)));
}

#[test]
fn an_edit_that_hides_a_lost_renewal_is_no_renewal() {
    let mut story = Story::of_a_leader();
    story.waits();
    story.answer_after(s(5), Answer::Failed);
    story.finds("9", &held_by("me"));
    assert_eq!(story.me.leads_until(story.now), Some(s(130)));
}

#[test]
fn a_lease_deleted_while_we_lead_is_created_again_while_ours_is_good() {
    let mut story = Story::of_a_leader();
    story.waits();
    story.answer(Answer::Gone);
    assert!(matches!(story.step(), Step::Create(_)));
    story.answer(Answer::Failed);
    story.waits();
    story.answer(Answer::Missing);
    assert!(matches!(story.step(), Step::Create(_)));
    story.at(125);
    assert_eq!(story.step(), Step::StepDown(Lost::NotRenewed));
    story.at(124);
    story.stored("1");
    assert_eq!(story.me.leads_until(story.now), Some(s(139)));
}

#[test]
fn without_a_namespace_there_is_no_storm_of_creates() {
    let mut story = Story::before_a_claim();
    story.answer(Answer::Gone);
    assert_eq!(story.waits(), 102);
}

#[test]
fn a_standby_asks_every_2_s_and_earlier_after_a_hint() {
    let mut story = Story::new();
    story.finds("7", &held_by("other"));
    assert_eq!(story.step(), Step::Wait { until: s(102) });
    story.at(101);
    story.me = story.me.look_again(story.now);
    story.finds("8", &released());
    assert!(matches!(story.step(), Step::Replace { .. }));

    let leader = Story::of_a_leader();
    assert_eq!(leader.me.clone().look_again(leader.now), leader.me);
}

#[test]
fn two_candidates_for_a_free_lease_become_one_leader() {
    let mut story = Story::new();
    story.finds("7", &released());
    story.answer(Answer::Conflict);
    story.finds("8", &held_by("other"));
    assert_eq!(story.me.leads_until(story.now), None);
    assert_eq!(story.waits(), 102);
}

#[test]
fn a_leader_that_resigns_lets_the_next_one_in_at_once() {
    let mut story = Story::of_a_leader();
    story.me = story.me.resign();
    assert_eq!(story.me.leads_until(story.now), None);
    let record = story.written();
    assert!(record.is_released());
    assert_eq!(record.transitions, Some(0), "nobody holds it, so no change");
    story.stored("2");
    assert_eq!(story.step(), Step::Done);

    let mut next = Story::new();
    next.finds("2", &record);
    assert!(matches!(next.step(), Step::Replace { .. }));
}

#[test]
fn a_resignation_is_tried_again_until_the_lease_has_ended() {
    let mut story = Story::of_a_leader();
    story.me = story.me.resign();
    story.answer(Answer::Failed);
    assert_eq!(story.waits(), 117);
    // The first one was stored after all.
    story.finds("3", &released());
    assert_eq!(story.step(), Step::Done);

    let mut story = Story::of_a_leader();
    story.me = story.me.resign();
    while story.step() != Step::Done {
        match story.step() {
            Step::Wait { .. } => drop(story.waits()),
            _ => story.answer(Answer::Failed),
        }
    }
    assert_eq!(story.now, s(130));
}

#[test]
fn a_leader_that_resigns_while_there_is_no_lease_creates_none() {
    let mut story = Story::of_a_leader();
    story.me = story.me.resign();
    story.answer(Answer::Gone);
    assert_eq!(story.step(), Step::Done);
}

#[test]
fn a_standby_that_resigns_writes_nothing() {
    let mut story = Story::new();
    story.finds("7", &released());
    story.me = story.me.resign();
    assert_eq!(story.step(), Step::Done);
}

#[test]
fn a_clock_that_stands_still_or_is_set_back_does_not_hide_a_renewal() {
    for stands in [Timestamp::UNIX_EPOCH, Timestamp::MIN, Timestamp::MAX] {
        let story = Story::of_a_leader();
        let step = story.me.next_step(s(117), stands);
        let Step::Replace { record: before, .. } = &step else {
            panic!("a renewal is due, not {step:?}")
        };
        let stored = Answer::Stored {
            version: "2".into(),
            record: before.clone(),
        };
        let me = story.me.record(&step, stored, s(117), s(117), s(0));
        let Step::Replace { record, .. } = me.next_step(s(119), stands) else {
            panic!("a renewal is due")
        };
        assert_ne!(record.renewed, before.renewed, "{stands}");
        for time in [before.renewed, record.renewed].into_iter().flatten() {
            assert_eq!(time.subsec_nanosecond() % 1_000, 0, "a Lease stores {time}");
        }
    }
}

#[test]
fn a_write_that_was_changed_on_its_way_makes_nobody_leader() {
    let mut story = Story::new();
    story.finds("7", &released());
    story.answer(Answer::Stored {
        version: "8".into(),
        record: held_by("other"),
    });
    assert_eq!(story.me.leads_until(story.now), None);
    assert_eq!(story.waits(), 102);
}
