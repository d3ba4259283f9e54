//! Whether the cluster knows the custom resource as this binary does.
//!
//! Seen in the published OpenAPI document, which every authenticated user may read: no right on
//! CustomResourceDefinitions is needed.

use std::time::Duration;

use kube::{Client, Resource};
use serde::Deserialize;
use serde_json::Value;

use crate::api::{self, FabricJobCancellation};

use super::clock::{SLOWEST_ANSWER, monotonic};
use super::kubernetes::{CallError, within_deadline};

/// The command that mends whatever is wrong with the schema.
const FIX: &str = "fabric-job-operator crd | kubectl apply --server-side -f -";

/// What stands in the way of starting.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaProblem {
    #[error("the Kubernetes API cannot be reached: {0}")]
    Unreachable(#[source] CallError),
    #[error("the CustomResourceDefinition is missing; install it: {FIX}")]
    Missing,
    #[error(
        "the CustomResourceDefinition is older than this operator (it lacks {0}); update it: {FIX}"
    )]
    Outdated(String),
}

/// Compares the schema that the API server publishes with the one of this binary.
pub(super) async fn check(client: &Client) -> Result<(), SchemaProblem> {
    let (group, version) = (
        FabricJobCancellation::group(&()),
        FabricJobCancellation::version(&()),
    );
    let request = http::Request::get(format!("/openapi/v3/apis/{group}/{version}"))
        .body(Vec::new())
        .expect("a path of fixed parts is a valid URI");
    let document: Value = match within_deadline(client.request(request)).await {
        Ok(document) => document,
        Err(error) if error.is_not_found() => return Err(SchemaProblem::Missing),
        Err(error) => return Err(SchemaProblem::Unreachable(error)),
    };
    let published = document["components"]["schemas"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(_, schema)| schema)
        .find(|schema| is_ours(schema))
        .ok_or(SchemaProblem::Missing)?;
    match first_missing(&own(), published, "") {
        Some(field) => Err(SchemaProblem::Outdated(field)),
        None => Ok(()),
    }
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

fn is_ours(schema: &Value) -> bool {
    schema["x-kubernetes-group-version-kind"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|kind| Kind::deserialize(kind).ok())
        .any(|kind| kind.kind == FabricJobCancellation::kind(&()))
}

fn own() -> Value {
    let version = api::crd().spec.versions.swap_remove(0);
    let schema = version.schema.and_then(|schema| schema.open_api_v3_schema);
    serde_json::to_value(schema).expect("a schema is valid JSON")
}

/// The first property of `own` that `published` lacks, as a path.
fn first_missing(own: &Value, published: &Value, path: &str) -> Option<String> {
    let properties = own["properties"].as_object()?;
    properties.iter().find_map(|(name, schema)| {
        let path = format!("{path}.{name}");
        match published["properties"].get(name) {
            None => Some(path),
            // What the API server adds to metadata is its own business.
            Some(_) if path == ".metadata" => None,
            Some(theirs) => first_missing(schema, theirs, &path),
        }
    })
}

/// How often the API server's clock is asked for in a row while the answers are too slow.
const READINGS: usize = 3;

/// What the API server's clock showed, and how long ago that may have been at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub date: jiff::Timestamp,
    pub took: Duration,
}

/// The API server's clock, read from the `Date` of an answer that everybody may have; the last of
/// three where all are slow. `None` when it shows none.
pub(super) async fn date(client: &Client) -> Result<Option<Reading>, CallError> {
    let mut last = None;
    for _ in 0..READINGS {
        let request = http::Request::get("/version")
            .body(kube::client::Body::empty())
            .expect("a fixed path is a valid URI");
        let asked = monotonic();
        let answer = within_deadline(client.send(request)).await?;
        let took = asked.elapsed();
        last = date_of(answer.headers()).map(|date| Reading { date, took });
        if took <= SLOWEST_ANSWER {
            return Ok(last);
        }
        tracing::debug!(
            milliseconds = took.as_millis(),
            "the Kubernetes API answered slowly: its clock is asked for again"
        );
    }
    Ok(last)
}

