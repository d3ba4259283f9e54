//! One replica of the operator, behind proxies of its own.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bench::{Operator, OperatorOptions, Signal};
use fault_proxy::{Proxy, Recorder, Upstream};
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
    earlier_logs: String,
    starts: usize,
}

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
    /// Flags beside those that every replica gets.
    pub arguments: &'a [String],
}

impl Replica {
    /// Starts the proxies, not the process. `name` is `a`, `b`, ...
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
        let mut arguments: Vec<String> = [
            "--namespace",
            around.namespace,
            "--fabric-endpoint",
            &fabric.url(),
            "--entra-authority",
            &entra.url(),
            "--ca-bundle",
            &bundle.display().to_string(),
            // A Lease of 15 s would be one of less than a second at the pace of a campaign, and its
            // renewals would be most of what is seen. Replicas meet in tests/outages.
            "--leader-elect=false",
        ]
        .map(str::to_owned)
        .into();
        arguments.extend_from_slice(around.arguments);
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

    /// `a`, `b`, ...
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts a process; one that still runs is killed first.
    pub fn start(&self) {
        self.crash();
        let mut state = self.state();
        state.starts += 1;
        let process = format!("{}{}", self.name, state.starts);
        state
            .events
            .push((process, clock::now(), Lifecycle::Started));
        state.process = Some(Operator::start(&self.options));
    }

    /// `kill -9`; nothing when there is no process.
    pub fn crash(&self) {
        let mut state = self.state();
        if let Some(mut process) = state.process.take() {
            process.kill();
            state.keep(&process, Lifecycle::Crashed);
        }
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let mut state = self.state();
        if let Some(process) = &state.process {
            process.signal(Signal::TERM);
            state.note(Lifecycle::Terminated);
        }
    }

    /// Any other signal, for example SIGSTOP.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = &self.state().process {
            process.signal(signal);
        }
    }

    /// How the process ended by itself, with its exit code (-1 for a signal); `None` while it
    /// runs, and when there is none.
    #[must_use]
    pub fn ended(&self) -> Option<i32> {
        let mut state = self.state();
        let process = state.process.as_mut()?;
        let code = process.exit_status()?.code().unwrap_or(-1);
        let process = state.process.take()?;
        let what = if code == 0 {
            Lifecycle::Exited
        } else {
            Lifecycle::Crashed
        };
        state.keep(&process, what);
        Some(code)
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
