//! The way to Fabric and Entra: it loses, delays and answers as the weather says, and writes down
//! what truly happened on it.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use fabric_job_operator::outbound::Transport;
use fabric_simulator::Connection;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Full};
use jiff::{SignedDuration, Timestamp};
use oracles::{Identity, JobIds, Kind, Reply};
use serde_json::Value;
use tower::{BoxError, ServiceExt};
use virtual_cluster::clock::{Calendar, pass};

use crate::weather::{Answer, Hint, WireFault};

/// How long a request that arrives late stays on its way at most.
const LATE: Duration = Duration::from_secs(40);

/// One call as it truly was.
#[derive(Clone, Debug)]
pub struct Call {
    pub process: String,
    pub method: String,
    pub path: String,
    /// `None` for a call to Entra, or to nothing that this simulation knows.
    pub kind: Option<(Kind, JobIds)>,
    pub identity: Option<Identity>,
    pub sent: Timestamp,
    pub arrived: Option<Timestamp>,
    pub reply: Option<Reply>,
    pub reached: bool,
    pub processed: bool,
    pub fault: Option<WireFault>,
    /// Head and body as they were sent.
    pub bytes: Vec<u8>,
}

/// The book of all calls, and whose tokens they carried.
#[derive(Clone)]
pub struct Wire {
    shared: Arc<Shared>,
}

struct Shared {
    calendar: Calendar,
    connection: Connection,
    calls: Mutex<Vec<Call>>,
    tokens: Mutex<HashMap<String, Identity>>,
}

/// Decides upon a call: its fault, how late it arrives if it is late, and how long it travels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fate {
    pub fault: Option<WireFault>,
    pub late: Duration,
    pub travel: (Duration, Duration),
    /// The process dies before it is sent, or when it was processed.
    pub dies: Option<Dies>,
}

/// When a process dies in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dies {
    Before,
    After,
}

impl Fate {
    /// How late is late.
    pub fn late(draw: &mut crate::draw::Draw) -> Duration {
        draw.between(Duration::ZERO, LATE)
    }
}

