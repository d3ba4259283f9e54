//! How long to wait, and why: every number of the core has its name and its reason here.

use std::time::Duration;

use super::job::JobInstance;

/// A look without a hint is repeated after this: Fabric learns a job's state about once a
/// minute, so twice as often loses no time and costs little quota.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// A hint of zero or less is real on a running job; taken literally it would be a busy loop.
pub const SHORTEST_HINT: Duration = Duration::from_secs(5);

/// A throttling answer without `Retry-After`: the quota's window is a minute.
pub const THROTTLE_DEFAULT: Duration = Duration::from_secs(60);

/// Added to a throttling answer's `Retry-After`: half of the recorded ones were a second short
/// of the time that the same answer named in its text.
pub const THROTTLE_MARGIN: Duration = Duration::from_secs(1);

/// First and last pause after a passing failure; doubled each time between.
pub const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// First and last pause while a person must act; doubled each time between.
pub const SLOW_RETRY: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));

/// An intent licenses one send within this time; a later send needs a new intent, which proves
/// again that the cancellation is wanted.
pub const INTENT_LICENCE: Duration = Duration::from_secs(15);

/// An intent whose outcome nobody here knows is looked at this long after it was stored: its
/// licence (15 s) and the tail of a request sent at the last moment are over by then.
pub const UNKNOWN_GRACE: Duration = Duration::from_secs(25);

/// No attempt is begun with less than this before the deadline: the longest call takes 20 s.
pub const LAST_ATTEMPT: Duration = Duration::from_secs(20);

/// For how long after the deadline a last readable look is tried before the verdict.
pub const LAST_LOOK: Duration = Duration::from_secs(300);

/// "Job instance not found" must be seen twice, this far apart, to be believed: a fresh
/// instance may not be visible for some seconds.
pub const NOT_FOUND_APART: Duration = Duration::from_secs(60);

/// An accepted request whose job still runs is repeated after this.
pub const REPEAT_AFTER: Duration = Duration::from_secs(600);

/// How often an accepted request is repeated at most.
pub const MAX_REPEATS: u32 = 2;

/// Looks that must have shown the job running before an accepted request is repeated.
pub const LOOKS_BEFORE_REPEAT: u32 = 2;

/// How many looks in a row must show a suspicious failure before it is believed.
pub const SUSPICIOUS_LOOKS: u32 = 3;

/// A passing trouble is shown once it has lasted this long, so that a blip costs no write.
pub const SHOW_TROUBLE_AFTER: Duration = Duration::from_secs(10);

/// A trouble that a person must end raises `Stalled` after this: rights take a minute or two
/// to spread, and a pipeline should not fail over that.
pub const STALLED_AFTER: Duration = Duration::from_secs(120);

/// `lastError` is replaced at most this often while a trouble lasts.
pub const ERROR_INTERVAL: Duration = Duration::from_secs(60);

/// The longest wait that a hint can ask for: the longest deadline that a resource can have.
pub const LONGEST_HINT: Duration = Duration::from_secs(604_800);

/// How long to leave a job alone after an answer with this `Retry-After`. Never shorter than
/// what was asked.
#[must_use]
pub fn hint(retry_after: Option<Duration>) -> Duration {
    match retry_after {
        None => LOOK_INTERVAL,
        Some(Duration::ZERO) => SHORTEST_HINT,
        Some(asked) => asked.min(LONGEST_HINT),
    }
}

/// How long a throttling answer keeps this resource away. The spread is later only.
#[must_use]
pub fn throttle(retry_after: Option<Duration>, job: &JobInstance, count: u32) -> Duration {
    let asked = retry_after.unwrap_or(THROTTLE_DEFAULT).min(LONGEST_HINT) + THROTTLE_MARGIN;
    asked + spread(job, count, Duration::from_secs(5))
}

/// The pause after the `count`-th failure in a row (counted from 0): `first` doubled each time
/// up to `last`, plus up to a quarter of it as spread.
#[must_use]
pub fn backoff((first, last): (Duration, Duration), job: &JobInstance, count: u32) -> Duration {
    let pause = first.saturating_mul(1 << count.min(16)).min(last);
    pause + spread(job, count, pause / 4)
}

/// A part of `most` that depends on the job and the count alone, so that resources that failed
/// together do not come back together, and the same question has the same answer.
fn spread(job: &JobInstance, count: u32, most: Duration) -> Duration {
    // FNV-1a: std's hasher is not stable between builds, and a model must replay.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in job
        .job_instance_id
        .as_bytes()
        .iter()
        .chain(&count.to_le_bytes())
    {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    most.mul_f64((hash >> 40) as f64 / (1_u64 << 24) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn job(seed: u128) -> JobInstance {
        JobInstance {
            workspace_id: Uuid::nil(),
            item_id: Uuid::nil(),
            job_instance_id: Uuid::from_u128(seed),
        }
    }

    #[test]
    fn a_hint_is_honoured_as_it_is_but_never_a_busy_loop() {
        assert_eq!(hint(None), LOOK_INTERVAL);
        assert_eq!(hint(Some(Duration::ZERO)), SHORTEST_HINT);
        assert_eq!(hint(Some(Duration::from_secs(1))), Duration::from_secs(1));
        assert_eq!(
            hint(Some(Duration::from_secs(86_400))),
            Duration::from_secs(86_400)
        );
    }

    proptest! {
        #[test]
        fn nothing_that_a_server_asks_is_shortened(secs in 0_u64..604_800, seed: u128, n: u32) {
            let asked = Duration::from_secs(secs);
            prop_assert!(hint(Some(asked)) >= asked);
            prop_assert!(throttle(Some(asked), &job(seed), n) > asked);
        }

        #[test]
        fn a_backoff_stays_between_its_first_step_and_its_last_plus_a_quarter(seed: u128, n: u32) {
            for (first, last) in [BACKOFF, SLOW_RETRY] {
                let pause = backoff((first, last), &job(seed), n);
                prop_assert!(pause >= first);
                prop_assert!(pause <= last.mul_f64(1.25));
            }
        }
    }
}
