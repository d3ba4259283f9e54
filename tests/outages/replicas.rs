//! Two replicas: planned hand-overs, crashes, a leader that is frozen, and a Lease edited by hand.
//! One at a time, because a leader that this machine slows down loses its Lease.

use std::collections::BTreeSet;
use std::time::Duration;

use bench::{Operator, Scene, Setup, Signal, journeys};
use control_plane::{ControlPlane, Suite};
use fabric_simulator::{HoldPoint, JobRef, Route, Rule, ScriptHandle};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{PATIENCE, install_crd, setup};

const NAME: &str = "fabric-job-operator";

/// A crash is noticed after the lease; then a look must be due.
const CRASH: SignedDuration = SignedDuration::from_secs(15 + 5);

pub fn journeys(suite: Suite) -> Suite {
    journeys![suite;
        a_planned_hand_over_takes_2_s_and_sends_nothing_twice,
        after_a_crash_the_standby_acts_within_the_lease_and_5_s,
        a_leader_frozen_between_intent_and_request_sends_nothing_when_it_goes_on,
        a_lease_taken_by_hand_ends_the_leader_and_is_not_respected_for_ever,
    ]
}

/// The lease lasts 3 s of real time, the renew deadline 2 s.
fn replicas() -> Setup {
    setup().faster(5).elected()
}

/// A scene whose own operator leads, and a standby.
async fn two(plane: &ControlPlane, setup: Setup) -> (Scene, Operator) {
    install_crd(plane).await;
    let mut scene = Scene::start(plane, setup).await;
    leads(scene.operator()).await;
    let standby = scene.another_operator();
    standby.ready().await;
    (scene, standby)
}

async fn leads(operator: &Operator) {
    operator
        .wait_for_log("that it leads", |log| log.contains("leading: this replica"))
        .await;
}

/// When the operator logged this message.
fn logged_at(operator: &Operator, message: &str) -> Timestamp {
    let log = operator.log();
    let found = log.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let said = line["message"].as_str()?.starts_with(message);
        said.then(|| line["timestamp"].as_str()?.parse().ok())?
    });
    found.unwrap_or_else(|| panic!("{message:?} was not logged:\n{log}"))
}

fn last_line(operator: &Operator) -> String {
    operator.log().lines().last().unwrap_or_default().to_owned()
}

/// Many cancellations, some of them accepted, none looked at, and one between request and record.
struct InFlight {
    jobs: Vec<JobRef>,
    held: ScriptHandle,
}

impl InFlight {
    /// Nobody is looked at before the leader changes, and no quota makes anybody wait.
    fn setup() -> Setup {
        let mut quiet = replicas().fabric(|settings| {
            settings.accepted_retry_after = Some(Duration::from_secs(60));
        });
        quiet.arguments = vec!["--requests-per-minute=2000".to_owned()];
        quiet
    }

