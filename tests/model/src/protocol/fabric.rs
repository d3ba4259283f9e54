//! Fabric and the network to it.

use std::time::Duration;

use fabric_job_operator::cancellation::{
    Job, JobStatus, Observation, Refusal, ServiceError, Source, Throttle,
};

use super::rules::Rule;
use super::shell::judge;
use super::store::deadline;
use super::world::{Doing, Flight, Run, World, at};
use super::{Action, Ending, No, Protocol, Sight, Variant};

fn error(code: &str) -> ServiceError {
    ServiceError {
        code: code.to_owned(),
        message: String::new(),
        http_status: None,
        request_id: None,
    }
}

fn job(status: JobStatus) -> Job {
    Job {
        status,
        job_type: None,
        invoke_type: None,
        start_time: None,
        end_time: None,
        root_activity_id: None,
        failure: None,
    }
}

impl Protocol {
    /// What may happen at Fabric and on the way to it. Whether it must happen before time goes
    /// on.
    pub fn fabric_actions(&self, world: &World, out: &mut Vec<Action>) -> bool {
        let losses = world.spent.losses < self.budget.losses;
        let mut urgent = false;
        for (k, flight) in world.flights.iter().enumerate() {
            let awaited = self.is_awaited(world, flight);
            out.push(Action::Arrive(k, Ending::Answered(None)));
            let over = self.possible_ends(world).into_iter();
            out.extend(over.map(|run| Action::Arrive(k, Ending::Answered(Some(run)))));
            if losses {
                out.push(Action::Arrive(k, Ending::Lost));
                if awaited {
                    out.push(Action::Arrive(k, Ending::AnswerLost));
                    out.push(Action::Arrive(k, Ending::Silence));
                }
            }
            if awaited && world.spent.refusals < self.budget.refusals {
                let refused = self.refusals.iter().map(|no| Ending::Refused(*no));
                out.extend(refused.map(|ending| Action::Arrive(k, ending)));
            }
            urgent |= awaited && !losses;
        }
        urgent
    }

    /// How the run may have ended by now, as far as nobody has asked yet.
    fn possible_ends(&self, world: &World) -> Vec<Run> {
        let mut ends = Vec::new();
        if world.run == Run::Cancelling {
            ends.push(Run::Cancelled);
        }
        if self.may_complete && matches!(world.run, Run::Running | Run::Cancelling) {
            ends.push(Run::Completed);
        }
        ends
    }

    /// What a look may show now.
    pub fn sights(&self, world: &World) -> Vec<Sight> {
        let over = matches!(world.run, Run::Cancelled | Run::Completed);
        let mut sights = match over {
            true => vec![Sight::Over(world.run)],
            false => vec![Sight::Runs],
        };
        sights.extend(self.possible_ends(world).into_iter().map(Sight::Over));
        if over && world.spent.stale_looks < self.budget.stale_looks {
            sights.push(Sight::Older);
        }
        if world.spent.refusals < self.budget.refusals {
            sights.push(Sight::Failed);
            let refused = self.refusals.iter().filter(|no| **no != No::Unauthorized);
            sights.extend(refused.map(|no| Sight::Refused(*no)));
        }
        sights
    }

    fn is_awaited(&self, world: &World, flight: &Flight) -> bool {
        let Some(replica) = world.replicas.get(usize::from(flight.from)) else {
            return false;
        };
        let same = replica.known.as_ref().is_some_and(|known| {
            known.core.current().attempts == flight.attempt
                && world.history[usize::from(replica.seen)].uid == flight.uid
        });
        let awaits = matches!(replica.doing, Doing::Await { .. });
        awaits && same
    }

