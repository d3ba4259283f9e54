//! Structured logs on standard error: standard output belongs to what a command prints.

use std::fmt;
use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged when nobody says otherwise: our own decisions and what kube reports of its
/// watch; of the HTTP libraries only what went wrong.
pub const DEFAULT_FILTER: &str = "info,kube=info,hyper=warn,hyper_util=warn,h2=warn,rustls=warn";

/// Where kube-client logs whole bodies that it cannot decode (5.0.0, `Client::request`: at WARN),
/// also that of a Secret. Exactly this target: those below it log no bodies.
const LOGS_BODIES: &str = "kube_client::client";

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One line for people.
    Text,
    /// One JSON object per line, with the stable keys `timestamp`, `level`, `target`, `message`;
    /// an event's fields stand beside them, those of its innermost span below `span`.
    Json,
}

impl Format {
    /// Text where a person watches, JSON where a machine collects.
    #[must_use]
    pub fn for_this_terminal() -> Self {
        if io::stderr().is_terminal() {
            Self::Text
        } else {
            Self::Json
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Which lines are logged, in the syntax of `RUST_LOG`. Checked when parsed, so that a typing
/// error ends the process instead of silencing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

impl Filter {
    /// Reads directives such as `info,fabric_job_operator=debug`.
    ///
    /// # Errors
    ///
    /// When a directive cannot be read; the whole text is refused, not only that directive.
    pub fn parse(directives: &str) -> Result<Self, ParseError> {
        EnvFilter::try_new(directives)?;
        Ok(Self(directives.to_owned()))
    }

    fn to_env_filter(&self) -> EnvFilter {
        EnvFilter::try_new(&self.0).expect("the directives were parsed before")
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self(DEFAULT_FILTER.to_owned())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Sends the process's log lines, and the report of every panic, to standard error.
///
/// The first call in a process counts; a later one changes nothing.
pub fn init(format: Format, filter: &Filter) {
    init_to(format, filter, io::stderr);
}

/// As [`init`], to somewhere else than standard error.
pub fn init_to<W>(format: Format, filter: &Filter, out: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let installed = match format {
        Format::Text => text(filter, out).try_init(),
        Format::Json => json(filter, out).try_init(),
    };
    if installed.is_ok() {
        report_panics();
    }
}

/// What both formats stand on. No filter that an operator's administrator sets can make a body
/// appear: the error that kube returns beside it says what could not be decoded.
fn filtered(filter: &Filter) -> impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync + use<> {
    tracing_subscriber::registry()
        .with(filter.to_env_filter())
        .with(filter_fn(may_be_logged))
}

fn may_be_logged(line: &Metadata<'_>) -> bool {
    line.target() != LOGS_BODIES || *line.level() <= LevelFilter::ERROR
}

/// The human-readable subscriber, writing to `out`.
fn text<W>(filter: &Filter, out: W) -> impl SubscriberInitExt + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    filtered(filter).with(tracing_subscriber::fmt::layer().with_writer(out))
}

/// The machine-readable subscriber, writing to `out`.
fn json<W>(filter: &Filter, out: W) -> impl SubscriberInitExt + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    filtered(filter).with(
        tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_writer(out),
    )
}

/// A panic costs one object or ends the process with a reason; its report must not break the
/// log's format in either case.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let what = panic
            .payload_as_str()
            .unwrap_or("a panic without a message");
        tracing::error!(place, "a bug in the operator: {what}");
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn a_json_line_has_its_fields_beside_the_stable_keys() {
        let sink = Sink::default();
        let out = sink.clone();
        let subscriber: tracing::Dispatch = json(&Filter::default(), move || out.clone()).into();
        tracing::dispatcher::with_default(&subscriber, || {
            let span = tracing::info_span!("reconciling object", object.ref = "team/stop-it");
            let _inside = span.enter();
            tracing::info!(request_id = "r-1", "Fabric accepted the cancel request");
        });

        let line: serde_json::Value = serde_json::from_str(&sink.text()).unwrap();
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["target"], module_path!());
        assert_eq!(line["message"], "Fabric accepted the cancel request");
        assert_eq!(line["request_id"], "r-1");
        assert_eq!(line["span"]["object.ref"], "team/stop-it");
    }

    #[test]
    fn a_text_line_has_no_terminal_colours() {
        let sink = Sink::default();
        let out = sink.clone();
        let subscriber: tracing::Dispatch = text(&Filter::default(), move || out.clone()).into();
        tracing::dispatcher::with_default(&subscriber, || tracing::warn!(attempt = 2, "again"));

        assert!(sink.text().contains("WARN"), "{}", sink.text());
        assert!(sink.text().trim_end().ends_with("again attempt=2"));
        assert!(!sink.text().contains('\u{1b}'));
    }

    #[test]
    fn the_default_filter_keeps_the_http_libraries_quiet() {
        let sink = Sink::default();
        let out = sink.clone();
        let subscriber: tracing::Dispatch = json(&Filter::default(), move || out.clone()).into();
        tracing::dispatcher::with_default(&subscriber, || {
            tracing::info!(target: "hyper::client", "noise");
            tracing::debug!("detail");
            tracing::warn!(target: "hyper::client", "trouble");
        });
        assert_eq!(sink.text().lines().count(), 1, "{}", sink.text());
        assert!(sink.text().contains("trouble"));
    }

    #[test]
    fn no_filter_shows_the_bodies_that_kube_cannot_decode() {
        for directives in [DEFAULT_FILTER, "trace", "kube_client::client=trace"] {
            let filter = Filter::parse(directives).unwrap();
            let (in_json, in_text) = (Sink::default(), Sink::default());
            let (out_json, out_text) = (in_json.clone(), in_text.clone());
            let subscribers: [tracing::Dispatch; 2] = [
                json(&filter, move || out_json.clone()).into(),
                text(&filter, move || out_text.clone()).into(),
            ];
            for subscriber in subscribers {
                tracing::dispatcher::with_default(&subscriber, || {
                    tracing::warn!(target: "kube_client::client", "a Secret's body");
                    tracing::debug!(target: "kube_client::client", "a Secret's body");
                    tracing::error!(target: "kube_client::client", "an error");
                    tracing::warn!(target: "kube_client::client::tls", "a neighbour");
                });
            }
            for sink in [in_json, in_text] {
                let log = sink.text();
                assert!(!log.contains("a Secret's body"), "{directives}: {log}");
                assert!(log.contains("an error"), "{directives}: {log}");
                assert!(log.contains("a neighbour"), "{directives}: {log}");
            }
        }
    }

    /// The target is that of the line which logs the body, whatever kube's next version calls it.
    #[tokio::test]
    async fn kube_logs_such_a_body_where_it_is_capped() {
        let log = Sink::default();
        let out = log.clone();
        let subscriber: tracing::Dispatch =
            json(&Filter::parse("trace").unwrap(), move || out.clone()).into();
        let _here = tracing::dispatcher::set_default(&subscriber);
        let server = tower::service_fn(|_| async {
            let body = r#"{"data": {"AZURE_CLIENT_SECRET": 1, "body": "hunter2"}}"#;
            Ok::<_, tower::BoxError>(http::Response::new(kube::client::Body::from(
                body.as_bytes().to_vec(),
            )))
        });
        let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
            kube::Api::namespaced(kube::Client::new(server, "team"), "team");
        secrets.get("fabric-credentials").await.unwrap_err();

        tracing::info!("afterwards");
        assert!(log.text().contains("afterwards"));
        assert!(!log.text().contains("hunter2"), "{}", log.text());
    }

    #[test]
    fn one_unreadable_directive_refuses_the_whole_filter() {
        assert!(Filter::parse("info,kube=loud").is_err());
        assert_eq!(
            Filter::parse("warn,kube=debug").unwrap().to_string(),
            "warn,kube=debug"
        );
    }
}
