//! What is not believed at once: a missing job, a suspicious failure, an unknown status.

use super::*;

#[test]
fn a_missing_job_is_believed_when_seen_twice_a_minute_apart_and_only_looked_at_between() {
    let story = Story::start(wish()).answer(refused(Refusal::JobNotFound));
    assert_eq!(story.ready(), (Value::Unknown, Reason::JobNotFound));
    assert_eq!(story.waits(), 60);
    let early = story
        .clone()
        .advance(59)
        .hear(refused(Refusal::JobNotFound));
    assert!(!early.core.is_over());
    assert_eq!(early.waits(), 1);
    let story = story.wait();
    assert_eq!(story.step(), Step::Look);
    let story = story.answer(refused(Refusal::JobNotFound));
    assert_eq!(story.ready(), (Value::False, Reason::JobNotFound));
    assert_eq!(story.requests, 1);
    assert_eq!(story.accepted_is(), (Value::False, Reason::JobNotFound));
    assert_eq!(story.cancelled_is(), (Value::Unknown, Reason::JobNotFound));
}

#[test]
fn a_missing_job_that_is_there_after_all_is_asked_to_be_cancelled() {
    let story = Story::start(wish())
        .answer(refused(Refusal::JobNotFound))
        .wait()
        .answer(running());
    assert_eq!(story.step(), Step::Request);
    let story = story.answer(refused(Refusal::JobNotFound));
    assert_eq!(story.waits(), 60, "the minute begins anew");
}

#[test]
fn a_missing_job_is_remembered_after_a_restart() {
    let story = Story::start(wish())
        .answer(refused(Refusal::JobNotFound))
        .advance(40)
        .restart();
    assert_eq!(story.ready(), (Value::Unknown, Reason::JobNotFound));
    assert_eq!(story.step(), Step::Look, "a look is free of harm");
    let story = story.answer(refused(Refusal::JobNotFound));
    assert!(!story.core.is_over(), "seen twice, but not a minute apart");
    assert_eq!(story.waits(), 21);
    let story = story.wait().answer(refused(Refusal::JobNotFound));
    assert_eq!(story.ready(), (Value::False, Reason::JobNotFound));
}

#[test]
fn a_suspicious_failure_is_looked_at_three_times() {
    let story = Story::accepted().wait().answer(suspicious());
    assert!(!story.core.is_over());
    let story = story.wait().answer(suspicious());
    assert!(!story.core.is_over());
    let believed = story.clone().wait().answer(suspicious());
    assert_eq!(believed.ready(), (Value::True, Reason::JobEndedOtherwise));
    assert_eq!(believed.cancelled_is().0, Value::False);
    let story = story.wait().answer(running()).wait().answer(suspicious());
    assert!(!story.core.is_over(), "three in a row");
    let story = story.wait().answer(cancelled());
    assert_eq!(story.ready(), (Value::True, Reason::JobCancelled));
}

#[test]
fn a_suspicious_failure_resolves_no_unknown_attempt() {
    let story = Story::start(wish())
        .answer(lost())
        .wait()
        .answer(suspicious())
        .wait();
    assert_eq!(story.step(), Step::Look);
}

#[test]
fn a_failure_is_suspicious_only_with_such_a_code_and_without_an_end() {
    let Observation::JobSeen { job, .. } = suspicious() else {
        unreachable!("a look")
    };
    assert!(job.is_suspicious());
    let with = |code: &str| Job {
        failure: Some(JobFailure {
            code: code.into(),
            message: None,
            request_id: None,
        }),
        ..job.clone()
    };
    assert!(with("requestexecutionfailed").is_suspicious());
    assert!(with("JobInstanceStatusNotFound").is_suspicious());
    assert!(!with("JobInstanceStatusFailed").is_suspicious());
    assert!(
        !Job {
            failure: None,
            ..job.clone()
        }
        .is_suspicious()
    );
    assert!(
        !Job {
            end_time: Some(t0()),
            ..job.clone()
        }
        .is_suspicious()
    );
    assert!(
        !Job {
            status: JobStatus::Completed,
            ..job.clone()
        }
        .is_suspicious()
    );
}

#[test]
fn an_unknown_status_is_shown_and_costs_looks_until_the_deadline() {
    let mut story = Story::accepted();
    let end = later(t0(), secs(3600));
    while story.now < end {
        story = match story.step() {
            Step::Look => {
                let story = story.answer(seen(JobStatus::Other("DeadLettered".into()), None));
                assert!(!story.core.is_over());
                story
            }
            Step::Request => story.answer(accepted()),
            _ => story.wait(),
        };
    }
    let shown = story
        .core
        .stored()
        .job
        .as_ref()
        .map(|job| job.status.as_str());
    assert_eq!(shown, Some("DeadLettered"));
    let story = story.answer(seen(JobStatus::Other("DeadLettered".into()), None));
    let story = story.answer(Observation::DeadlinePassed);
    assert_eq!(story.ready(), (Value::False, Reason::DeadlineExceeded));
    assert_eq!(
        story.cancelled_is(),
        (Value::Unknown, Reason::DeadlineExceeded)
    );
}

#[test]
fn statuses_are_read_in_any_case_and_unknown_ones_kept_as_spelled() {
    assert_eq!(JobStatus::parse("CANCELLED"), JobStatus::Cancelled);
    assert_eq!(JobStatus::parse("notStarted"), JobStatus::NotStarted);
    let odd = JobStatus::parse("Dehydrated");
    assert_eq!(odd.as_str(), "Dehydrated");
    assert!(!odd.is_terminal());
    assert_eq!(JobStatus::parse("").as_str(), "");
}
