//! The election's real loop, several replicas and one API server, in trouble.

use std::{sync::Arc, time::Duration};

use fabric_job_operator::{
    controller::Leadership,
    election::{self, Lost},
    telemetry::{Metrics, Readiness},
};
use fabric_simulator::{HoldPoint, Identity, Route, Rule as Script};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use virtual_cluster::{
    api_server::{Fault, LEASES, NAMESPACE, Rule, Verb},
    clock::pass,
    operator::{Bench, minutes, seconds},
};

const NAME: &str = "fabric-job-operator";

/// The lease, the renew deadline and the wait between attempts with its jitter, in seconds.
const LEASE: u64 = 15;
const RENEW_DEADLINE: u64 = 10;
const RETRY: Duration = Duration::from_millis(2400);

/// One replica's election.
struct Replica {
    name: &'static str,
    told: watch::Receiver<Option<Instant>>,
    readiness: Readiness,
    drained: CancellationToken,
    task: JoinHandle<Result<(), Lost>>,
}

impl Replica {
    fn start(bench: &Bench, name: &'static str) -> Self {
        let calendar = bench.calendar;
        Self::start_with(bench, name, Box::new(move || calendar.now()))
    }

    fn start_with(
        bench: &Bench,
        name: &'static str,
        wall: Box<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Self {
        let settings = election::Settings {
            namespace: NAMESPACE.to_owned(),
            name: NAME.to_owned(),
            identity: name.to_owned(),
            factor: 1,
            wall,
        };
        let (leading, told) = watch::channel(None);
        let drained = CancellationToken::new();
        let readiness = Readiness::not_yet("starting");
        readiness.ready();
        let task = tokio::spawn(election::run(
            bench.server.client(name),
            settings,
            Arc::new(Metrics::new()),
            readiness.clone(),
            leading,
            drained.clone(),
        ));
        Self {
            name,
            told,
            readiness,
            drained,
            task,
        }
    }

    fn leads(&self) -> bool {
        self.told.borrow().is_some()
    }

    async fn lost(mut self) -> Lost {
        let ended = (&mut self.task).await;
        ended
            .expect("the election does not panic")
            .expect_err("it led, and may not any more")
    }

    /// Whatever this replica asks about the Lease meets this fault from now on.
    fn cut_off(&self, bench: &Bench, fault: Fault) {
        for verb in [Verb::Get, Verb::Create, Verb::Update, Verb::Watch] {
            let rule = Rule::on(verb, "leases", fault).by(self.name).always();
            bench.server.inject(rule);
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn holder(bench: &Bench) -> Value {
    let lease = bench.server.get(&LEASES, NAME).expect("there is a Lease");
    lease["spec"]["holderIdentity"].clone()
}

/// Waits until `next` leads; says how long that took, and that `before` never led meanwhile.
async fn takes_over(bench: &Bench, before: &Replica, next: &Replica) -> Duration {
    let began = bench.calendar.elapsed();
    let mut told = next.told.clone();
    let leads = told.wait_for(Option::is_some);
    let waited = tokio::time::timeout(minutes(5), leads).await;
    let told = waited.expect("somebody leads in the end");
    drop(told.expect("the election runs"));
    assert!(!before.leads(), "two leaders");
    bench.calendar.elapsed() - began
}

/// Two replicas, of which `a` leads and `b` has seen so.
async fn two(bench: &Bench) -> (Replica, Replica) {
    let a = Replica::start(bench, "a");
    bench.wait(seconds(20), "a leads", || a.leads()).await;
    let b = Replica::start(bench, "b");
    pass(seconds(1)).await;
    assert!(a.leads() && !b.leads());
    assert_eq!(holder(bench), "a");
    (a, b)
}

#[tokio::test(start_paused = true)]
async fn the_first_leader_waits_once_and_a_leader_stays_for_hours() {
    let bench = Bench::new();
    let a = Replica::start(&bench, "a");
    pass(seconds(LEASE - 1)).await;
    assert!(!a.leads(), "a Lease may have been deleted a moment ago");
    bench
        .wait(seconds(6), "the claim has stood", || a.leads())
        .await;
    let b = Replica::start(&bench, "b");
    for _ in 0..4 {
        pass(minutes(60)).await;
        assert!(a.leads() && !b.leads());
    }
    let lease = bench.server.get(&LEASES, NAME).unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], 0);
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 15);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_the_next_one_begins() {
    for fault in [Fault::Hang, Fault::Answer(500), Fault::LoseRequest] {
        let bench = Bench::new();
        let (a, b) = two(&bench).await;
        a.cut_off(&bench, fault);
        let began = bench.calendar.elapsed();
        let mut told = a.told.clone();
        told.wait_for(Option::is_none).await.unwrap();
        let stopped = bench.calendar.elapsed() - began;
        assert!(stopped <= seconds(RENEW_DEADLINE), "{fault:?}: {stopped:?}");
        let waited = stopped + takes_over(&bench, &a, &b).await;
        assert!(waited >= seconds(LEASE) - RETRY, "{fault:?}: {waited:?}");
        assert!(waited <= seconds(LEASE + 5), "{fault:?}: {waited:?}");
        assert_eq!(a.lost().await, Lost::NotRenewed);
        let lease = bench.server.get(&LEASES, NAME).unwrap();
        assert_eq!(lease["spec"]["leaseTransitions"], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn lost_answers_to_renewals_cost_no_leadership() {
    let bench = Bench::new();
    let (a, b) = two(&bench).await;
    bench
        .server
        .inject(Rule::on(Verb::Update, "leases", Fault::LoseAnswer).always());
    for _ in 0..60 {
        pass(seconds(1)).await;
        assert!(a.leads() && !b.leads(), "it knows its own record again");
    }
}

#[tokio::test(start_paused = true)]
async fn short_troubles_cost_no_leadership() {
    for fault in [
        Fault::Hang,
        Fault::Delay(seconds(4)),
        Fault::Answer(409),
        Fault::Answer(503),
        Fault::LoseRequest,
    ] {
        let bench = Bench::new();
        let (a, b) = two(&bench).await;
        bench
            .server
            .inject(Rule::on(Verb::Update, "leases", fault).by("a"));
        for _ in 0..60 {
            pass(seconds(1)).await;
            assert!(a.leads() && !b.leads(), "{fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn endless_conflicts_end_the_leadership() {
    let bench = Bench::new();
    let (a, b) = two(&bench).await;
    let conflict = Rule::on(Verb::Update, "leases", Fault::Answer(409));
    bench.server.inject(conflict.by("a").always());
    takes_over(&bench, &a, &b).await;
    assert_eq!(a.lost().await, Lost::NotRenewed);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_by_days_changes_nothing() {
    let bench = Bench::new();
    let calendar = bench.calendar;
    let mad = move || {
        let day = SignedDuration::from_hours(24);
        let now = calendar.now();
        if calendar.elapsed().as_secs().is_multiple_of(2) {
            now + day
        } else {
            now - day
        }
    };
    let a = Replica::start_with(&bench, "a", Box::new(mad));
    bench.wait(seconds(20), "a leads", || a.leads()).await;
    let b = Replica::start_with(&bench, "b", Box::new(mad));
    for _ in 0..300 {
        pass(seconds(1)).await;
        assert!(a.leads() && !b.leads());
    }
    a.cut_off(&bench, Fault::Hang);
    let waited = takes_over(&bench, &a, &b).await;
    assert!(waited <= seconds(LEASE + 5), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_planned_hand_over_takes_no_2_s_also_without_the_watch() {
    for (watched, most) in [(true, Duration::from_millis(100)), (false, RETRY)] {
        let bench = Bench::new();
        if !watched {
            let refused = Rule::on(Verb::Watch, "leases", Fault::Answer(403));
            bench.server.inject(refused.always());
        }
        let (a, b) = two(&bench).await;
        a.drained.cancel();
        let waited = takes_over(&bench, &a, &b).await;
        assert!(waited <= most, "watched {watched}: {waited:?}");
        assert_eq!(holder(&bench), "b");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_deleted_while_we_lead_stays_ours() {
    let bench = Bench::new();
    let (a, b) = two(&bench).await;
    bench.server.delete(&LEASES, NAME);
    let c = Replica::start(&bench, "c");
    for _ in 0..60 {
        pass(seconds(1)).await;
        assert!(a.leads() && !b.leads() && !c.leads());
    }
    assert_eq!(holder(&bench), "a", "it is created again");
}

#[tokio::test(start_paused = true)]
async fn a_lease_deleted_while_the_leader_is_cut_off_is_not_free_at_once() {
    let bench = Bench::new();
    let (a, b) = two(&bench).await;
    a.cut_off(&bench, Fault::Hang);
    bench.server.delete(&LEASES, NAME);
    let waited = takes_over(&bench, &a, &b).await;
    assert!(waited >= seconds(LEASE), "{waited:?}");
    assert!(waited <= seconds(LEASE + 5), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_edited_by_hand_never_makes_two_leaders_nor_none_for_ever() {
    let edits = [
        json!({"holderIdentity": "somebody"}),
        json!({"holderIdentity": "", "leaseDurationSeconds": 15}),
        json!({"holderIdentity": null, "leaseDurationSeconds": null, "renewTime": null}),
        json!({"holderIdentity": "b", "leaseDurationSeconds": 1}),
        json!({"holderIdentity": "somebody", "leaseDurationSeconds": -1}),
        json!({"holderIdentity": "somebody", "leaseDurationSeconds": i32::MAX}),
        json!({"holderIdentity": "somebody", "renewTime": "2099-01-01T00:00:00.000000Z"}),
        json!({"leaseDurationSeconds": 0, "leaseTransitions": -3}),
        json!({"holderIdentity": "a", "acquireTime": "never", "renewTime": 7}),
    ];
    for edit in edits {
        let bench = Bench::new();
        let (a, b) = two(&bench).await;
        bench.server.edit(&LEASES, NAME, |lease| {
            for (field, value) in edit.as_object().unwrap() {
                lease["spec"][field] = value.clone();
            }
        });
        let mut somebody_led = 0;
        for _ in 0..(LEASE * 5) {
            pass(seconds(1)).await;
            assert!(!(a.leads() && b.leads()), "{edit}");
            somebody_led = if a.leads() || b.leads() {
                somebody_led + 1
            } else {
                0
            };
        }
        assert!(somebody_led > 5, "{edit}: nobody leads for ever");
    }
}

#[tokio::test(start_paused = true)]
async fn fields_of_a_newer_kubernetes_stay_in_the_lease() {
    let bench = Bench::new();
    let (_a, _b) = two(&bench).await;
    bench.server.edit(&LEASES, NAME, |lease| {
        lease["spec"]["strategy"] = json!("OldestEmulationVersion");
        lease["metadata"]["labels"] = json!({"team": "x"});
    });
    pass(minutes(1)).await;
    let lease = bench.server.get(&LEASES, NAME).unwrap();
    assert_eq!(lease["spec"]["strategy"], "OldestEmulationVersion");
    assert_eq!(lease["metadata"]["labels"]["team"], "x");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_may_not_read_the_lease_is_not_ready_and_names_the_role() {
    let bench = Bench::new();
    let forbidden = Rule::on(Verb::Get, "leases", Fault::Answer(403));
    bench.server.inject(forbidden.always());
    let a = Replica::start(&bench, "a");
    pass(seconds(3)).await;
    let reason = a.readiness.reason().expect("not ready");
    assert!(
        reason.contains("Role fabric-job-operator-lease"),
        "{reason}"
    );
    bench.server.heal();
    pass(seconds(3)).await;
    assert_eq!(a.readiness.reason(), None);
    // Later troubles are outages: everybody has them.
    a.cut_off(&bench, Fault::Answer(503));
    pass(seconds(60)).await;
    assert_eq!(a.readiness.reason(), None);
}

/// The bench's operator follows this lease.
fn following(bench: &mut Bench) -> watch::Sender<Option<Instant>> {
    let (lease, told) = watch::channel(None);
    bench.start_following(Leadership::following(told));
    lease
}

fn good_for(time: Duration) -> Option<Instant> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a lease ends at a moment of this clock"
    )]
    Some(Instant::now() + time)
}

#[tokio::test(start_paused = true)]
async fn a_standby_is_ready_and_touches_nothing_until_it_leads() {
    let mut bench = Bench::new();
    let lease = following(&mut bench);
    bench
        .wait(minutes(1), "ready", || bench.not_ready().is_none())
        .await;
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    bench.cancel("wrong", job, json!({"suspend": true}));
    pass(minutes(60)).await;
    bench.label("a", "edited");
    pass(minutes(60)).await;
    assert_eq!(bench.calls(), []);
    assert_eq!(bench.server.writes_of("a").len(), 0);
    assert_eq!(bench.server.writes_of("wrong").len(), 0);
    assert_eq!(bench.fabric.requests(Route::Token).len(), 0);

    lease.send_replace(good_for(minutes(600)));
    bench.ended("a", minutes(10)).await;
    assert_eq!(bench.cancels(job).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ends_between_intent_and_request_stops_the_request() {
    // How long the lease is good for, how long the intent's write takes, and what may be sent.
    for (good, takes, sent) in [(15, 9, 1), (12, 8, 0), (8, 9, 0)] {
        let mut bench = Bench::new();
        let lease = following(&mut bench);
        bench
            .wait(minutes(1), "ready", || bench.not_ready().is_none())
            .await;
        let job = bench.job(1);
        bench.cancel("a", job, json!({}));
        let slow = Fault::Delay(seconds(takes));
        let status = "fabricjobcancellations/status";
        bench.server.inject(Rule::on(Verb::Patch, status, slow));
        // Nobody renews it, and nobody says that it ended.
        lease.send_replace(good_for(seconds(good)));
        pass(minutes(5)).await;
        assert_eq!(
            bench.status("a")["attempts"],
            1,
            "{good} {takes}: the intent"
        );
        assert_eq!(bench.cancels(job).len(), sent, "{good} {takes}");
        assert_eq!(
            bench.looks(job).len(),
            0,
            "{good} {takes}: nothing else begins"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_recorded_although_the_lease_moved_meanwhile() {
    let mut bench = Bench::new();
    let lease = following(&mut bench);
    bench
        .wait(minutes(1), "ready", || bench.not_ready().is_none())
        .await;
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    let held = bench
        .fabric
        .script(Script::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    lease.send_replace(good_for(seconds(LEASE)));
    held.wait_for_arrivals(1, minutes(1)).await.unwrap();
    lease.send_replace(None);
    held.release();
    pass(minutes(5)).await;
    assert!(bench.status("a")["acceptedTime"].is_string());
    assert_eq!(bench.looks(job), Vec::<i64>::new(), "the next leader's");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_not_met_with_a_second_request_after_the_lease_ended() {
    let mut bench = Bench::new();
    let lease = following(&mut bench);
    bench
        .wait(minutes(1), "ready", || bench.not_ready().is_none())
        .await;
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    let held = bench
        .fabric
        .script(Script::on(Route::Cancel).hold(HoldPoint::BeforeProcessing));
    lease.send_replace(good_for(seconds(LEASE)));
    held.wait_for_arrivals(1, minutes(1)).await.unwrap();
    let identity = Identity::new(Uuid::from_u128(1), Uuid::from_u128(2));
    assert_eq!(bench.fabric.revoke_tokens(&identity), 1);
    lease.send_replace(None);
    held.release();
    pass(minutes(5)).await;
    assert_eq!(bench.cancels(job).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_over_a_found_intent_looks_first() {
    let mut bench = Bench::new();
    let first = following(&mut bench);
    bench
        .wait(minutes(1), "ready", || bench.not_ready().is_none())
        .await;
    let job = bench.job(1);
    bench.cancel("a", job, json!({}));
    let held = bench
        .fabric
        .script(Script::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    first.send_replace(good_for(seconds(LEASE)));
    held.wait_for_arrivals(1, minutes(1)).await.unwrap();
    bench.kill();
    let second = following(&mut bench);
    second.send_replace(good_for(minutes(600)));
    bench.ended("a", minutes(10)).await;
    assert_eq!(bench.cancels(job).len(), 1, "the look showed the end");
    assert_eq!(bench.ready("a"), "True JobCancelled");
}
