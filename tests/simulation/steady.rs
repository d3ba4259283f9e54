//! Seeds whose end must be that of a run without faults: nothing that people and jobs do in them
//! makes the end depend on when things happen.

use std::time::Duration;

use fabric_simulator::{Access, CancelEffect};
use serde_json::json;

use crate::{
    plan::{Act, Plan},
    weather::{Out, Weather, WireFault},
};

/// Longer than the faults, the longest `Retry-After` and the slowest job together.
const DEADLINE: Duration = Duration::from_secs(2 * 3600);

/// The faults of such a run end after this.
const CALM: Duration = Duration::from_secs(8 * 60);

/// Every tenth seed is steady.
pub const fn is_steady(seed: u64) -> bool {
    seed % 10 == 4
}

impl Plan {
    /// What was drawn, as people carry it out who do not change their minds, with jobs that do
    /// not end by themselves and cancellations that have time enough.
    pub fn steady(mut self) -> Self {
        self.calm = self.calm.min(CALM);
        self.longest_deadline = DEADLINE;
        self.acts.retain(|(_, act)| !decides_the_end(act));
        for (at, _) in &mut self.acts {
            *at = (*at).min(self.calm);
        }
        for job in &mut self.jobs {
            job.ends_after = None;
            job.effect = CancelEffect::default();
        }
        for (index, resource) in self.resources.iter_mut().enumerate() {
            resource.job = index;
            let spec = resource.spec.as_object_mut().expect("a spec is an object");
            spec.remove("suspend");
            spec.remove("ttlSecondsAfterFinished");
            spec.insert("activeDeadlineSeconds".into(), json!(DEADLINE.as_secs()));
        }
        self.weather.fabric_kinds.retain(|it| !says_not_found(*it));
        self.weather.outages.retain(|outage| match outage.what {
            Out::Fabric(fault) => !says_not_found(fault),
            Out::Kubernetes(_) | Out::Entra(_) => true,
        });
        if self.weather.fabric_kinds.is_empty() {
            self.weather.fabric = 0;
        }
        self
    }

    /// The same with nothing in its way: what people create, and nothing else.
    pub fn without_faults(mut self) -> Self {
        self.acts.retain(|(_, act)| matches!(act, Act::Create(_)));
        self.weather = Weather::fair();
        self.crashes.clear();
        self.clocks.clear();
        self.replicas = 1;
        self
    }
}

/// After `JobAlreadyCompleted` one such answer is an end: how the job ended can be seen no more.
fn says_not_found(fault: WireFault) -> bool {
    matches!(fault, WireFault::Instead(answer) if answer.code == Some("ItemNotFound"))
}

/// Whether the end depends on when this happens.
fn decides_the_end(act: &Act) -> bool {
    match act {
        Act::Delete(_)
        | Act::Suspend(..)
        | Act::Edit(..)
        | Act::Show(..)
        | Act::End(..)
        | Act::Forget(_)
        | Act::Access(Access::Hidden) => true,
        Act::Create(_)
        | Act::Label(_)
        | Act::ShowTruth(_)
        | Act::Access(_)
        | Act::CapacityPaused(_)
        | Act::RevokeTokens
        | Act::RotateInEntra
        | Act::RotateInKubernetes
        | Act::ExpireSecrets
        | Act::DeleteSecret
        | Act::RestoreSecret
        | Act::LagWatches(_)
        | Act::FreezeWatches(_)
        | Act::FallBehind(_)
        | Act::CloseWatches
        | Act::ExpireWatches
        | Act::RepeatEvent(_)
        | Act::Crash(_)
        | Act::Terminate(_) => false,
    }
}