    /// What becomes of a cancel request under way.
    pub fn arrive(&self, world: &mut World, k: usize, ending: Ending) {
        let awaited = self.is_awaited(world, &world.flights[k]);
        let flight = world.flights.remove(k);
        let i = usize::from(flight.from);
        match ending {
            Ending::AnswerLost | Ending::Silence | Ending::Lost => world.spent.losses += 1,
            Ending::Refused(_) => world.spent.refusals += 1,
            Ending::Answered(end) => world.run = end.unwrap_or(world.run),
        }
        let mut over = false;
        if matches!(
            ending,
            Ending::Answered(_) | Ending::AnswerLost | Ending::Silence
        ) {
            let processed = (flight.uid, flight.attempt);
            let twice = world.ghost.processed.contains(&processed);
            judge(world, !twice, Rule::S3);
            world.ghost.processed.push(processed);
            over = matches!(world.run, Run::Cancelled | Run::Completed);
            if world.run == Run::Running {
                world.run = Run::Cancelling;
            }
        }
        if !awaited {
            return;
        }
        let seen = match ending {
            Ending::Silence => return,
            Ending::Answered(_) if over => Observation::AlreadyCompleted { retry_after: None },
            Ending::Answered(_) => Observation::Accepted {
                location: None,
                retry_after: self.asked(world, i),
                request_id: None,
            },
            Ending::AnswerLost | Ending::Lost => unknown(),
            Ending::Refused(no) => {
                if let Doing::Await {
                    identity,
                    from,
                    again: false,
                    ..
                } = world.replicas[i].doing
                    && no == No::Unauthorized
                    && world.identity == identity
                {
                    world.replicas[i].doing = Doing::Send {
                        identity,
                        from,
                        again: true,
                    };
                    return;
                }
                self.was_harmless(world, i);
                self.refusal(world, i, no)
            }
        };
        self.answered(world, i, seen);
    }

    fn answered(&self, world: &mut World, i: usize, seen: Observation) {
        let lost = matches!(seen, Observation::Unknown { .. });
        if let (Variant::SameIntent, true, Doing::Await { identity, from, .. }) =
            (self.variant, lost, &world.replicas[i].doing)
        {
            world.replicas[i].doing = Doing::Send {
                identity: *identity,
                from: *from,
                again: true,
            };
            return;
        }
        let accepted = matches!(seen, Observation::Accepted { .. });
        let now = at(world.now);
        self.change(world, i, |core| {
            let core = core.record(seen, now);
            if accepted && self.variant == Variant::AcceptedIsCancelled {
                let job = job(JobStatus::Cancelled);
                let retry_after = None;
                return core.record(Observation::JobSeen { job, retry_after }, now);
            }
            core
        });
        self.settle(world, i);
    }

    /// The answer did not come in time.
    pub fn time_out(&self, world: &mut World, i: usize) {
        let under_way = world
            .flights
            .iter()
            .any(|flight| usize::from(flight.from) == i && self.is_awaited(world, flight));
        if under_way {
            world.spent.losses += 1;
        }
        self.answered(world, i, unknown());
    }

    /// What a look shows.
    pub fn seen(&self, world: &mut World, i: usize, sight: Sight) -> Observation {
        let status = match sight {
            Sight::Older => {
                world.spent.stale_looks += 1;
                JobStatus::InProgress
            }
            Sight::Runs => JobStatus::InProgress,
            Sight::Over(run) => {
                world.run = run;
                match run {
                    Run::Cancelled => JobStatus::Cancelled,
                    _ => JobStatus::Completed,
                }
            }
            Sight::Failed => {
                world.spent.refusals += 1;
                return Observation::Inconclusive {
                    from: Source::Fabric,
                    retry_after: None,
                    error: error("Timeout"),
                };
            }
            Sight::Refused(no) => {
                world.spent.refusals += 1;
                return self.refusal(world, i, no);
            }
        };
        if deadline(world.newest()).is_some_and(|end| world.now >= end) {
            world.ghost.looked_late = Some(world.now);
        }
        world.replicas[i].saw_running |= status == JobStatus::InProgress;
        Observation::JobSeen {
            job: job(status),
            retry_after: self.asked(world, i),
        }
    }

    fn refusal(&self, world: &mut World, i: usize, no: No) -> Observation {
        let refusal = match no {
            No::TooMany => {
                return Observation::Throttled {
                    by: Throttle::Identity,
                    retry_after: self.asked(world, i),
                    error: error("RequestBlocked"),
                };
            }
            No::Forbidden => Refusal::PermissionDenied,
            No::Unauthorized => Refusal::AuthenticationFailed,
            No::NotFound => Refusal::JobNotFound,
        };
        Observation::Refused {
            refusal,
            retry_after: None,
            error: error("No"),
            advice: None,
        }
    }

    /// `Retry-After`, as the rules and as the core learn of it.
    fn asked(&self, world: &mut World, i: usize) -> Option<Duration> {
        let hint = self.hint?;
        let replica = &mut world.replicas[i];
        replica.asked_until = replica.asked_until.max(world.now + hint);
        let told = self.variant != Variant::ForgottenHint;
        told.then(|| Duration::from_secs(hint.into()))
    }
}

fn unknown() -> Observation {
    Observation::Unknown {
        retry_after: None,
        error: error("Timeout"),
    }
}
