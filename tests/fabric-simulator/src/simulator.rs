//! A running simulator.

use std::{net::SocketAddr, ops::Deref};

use crate::{
    clock::Clock,
    handle::Handle,
    server::{Listening, StartError},
    service::{Connection, State},
    settings::Settings,
};

/// How to start a simulator.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 picks a free one. `127.0.0.1:0` by default.
    pub listen: SocketAddr,
    /// Serve TLS with a certificate of the simulator's own authority instead of plain HTTP.
    pub tls: bool,
    /// The clock; real time by default.
    pub clock: Clock,
    /// How the service behaves.
    pub settings: Settings,
    /// Request ids, tokens and ids that nobody gave follow from this; random when `None`.
    pub seed: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: false,
            clock: Clock::real(),
            settings: Settings::default(),
            seed: None,
        }
    }
}

/// Fabric and Entra, at one address or in memory; ends when it is dropped.
///
/// Everything that [`Handle`] does can be called on it directly.
#[derive(Debug)]
pub struct Simulator {
    handle: Handle,
    listening: Option<Listening>,
}

impl Simulator {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound or no certificate can be made.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let state = State::new(config.clock, config.settings, config.seed);
        let scheme = if config.tls { "https" } else { "http" };
        let connection = Connection::new(state.clone(), scheme);
        let listening = Listening::start(config.listen, config.tls, connection).await?;
        Ok(Self {
            handle: Handle { state },
            listening: Some(listening),
        })
    }

    /// A simulator without a socket, reached by [`Simulator::connection`] or
    /// [`Simulator::router`]; works under tokio's paused time. `listen` and `tls` have no effect.
    pub fn in_memory(config: Config) -> Self {
        let state = State::new(config.clock, config.settings, config.seed);
        Self {
            handle: Handle { state },
            listening: None,
        }
    }

    /// Where it listens.
    ///
    /// # Panics
    ///
    /// When it is [in memory](Simulator::in_memory).
    pub fn address(&self) -> SocketAddr {
        self.listening().address()
    }

    /// `http://127.0.0.1:PORT`: the origin of Fabric (`/v1/...`), of Entra (`/{tenant}/...`) and of
    /// `/_simulator/...`, without a slash at the end.
    ///
    /// # Panics
    ///
    /// When it is [in memory](Simulator::in_memory).
    pub fn url(&self) -> String {
        self.listening().url()
    }

    /// The certificate of the simulator's authority, for clients to trust; `None` without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.listening.as_ref().and_then(Listening::ca_pem)
    }

    /// How many connections were accepted so far, whether or not a request came: zero proves that a
    /// client never followed a link to here.
    ///
    /// # Panics
    ///
    /// When it is [in memory](Simulator::in_memory).
    pub fn connections(&self) -> u64 {
        self.listening().accepted()
    }

    /// Refuses connections and breaks those that exist, until [`Simulator::come_back`].
    ///
    /// # Panics
    ///
    /// When it is [in memory](Simulator::in_memory).
    pub async fn go_offline(&self) {
        self.listening().set_online(false).await;
    }

    /// Listens again, at the same address.
    ///
    /// # Panics
    ///
    /// When it is [in memory](Simulator::in_memory).
    pub async fn come_back(&self) {
        self.listening().set_online(true).await;
    }

    /// The simulator as a [`tower::Service`]: for a client that takes one instead of an address.
    pub fn connection(&self) -> Connection {
        Connection::new(self.handle.state.clone(), "https")
    }

    /// The simulator as an [`axum::Router`], which cannot fail: a dropped connection shows as a 502
    /// whose body breaks off. Prefer [`Simulator::connection`].
    pub fn router(&self) -> axum::Router {
        self.connection().into_router()
    }

    /// A handle that may live longer than the simulator, for tasks of their own.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    fn listening(&self) -> &Listening {
        self.listening
            .as_ref()
            .expect("an in-memory simulator has no address")
    }
}

impl Deref for Simulator {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.handle.state.stop();
    }
}
