//! The API server: a list of editions, and writes that are compared with the newest.

use fabric_job_operator::cancellation::{Facts, Reason, Value, policy};

use crate::shared::Shared;

use super::rules::Rule;
use super::shell::{LICENCE, judge};
use super::world::{Edition, LastIntent, Second, World, identity, second};
use super::{Action, Protocol, Run, Variant, Write};

/// `policy::UNKNOWN_GRACE`, `LAST_ATTEMPT`, `LAST_LOOK`, `REPEAT_AFTER`, written down anew: the
/// rules must not follow a changed constant.
const GRACE: Second = 25;
const LAST_ATTEMPT: Second = 20;
const LAST_LOOK: Second = 300;
const REPEAT_AFTER: Second = 600;
const MOST_REPEATS: u8 = 2;

/// How a guarded write ended, as its writer sees it.
pub enum Written {
    /// It is stored as this edition.
    Stored(u8),
    /// Somebody else wrote in between.
    Conflict,
    /// The object is gone.
    Gone,
    /// No answer.
    Failed,
}

impl Protocol {
    /// How the next status write may end.
    pub fn ways_to_write(&self, world: &World) -> Vec<Write> {
        let mut ways = vec![Write::Answered];
        if world.spent.write_losses < self.budget.write_losses {
            ways.extend([Write::AnswerLost, Write::Lost, Write::Late]);
        }
        ways
    }

    /// Late writes may arrive.
    pub fn store_actions(&self, world: &World, out: &mut Vec<Action>) {
        out.extend((0..world.late_writes.len()).map(Action::Land));
        if world.spent.edits < self.budget.edits {
            self.people_actions(world, out);
        }
    }

    /// Writes the status on top of edition `base`.
    pub fn write(
        &self,
        world: &mut World,
        i: usize,
        base: u8,
        facts: Facts,
        how: Write,
    ) -> Written {
        let on = &world.history[usize::from(base)];
        let facts = match on.facts.completion_time {
            // `status::document`: a stored end is evidence.
            Some(_) if self.variant != Variant::IgnoredEnd => Facts {
                observed_generation: facts.observed_generation,
                ..on.facts.clone()
            },
            _ => facts,
        };
        let edition = Shared::new(Edition {
            facts,
            ..(**on).clone()
        });
        if how != Write::Answered {
            world.spent.write_losses += 1;
        }
        let knows_of_deletion = on.wish.deleting;
        judge(world, !knows_of_deletion, Rule::L5);
        let by = u8::try_from(i).expect("two");
        match how {
            Write::Answered => {
                let written = self.land(world, base, edition);
                if matches!(written, Written::Stored(_)) {
                    self.note_intent(world, by);
                }
                written
            }
            Write::AnswerLost => {
                if matches!(self.land(world, base, edition), Written::Stored(_)) {
                    self.note_intent(world, by);
                }
                Written::Failed
            }
            Write::Lost => Written::Failed,
            Write::Late => {
                world.late_writes.push((base, edition));
                Written::Failed
            }
        }
    }

    /// A status write arrives.
    pub fn land(&self, world: &mut World, base: u8, edition: Shared<Edition>) -> Written {
        let newest = world.newest().clone();
        if !newest.present {
            return Written::Gone;
        }
        if base != world.tip() && self.variant != Variant::NoGuard {
            return Written::Conflict;
        }
        judge(world, newest.uid == edition.uid, Rule::S11);
        let stored = Edition {
            facts: edition.facts.clone(),
            ..newest.clone()
        };
        self.judge_edition(world, &newest, &stored);
        world.history.push(Shared::new(stored));
        Written::Stored(world.tip())
    }

    /// For the rules: whose intent the newest edition holds. One that arrived late is nobody's: it
    /// is never sent, but everybody has to meet it as an open one.
    pub fn note_intent(&self, world: &mut World, by: u8) {
        let newest = world.newest();
        let (uid, attempt) = (newest.uid, newest.facts.attempts);
        let noted = world.ghost.intent.as_ref();
        if attempt == 0 || noted.is_some_and(|last| (last.uid, last.attempt) == (uid, attempt)) {
            return;
        }
        world.ghost.intent = Some(LastIntent {
            uid,
            attempt,
            by,
            at: newest.facts.request_time.map_or(0, second),
            harmless: false,
        });
        for replica in &mut world.replicas {
            replica.saw_running = false;
        }
    }

    /// The rules that a new edition must keep.
    fn judge_edition(&self, world: &mut World, before: &Edition, after: &Edition) {
        let (old, new) = (&before.facts, &after.facts);
        let forward = new.attempts >= old.attempts
            && (old.accepted_time.is_none() || new.accepted_time == old.accepted_time)
            && (old.completion_time.is_none() || new.completion_time == old.completion_time);
        let agree = new.conditions.as_ref().is_none_or(|conditions| {
            let ready = conditions.ready.value;
            let ended = new.completion_time.is_some();
            conditions.stalled == (ready == Value::False) && (ready != Value::True || ended)
        });
        judge(world, forward && agree, Rule::S6);
        if old.completion_time.is_some() {
            let expected = Facts {
                observed_generation: new.observed_generation,
                ..old.clone()
            };
            let quiet = *new == expected && new.observed_generation != old.observed_generation;
            judge(world, quiet, Rule::L3);
            return;
        }
        let Some(conditions) = &new.conditions else {
            return;
        };
        let by_its_reason = matches!(
            conditions.ready.reason,
            Reason::JobCancelled | Reason::JobAlreadyCancelled
        );
        let says_cancelled = conditions.cancelled.value == Value::True || by_its_reason;
        judge(
            world,
            !says_cancelled || world.run == Run::Cancelled,
            Rule::S1,
        );
        if conditions.ready.reason == Reason::DeadlineExceeded && new.completion_time.is_some() {
            let deadline = deadline(after).unwrap_or(0);
            let processed = world.processed() > 0;
            let looked = world.ghost.looked_late.is_some_and(|when| when >= deadline);
            let last = deadline + LAST_LOOK;
            let kept_away = new.not_before.is_some_and(|until| second(until) >= last);
            let fair = !processed || looked || world.now >= last || kept_away;
            judge(world, world.now >= deadline && fair, Rule::Verdict);
        }
    }