impl Wire {
    pub fn new(calendar: Calendar, connection: Connection) -> Self {
        let shared = Shared {
            calendar,
            connection,
            calls: Mutex::default(),
            tokens: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The way out of one process.
    pub fn transport(
        &self,
        process: &str,
        decide: impl Fn(bool) -> Fate + Clone + Send + Sync + 'static,
    ) -> Transport {
        let (shared, process) = (Arc::clone(&self.shared), process.to_owned());
        Transport::new(tower::service_fn(move |request: Request<Bytes>| {
            let (shared, process) = (Arc::clone(&shared), process.clone());
            let fate = decide(request.uri().path().contains("/oauth2/"));
            async move { carry(shared, process, request, fate).await }
        }))
    }

    /// Every call so far, in the order of sending.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls().clone()
    }

    /// Every token that was given out.
    pub fn tokens(&self) -> Vec<String> {
        let tokens = self.shared.tokens.lock().expect("no holder panics");
        let mut all: Vec<_> = tokens.keys().cloned().collect();
        all.sort_unstable();
        all
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().expect("no holder of the lock panics")
    }

    fn note(&self, number: usize, change: impl FnOnce(&mut Call)) {
        change(&mut self.calls()[number]);
    }

    fn begin(&self, process: String, request: &Request<Bytes>, fault: Option<WireFault>) -> usize {
        let path = request.uri().path().to_owned();
        let bearer = request.headers().get(header::AUTHORIZATION);
        let token = bearer.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let tokens = self.tokens.lock().expect("no holder panics");
        let call = Call {
            process,
            method: request.method().to_string(),
            kind: kind(request.method().as_str(), &path),
            path,
            identity: token.and_then(|token| tokens.get(token).cloned()),
            sent: self.calendar.now(),
            arrived: None,
            reply: None,
            reached: false,
            processed: false,
            fault,
            bytes: bytes_of(request),
        };
        drop(tokens);
        let mut calls = self.calls();
        calls.push(call);
        calls.len() - 1
    }

    /// What Fabric or Entra says; it goes on with a request whose sender has gone.
    async fn deliver(
        self: Arc<Self>,
        number: usize,
        request: Request<Bytes>,
        travel: Duration,
    ) -> (http::response::Parts, Bytes) {
        if !travel.is_zero() {
            pass(travel).await;
        }
        let asks_entra = request.uri().path().contains("/oauth2/");
        let asked = asks_entra.then(|| asker(&request)).flatten();
        self.note(number, |call| call.arrived = Some(self.calendar.now()));
        let answer = self.connection.clone().oneshot(request.map(Body::from));
        let (head, body) = answer.await.expect("no script drops it").into_parts();
        let body = body.collect().await.expect("it is in memory").to_bytes();
        let value: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if let (Some(identity), Some(token)) = (asked, value["access_token"].as_str()) {
            let mut tokens = self.tokens.lock().expect("no holder panics");
            tokens.insert(token.to_owned(), identity);
        }
        let text = |name: &str| head.headers.get(name)?.to_str().ok().map(str::to_owned);
        self.note(number, |call| {
            let accepted = head.status.is_success();
            call.processed = accepted && call.method == "POST";
            call.reply = Some(Reply {
                time: self.calendar.now(),
                status: head.status.as_u16(),
                error_code: value["errorCode"].as_str().map(str::to_owned),
                retry_after: text("retry-after")
                    .and_then(|text| text.parse().ok())
                    .map(Duration::from_secs),
                job_status: value["status"].as_str().map(str::to_owned),
            });
        });
        (head, body)
    }

    fn reached(&self, number: usize) {
        let now = self.calendar.now();
        self.note(number, |call| {
            call.reached = true;
            if let Some(reply) = &mut call.reply {
                reply.time = now;
            }
        });
    }
}

type Outcome =
    Result<Response<http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>>, BoxError>;

async fn carry(
    shared: Arc<Shared>,
    process: String,
    request: Request<Bytes>,
    fate: Fate,
) -> Outcome {
    let number = shared.begin(process, &request, fate.fault);
    if fate.dies == Some(Dies::Before) {
        // The process is being ended and will not come back from here.
        return std::future::pending().await;
    }
    let deliver = |travel| tokio::spawn(Arc::clone(&shared).deliver(number, request, travel));
    let answer = match fate.fault {
        None => {
            let answer = deliver(fate.travel.0).await?;
            if fate.dies.is_none() && !fate.travel.1.is_zero() {
                pass(fate.travel.1).await;
            }
            answer
        }
        Some(WireFault::LoseRequest) => return lost(),
        Some(WireFault::LoseAnswer) => {
            deliver(Duration::ZERO).await?;
            return lost();
        }
        Some(WireFault::Late) => deliver(fate.late).await?,
        Some(WireFault::Hang) => return std::future::pending().await,
        Some(WireFault::HangAfterwards) => {
            deliver(Duration::ZERO).await?;
            return std::future::pending().await;
        }
        Some(WireFault::Cut) => {
            let (head, _) = deliver(Duration::ZERO).await?;
            // The head arrived: what it says of the error is known.
            let code = head.headers.get("x-ms-public-api-error-code");
            let code = code.and_then(|code| code.to_str().ok()).map(str::to_owned);
            shared.note(number, |call| {
                if let Some(reply) = &mut call.reply {
                    (reply.job_status, reply.error_code) = (None, code);
                }
            });
            shared.reached(number);
            let broken =
                Body::from_stream(futures::stream::once(async { Err::<Bytes, _>(reset()) }));
            return Ok(Response::from_parts(
                head,
                broken.map_err(unwrap_io).boxed_unsync(),
            ));
        }
        Some(WireFault::Instead(answer)) => {
            let now = shared.calendar.now();
            shared.note(number, |call| call.arrived = Some(now));
            foreign(&shared, number, answer)
        }
        Some(WireFault::Afterwards(answer)) => {
            deliver(Duration::ZERO).await?;
            foreign(&shared, number, answer)
        }
        Some(WireFault::Panic) => panic_quietly(),
        Some(WireFault::PanicAfterwards) => {
            deliver(Duration::ZERO).await?;
            panic_quietly()
        }
    };
    if fate.dies == Some(Dies::After) {
        return std::future::pending().await;
    }
    shared.reached(number);
    let (head, body) = answer;
    let body = Full::new(body).map_err(|never| match never {});
    Ok(Response::from_parts(head, body.boxed_unsync()))
}

/// Without the hook, whose backtrace would only hide the run's own output.
fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("the simulation asked for this panic"))
}

