//! What is stored against what Fabric said and what was so: S1.

use std::time::Duration;

use jiff::Timestamp;

use crate::history::{History, JobIds, Kind, Lifecycle, Reply, Request, Resource, Version};
use crate::licence::{Licence, intents, licences};
use crate::property::{Property, Violation};
use crate::status::plus;

const CANCELLED: &str = "Cancelled";

/// Terminal states of a job that are no cancellation.
const OTHERWISE: [&str; 3] = ["Completed", "Failed", "Deduped"];

/// Statuses with which Fabric says for certain that a cancel request did nothing.
const REFUSED: [u16; 4] = [401, 403, 429, 430];

/// A missing instance is believed when it was missing twice, this far apart.
const MISSING_APART: Duration = Duration::from_secs(60);

/// The schema's default of `activeDeadlineSeconds`.
const DEFAULT_DEADLINE: u64 = 3600;

/// Stored times are whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// S1: what is stored as true was true, or was said by Fabric.
#[must_use]
pub fn s1_truth(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    for resource in &history.resources {
        let Some(job) = resource.job() else { continue };
        for (before, after) in resource.writes() {
            let case = Case {
                history,
                resource,
                job: &job,
                version: after,
            };
            let mut wrong = Vec::new();
            if after.value(CANCELLED) == "True" && before.value(CANCELLED) != "True" {
                wrong.extend(case.cancelled());
            }
            if after.time("acceptedTime").is_some() && before.time("acceptedTime").is_none() {
                wrong.extend(case.accepted());
            }
            if after.is_over() && !before.is_over() {
                wrong.extend(case.end());
                wrong.extend(case.policy());
            }
            found.extend(
                wrong.into_iter().map(|what| {
                    Violation::new(Property::S1, resource.title(), [after.stored], what)
                }),
            );
        }
    }
    found
}

/// One write that claims something.
struct Case<'a> {
    history: &'a History,
    resource: &'a Resource,
    job: &'a JobIds,
    version: &'a Version,
}