    /// The first minute of a gate lets one through at a time, so one is held and no more.
    async fn of(scene: &Scene, many: usize, accepted: u32) -> Self {
        let jobs: Vec<_> = (0..many).map(|_| scene.another_job()).collect();
        let through = scene.fabric.script(Rule::on(Route::Cancel).times(accepted));
        let held = scene
            .fabric
            .script(Rule::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
        for (number, job) in jobs.iter().enumerate() {
            scene
                .cancel_job(&format!("job-{number}"), job, json!({}))
                .await;
        }
        through
            .wait_for_arrivals(accepted.into(), PATIENCE)
            .await
            .expect("POSTs");
        held.wait_for_arrivals(1, PATIENCE).await.expect("a POST");
        Self { jobs, held }
    }

    /// They all end, and each was asked for once.
    async fn end_with_one_post_each(&self, scene: &Scene) {
        for (number, job) in self.jobs.iter().enumerate() {
            scene
                .wait_for_end(&format!("job-{number}"), "JobCancelled")
                .await;
            assert_eq!(scene.requests(Route::Cancel, job).len(), 1, "job-{number}");
        }
    }
}

async fn a_planned_hand_over_takes_2_s_and_sends_nothing_twice(plane: &ControlPlane) {
    const MANY: usize = 200;
    let (mut scene, standby) = two(plane, InFlight::setup()).await;
    for (operator, leader) in [(&standby, 0), (&*scene.operator(), 1)] {
        let (code, body) = operator.get("--health-probe-bind-address", "/readyz").await;
        assert_eq!(code, 200, "{body}");
        let (code, body) = operator.get("--metrics-bind-address", "/metrics").await;
        assert_eq!(code, 200);
        assert!(body.contains(&format!("fabric_operator_leader {leader}\n")));
    }

    let in_flight = InFlight::of(&scene, MANY, 100).await;
    scene.operator().signal(Signal::TERM);
    in_flight.held.release();
    let status = scene.operator().ended().await;
    assert!(status.success(), "{}", last_line(scene.operator()));
    leads(&standby).await;
    let ended = logged_at(scene.operator(), "ended:");
    let began = logged_at(&standby, "leading: this replica");
    let pause = began.duration_since(ended);
    println!("handed over in {pause:#}, with {MANY} in flight");
    assert!(pause < SignedDuration::from_secs(2), "{pause:?}");

    in_flight.end_with_one_post_each(&scene).await;
    let audit = plane.audit().await.expect("the audit log");
    let audit = audit.by_user(&scene.operator_user());
    let leases = audit.only(|entry| entry.resource == "leases");
    let verbs: BTreeSet<_> = leases.iter().map(|entry| entry.verb.clone()).collect();
    let granted = ["create", "get", "update", "watch"].map(str::to_owned);
    assert_eq!(verbs, BTreeSet::from(granted), "as the Role has it");
    assert!(
        leases.iter().all(|entry| entry.code != Some(403)),
        "{leases}"
    );
}

async fn after_a_crash_the_standby_acts_within_the_lease_and_5_s(plane: &ControlPlane) {
    const MANY: usize = 60;
    let (mut scene, standby) = two(plane, InFlight::setup()).await;
    let in_flight = InFlight::of(&scene, MANY, 30).await;
    scene.operator().kill();
    let killed = scene.fabric.clock().now();
    in_flight.held.release();
    let next = scene.fabric.wait_for(PATIENCE, |asked| {
        Route::FABRIC.contains(&asked.route) && asked.time > killed
    });
    let next = next.await.expect("the standby goes on");
    let waited = next.time.duration_since(killed);
    println!("{waited:#} from the kill to the next leader's first request");
    assert!(waited <= CRASH, "{waited:?}");
    assert!(standby.log().contains("leading: this replica"));
    // The one in between was looked at first, and its job was cancelled.
    in_flight.end_with_one_post_each(&scene).await;
}

async fn a_leader_frozen_between_intent_and_request_sends_nothing_when_it_goes_on(
    plane: &ControlPlane,
) {
    let (mut scene, standby) = two(plane, replicas()).await;
    let token = scene
        .fabric
        .script(Rule::on(Route::Token).hold(HoldPoint::BeforeProcessing));
    scene.cancel("job", json!({})).await;
    token.wait_for_arrivals(1, PATIENCE).await.expect("a token");
    // The intent is on its way to an API server that does not read it yet.
    plane.pause_apiserver().expect("it can be paused");
    token.release();
    let answered = |ledger: &[fabric_simulator::Entry]| {
        let token = ledger.iter().find(|entry| entry.route == Route::Token)?;
        token.status.map(|_| ())
    };
    scene
        .fabric
        .wait_until(PATIENCE, answered)
        .await
        .expect("the token is answered");
    // Nothing shows when the write has left; the assertion below says whether it had.
    tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>())
        .await
        .expect_err("a moment");
    scene.operator().signal(Signal::STOP);
    plane.resume_apiserver().await.expect("it goes on");
    scene
        .wait("job", "the intent", |job| job["status"]["attempts"] == 1)
        .await;
    assert_eq!(scene.cancels().len(), 0);
    leads(&standby).await;
    scene.operator().signal(Signal::CONT);

    let status = scene.operator().ended().await;
    assert_eq!(status.code(), Some(1), "{}", last_line(scene.operator()));
    let last = last_line(scene.operator());
    assert!(last.contains("not the leader any more"), "{last}");
    assert!(scene.log().contains("nothing was sent"), "{}", scene.log());
    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(ended["status"]["attempts"], 2, "the standby asked anew");
    assert_eq!(scene.cancels().len(), 1, "the frozen one sent nothing");
}

async fn a_lease_taken_by_hand_ends_the_leader_and_is_not_respected_for_ever(plane: &ControlPlane) {
    let (mut scene, standby) = two(plane, replicas()).await;
    let leases: Api<Lease> = Api::namespaced(scene.client(), &scene.namespace);
    let edit = json!({"spec": {
        "holderIdentity": "somebody",
        "leaseDurationSeconds": i32::MAX,
        "renewTime": "2099-01-01T00:00:00.000000Z",
    }});
    leases
        .patch(NAME, &PatchParams::default(), &Patch::Merge(&edit))
        .await
        .expect("a Lease can be edited");
    let status = scene.operator().ended().await;
    assert_eq!(status.code(), Some(1));
    let last = last_line(scene.operator());
    assert!(last.contains("somebody"), "{last}");
    leads(&standby).await;
    scene.cancel("job", json!({})).await;
    scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(scene.cancels().len(), 1);
}
