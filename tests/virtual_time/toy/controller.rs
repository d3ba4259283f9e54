//! What the real kube `Controller` does under paused time, with a reconcile that only counts.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use fabric_job_operator::api::FabricJobCancellation;
use futures::StreamExt;
use jiff::SignedDuration;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{Controller, controller::Action, watcher},
};
use serde_json::json;

use virtual_cluster::{
    api_server::{ApiServer, CANCELLATIONS, Fault, NAMESPACE, OPERATOR, Rule, Verb},
    clock::{Calendar, pass},
};

/// What one reconcile saw.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    /// Since the start of the test.
    at: Duration,
    resource_version: String,
}

struct Toy {
    calendar: Calendar,
    server: ApiServer,
    runs: Arc<Mutex<Vec<Run>>>,
    task: tokio::task::JoinHandle<()>,
}

/// What a reconcile does beside counting.
#[derive(Clone, Copy, PartialEq)]
enum Habit {
    Watches,
    /// Writes the status of an object that has none, as naively as kube allows.
    WritesOnce,
}

impl Toy {
    fn start(requeue: Duration, habit: Habit) -> Self {
        let calendar = Calendar::new();
        let server = ApiServer::new(calendar);
        server.create(&CANCELLATIONS, cancellation("a"));
        let runs = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&runs);
        let api: Api<FabricJobCancellation> = Api::namespaced(server.client(OPERATOR), NAMESPACE);
        let controller = Controller::new(api.clone(), watcher::Config::default());
        let reconcile = move |object: Arc<FabricJobCancellation>, _: Arc<()>| {
            let run = Run {
                at: calendar.elapsed(),
                resource_version: object.resource_version().expect("a stored object has one"),
            };
            book.lock().expect("no holder of the lock panics").push(run);
            let api = api.clone();
            async move {
                let fresh = object
                    .status
                    .as_ref()
                    .is_none_or(|status| status.request_id.is_none());
                if habit == Habit::WritesOnce && fresh {
                    api.patch_status(
                        "a",
                        &PatchParams::apply("toy").force(),
                        &status(&json!({"requestId": "1"})),
                    )
                    .await?;
                }
                Ok::<_, kube::Error>(Action::requeue(requeue))
            }
        };
        let stream = controller.run(
            reconcile,
            |_, _, _| Action::requeue(Duration::from_secs(5)),
            Arc::new(()),
        );
        let task = tokio::spawn(stream.for_each(|_| async {}));
        Self {
            calendar,
            server,
            runs,
            task,
        }
    }

    fn runs(&self) -> Vec<Run> {
        self.runs
            .lock()
            .expect("no holder of the lock panics")
            .clone()
    }

    fn seconds(&self) -> Vec<u64> {
        self.runs().iter().map(|run| run.at.as_secs()).collect()
    }

    fn requests(&self, verb: Verb) -> usize {
        self.server
            .ledger()
            .iter()
            .filter(|entry| entry.verb == verb)
            .count()
    }
}

impl Drop for Toy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn cancellation(name: &str) -> serde_json::Value {
    json!({
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "workspaceId": "11111111-1111-4111-8111-111111111111",
            "itemId": "22222222-2222-4222-8222-222222222222",
            "jobInstanceId": "33333333-3333-4333-8333-333333333333",
        },
    })
}

pub fn status(status: &serde_json::Value) -> Patch<serde_json::Value> {
    Patch::Apply(json!({
        "apiVersion": "fabricjobs.dev/v1alpha1",
        "kind": "FabricJobCancellation",
        "status": status,
    }))
}

#[tokio::test(start_paused = true)]
async fn a_day_of_hourly_requeues_passes_at_its_exact_hours() {
    let toy = Toy::start(Duration::from_secs(3600), Habit::Watches);
    pass(Duration::from_secs(24 * 3600 + 60)).await;
    let hours: Vec<_> = (0..=24).map(|hour| hour * 3600).collect();
    assert_eq!(toy.seconds(), hours);
    assert_eq!(toy.requests(Verb::List), 1);
    assert!(
        toy.requests(Verb::Watch) >= 24 * 3600 / 290,
        "watches end after 290 s and begin anew"
    );
}

