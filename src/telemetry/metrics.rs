//! Counters and durations, named after facts. No label carries the name of an object: every
//! label has a small closed set of values, so the number of series is fixed.

mod labels;

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use labels::{
    FabricOutcome, HeldBy, Operation, ReconcileResult, TokenResult, TokenSource, WriteResult,
};

/// What an HTTP answer with these metrics must declare.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The `controller` label of the controller-runtime metrics: the kind in lower case, as Go
/// operators have it, so that their dashboards and alerts fit.
const CONTROLLER: &str = "fabricjobcancellation";

/// Seconds. Fabric usually answers within a second; a call is given up after 20.
const FABRIC_BUCKETS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FabricCall {
    operation: Operation,
    outcome: FabricOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FabricDuration {
    operation: Operation,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Held {
    by: HeldBy,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenCall {
    source: TokenSource,
    result: TokenResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Controller {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconcile {
    controller: &'static str,
    result: ReconcileResult,
}

impl Controller {
    const OURS: Self = Self {
        controller: CONTROLLER,
    };
}

impl Reconcile {
    const fn ended(result: ReconcileResult) -> Self {
        Self {
            controller: CONTROLLER,
            result,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    result: WriteResult,
}

type Durations = Family<FabricDuration, Histogram, fn() -> Histogram>;

/// Everything that is counted, and the text that Prometheus reads. Shared behind an `Arc`;
/// counting takes no `&mut`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    fabric_calls: Family<FabricCall, Counter>,
    fabric_durations: Durations,
    held: Family<Held, Counter>,
    token_calls: Family<TokenCall, Counter>,
    ended: Family<Ended, Counter>,
    status_writes: Family<Write, Counter>,
    reconciles: Family<Reconcile, Counter>,
    panics: Family<Controller, Counter>,
    timeouts: Family<Controller, Counter>,
    workers: Family<Controller, Gauge>,
    leader: Gauge,
    lease_failures: Counter,
}

impl Metrics {
    /// All metrics, at zero.
    #[must_use]
    pub fn new() -> Self {
        let fabric_durations: Durations =
            Family::new_with_constructor(|| Histogram::new(FABRIC_BUCKETS));
        let mut metrics = Self {
            registry: Registry::default(),
            fabric_calls: Family::default(),
            fabric_durations,
            held: Family::default(),
            token_calls: Family::default(),
            ended: Family::default(),
            status_writes: Family::default(),
            reconciles: Family::default(),
            panics: Family::default(),
            timeouts: Family::default(),
            workers: Family::default(),
            leader: Gauge::default(),
            lease_failures: Counter::default(),
        };
        metrics.register();
        metrics.start_at_zero();
        metrics
    }

    /// Gives each metric its name and help. The encoder adds `_total` to counters and `_info`
    /// to the build.
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "fabric_operator_build",
            "Which build of the operator this is",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register(
            "fabric_api_requests",
            "Calls to Fabric by what they came to",
            self.fabric_calls.clone(),
        );
        registry.register(
            "fabric_api_request_duration_seconds",
            "Time from the start of a call to Fabric until its answer was read or given up",
            self.fabric_durations.clone(),
        );
        registry.register(
            "fabric_api_requests_held",
            "Times that a request to Fabric was put off before it was sent",
            self.held.clone(),
        );
        registry.register(
            "fabric_token_requests",
            "Token requests to Entra by where the credential came from",
            self.token_calls.clone(),
        );
        registry.register(
            "fabric_cancellations",
            "Cancellations that ended, by the reason that their Ready condition shows",
            self.ended.clone(),
        );
        registry.register(
            "fabric_status_writes",
            "Writes of a cancellation's status to Kubernetes",
            self.status_writes.clone(),
        );
        registry.register(
            "controller_runtime_reconcile",
            "Reconciles by how they ended",
            self.reconciles.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_panics",
            "Reconciles that panicked: each one is a bug in the operator",
            self.panics.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_timeouts",
            "Reconciles that never ended and were given up: each one is a bug in the operator",
            self.timeouts.clone(),
        );
        registry.register(
            "controller_runtime_active_workers",
            "Reconciles that are running now",
            self.workers.clone(),
        );
        registry.register(
            "fabric_operator_leader",
            "Whether this replica acts (1) or stands by (0)",
            self.leader.clone(),
        );
        registry.register(
            "fabric_operator_lease_renewal_failures",
            "Calls of the leader for its Lease that failed or timed out",
            self.lease_failures.clone(),
        );
    }

    /// A series that appears together with its first event hides that event from `rate()`.
    /// The ends of cancellations are the exception: their reasons are listed elsewhere.
    fn start_at_zero(&self) {
        for &operation in Operation::ALL {
            drop(
                self.fabric_durations
                    .get_or_create(&FabricDuration { operation }),
            );
            for &outcome in FabricOutcome::ALL {
                drop(
                    self.fabric_calls
                        .get_or_create(&FabricCall { operation, outcome }),
                );
            }
        }
        for &by in HeldBy::ALL {
            drop(self.held.get_or_create(&Held { by }));
        }
        for &source in TokenSource::ALL {
            for &result in TokenResult::ALL {
                drop(
                    self.token_calls
                        .get_or_create(&TokenCall { source, result }),
                );
            }
        }
        for &result in WriteResult::ALL {
            drop(self.status_writes.get_or_create(&Write { result }));
        }
        for &result in ReconcileResult::ALL {
            drop(self.reconciles.get_or_create(&Reconcile::ended(result)));
        }
        drop(self.panics.get_or_create(&Controller::OURS));
        drop(self.timeouts.get_or_create(&Controller::OURS));
        drop(self.workers.get_or_create(&Controller::OURS));
    }

    /// A call to Fabric came to an end, whatever it was, `took` after its start.
    pub fn fabric_called(&self, operation: Operation, outcome: FabricOutcome, took: Duration) {
        self.fabric_calls
            .get_or_create(&FabricCall { operation, outcome })
            .inc();
        self.fabric_durations
            .get_or_create(&FabricDuration { operation })
            .observe(took.as_secs_f64());
    }

    /// A request to Fabric was put off before it was sent.
    pub fn request_held(&self, by: HeldBy) {
        self.held.get_or_create(&Held { by }).inc();
    }

    /// A token request came to an end.
    pub fn token_requested(&self, source: TokenSource, result: TokenResult) {
        self.token_calls
            .get_or_create(&TokenCall { source, result })
            .inc();
    }

    /// The end of a cancellation was stored; `reason` is the one of its Ready condition.
    pub fn cancellation_ended(&self, reason: &'static str) {
        self.ended.get_or_create(&Ended { outcome: reason }).inc();
    }

    /// A write of a resource's status came to an end.
    pub fn status_written(&self, result: WriteResult) {
        self.status_writes.get_or_create(&Write { result }).inc();
    }

    /// A reconcile begins; it counts as running until the guard is dropped, panics included.
    #[must_use = "the reconcile counts as running until this is dropped"]
    pub fn reconcile_started(&self) -> Reconciling {
        let workers = self.workers.get_or_create_owned(&Controller::OURS);
        workers.inc();
        Reconciling { workers }
    }

    /// A reconcile came to an end.
    pub fn reconciled(&self, result: ReconcileResult) {
        self.reconciles
            .get_or_create(&Reconcile::ended(result))
            .inc();
    }

    /// A reconcile panicked. Count it with [`ReconcileResult::Error`] too.
    pub fn reconcile_panicked(&self) {
        self.panics.get_or_create(&Controller::OURS).inc();
    }

    /// A reconcile was given up because it did not end. Count it with
    /// [`ReconcileResult::Error`] too.
    pub fn reconcile_timed_out(&self) {
        self.timeouts.get_or_create(&Controller::OURS).inc();
    }

    /// This replica acts, or does not.
    pub fn leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// A call of the leader for its Lease failed or timed out.
    pub fn lease_renewal_failed(&self) {
        self.lease_failures.inc();
    }

    /// Everything as OpenMetrics text, to be sent as [`CONTENT_TYPE`].
    #[must_use]
    pub fn to_open_metrics(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("a String takes whatever is written to it");
        out
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A reconcile that is running: see [`Metrics::reconcile_started`].
#[derive(Debug)]
pub struct Reconciling {
    workers: Gauge,
}

impl Drop for Reconciling {
    fn drop(&mut self) {
        self.workers.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The samples of a scrape, without help and type lines.
    fn samples(metrics: &Metrics) -> Vec<String> {
        metrics
            .to_open_metrics()
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    }

    fn has(metrics: &Metrics, sample: &str) {
        let all = samples(metrics);
        assert!(all.iter().any(|s| s == sample), "{sample} not in {all:#?}");
    }

    #[test]
    fn each_fact_is_counted_under_its_own_labels() {
        let metrics = Metrics::new();
        metrics.fabric_called(
            Operation::Cancel,
            FabricOutcome::Accepted,
            Duration::from_millis(300),
        );
        metrics.request_held(HeldBy::Queued);
        metrics.token_requested(TokenSource::Secret, TokenResult::Refused);
        metrics.cancellation_ended("JobCancelled");
        metrics.status_written(WriteResult::Conflict);
        metrics.reconciled(ReconcileResult::RequeueAfter);
        metrics.reconcile_panicked();
        metrics.reconcile_timed_out();
        metrics.leader(true);
        metrics.lease_renewal_failed();

        for sample in [
            r#"fabric_api_requests_total{operation="cancel",outcome="accepted"} 1"#,
            r#"fabric_api_request_duration_seconds_bucket{le="0.25",operation="cancel"} 0"#,
            r#"fabric_api_request_duration_seconds_bucket{le="0.5",operation="cancel"} 1"#,
            r#"fabric_api_request_duration_seconds_sum{operation="cancel"} 0.3"#,
            r#"fabric_api_requests_held_total{by="queued"} 1"#,
            r#"fabric_api_requests_held_total{by="throttled"} 0"#,
            r#"fabric_token_requests_total{source="secret",result="refused"} 1"#,
            r#"fabric_cancellations_total{outcome="JobCancelled"} 1"#,
            r#"fabric_status_writes_total{result="conflict"} 1"#,
            r#"controller_runtime_reconcile_total{controller="fabricjobcancellation",result="requeue_after"} 1"#,
            r#"controller_runtime_reconcile_panics_total{controller="fabricjobcancellation"} 1"#,
            r#"controller_runtime_reconcile_timeouts_total{controller="fabricjobcancellation"} 1"#,
            "fabric_operator_leader 1",
            "fabric_operator_lease_renewal_failures_total 1",
        ] {
            has(&metrics, sample);
        }
    }

    #[test]
    fn series_with_known_labels_exist_at_zero_before_anything_happened() {
        let metrics = Metrics::new();
        for sample in [
            r#"fabric_api_requests_total{operation="get",outcome="throttled"} 0"#,
            r#"fabric_api_request_duration_seconds_count{operation="get"} 0"#,
            r#"fabric_token_requests_total{source="secret",result="issued"} 0"#,
            r#"fabric_status_writes_total{result="stored"} 0"#,
            r#"controller_runtime_reconcile_total{controller="fabricjobcancellation",result="error"} 0"#,
            r#"controller_runtime_reconcile_panics_total{controller="fabricjobcancellation"} 0"#,
            r#"controller_runtime_reconcile_timeouts_total{controller="fabricjobcancellation"} 0"#,
            r#"controller_runtime_active_workers{controller="fabricjobcancellation"} 0"#,
            "fabric_operator_leader 0",
            "fabric_operator_lease_renewal_failures_total 0",
        ] {
            has(&metrics, sample);
        }
        has(
            &metrics,
            concat!(
                r#"fabric_operator_build_info{version=""#,
                env!("CARGO_PKG_VERSION"),
                r#""} 1"#
            ),
        );
    }

    #[test]
    fn a_reconcile_counts_as_running_until_its_guard_is_dropped() {
        let metrics = Metrics::new();
        let running = |n| {
            format!(
                r#"controller_runtime_active_workers{{controller="fabricjobcancellation"}} {n}"#
            )
        };
        let first = metrics.reconcile_started();
        let second = metrics.reconcile_started();
        has(&metrics, &running(2));
        drop(first);
        has(&metrics, &running(1));
        drop(second);
        has(&metrics, &running(0));
    }

    #[test]
    fn the_text_is_complete() {
        assert!(Metrics::new().to_open_metrics().ends_with("# EOF\n"));
    }
}