impl<'a> Case<'a> {
    /// What Fabric had answered for the job when this was stored.
    fn replies(&self) -> impl Iterator<Item = (&'a Request, &'a Reply)> + use<'a> {
        let (history, job, stored) = (self.history, self.job, self.version.stored);
        history
            .requests
            .iter()
            .filter(move |request| request.job == *job && request.reached)
            .filter_map(|request| Some((request, request.reply.as_ref()?)))
            .filter(move |(_, reply)| !history.facts.before(stored, reply.time))
    }

    fn shown(&self, status: &str) -> Option<Timestamp> {
        self.replies()
            .find(|(_, reply)| reply.job_status.as_deref() == Some(status))
            .map(|(_, reply)| reply.time)
    }

    /// Whether a look showed this that counts: one before the first attempt is a preflight, and
    /// says nothing of what the request would have met.
    fn shown_since_it_asked(&self, status: &str) -> bool {
        let asked = |look: &Request| {
            self.history.requests.iter().any(|request| {
                request.kind == Kind::Cancel
                    && request.job == *self.job
                    && request.sequence < look.sequence
            })
        };
        let mut attempts = self.resource.versions.iter().filter(|it| it.attempts() > 0);
        let intent = attempts.next().map(|version| version.stored);
        self.replies().any(|(request, reply)| {
            let later = intent.is_some_and(|at| self.history.facts.before(at, request.sent));
            reply.job_status.as_deref() == Some(status) && (later || asked(request))
        })
    }

    fn cancelled(&self) -> Option<String> {
        let Some(shown) = self.shown(CANCELLED) else {
            return Some("Cancelled is stored as True, and no look had shown it".into());
        };
        let job = self.history.jobs.iter().find(|job| job.ids == *self.job)?;
        let true_since = job.states.iter().find(|(_, status)| status == CANCELLED);
        match true_since {
            Some((since, _)) if !self.history.facts.before(shown, *since) => None,
            _ => Some("Cancelled is stored as True, and the job was not cancelled then".into()),
        }
    }

    fn accepted(&self) -> Option<String> {
        let accepted = self.replies().any(|(request, reply)| {
            request.kind == Kind::Cancel && (200..300).contains(&reply.status)
        });
        (!accepted).then(|| "acceptedTime is stored, and no answer had said so".into())
    }

    /// What is wrong with the reason of this end.
    fn end(&self) -> Option<String> {
        let reason = self.version.reason("Ready");
        let accepted = self.version.time("acceptedTime").is_some();
        let cancelled = self.version.value(CANCELLED);
        let ended = || {
            let status = self.version.job_status().unwrap_or("");
            let known = OTHERWISE.contains(&status) && self.shown(status).is_some();
            (!known).then(|| {
                format!(
                    "{reason} is stored with the job status {status:?}, which no look had shown"
                )
            })
        };
        match reason {
            "JobCancelled" | "JobAlreadyCancelled" if cancelled != "True" => {
                Some(format!("{reason} is stored, and Cancelled is {cancelled}"))
            }
            "JobCancelled" => self.somebody_elses(),
            "JobAlreadyCancelled" => {
                let acted = self.replies().any(|(request, reply)| {
                    request.kind == Kind::Cancel
                        && (200..300).contains(&reply.status)
                        && self.is_own(request)
                });
                (accepted || acted)
                    .then(|| "JobAlreadyCancelled is stored, and Fabric had accepted".into())
            }
            "JobEndedOtherwise" if !accepted => {
                Some("JobEndedOtherwise is stored without an acceptance".into())
            }
            "JobAlreadyFinished" if accepted => {
                Some("JobAlreadyFinished is stored in spite of the acceptance".into())
            }
            "JobEndedOtherwise" => ended(),
            "JobAlreadyFinished" if cancelled == "Unknown" => {
                let over = self.said("JobAlreadyCompleted").next().is_some();
                (!over).then(|| "JobAlreadyFinished is stored, and nothing had said so".into())
            }
            "JobAlreadyFinished" => ended(),
            "JobNotFound" => self.not_found(),
            "RequestRejected" => {
                let refused = self
                    .replies()
                    .any(|(_, reply)| (400..500).contains(&reply.status));
                (!refused).then(|| "RequestRejected is stored, and nothing was refused".into())
            }
            "DeadlineExceeded" => self.deadline(),
            "InvalidSpec" => None,
            other => Some(format!("{other:?} is stored as an end and is none")),
        }
    }

    /// Whether only this resource can have sent the request.
    fn is_own(&self, request: &Request) -> bool {
        self.history.resources_of(&request.job).count() == 1
    }

    /// A crash, or an end that was asked for, forgets what was seen and not yet stored.
    fn has_forgotten(&self) -> bool {
        let mut processes = self.history.processes.iter();
        processes.any(|event| event.what != Lifecycle::Started && event.what != Lifecycle::Ready)
    }

    /// `JobCancelled` says that a request of this resource may have done it. None can have when
    /// each of them came back with an answer that says so, and nothing was forgotten.
    fn somebody_elses(&self) -> Option<String> {
        let requests = &self.history.requests;
        let mut about_it = requests.iter().filter(|it| it.job == *self.job);
        let alone = self.history.resources_of(self.job).count() == 1;
        if !alone || self.has_forgotten() || !about_it.all(|it| it.reached) {
            return None;
        }
        let all = licences(self.history);
        let is_of = |licence: &Licence<'_>, intent: &Version| {
            let its = licence.intent.as_ref();
            its.is_some_and(|it| std::ptr::eq(it.version, intent))
        };
        let did_nothing = intents(self.resource).all(|intent| {
            let mut sent = all.iter().filter(|it| is_of(it, intent)).peekable();
            sent.peek().is_some() && sent.all(|it| is_refused(it.request))
        });
        did_nothing.then(|| "JobCancelled is stored, and each request had done nothing".into())
    }

    fn said(&self, code: &str) -> impl Iterator<Item = Timestamp> {
        self.replies()
            .filter(move |(_, reply)| reply.error_code.as_deref() == Some(code))
            .map(|(_, reply)| reply.time)
    }

    fn not_found(&self) -> Option<String> {
        let times: Vec<_> = self.said("JobInstanceNotFound").collect();
        let apart = times.iter().min().zip(times.iter().max());
        let believed = apart.is_some_and(|(first, last)| {
            !self
                .history
                .facts
                .before(plus(*last, SECOND), plus(*first, MISSING_APART))
        });
        (!believed)
            .then(|| "JobNotFound is stored without two answers a minute apart that say so".into())
    }

    fn deadline(&self) -> Option<String> {
        let Some(start) = self.version.time("startTime") else {
            return Some("DeadlineExceeded is stored without a startTime".into());
        };
        let seconds = self.version.object["spec"]["activeDeadlineSeconds"]
            .as_u64()
            .unwrap_or(DEFAULT_DEADLINE);
        let deadline = plus(start, Duration::from_secs(seconds));
        let facts = &self.history.facts;
        if facts.before(self.version.stored, deadline) {
            return Some(format!(
                "DeadlineExceeded is stored before the deadline {deadline}"
            ));
        }
        let crashed = self.has_forgotten();
        let ended = [CANCELLED, "Completed", "Deduped"]
            .iter()
            .find(|status| self.shown_since_it_asked(status));
        // What another resource's look showed, this one need not know.
        let alone = self.history.resources_of(self.job).count() == 1;
        match ended {
            Some(status) if alone && !crashed => Some(format!(
                "DeadlineExceeded is stored, and a look had shown {status}"
            )),
            _ => None,
        }
    }

    /// Ready carries the policy.
    fn policy(&self) -> Option<String> {
        let spec = &self.version.object["spec"];
        let succeeds =
            |field: &str, default: &str| spec[field].as_str().unwrap_or(default) == "Succeed";
        let goal = match self.version.reason("Ready") {
            "JobCancelled" | "JobAlreadyCancelled" => true,
            "JobAlreadyFinished" | "JobEndedOtherwise" => succeeds("finishedJobPolicy", "Succeed"),
            "JobNotFound" => succeeds("missingJobPolicy", "Fail"),
            // It may be unreadable just there, and it is never a success.
            _ => false,
        };
        let expected = if goal { "True" } else { "False" };
        let ready = self.version.value("Ready");
        (ready != expected).then(|| {
            format!(
                "Ready is {ready} with {}; spec asks for {expected} ({})",
                self.version.reason("Ready"),
                self.resource.name
            )
        })
    }
}

/// Whether the answer says that this request did nothing.
fn is_refused(request: &Request) -> bool {
    request.reply.as_ref().is_some_and(|reply| {
        REFUSED.contains(&reply.status)
            || reply.error_code.as_deref() == Some("JobAlreadyCompleted")
    })
}