#[tokio::test(start_paused = true)]
async fn an_own_write_wakes_the_watch() {
    let toy = Toy::start(Duration::from_secs(3600), Habit::WritesOnce);
    pass(Duration::from_secs(10)).await;
    assert_eq!(toy.seconds(), [0, 0]);
    let versions: Vec<_> = toy
        .runs()
        .into_iter()
        .map(|run| run.resource_version)
        .collect();
    assert_eq!(versions, ["100", "101"]);
    assert_eq!(toy.server.writes_of("a").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lagging_watch_shows_the_object_as_it_was_before_the_own_write() {
    let toy = Toy::start(Duration::from_millis(100), Habit::WritesOnce);
    toy.server.lag_watches(Duration::from_millis(500));
    pass(Duration::from_secs(2)).await;
    let stale = toy
        .runs()
        .iter()
        .filter(|run| run.resource_version == "100")
        .count();
    assert!(stale >= 4, "{:?}", toy.runs());
    assert!(
        toy.server.writes_of("a").len() >= 4,
        "the naive toy writes again on each stale run"
    );
    assert_eq!(
        toy.runs().last().expect("it ran").resource_version,
        "101",
        "the same apply is no change"
    );
}

#[tokio::test(start_paused = true)]
async fn an_edit_in_the_middle_of_a_wait_replaces_the_wait() {
    let toy = Toy::start(Duration::from_secs(5), Habit::Watches);
    pass(Duration::from_secs(3)).await;
    toy.server.edit(&CANCELLATIONS, "a", |object| {
        object["metadata"]["labels"] = json!({"a": "b"})
    });
    pass(Duration::from_secs(11)).await;
    assert_eq!(toy.seconds(), [0, 3, 8, 13]);
}

#[tokio::test(start_paused = true)]
async fn a_relist_in_the_middle_of_a_wait_wakes_the_reconcile_early() {
    let toy = Toy::start(Duration::from_secs(3600), Habit::Watches);
    pass(Duration::from_secs(600)).await;
    toy.server.expire_watches();
    pass(Duration::from_secs(60)).await;
    assert_eq!(toy.requests(Verb::List), 2);
    assert_eq!(toy.runs().len(), 2, "{:?}", toy.runs());
}

#[tokio::test(start_paused = true)]
async fn a_closed_watch_resumes_without_a_list_and_misses_nothing() {
    let toy = Toy::start(Duration::from_secs(3600), Habit::Watches);
    pass(Duration::from_secs(10)).await;
    toy.server.close_watches();
    toy.server.edit(&CANCELLATIONS, "a", |object| {
        object["metadata"]["labels"] = json!({"a": "b"})
    });
    pass(Duration::from_secs(10)).await;
    assert_eq!(toy.requests(Verb::List), 1);
    assert_eq!(toy.seconds(), [0, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_watch_shows_its_changes_when_it_thaws() {
    let toy = Toy::start(Duration::from_secs(3600), Habit::Watches);
    toy.server.freeze_watches(false);
    pass(Duration::from_secs(1)).await;
    toy.server.freeze_watches(true);
    toy.server.edit(&CANCELLATIONS, "a", |object| {
        object["metadata"]["labels"] = json!({"a": "b"})
    });
    pass(Duration::from_secs(60)).await;
    assert_eq!(toy.runs().len(), 1);
    toy.server.freeze_watches(false);
    pass(Duration::from_secs(1)).await;
    assert_eq!(toy.runs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_missing_crd_is_waited_for() {
    let toy = Toy::start(Duration::from_secs(3600), Habit::Watches);
    toy.server.install(None);
    pass(Duration::from_secs(120)).await;
    assert_eq!(toy.runs(), []);
    toy.server
        .install(Some(virtual_cluster::api_server::Schema::shipped()));
    pass(Duration::from_secs(60)).await;
    assert_eq!(toy.runs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn refused_and_lost_lists_delay_the_controller_and_do_not_end_it() {
    let toy = Toy::start(Duration::from_secs(3600), Habit::Watches);
    for fault in [Fault::Answer(503), Fault::LoseRequest, Fault::LoseAnswer] {
        toy.server
            .inject(Rule::on(Verb::List, "fabricjobcancellations", fault));
    }
    pass(Duration::from_secs(60)).await;
    let mut lists = toy.server.ledger();
    lists.retain(|entry| entry.verb == Verb::List);
    let codes: Vec<_> = lists.iter().map(|entry| entry.code).collect();
    assert_eq!(codes, [Some(503), None, None, Some(200)]);
    let pauses = lists
        .windows(2)
        .map(|pair| pair[1].time.duration_since(pair[0].time));
    assert!(
        pauses.min() >= Some(SignedDuration::from_millis(800)),
        "kube's own back-off"
    );
    assert_eq!(toy.runs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_happens_is_stamped_with_virtual_time() {
    let toy = Toy::start(Duration::from_secs(3600), Habit::Watches);
    pass(Duration::from_secs(3600)).await;
    toy.server.create(&CANCELLATIONS, cancellation("b"));
    let created = toy.server.get(&CANCELLATIONS, "b").expect("it was created");
    assert_eq!(
        created["metadata"]["creationTimestamp"],
        json!("2026-01-05T09:00:00Z")
    );
    assert_eq!(
        toy.calendar.now() - SignedDuration::from_hours(1),
        virtual_cluster::clock::START.parse().unwrap()
    );
}
