//! One replica of the operator, behind proxies of its own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bench::{Operator, OperatorOptions, Signal};
use fault_proxy::{Mode, Proxy, Recorder, Upstream};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use oracles::Lifecycle;
use serde_json::json;

use crate::clock::{self, Pace};
use crate::world::World;

/// A replica: at most one process at a time, and the proxies through which it sees the world.
pub struct Replica {
    /// In front of the API server.
    pub api: Proxy,
    /// In front of Entra.
    pub entra: Proxy,
    /// In front of Fabric.
    pub fabric: Proxy,
    name: String,
    options: OperatorOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    process: Option<Operator>,
    /// What happened to its processes, in order (real time).
    events: Vec<(String, Timestamp, Lifecycle)>,
    /// How processes ended by themselves: which, and the exit code (-1 for a signal).
    exits: Vec<(String, i32)>,
    /// From when to when a process stood still.
    pauses: Vec<(Timestamp, Timestamp)>,
    earlier_logs: String,
    starts: usize,
    /// The plan is over: nothing is started any more.
    closed: bool,
}

/// The names of replicas.
pub const REPLICAS: [&str; 3] = [FIRST, "b", "c"];

/// The name of the first.
pub const FIRST: &str = "a";

/// How to reach everything that a replica needs.
pub struct Surroundings<'a> {
    /// The control plane and the program.
    pub world: &'a World,
    /// The operator's clock.
    pub pace: Pace,
    /// The namespace to watch.
    pub namespace: &'a str,
    /// The operator's token for the API server.
    pub token: &'a str,
    /// Fabric and Entra.
    pub simulator: &'a str,
    /// Where the replica's files are written.
    pub folder: &'a std::path::Path,
    /// The log of all proxies.
    pub recorder: &'a Recorder,
    /// Whether the Lease decides who acts.
    pub elected: bool,
}

impl Replica {
    /// Starts the proxies, not the process. `name` is one of [`REPLICAS`].
    ///
    /// # Panics
    /// When a port or a file cannot be had.
    pub async fn prepare(name: &str, around: &Surroundings<'_>) -> Self {
        let world = around.world;
        let proxy = async |what: &str, upstream: Upstream| {
            let name = format!("{what}-{name}");
            Proxy::start(&name, &world.authority, upstream, around.recorder.clone())
                .await
                .expect("a port can be had")
        };
        let simulator = Upstream::new(around.simulator, None).expect("a valid origin");
        let api = proxy("api", world.api_server.clone()).await;
        let entra = proxy("entra", simulator.clone()).await;
        let fabric = proxy("fabric", simulator).await;
        let bundle = around.folder.join("ca.pem");
        std::fs::write(&bundle, world.authority.ca_pem()).expect("the folder is writable");
        let kubeconfig = around.folder.join(format!("kubeconfig-{name}"));
        let config = kubeconfig_text(&api.url(), world.authority.ca_pem(), around.token);
        std::fs::write(&kubeconfig, config).expect("the folder is writable");
        let arguments: Vec<String> = [
            "--namespace",
            around.namespace,
            "--fabric-endpoint",
            &fabric.url(),
            "--entra-authority",
            &entra.url(),
            "--ca-bundle",
            &bundle.display().to_string(),
            &format!("--leader-elect={}", around.elected),
            "--lease-namespace",
            around.namespace,
        ]
        .map(str::to_owned)
        .into();
        let environment = [
            ("FABRIC_TEST_CLOCK_FACTOR", around.pace.factor.to_string()),
            (
                "FABRIC_TEST_CLOCK_EPOCH",
                around.pace.epoch.as_second().to_string(),
            ),
        ];
        Self {
            api,
            entra,
            fabric,
            name: name.to_owned(),
            options: OperatorOptions {
                program: PathBuf::from(&world.program),
                kubeconfig,
                arguments,
                environment: environment.map(|(k, v)| (k.to_owned(), v)).into(),
            },
            state: Mutex::default(),
        }
    }

    /// The proxies.
    #[must_use]
    pub fn proxies(&self) -> [&Proxy; 3] {
        [&self.api, &self.entra, &self.fabric]
    }

    /// One of [`REPLICAS`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts a process; one that still runs is killed first.
    pub fn start(&self) {
        let mut state = self.state();
        state.crash();
        self.launch(&mut state);
    }

    fn launch(&self, state: &mut State) {
        if state.closed {
            return;
        }
        state.starts += 1;
        let process = format!("{}{}", self.name, state.starts);
        state
            .events
            .push((process, clock::now(), Lifecycle::Started));
        state.process = Some(Operator::start(&self.options));
    }

