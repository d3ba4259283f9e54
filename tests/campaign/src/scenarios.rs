//! What people live through, as the campaign runs it again and again with one fault each.

use std::time::Duration;

use fabric_simulator::{Answer, JobStatus, LookRetryAfter, Route, Rule, Settings};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;

use crate::stage::{Setup, Stage, Stuck, has_ended};

type Drive = for<'a> fn(&'a Stage<'a>) -> BoxFuture<'a, Result<(), Stuck>>;

/// A story with its author's acts. The same ids in each run.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name in plans.
    pub name: &'static str,
    /// What happens, until all ends are stored. The operator runs already.
    pub drive: Drive,
    /// Two replicas and a Lease, instead of one replica without.
    pub elected: bool,
}

/// Replicas meet at a smaller pace: a Lease of 15 s lasts three real ones, and the two in which it
/// has to be renewed are enough on a busy machine.
const ELECTED_FACTOR: u32 = 5;

/// The longest that Fabric asks for in any scenario.
pub const RETRY_AFTER: Duration = Duration::from_secs(8);

/// What a missing leader costs.
pub const LEASE: Duration = Duration::from_secs(15);

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "cancel",
        drive: |stage| cancel(stage).boxed(),
        elected: false,
    },
    Scenario {
        name: "finished",
        drive: |stage| finished(stage).boxed(),
        elected: false,
    },
    Scenario {
        name: "credentials",
        drive: |stage| credentials(stage).boxed(),
        elected: false,
    },
    Scenario {
        name: "throttled",
        drive: |stage| throttled(stage).boxed(),
        elected: false,
    },
    Scenario {
        name: "lifecycle",
        drive: |stage| lifecycle(stage).boxed(),
        elected: false,
    },
    Scenario {
        name: "replicas",
        drive: |stage| replicas(stage).boxed(),
        elected: true,
    },
];

impl Scenario {
    /// A Fabric whose waits are short, but longer than what is uncertain.
    /// `factor` is the pace of a scenario with one replica.
    #[must_use]
    pub fn setup(&self, factor: u32) -> Setup {
        Setup {
            settings: Settings {
                accepted_retry_after: Some(RETRY_AFTER),
                look_retry_after: LookRetryAfter::Seconds(6),
                cancel_takes: Duration::from_secs(12),
                ..Settings::default()
            },
            replicas: if self.elected { 2 } else { 1 },
            factor: if self.elected { ELECTED_FACTOR } else { factor },
        }
    }
}

/// A job is cancelled; the first look still shows it running.
async fn cancel(stage: &Stage<'_>) -> Result<(), Stuck> {
    let job = stage.job(0, |_| {});
    stage.create("job", &job, json!({})).await;
    stage.wait_for_end("job").await.map(|_| ())
}

/// One job was over before the request, the other ends by itself after it was accepted.
async fn finished(stage: &Stage<'_>) -> Result<(), Stuck> {
    let over = stage.job(0, |job| job.status = JobStatus::Completed);
    let races = stage.job(1, |job| {
        job.cancel_takes = Some(Duration::from_secs(3_600));
        job.ends_after = Some(Duration::from_secs(100_000));
    });
    stage
        .create("over", &over, json!({ "finishedJobPolicy": "Fail" }))
        .await;
    stage.create("races", &races, json!({})).await;
    stage
        .wait("races", "an attempt", |it| {
            it["status"]["acceptedTime"].is_string() || has_ended(it)
        })
        .await?;
    stage
        .fabric
        .set_job_status(races.job_instance_id, JobStatus::Completed);
    for name in ["over", "races"] {
        stage.wait_for_end(name).await?;
    }
    Ok(())
}

/// The first token is refused by Fabric; later the application's secret is rotated, and the
/// namespace's Secret follows after a while.
async fn credentials(stage: &Stage<'_>) -> Result<(), Stuck> {
    let refused = Answer::error(401, "InvalidToken");
    stage.fabric.script(Rule::on(Route::Cancel).answer(refused));
    let job = stage.job(0, |job| job.cancel_takes = Some(Duration::from_secs(25)));
    stage.create("job", &job, json!({})).await;
    stage
        .wait("job", "an acceptance", |it| {
            it["status"]["acceptedTime"].is_string() || has_ended(it)
        })
        .await?;
    let secret = bench::new_secret();
    stage.fabric.rotate_secret(&stage.identity, &secret);
    stage.fabric.revoke_tokens(&stage.identity);
    stage.pass(Duration::from_secs(20)).await;
    stage.put_secret(&secret).await;
    stage.wait_for_end("job").await.map(|_| ())
}

/// Fabric throttles the first request of one resource, which holds the other one too, and later
/// a look.
async fn throttled(stage: &Stage<'_>) -> Result<(), Stuck> {
    let throttle = || Answer::throttled(Some(6));
    let one = stage.job(0, |_| {});
    let two = stage.job(1, |_| {});
    for route in [Route::Cancel, Route::Job] {
        let rule = Rule::on(route).job(one.job_instance_id);
        stage.fabric.script(rule.answer(throttle()));
    }
    stage.create("one", &one, json!({})).await;
    // The second meets the closed gate.
    stage
        .steps("throttled request", |step| step.status() == Some(429))
        .await?;
    stage.create("two", &two, json!({})).await;
    for name in ["one", "two"] {
        stage.wait_for_end(name).await?;
    }
    Ok(())
}

/// Suspended, resumed, accepted, deleted, and created again under the same name.
async fn lifecycle(stage: &Stage<'_>) -> Result<(), Stuck> {
    let job = stage.job(0, |_| {});
    stage.create("job", &job, json!({ "suspend": true })).await;
    stage
        .wait("job", "the preflight", |it| {
            it["status"]["job"]["status"].is_string()
        })
        .await?;
    stage
        .edit("job", json!({ "spec": { "suspend": false } }))
        .await;
    stage
        .wait("job", "an acceptance", |it| {
            it["status"]["acceptedTime"].is_string() || has_ended(it)
        })
        .await?;
    stage.delete("job").await;
    // Long enough for the cancellation to have come to its end.
    stage.pass(Duration::from_secs(15)).await;
    let second = stage.create("job", &job, json!({})).await;
    stage
        .wait("job", "an end of the second", |it| {
            has_ended(it) && it["metadata"]["uid"] == second.as_str()
        })
        .await
        .map(|_| ())
}

/// The leader is told to end while Fabric is at work; the other replica sees the end.
async fn replicas(stage: &Stage<'_>) -> Result<(), Stuck> {
    let job = stage.job(0, |_| {});
    stage.create("job", &job, json!({})).await;
    stage
        .wait("job", "an acceptance", |it| {
            it["status"]["acceptedTime"].is_string() || has_ended(it)
        })
        .await?;
    // Unless the plan's fault has ended it already.
    if let Some(leader) = stage.leader() {
        leader.terminate();
    }
    stage.wait_for_end("job").await.map(|_| ())
}
