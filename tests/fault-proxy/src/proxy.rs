//! A listening proxy and the handle that steers it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::authority::Authority;
use crate::fault::{Fault, Met, Rule, RuleHandle, Rules};
use crate::link::{Copied, Link, ResetSwitch};
use crate::record::{Recorder, Step};
use crate::upstream::Upstream;

/// Whether anything passes at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Open,
    /// Connections are reset, old and new.
    Refuse,
    /// Nothing is answered and no event passes; connections stay, and go on when it opens again.
    Blackhole,
}

/// A proxy on a port of 127.0.0.1; ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// What the connections of one proxy share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) recorder: Recorder,
    upstream: Mutex<Upstream>,
    rules: Mutex<Rules>,
    mode: watch::Sender<Mode>,
    expired: watch::Sender<()>,
}

impl Proxy {
    /// Starts to listen, in front of `upstream`; `name` is what the log calls it.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start(
        name: &str,
        authority: &Authority,
        upstream: Upstream,
        recorder: Recorder,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            recorder,
            upstream: Mutex::new(upstream),
            rules: Mutex::default(),
            mode: watch::Sender::new(Mode::Open),
            expired: watch::Sender::new(()),
        });
        let acceptor = TlsAcceptor::from(Arc::clone(&authority.server));
        let task = tokio::spawn(listen(listener, acceptor, Arc::clone(&shared)));
        Ok(Self {
            shared,
            address,
            task,
        })
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a rule for steps to come. Of several that match a step, the first that is due is met.
    pub fn rule(&self, rule: Rule) -> RuleHandle {
        self.shared.rules().add(rule)
    }

    /// Removes all rules; what has met one goes on with it.
    pub fn clear_rules(&self) {
        self.shared.rules().clear();
    }

    /// What passes from now on.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Where requests go from now on; watches that run stay where they are.
    pub fn set_upstream(&self, upstream: Upstream) {
        *self
            .shared
            .upstream
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = upstream;
    }

    /// Ends all watches with 410 Gone, so that their client lists anew.
    pub fn expire_watches(&self) {
        self.shared.expired.send_replace(());
    }

    /// The log.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.shared.recorder
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    pub(crate) fn upstream(&self) -> Upstream {
        let upstream = self.upstream.lock();
        upstream.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn rules(&self) -> std::sync::MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rule that a step meets, which the log then shows.
    pub(crate) fn meet(&self, step: &Step) -> Option<Met> {
        let met = self.rules().meet(step)?;
        if !matches!(met.fault, Fault::None) {
            let label = label(&met.fault);
            self.recorder
                .update(step.sequence, |step| step.fault = Some(label));
        }
        Some(met)
    }

    pub(crate) async fn until_open(&self) {
        let mut mode = self.mode.subscribe();
        // The sender lives in `self`.
        let _ = mode.wait_for(|mode| *mode != Mode::Blackhole).await;
    }

    pub(crate) fn expirations(&self) -> watch::Receiver<()> {
        self.expired.subscribe()
    }
}

fn label(fault: &Fault) -> String {
    match fault {
        Fault::Answer(answer) => format!("answered {} instead", answer.status),
        other => format!("{other:?}"),
    }
}

async fn listen(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    // Connections end with their proxy.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let serving = connection(stream, acceptor.clone(), Arc::clone(&shared));
        connections.spawn(serving);
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let reset = ResetSwitch::default();
    let mut mode = shared.mode.subscribe();
    let serving = speak(Link::new(stream, reset.clone()), acceptor, &shared, &reset);
    tokio::pin!(serving);
    tokio::select! {
        biased;
        _ = mode.wait_for(|mode| *mode == Mode::Refuse) => reset.on(),
        () = &mut serving => {}
    }
}

async fn speak(link: Link, acceptor: TlsAcceptor, shared: &Arc<Shared>, reset: &ResetSwitch) {
    shared.until_open().await;
    let Ok(stream) = acceptor.accept(link).await else {
        return;
    };
    let connection = shared.recorder.connect(&shared.name);
    let stream = Copied {
        stream,
        recorder: shared.recorder.clone(),
        connection,
    };
    let service =
        service_fn(|request: Request<Incoming>| Arc::clone(shared).serve(connection, request));
    let mut serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // By reference: the socket must still be there when it is told how to end.
    if let Err(error) = (&mut serving).await {
        tracing::debug!(%error, "a connection ended early");
        reset.on();
    }
}
