//! What a seed means: resources, jobs, what people and services do, and the weather.

use std::time::Duration;

use fabric_simulator::{
    Access, CancelEffect, FailureReason, JobStatus, LookRetryAfter, QuotaLimit, RepeatedCancel,
    Settings,
};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::{draw::Draw, steady::is_steady, weather::Weather};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Which purposes decisions are drawn for.
pub mod purpose {
    pub const PLAN: u64 = 1;
    pub const KUBERNETES: u64 = 2;
    pub const WIRE: u64 = 3;
    pub const PROCESS: u64 = 4;
    /// And those after it: one for each client secret.
    pub const SECRETS: u64 = 100;
}

/// Everything that is decided before a run.
#[derive(Debug)]
pub struct Plan {
    pub seed: u64,
    /// Processes of the operator at the same time.
    pub replicas: usize,
    pub settings: Settings,
    pub jobs: Vec<JobPlan>,
    pub resources: Vec<ResourcePlan>,
    /// In the order of time.
    pub acts: Vec<(Duration, Act)>,
    pub weather: Weather,
    /// The numbers of those requests, counted over all ways out, in which the process dies.
    pub crashes: Vec<(usize, bool)>,
    /// When all faults end.
    pub calm: Duration,
    /// How wrong the nodes' clocks can be; empty when they are right.
    pub clocks: Vec<SignedDuration>,
    /// The longest `activeDeadlineSeconds`.
    pub longest_deadline: Duration,
}

#[derive(Debug)]
pub struct JobPlan {
    pub status: JobStatus,
    pub starts_after: Option<Duration>,
    pub ends_after: Option<Duration>,
    pub ends_as: JobStatus,
    pub cancel_takes: Duration,
    pub effect: CancelEffect,
    pub null_end_time: bool,
}