fn reset() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionReset,
        "the connection ended before the answer was complete",
    )
}

fn lost() -> Outcome {
    Err(reset().into())
}

/// An error of a body as the transport's contract wants it.
fn unwrap_io(_: axum::Error) -> BoxError {
    reset().into()
}

/// The answer of something in between.
fn foreign(shared: &Shared, number: usize, answer: Answer) -> (http::response::Parts, Bytes) {
    let now = shared.calendar.now();
    let mut response = Response::builder().status(answer.status);
    let hint = match answer.retry_after {
        Hint::Absent => None,
        Hint::Seconds(seconds) => Some((seconds.to_string(), Some(seconds))),
        Hint::Date(seconds) => {
            let at = now + SignedDuration::from_secs(seconds.into());
            let date = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            // The date has whole seconds.
            Some((date, Some(seconds - 1)))
        }
        Hint::Nonsense => Some(("soon".to_owned(), None)),
        Hint::Negative => Some(("-30".to_owned(), Some(0))),
    };
    if let Some((text, _)) = &hint {
        response = response.header(header::RETRY_AFTER, text);
    }
    if answer.status == 302 {
        response = response.header(header::LOCATION, "https://elsewhere.example/");
    }
    let body = match (answer.html, answer.code) {
        (true, _) => "<html><body>Service unavailable</body></html>".to_owned(),
        (false, Some(code)) => {
            serde_json::json!({"errorCode": code, "message": "said by the simulation"}).to_string()
        }
        (false, None) => String::new(),
    };
    shared.note(number, |call| {
        call.reply = Some(Reply {
            time: now,
            status: answer.status,
            error_code: answer.code.map(str::to_owned),
            retry_after: hint
                .and_then(|(_, seconds)| seconds)
                .map(|seconds| Duration::from_secs(seconds.into())),
            job_status: None,
        });
    });
    let media_type = if answer.html {
        "text/html"
    } else {
        "application/json"
    };
    let response = response.header(header::CONTENT_TYPE, media_type);
    let (head, ()) = response.body(()).expect("the parts are valid").into_parts();
    (head, Bytes::from(body))
}

/// Which call of Fabric a path means.
fn kind(method: &str, path: &str) -> Option<(Kind, JobIds)> {
    let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
    let ids = |workspace: &str, item: &str, job: &str| JobIds {
        workspace_id: workspace.to_owned(),
        item_id: item.to_owned(),
        job_instance_id: job.to_owned(),
    };
    match (method, parts.as_slice()) {
        (
            "POST",
            [
                "v1",
                "workspaces",
                w,
                "items",
                i,
                "jobs",
                "instances",
                j,
                "cancel",
            ],
        ) => Some((Kind::Cancel, ids(w, i, j))),
        ("GET", ["v1", "workspaces", w, "items", i, "jobs", "instances", j]) => {
            Some((Kind::Look, ids(w, i, j)))
        }
        _ => None,
    }
}

/// Who asks Entra for a token.
fn asker(request: &Request<Bytes>) -> Option<Identity> {
    let tenant_id = request.uri().path().split('/').nth(1)?.to_owned();
    let mut form = url::form_urlencoded::parse(request.body());
    let client_id = form.find(|(key, _)| key == "client_id")?.1.into_owned();
    Some(Identity {
        tenant_id,
        client_id,
    })
}

fn bytes_of(request: &Request<Bytes>) -> Vec<u8> {
    let mut bytes = format!("{} {}\n", request.method(), request.uri()).into_bytes();
    write_headers(&mut bytes, request.headers());
    bytes.extend_from_slice(request.body());
    bytes
}

fn write_headers(bytes: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(b'\n');
    }
    bytes.push(b'\n');
}
