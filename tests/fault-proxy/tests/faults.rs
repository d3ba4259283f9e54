//! Each fault, seen from both sides: what the client learns, and what the server got.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};
use bytes::Bytes;
use fault_proxy::{
    Answer, Authority, Fault, Hold, Loss, Mode, Proxy, Recorder, Rule, Step, Upstream, Verb,
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::broadcast;

const WATCH: &str = "/apis/g/v1/namespaces/ns/things?watch=true";
const THING: &str = "/apis/g/v1/namespaces/ns/things/x/status";
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that writes down what it gets, and sends the events that a test tells it to.
#[derive(Clone)]
struct Server {
    name: &'static str,
    got: Arc<Mutex<Vec<String>>>,
    events: broadcast::Sender<String>,
}

impl Server {
    async fn start(name: &'static str) -> (Self, Upstream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Upstream::new(&format!("http://{}", listener.local_addr().unwrap()), None);
        let server = Self {
            name,
            got: Arc::default(),
            events: broadcast::Sender::new(16),
        };
        let routes = Router::new().fallback(serve).with_state(server.clone());
        tokio::spawn(axum::serve(listener, routes).into_future());
        (server, upstream.unwrap())
    }

    fn got(&self) -> Vec<String> {
        self.got.lock().unwrap().clone()
    }

    /// Sends an event of this object to all watches.
    fn event(&self, name: &str) {
        let event = json!({ "type": "MODIFIED", "object": { "metadata": { "name": name } } });
        self.events.send(format!("{event}\n")).unwrap();
    }
}

async fn serve(State(server): State<Server>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if parts.uri.query() == Some("watch=true") {
        let events = futures::stream::unfold(server.events.subscribe(), |mut events| async move {
            let event = events.recv().await.ok()?;
            Some((Ok::<_, Infallible>(Bytes::from(event)), events))
        });
        return Response::new(Body::from_stream(events));
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    server.got.lock().unwrap().push(body);
    Response::new(Body::from(format!("answer of {}", server.name)))
}

struct Bench {
    server: Server,
    proxy: Proxy,
    client: reqwest::Client,
}

impl Bench {
    async fn start() -> Self {
        let (server, upstream) = Server::start("one").await;
        let authority = Authority::new().unwrap();
        let proxy = Proxy::start("api", &authority, upstream, Recorder::new());
        let ca = reqwest::Certificate::from_pem(authority.ca_pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder()
            .tls_certs_only([ca])
            .retry(reqwest::retry::never())
            .no_proxy()
            .build();
        Self {
            server,
            proxy: proxy.await.unwrap(),
            client: client.unwrap(),
        }
    }

    async fn patch(&self, body: &str) -> reqwest::Result<String> {
        let url = format!("{}{THING}", self.proxy.url());
        let request = self.client.patch(url).body(body.to_owned());
        request.send().await?.text().await
    }

    async fn watch(&self) -> reqwest::Response {
        let url = format!("{}{WATCH}", self.proxy.url());
        self.client.get(url).send().await.unwrap()
    }

    fn meets(&self, fault: Fault) {
        self.proxy.rule(Rule::on(is_patch).fault(fault));
    }
}

fn is_patch(step: &Step) -> bool {
    step.call.verb == Verb::Patch
}

fn event_of(name: &'static str) -> impl Fn(&Step) -> bool {
    move |step| step.call.verb == Verb::Event && step.call.name == name
}

/// The names in the next events, until the watch ends or is silent for a moment.
async fn names(watch: &mut reqwest::Response) -> (Vec<String>, &'static str) {
    let mut text = String::new();
    let end = loop {
        match tokio::time::timeout(Duration::from_millis(300), watch.chunk()).await {
            Err(_) => break "silence",
            Ok(Err(_)) => break "broken",
            Ok(Ok(None)) => break "ended",
            Ok(Ok(Some(chunk))) => text.push_str(std::str::from_utf8(&chunk).unwrap()),
        }
    };
    let names = text.lines().map(|line| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        match event["object"]["metadata"]["name"].as_str() {
            Some(name) => name.to_owned(),
            None => event["object"]["code"].to_string(),
        }
    });
    (names.collect(), end)
}

#[tokio::test]
async fn without_a_rule_everything_passes_and_is_written_down() {
    let bench = Bench::start().await;
    assert_eq!(bench.patch("a secret").await.unwrap(), "answer of one");
    let steps = bench.proxy.recorder().steps();
    assert_eq!(steps.len(), 1);
    let step = &steps[0];
    assert_eq!((step.sequence, step.call.name.as_str()), (1, "x"));
    assert_eq!(step.body, "a secret");
    let answer = step.answer().unwrap();
    assert_eq!(
        (answer.status, answer.body.as_ref()),
        (200, "answer of one".as_bytes())
    );
    assert!(answer.headers.contains_key("date"));
    assert_eq!((step.deliveries, step.fault.is_some()), (1, false));
    assert!(step.end_time.unwrap() >= step.time);
    let capture = &bench.proxy.recorder().captures()[0];
    let sent = String::from_utf8_lossy(&capture.from_client);
    assert!(
        sent.contains("PATCH /apis") && sent.ends_with("a secret"),
        "{sent}"
    );
    let got = String::from_utf8_lossy(&capture.to_client);
    assert!(got.contains("answer of one"), "{got}");
}

#[tokio::test]
async fn a_lost_request_does_not_arrive_and_a_lost_answer_leaves_its_effect() {
    let bench = Bench::start().await;
    bench.meets(Fault::Lose(Loss::Reset));
    assert!(bench.patch("1").await.is_err());
    assert!(bench.server.got().is_empty());
    bench.proxy.clear_rules();
    bench.meets(Fault::LoseAnswer(Loss::Reset));
    assert!(bench.patch("2").await.is_err());
    assert_eq!(bench.server.got(), ["2"]);
    assert_eq!(bench.patch("3").await.unwrap(), "answer of one");
    let steps = bench.proxy.recorder().steps();
    let deliveries: Vec<_> = steps.iter().map(|step| step.deliveries).collect();
    assert_eq!(deliveries, [0, 1, 1]);
    assert_eq!(
        steps[1].status(),
        Some(200),
        "what the server said is known"
    );
}

#[tokio::test]
async fn a_hanging_loss_gives_no_sign() {
    let bench = Bench::start().await;
    bench.meets(Fault::LoseAnswer(Loss::Hang));
    let asked = tokio::time::timeout(Duration::from_millis(300), bench.patch("1"));
    assert!(asked.await.is_err(), "it was answered");
    assert_eq!(bench.server.got(), ["1"]);
}

#[tokio::test]
async fn a_request_arrives_twice_or_late() {
    let bench = Bench::start().await;
    bench.meets(Fault::Duplicate);
    assert_eq!(bench.patch("1").await.unwrap(), "answer of one");
    assert_eq!(bench.server.got(), ["1", "1"]);
    bench.proxy.clear_rules();
    bench.meets(Fault::ArriveLate(Duration::from_millis(200)));
    assert!(bench.patch("2").await.is_err());
    assert_eq!(bench.server.got(), ["1", "1"], "not yet");
    let arrived = |steps: &[Step]| (steps[1].status() == Some(200)).then_some(());
    let recorder = bench.proxy.recorder();
    recorder.wait_until(PATIENCE, arrived).await.unwrap();
    assert_eq!(bench.server.got(), ["1", "1", "2"]);
}

#[tokio::test]
async fn the_nth_match_alone_meets_the_fault() {
    let bench = Bench::start().await;
    let rule = Rule::on(is_patch).nth(2).times(2);
    let handle = bench.proxy.rule(rule.fault(Fault::Lose(Loss::Reset)));
    let mut passed = Vec::new();
    for body in ["1", "2", "3", "4"] {
        passed.push(bench.patch(body).await.is_ok());
    }
    assert_eq!(passed, [true, false, false, true]);
    assert_eq!(handle.fired(), 2);
}

#[tokio::test]
async fn hooks_run_before_the_delivery_and_before_the_answer() {
    let bench = Bench::start().await;
    let (held, server) = (Hold::default(), bench.server.clone());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (hold, note, other) = (held.clone(), seen.clone(), server.clone());
    let first = seen.clone();
    let handle = bench.proxy.rule(
        Rule::on(is_patch)
            .before(move |_| {
                let (hold, note, got) = (hold.clone(), first.clone(), server.got());
                async move {
                    note.lock().unwrap().push(got.len());
                    hold.wait().await;
                }
            })
            .after(move |_| {
                let (note, got) = (note.clone(), other.got());
                async move { note.lock().unwrap().push(got.len()) }
            }),
    );
    let asked = bench.patch("1");
    tokio::pin!(asked);
    tokio::select! {
        _ = &mut asked => panic!("it was not held"),
        met = handle.wait() => assert!(met),
    }
    assert!(bench.server.got().is_empty());
    held.release();
    assert!(asked.await.is_ok());
    assert_eq!(*seen.lock().unwrap(), [0, 1]);
}

#[tokio::test]
async fn an_answer_is_made_up_sliced_or_cut() {
    let bench = Bench::start().await;
    bench.meets(Fault::Answer(
        Answer::json(429, &json!({})).header("retry-after", "7"),
    ));
    let url = format!("{}{THING}", bench.proxy.url());
    let answer = bench.client.patch(&url).send().await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "7");
    assert!(bench.server.got().is_empty());

    bench.proxy.clear_rules();
    bench.meets(Fault::Slice(3, Duration::from_millis(5)));
    let mut answer = bench.client.patch(&url).send().await.unwrap();
    let mut pieces = Vec::new();
    while let Some(piece) = answer.chunk().await.unwrap() {
        pieces.push(piece.len());
    }
    assert!(pieces.len() >= 3, "{pieces:?}");
    assert_eq!(pieces.iter().sum::<usize>(), "answer of one".len());

    bench.proxy.clear_rules();
    bench.meets(Fault::Cut(4));
    assert!(bench.patch("1").await.is_err());
    assert_eq!(bench.server.got().len(), 2);
}

#[tokio::test]
async fn one_event_is_hidden_or_repeated_and_later_ones_pass() {
    let bench = Bench::start().await;
    bench
        .proxy
        .rule(Rule::on(event_of("a")).fault(Fault::Lose(Loss::Silent)));
    bench
        .proxy
        .rule(Rule::on(event_of("b")).fault(Fault::Duplicate));
    let mut watch = bench.watch().await;
    for name in ["a", "b", "c"] {
        bench.server.event(name);
    }
    let (names, end) = names(&mut watch).await;
    assert_eq!(
        (names, end),
        (vec!["b".into(), "b".into(), "c".into()], "silence")
    );
    let steps = bench.proxy.recorder().steps();
    let hidden = steps.iter().find(|step| step.call.name == "a").unwrap();
    assert_eq!((hidden.deliveries, hidden.watch), (0, Some(1)));
}

#[tokio::test]
async fn a_watch_is_cut_in_the_middle_of_an_event() {
    let bench = Bench::start().await;
    bench
        .proxy
        .rule(Rule::on(event_of("b")).fault(Fault::Cut(9)));
    let mut watch = bench.watch().await;
    bench.server.event("a");
    bench.server.event("b");
    let (names, end) = names(&mut watch).await;
    assert_eq!((names, end), (vec!["a".into(), "null".into()], "broken"));
}

#[tokio::test]
async fn a_watch_goes_silent_and_another_is_expired() {
    let bench = Bench::start().await;
    bench
        .proxy
        .rule(Rule::on(event_of("a")).fault(Fault::Lose(Loss::Hang)));
    let mut watch = bench.watch().await;
    bench.server.event("a");
    bench.server.event("b");
    assert_eq!(names(&mut watch).await, (vec![], "silence"));
    let mut watch = bench.watch().await;
    bench.server.event("c");
    bench
        .proxy
        .recorder()
        .wait_until(PATIENCE, passed_on("c"))
        .await
        .unwrap();
    bench.proxy.expire_watches();
    assert_eq!(
        names(&mut watch).await,
        (vec!["c".into(), "410".into()], "ended")
    );
}

fn passed_on(name: &'static str) -> impl FnMut(&[Step]) -> Option<()> {
    move |steps| {
        let passed = |step: &&Step| step.call.name == name && step.deliveries > 0;
        steps.iter().find(passed).map(|_| ())
    }
}

#[tokio::test]
async fn a_partition_refuses_or_swallows_everything_until_it_heals() {
    let bench = Bench::start().await;
    let mut watch = bench.watch().await;
    bench.proxy.set_mode(Mode::Refuse);
    assert_eq!(names(&mut watch).await, (vec![], "broken"));
    assert!(bench.patch("1").await.is_err());
    bench.proxy.set_mode(Mode::Open);
    assert!(bench.patch("2").await.is_ok());
    let mut watch = bench.watch().await;
    bench.proxy.set_mode(Mode::Blackhole);
    bench.server.event("a");
    assert_eq!(names(&mut watch).await, (vec![], "silence"));
    let asked = bench.patch("3");
    tokio::pin!(asked);
    let within = tokio::time::timeout(Duration::from_millis(200), &mut asked);
    assert!(within.await.is_err());
    bench.proxy.set_mode(Mode::Open);
    assert!(asked.await.is_ok());
    assert_eq!(names(&mut watch).await.0, ["a"]);
    assert_eq!(bench.server.got(), ["2", "3"]);
}

#[tokio::test]
async fn one_step_or_all_go_to_another_server() {
    let bench = Bench::start().await;
    let (other, upstream) = Server::start("two").await;
    bench.meets(Fault::Via(upstream.clone()));
    assert_eq!(bench.patch("1").await.unwrap(), "answer of two");
    assert_eq!(bench.patch("2").await.unwrap(), "answer of one");
    bench.proxy.set_upstream(upstream);
    assert_eq!(bench.patch("3").await.unwrap(), "answer of two");
    assert_eq!((other.got().len(), bench.server.got().len()), (2, 1));
}
