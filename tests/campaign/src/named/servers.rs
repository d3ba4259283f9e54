//! Faults of two API servers on one etcd.

use std::sync::Arc;
use std::time::Duration;

use fabric_simulator::JobStatus;
use fault_proxy::{Fault, Loss, Rule, RuleHandle, Step, Verb};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use uuid::Uuid;

use crate::clock;
use crate::label::label;
use crate::stage::{PLURAL, Stage};
use crate::world::Another;

/// How long the operator sees the world through a server that fell behind.
pub const BEHIND: Duration = Duration::from_secs(30);

/// The operator is killed after its request, and the new process lists and watches through a
/// server that has not seen the intent, as behind a load balancer; what it writes goes to the other.
pub async fn fell_behind(stage: &Stage<'_>) -> Vec<RuleHandle> {
    moved(stage, |stage, another| {
        let replica = Arc::clone(stage.operator());
        let another = another.upstream.clone();
        Box::new(move || {
            let sees = |step: &Step| {
                let looks = matches!(step.call.verb, Verb::List | Verb::Watch);
                looks && step.call.resource == PLURAL
            };
            let via = Fault::Via(another.clone());
            replica.api.rule(Rule::on(sees).always().fault(via));
        })
    })
    .await
}

/// The same, and all that it asks goes to that server, which cannot write.
pub async fn etcd_is_gone(stage: &Stage<'_>) -> Vec<RuleHandle> {
    moved(stage, |stage, another| {
        let replica = Arc::clone(stage.operator());
        let another = another.upstream.clone();
        Box::new(move || replica.api.set_upstream(another.clone()))
    })
    .await
}

type Move = Box<dyn Fn() + Send + Sync>;

/// The other server falls behind before the intent is stored; after the request the process is
/// killed, and the next one is moved there for a while.
async fn moved(
    stage: &Stage<'_>,
    way: impl FnOnce(&Stage<'_>, &Another) -> Move,
) -> Vec<RuleHandle> {
    let another = stage.world.another().await;
    let move_there = Arc::new(way(stage, &another));
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(
        "fabricjobs.dev",
        "v1alpha1",
        "FabricJobCancellation",
    ));
    let there: Api<DynamicObject> =
        Api::namespaced_with(another.client.clone(), &stage.namespace, &kind);
    let behind = Arc::clone(&another);
    let intent = Rule::on(|step| label(step).is_some_and(|it| it == "write-job-intent"));
    let falls_behind = stage.operator().api.rule(intent.before(move |_| {
        let (there, behind) = (there.clone(), Arc::clone(&behind));
        async move {
            // It has to know of the resource, and of nothing that follows.
            let remembered = ListParams::default().match_any();
            while there.list(&remembered).await.map_or(0, |it| it.items.len()) == 0 {
                clock::pass(Duration::from_millis(10)).await;
            }
            behind.server.freeze();
        }
    }));
    let replica = Arc::clone(stage.operator());
    let back = stage.world.api_server.clone();
    let lasts = stage.pace.real(BEHIND);
    let request = Rule::on(|step| step.call.verb == Verb::Cancel);
    let request = request.fault(Fault::LoseAnswer(Loss::Reset));
    let is_moved = stage.operator().fabric.rule(request.after(move |_| {
        let (replica, back) = (Arc::clone(&replica), back.clone());
        let (another, move_there) = (Arc::clone(&another), Arc::clone(&move_there));
        async move {
            move_there();
            replica.start();
            tokio::spawn(async move {
                clock::pass(lasts).await;
                replica.api.clear_rules();
                replica.move_to(&back).await;
                another.server.thaw();
            });
        }
    }));
    vec![falls_behind, is_moved]
}

/// While Fabric is at work the operator's server is killed, then, once that one is back, the other
/// one; its connections break, and it finds the one that runs. Then the job ends.
pub async fn restart_one_after_the_other(stage: &Stage<'_>) -> Vec<RuleHandle> {
    let another = stage.world.another().await;
    let plane = Arc::clone(&stage.world.plane);
    let (replica, first) = (Arc::clone(stage.operator()), stage.world.api_server.clone());
    let fabric = stage.fabric.handle();
    let accepted = Rule::on(|step| label(step).is_some_and(|it| it == "write-job-accepted"));
    let accepted = accepted.after(move |_| {
        let (another, plane) = (Arc::clone(&another), Arc::clone(&plane));
        let (replica, first, fabric) = (Arc::clone(&replica), first.clone(), fabric.clone());
        async move {
            // On a thread of its own, because waiting for a server is not `Send`.
            tokio::task::spawn_blocking(move || {
                let rolling = async {
                    plane.kill_apiserver().expect("it can be killed");
                    replica.move_to(&another.upstream).await;
                    plane.restart_apiserver().await.expect("it comes back");
                    another.server.kill().expect("it can be killed");
                    replica.move_to(&first).await;
                    another.server.restart().await.expect("it comes back");
                    fabric.set_job_status(JOB, JobStatus::Cancelled);
                };
                tokio::runtime::Handle::current().block_on(rolling);
            });
        }
    });
    vec![stage.operator().api.rule(accepted)]
}

/// The job of the scenario `cancel`.
const JOB: Uuid = Uuid::from_u128(0x10);
