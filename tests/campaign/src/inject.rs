//! Sets the trap of a plan: the rule at its step, and what happens when it is reached.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fault_proxy::{Answer, Fault, Hold, Loss, Rule, RuleHandle, Verb};
use serde_json::{Value, json};

use crate::clock;
use crate::label::{label, split};
use crate::plan::{Plan, Variant};
use crate::replica::Replica;
use crate::stage::{PLURAL, Stage};
use crate::world::{Edition, Stored};

/// So much of an event's JSON passes when it is cut.
const PART: usize = 200;

/// Sets the plan's trap at its replica. The handles tell whether it was sprung.
pub fn inject(stage: &Stage<'_>, plan: &Plan) -> Vec<RuleHandle> {
    let (name, bare) = split(&plan.step);
    let replica = stage.replicas.iter().find(|it| it.name() == name);
    let replica = replica.unwrap_or_else(|| stage.operator());
    let trap = Trap {
        replica: Arc::clone(replica),
        lasts: stage.pace.real(plan.variant.lasts()),
        elected: stage.is_elected(),
        stored: stage.world.stored.clone(),
        namespace: stage.namespace.clone(),
    };
    let is_event = bare.starts_with("event-");
    let each = replica.proxies().map(|proxy| {
        let step = plan.step.clone();
        let rule = Rule::on(move |seen| label(seen).as_ref() == Some(&step)).nth(plan.nth);
        proxy.rule(trap.set(rule, plan.variant, is_event))
    });
    each.into()
}

/// What the hooks of a rule need.
#[derive(Clone)]
struct Trap {
    replica: Arc<Replica>,
    /// How long the fault lasts, in real time.
    lasts: Duration,
    elected: bool,
    stored: Stored,
    namespace: String,
}

impl Trap {
    fn set(&self, rule: Rule, variant: Variant, is_event: bool) -> Rule {
        let trap = self.clone();
        let act = move |act: fn(Self) -> futures::future::BoxFuture<'static, ()>| {
            move |_| act(trap.clone())
        };
        match variant {
            Variant::CrashBefore => rule
                .before(act(|trap| Box::pin(trap.restart())))
                .fault(Fault::Lose(Loss::Reset)),
            Variant::CrashAfter if is_event => rule.after(act(|trap| Box::pin(trap.restart()))),
            Variant::CrashAfter => rule
                .after(act(|trap| Box::pin(trap.restart())))
                .fault(Fault::LoseAnswer(Loss::Reset)),
            Variant::Lost => rule.fault(Fault::Lose(Loss::Reset)),
            Variant::AnswerLost => rule.fault(Fault::LoseAnswer(Loss::Reset)),
            Variant::Twice => rule.fault(Fault::Duplicate),
            Variant::Late => rule.fault(Fault::ArriveLate(self.lasts)),
            Variant::Delayed => rule.fault(Fault::Delay(self.lasts)),
            Variant::Paused => rule.after(act(|trap| {
                Box::pin(async move { trap.replica.pause(trap.lasts).await })
            })),
            Variant::Terminated => rule.before(act(|trap| Box::pin(trap.terminate()))),
            Variant::Hidden => rule
                .before(act(|trap| Box::pin(trap.relist_later())))
                .fault(Fault::Lose(Loss::Silent)),
            Variant::Cut => rule.fault(Fault::Cut(PART)),
            Variant::StalePrevious => rule
                .before(act(|trap| Box::pin(trap.go_back(1))))
                .fault(Fault::Lose(Loss::Reset)),
            Variant::StaleFirst => rule
                .before(act(|trap| Box::pin(trap.go_back(usize::MAX))))
                .fault(Fault::Lose(Loss::Reset)),
            Variant::Unreachable => rule.before(act(|trap| {
                Box::pin(async move { trap.replica.cut_off(trap.lasts) })
            })),
        }
    }

    async fn restart(self) {
        self.replica.start();
    }

    /// Asks the process to end, and starts another one once it has.
    async fn terminate(self) {
        self.replica.terminate();
        if self.elected {
            // Ended processes are started anew in any case.
            return;
        }
        tokio::spawn(async move {
            while !self.replica.has_ended() {
                clock::pass(Duration::from_millis(10)).await;
            }
            self.replica.start();
        });
    }

    async fn relist_later(self) {
        tokio::spawn(async move {
            clock::pass(self.lasts).await;
            self.replica.api.expire_watches();
        });
    }

    /// A new process, which lists the world as it was `editions` earlier and whose watch is
    /// silent for a while: it was moved to an API server that lags behind.
    async fn go_back(self, editions: usize) {
        let all = self.stored.of(&self.namespace);
        let last = all.len().saturating_sub(1).saturating_sub(editions);
        let list = list(&all[..=last.min(all.len().saturating_sub(1))]);
        let api = &self.replica.api;
        api.rule(
            Rule::on(|step| step.call.verb == Verb::List && step.call.resource == PLURAL)
                .fault(Fault::Answer(Answer::json(200, &list))),
        );
        let hold = Hold::default();
        let held = hold.clone();
        let watch = Rule::on(|step| step.call.verb == Verb::Watch && step.call.resource == PLURAL);
        api.rule(watch.before(move |_| {
            let held = held.clone();
            async move { held.wait().await }
        }));
        self.replica.start();
        tokio::spawn(async move {
            clock::pass(self.lasts).await;
            hold.release();
        });
    }
}

/// What an API server answers to a list after these editions.
fn list(editions: &[Edition]) -> Value {
    let mut objects: BTreeMap<&str, &Edition> = BTreeMap::new();
    for edition in editions {
        objects.insert(edition.name(), edition);
    }
    let items: Vec<&Value> = objects
        .values()
        .filter(|edition| !edition.deleted)
        .map(|edition| &edition.object)
        .collect();
    let version = editions.last().map_or("", Edition::resource_version);
    json!({
        "apiVersion": "fabricjobs.dev/v1alpha1",
        "kind": "FabricJobCancellationList",
        "metadata": { "resourceVersion": version },
        "items": items,
    })
}