    /// The rules that making an intent on top of `base` must keep.
    pub fn judge_intent(&self, world: &mut World, i: usize, base: u8, intent: &Facts) {
        if base != world.tip() {
            return; // It will not be stored.
        }
        let on = world.history[usize::from(base)].clone();
        let now = world.now;
        let replica = &world.replicas[i];
        let by = u8::try_from(i).expect("two");
        let looked = replica.saw_running;
        if let (Some(last), true) = (&world.ghost.intent, on.facts.attempts > 0)
            && last.uid == on.uid
        {
            let own = last.by == by;
            let patient = own || now >= last.at + GRACE;
            let kept = (own && last.harmless) || (looked && patient);
            judge(world, kept, Rule::Grace);
        }
        if let Some(accepted) = on.facts.accepted_time {
            world.ghost.repeats += 1;
            let requested = on.facts.request_time.map_or(0, second);
            let since = second(accepted).max(requested) + REPEAT_AFTER;
            let kept = world.ghost.repeats <= MOST_REPEATS && now >= since;
            judge(world, kept, Rule::Repeats);
        }
        let late = deadline(&on).is_some_and(|deadline| now + LAST_ATTEMPT > deadline);
        judge(world, !late, Rule::LateAttempt);
        let over = on.facts.conditions.as_ref().is_some_and(|conditions| {
            on.facts.accepted_time.is_none()
                && conditions.cancelled.reason == Reason::WaitingForCancellation
        });
        judge(world, !over, Rule::S5End);
        debug_assert!(intent.attempts > 0, "an intent counts");
    }

    /// The rules that a request must keep.
    pub fn judge_request(&self, world: &mut World, i: usize, token: u8, from: Second) {
        let Some(known) = world.replicas[i].known.clone() else {
            return;
        };
        let seen = world.replicas[i].seen;
        let uid = world.history[usize::from(seen)].uid;
        let attempt = known.core.current().attempts;
        let of_this = || world.history.iter().filter(|edition| edition.uid == uid);
        let intent = of_this().find(|edition| edition.facts.attempts == attempt);
        let stored = intent.is_some();
        let ours = intent.is_none_or(|edition| edition.facts.identity == Some(identity(token)));
        let ended = of_this().any(|edition| edition.facts.completion_time.is_some());
        let shown_to_us = world.history[..=usize::from(seen)].iter();
        let until = shown_to_us
            .filter(|edition| edition.uid == uid)
            .filter_map(|edition| edition.facts.not_before);
        let until = until.map(second).max().unwrap_or(0);
        let licensed = intent
            .and_then(|edition| edition.facts.request_time)
            .is_none_or(|time| world.now <= second(time) + LICENCE);
        let unwanted =
            |edition: &Edition| edition.wish.deleting || edition.wish.suspend || !edition.present;
        let shown = &world.history[usize::from(seen)];
        let wanted = !unwanted(shown);
        let (me, other) = (&world.replicas[i], &world.replicas[1 - i]);
        let fence = me.leads && !other.leads;
        let early = world.now < until.max(me.asked_until);
        judge(world, stored, Rule::S2);
        judge(world, ours, Rule::S13);
        judge(world, !ended, Rule::S5End);
        judge(world, wanted, Rule::S5Unwanted);
        judge(
            world,
            licensed && world.now <= from + LICENCE,
            Rule::Licence,
        );
        judge(world, fence, Rule::Fence);
        judge(world, !early, Rule::S9);
    }

    /// The rules that a look must keep.
    pub fn judge_look(&self, world: &mut World, i: usize, base: u8) {
        let on = world.history[usize::from(base)].clone();
        let ended = on.facts.completion_time.is_some()
            || self.has_seen(world, i, |edition| edition.facts.completion_time.is_some());
        let until = on.facts.not_before.map_or(0, second);
        let early = world.now < until.max(world.replicas[i].asked_until);
        judge(world, !ended, Rule::L3);
        judge(world, !on.wish.deleting, Rule::L5);
        judge(world, !early, Rule::S9);
    }
}

/// When the deadline of an edition passes, as its author understands it.
pub fn deadline(edition: &Edition) -> Option<Second> {
    let start = edition.facts.start_time?.max(edition.wish.created);
    let allowed = Second::try_from(edition.wish.active_deadline.as_secs()).ok()?;
    Some(second(start) + allowed)
}

// The numbers above are promises; the core's must not drift away from them.
const _: () = {
    assert!(policy::INTENT_LICENCE.as_secs() <= LICENCE as u64);
    assert!(policy::UNKNOWN_GRACE.as_secs() >= GRACE as u64);
};