fn date_of(headers: &http::HeaderMap) -> Option<jiff::Timestamp> {
    let date = headers.get(http::header::DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::parse(date).ok()?;
    Some(date.timestamp())
}

#[cfg(test)]
mod tests {
    use super::super::clock::{Alignment, Clock};
    use super::*;

    #[test]
    fn a_field_that_the_cluster_lacks_is_named() {
        let own = own();
        assert_eq!(first_missing(&own, &own, ""), None);
        let mut older = own.clone();
        older["properties"]["status"]["properties"]["job"]["properties"]
            .as_object_mut()
            .expect("job has properties")
            .remove("status");
        assert_eq!(
            first_missing(&own, &older, ""),
            Some(".status.job.status".to_owned())
        );
    }

    #[test]
    fn a_leap_second_in_the_date_of_the_api_server_is_read_as_the_second_before_it() {
        let shown = |text| {
            let value = http::HeaderValue::from_static(text);
            date_of(&http::HeaderMap::from_iter([(http::header::DATE, value)]))
        };
        let before = shown("Sat, 31 Dec 2016 23:59:59 GMT");
        assert!(before.is_some());
        assert_eq!(shown("Sat, 31 Dec 2016 23:59:60 GMT"), before);
    }

    /// An API server whose answers take this long, one after the other, and show its true time.
    fn slow(answers: Vec<u64>) -> Client {
        let begin = monotonic();
        let answers = std::sync::Arc::new(std::sync::Mutex::new(answers.into_iter()));
        Client::new(
            tower::service_fn(move |_| {
                let wait = answers.lock().unwrap().next().expect("no more was asked");
                let shown = jiff::Timestamp::UNIX_EPOCH + begin.elapsed();
                async move {
                    let wait = Duration::from_millis(wait);
                    let never = std::future::pending::<()>();
                    let _ = tokio::time::timeout(wait, never).await;
                    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
                        .timestamp_to_rfc9110_string(&shown)
                        .unwrap();
                    let answer = http::Response::builder().header("date", date);
                    Ok::<_, tower::BoxError>(answer.body(kube::client::Body::empty()).unwrap())
                }
            }),
            "default",
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_correct_clock_stays_however_slowly_the_api_server_answers() {
        for answers in [
            vec![0],
            vec![1_999],
            vec![9_000, 500],
            vec![6_000, 2_001, 2_000],
            vec![6_000, 9_999, 9_999],
        ] {
            let client = slow(answers.clone());
            let clock = Clock::starting_at(jiff::Timestamp::UNIX_EPOCH);
            let read = date(&client).await.unwrap().unwrap();
            let aligned = clock.align(read.date, read.took, true);
            assert_eq!(aligned, Alignment::Agrees, "{answers:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_wrong_by_hours_is_set_by_slow_answers_too() {
        for ahead in [-3_600, 3_600] {
            let client = slow(vec![6_000, 9_999, 9_000]);
            let start = jiff::Timestamp::from_second(ahead).unwrap();
            let clock = Clock::starting_at(start);
            let read = date(&client).await.unwrap().unwrap();
            let aligned = clock.align(read.date, read.took, true);
            assert!(matches!(aligned, Alignment::Corrected(_)), "{aligned:?}");
            let off = clock.now().as_second() - 24;
            assert!((-9..=0).contains(&off), "{off} s off");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_answer_is_preferred_and_another_is_asked_for() {
        let at = |client| async move {
            let read = date(&client).await.unwrap().unwrap();
            (read.date.as_second(), read.took.as_millis())
        };
        assert_eq!(at(slow(vec![2_000])).await, (0, 2_000));
        assert_eq!(at(slow(vec![6_000, 9_000, 100])).await, (15, 100));
        assert_eq!(at(slow(vec![2_001, 2_001, 2_002])).await, (4, 2_002));
    }
}