    /// Starts a new process whenever one has ended by itself, as a kubelet does. Never ends.
    pub async fn keep_alive(&self) {
        loop {
            {
                let mut state = self.state();
                if state.ended() {
                    self.launch(&mut state);
                }
            }
            clock::pass(Duration::from_millis(20)).await;
        }
    }

    /// Ends everything for good. What rules and tasks hold of this replica would keep its process
    /// and its proxies alive.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.crash();
        for proxy in self.proxies() {
            proxy.clear_rules();
        }
    }

    /// SIGTERM; nothing when the process was asked to end before: a second one would end it at once.
    pub fn terminate(&self) {
        let mut state = self.state();
        let asked = state.events.last().map(|(.., what)| *what) == Some(Lifecycle::Terminated);
        if let Some(process) = state.process.as_ref().filter(|_| !asked) {
            process.signal(Signal::TERM);
            state.note(Lifecycle::Terminated);
        }
    }

    /// SIGSTOP, and SIGCONT after so long (real time).
    pub async fn pause(&self, lasts: Duration) {
        let from = clock::now();
        self.signal(Signal::STOP);
        clock::pass(lasts).await;
        self.signal(Signal::CONT);
        self.state().pauses.push((from, clock::now()));
    }

    /// When a process could see what was sent to it at this time: later, where it stood still.
    #[must_use]
    pub fn seen_at(&self, sent: Timestamp) -> Timestamp {
        let state = self.state();
        let mut pauses = state.pauses.iter();
        let paused = pauses.find(|(from, to)| *from <= sent && sent <= *to);
        paused.map_or(sent, |(_, to)| *to)
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.state().process {
            process.signal(signal);
        }
    }

    /// The API server is out of reach for so long (real time); everything else is not.
    pub fn cut_off(self: &Arc<Self>, outage: Duration) {
        self.api.set_mode(Mode::Refuse);
        let replica = Arc::clone(self);
        tokio::spawn(async move {
            clock::pass(outage).await;
            replica.api.set_mode(Mode::Open);
        });
    }

    /// From now on another API server stands behind the same address; connections break.
    pub async fn move_to(&self, api_server: &Upstream) {
        self.api.set_upstream(api_server.clone());
        self.api.set_mode(Mode::Refuse);
        // Each connection has to notice.
        clock::pass(Duration::from_millis(20)).await;
        self.api.set_mode(Mode::Open);
    }

    /// Whether the process has ended by itself, or the plan is over.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut state = self.state();
        state.ended() || state.closed
    }

    /// How processes ended by themselves: which, and the exit code (-1 for a signal).
    #[must_use]
    pub fn exits(&self) -> Vec<(String, i32)> {
        let mut state = self.state();
        state.ended();
        state.exits.clone()
    }

    /// What happened to its processes: which, when (real time), what.
    #[must_use]
    pub fn events(&self) -> Vec<(String, Timestamp, Lifecycle)> {
        self.state().events.clone()
    }

    /// What all its processes have logged.
    #[must_use]
    pub fn log(&self) -> String {
        let state = self.state();
        let running = state.process.as_ref().map(Operator::log);
        format!("{}{}", state.earlier_logs, running.unwrap_or_default())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// `kill -9`; nothing when there is no process.
    fn crash(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
            self.keep(&process, Lifecycle::Crashed);
        }
    }

    /// Whether the process has ended by itself, which is noted.
    fn ended(&mut self) -> bool {
        let status = self.process.as_mut().and_then(Operator::exit_status);
        let Some(status) = status else { return false };
        let Some(process) = self.process.take() else {
            return false;
        };
        let code = status.code().unwrap_or(-1);
        // Who steps down stores first what it has begun.
        let in_order = code == 0 || (code == 1 && process.log().contains(STEPPED_DOWN));
        let what = if in_order {
            Lifecycle::Exited
        } else {
            Lifecycle::Crashed
        };
        if let Some((name, ..)) = self.events.last() {
            self.exits.push((name.clone(), code));
        }
        self.keep(&process, what);
        true
    }

    fn note(&mut self, what: Lifecycle) {
        if let Some((process, ..)) = self.events.last() {
            let process = process.clone();
            self.events.push((process, clock::now(), what));
        }
    }

    fn keep(&mut self, process: &Operator, what: Lifecycle) {
        self.earlier_logs.push_str(&process.log());
        self.note(what);
    }
}

/// What a process says that has lost its Lease.
const STEPPED_DOWN: &str = "not the leader any more";

fn kubeconfig_text(server: &str, ca_pem: &str, token: &str) -> String {
    let authority = ByteString(ca_pem.as_bytes().to_vec());
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": { "server": server, "certificate-authority-data": authority } }],
        "users": [{ "name": "test", "user": { "token": token } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": "default" } }],
        "current-context": "test",
    })
    .to_string()
}