#[derive(Debug)]
pub struct ResourcePlan {
    pub name: String,
    pub job: usize,
    /// What the spec holds beside the ids.
    pub spec: Value,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Act {
    Create(usize),
    Delete(usize),
    Suspend(usize, bool),
    /// One field of the spec.
    Edit(usize, &'static str, Value),
    Label(usize),
    /// Fabric shows this over the job for so long.
    Show(usize, Value),
    ShowTruth(usize),
    /// The job ends by itself.
    End(usize, JobStatus),
    /// Fabric forgets the job.
    Forget(usize),
    Access(Access),
    CapacityPaused(bool),
    RevokeTokens,
    /// Another client secret: first in Entra, or first in Kubernetes.
    RotateInEntra,
    RotateInKubernetes,
    ExpireSecrets,
    DeleteSecret,
    RestoreSecret,
    LagWatches(Duration),
    FreezeWatches(bool),
    FallBehind(bool),
    CloseWatches,
    ExpireWatches,
    RepeatEvent(usize),
    Crash(usize),
    Terminate(usize),
}

impl Plan {
    /// The plan of a seed. `long`: one of those runs whose faults go on for a day.
    pub fn draw(seed: u64, long: bool) -> Self {
        let mut draw = Draw::new(seed, purpose::PLAN);
        let calm = if long {
            draw.between(20 * HOUR, 23 * HOUR)
        } else {
            draw.pick(&[20 * SECOND, MINUTE, 3 * MINUTE, 8 * MINUTE, 25 * MINUTE])
        };
        let deadlines: &[u64] = if long {
            &[3600, 21_600, 86_400]
        } else {
            &[60, 120, 300, 900, 3600]
        };
        let count = draw.pick(&[1, 1, 1, 2, 3, 4]);
        let shared = draw.permille(200);
        let jobs: Vec<_> = (0..count).map(|_| job(&mut draw, calm)).collect();
        let resources: Vec<_> = (0..count)
            .map(|index| ResourcePlan {
                name: format!("cancel-{index}"),
                job: if shared && index == 1 { 0 } else { index },
                spec: spec(&mut draw, deadlines),
            })
            .collect();
        let acts = acts(&mut draw, &resources, jobs.len(), calm);
        let clocks = match draw.below(10) {
            0 => vec![
                SignedDuration::ZERO,
                SignedDuration::from_secs(4),
                SignedDuration::from_secs(-4),
                SignedDuration::from_hours(1),
                SignedDuration::from_hours(-25),
            ],
            _ => Vec::new(),
        };
        let crashes = (0..draw.pick(&[0, 0, 0, 1, 2, 4]))
            .map(|_| (3 + draw.below(40), draw.permille(500)))
            .collect();
        let drawn = Self {
            seed,
            // A Lease is renewed every two seconds: several replicas cost six times as much.
            replicas: if draw.permille(100) {
                draw.pick(&[2, 2, 3])
            } else {
                1
            },
            settings: settings(&mut draw),
            weather: Weather::draw(&mut draw, calm),
            jobs,
            resources,
            acts,
            crashes,
            calm,
            clocks,
            longest_deadline: deadlines
                .iter()
                .max()
                .map_or(HOUR, |last| Duration::from_secs(*last)),
        };
        if !long && is_steady(seed) {
            drawn.steady()
        } else {
            drawn
        }
    }
}

impl Plan {
    /// Whether the operator may be shown what is no longer so.
    pub fn shows_old(&self) -> bool {
        self.acts
            .iter()
            .any(|(_, act)| matches!(act, Act::FallBehind(_) | Act::RepeatEvent(_)))
    }
}

fn settings(draw: &mut Draw) -> Settings {
    let seconds = Duration::from_secs;
    Settings {
        accepted_retry_after: draw
            .pick(&[None, Some(0), Some(2), Some(60), Some(60), Some(400)])
            .map(seconds),
        look_retry_after: draw.pick(&[
            LookRetryAfter::Absent,
            LookRetryAfter::Seconds(0),
            LookRetryAfter::Seconds(17),
            LookRetryAfter::Seconds(300),
            LookRetryAfter::Countdown,
        ]),
        view_refresh: draw.pick(&[Duration::ZERO, MINUTE, 2 * MINUTE]),
        quota: draw.pick(&[
            Some(QuotaLimit::default()),
            Some(QuotaLimit::default()),
            Some(QuotaLimit {
                calls: 3,
                window: MINUTE,
            }),
        ]),
        token_lifetime: draw.pick(&[seconds(3599), seconds(3599), seconds(420)]),
        repeated_cancel: draw.pick(&[
            RepeatedCancel::Accepted,
            RepeatedCancel::JobAlreadyCompleted,
        ]),
        ..Settings::default()
    }
}

fn job(draw: &mut Draw, calm: Duration) -> JobPlan {
    let status = draw.pick(&[
        JobStatus::InProgress,
        JobStatus::InProgress,
        JobStatus::InProgress,
        JobStatus::NotStarted,
        JobStatus::Completed,
        JobStatus::Cancelled,
    ]);
    JobPlan {
        starts_after: draw.permille(700).then(|| draw.span(calm)),
        ends_after: draw.permille(300).then(|| draw.span(calm)),
        ends_as: draw.pick(&[
            JobStatus::Completed,
            JobStatus::Failed,
            JobStatus::Deduped,
            JobStatus::Cancelled,
        ]),
        cancel_takes: draw.pick(&[Duration::ZERO, SECOND * 5, MINUTE, 12 * MINUTE]),
        effect: draw.pick(&[
            CancelEffect::default(),
            CancelEffect::default(),
            CancelEffect::default(),
            CancelEffect::default(),
            CancelEffect::Ends(JobStatus::Completed),
            CancelEffect::Nothing,
        ]),
        null_end_time: draw.permille(300),
        status,
    }
}

fn spec(draw: &mut Draw, deadlines: &[u64]) -> Value {
    let mut spec = json!({});
    if draw.permille(900) {
        spec["activeDeadlineSeconds"] = json!(draw.pick(deadlines));
    }
    if draw.permille(200) {
        spec["suspend"] = json!(true);
    }
    if draw.permille(200) {
        spec["finishedJobPolicy"] = json!("Fail");
    }
    if draw.permille(200) {
        spec["missingJobPolicy"] = json!("Succeed");
    }
    if draw.permille(150) {
        spec["ttlSecondsAfterFinished"] = json!(draw.pick(&[0, 30, 900]));
    }
    if draw.permille(250) {
        spec["credentials"] = json!({"secretRef": {"name": "other-credentials"}});
    }
    if draw.permille(100) {
        spec["comment"] = json!("superseded by the evening run");
    }
    spec
}

fn acts(
    draw: &mut Draw,
    resources: &[ResourcePlan],
    jobs: usize,
    calm: Duration,
) -> Vec<(Duration, Act)> {
    let mut acts = Vec::new();
    for index in 0..resources.len() {
        let created = draw.span(calm / 2);
        acts.push((created, Act::Create(index)));
        let at = |draw: &mut Draw| (created + draw.span(calm)).min(calm);
        if draw.permille(300) {
            let deleted = at(draw);
            acts.push((deleted, Act::Delete(index)));
            if draw.permille(700) {
                let gap = draw.pick(&[Duration::ZERO, Duration::from_millis(1), SECOND]);
                acts.push(((deleted + gap).min(calm), Act::Create(index)));
            }
        }
        for _ in 0..draw.pick(&[0, 0, 1, 2]) {
            acts.push((at(draw), Act::Suspend(index, draw.permille(500))));
        }
        if draw.permille(800) {
            acts.push((calm, Act::Suspend(index, false)));
        }
        for _ in 0..draw.pick(&[0, 0, 0, 1, 3]) {
            let (field, value) = draw.pick(&[
                ("activeDeadlineSeconds", json!(60)),
                ("activeDeadlineSeconds", json!(3600)),
                ("finishedJobPolicy", json!("Fail")),
                ("missingJobPolicy", json!("Succeed")),
                ("ttlSecondsAfterFinished", json!(60)),
            ]);
            acts.push((at(draw), Act::Edit(index, field, value)));
        }
        for _ in 0..draw.pick(&[0, 0, 1, 5, 12]) {
            acts.push((at(draw), Act::Label(index)));
        }
    }
    for job in 0..jobs {
        let kind = draw.below(10);
        let at = draw.span(calm);
        match kind {
            0 => {
                let end = draw.pick(&[JobStatus::Completed, JobStatus::Failed]);
                acts.push((at, Act::End(job, end)));
            }
            1 => acts.push((at, Act::Forget(job))),
            2 => {
                let shown = json!({"status": draw.pick(&["Dehydrated", "Cancelling", ""])});
                acts.push((at, Act::Show(job, shown)));
            }
            3 => {
                let reason = FailureReason {
                    error_code: draw.pick(&["NotFound", "RequestExecutionFailed"]).into(),
                    message: "not there yet".into(),
                };
                let shown =
                    json!({"status": "Failed", "endTimeUtc": null, "failureReason": reason});
                acts.push((at, Act::Show(job, shown)));
                acts.push(((at + draw.span(MINUTE)).min(calm), Act::ShowTruth(job)));
            }
            _ => {}
        }
        acts.push((calm, Act::ShowTruth(job)));
    }
    for _ in 0..draw.pick(&[0, 1, 2, 4, 8]) {
        let at = draw.span(calm);
        let until = (at + draw.span(calm)).min(calm);
        match draw.below(13) {
            0 => {
                let access = draw.pick(&[Access::Denied, Access::Read, Access::Hidden]);
                acts.push((at, Act::Access(access)));
            }
            1 => acts.push((at, Act::CapacityPaused(true))),
            2 => acts.push((at, Act::RevokeTokens)),
            3 => {
                let both = [Act::RotateInEntra, Act::RotateInKubernetes];
                let first = draw.below(2);
                acts.push((at, both[first].clone()));
                acts.push((until, both[1 - first].clone()));
            }
            4 => acts.push((at, Act::ExpireSecrets)),
            5 => {
                acts.push((at, Act::DeleteSecret));
                acts.push((until, Act::RestoreSecret));
            }
            6 => {
                let lag = draw.pick(&[SECOND / 2, 4 * SECOND, 40 * SECOND]);
                acts.push((at, Act::LagWatches(lag)));
            }
            7 => {
                acts.push((at, Act::FreezeWatches(true)));
                acts.push((until, Act::FreezeWatches(false)));
            }
            8 | 9 => {
                acts.push((at, Act::FallBehind(true)));
                acts.push((until, Act::FallBehind(false)));
            }
            10 => acts.push((at, Act::CloseWatches)),
            11 => acts.push((at, Act::ExpireWatches)),
            _ => acts.extend((0..6).map(|_| (draw.span(calm), Act::RepeatEvent(draw.below(5))))),
        }
    }
    for _ in 0..draw.pick(&[0, 0, 0, 1, 2, 4]) {
        acts.push((draw.span(calm), Act::Crash(draw.below(4))));
    }
    for _ in 0..draw.pick(&[0, 0, 0, 1, 2]) {
        acts.push((draw.span(calm), Act::Terminate(draw.below(4))));
    }
    acts.sort_by_key(|(at, _)| *at);
    acts
}
