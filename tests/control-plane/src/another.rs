//! A second kube-apiserver on the same etcd, which can be made to fall behind.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::apiserver::{self, Files, Port};
use crate::clock;
use crate::error::Error;
use crate::link::Link;
use crate::plane::{PROBE_LIMIT, READY_LIMIT, READY_PAUSE, not_ready, probe, url};
use crate::process::Server;

/// Another kube-apiserver; ends when it is dropped. Its audit log is read by nobody.
pub struct AnotherApiServer {
    server: Mutex<Server>,
    link: Link,
    port: Port,
    arguments: Vec<String>,
    admin: kube::Config,
}

impl AnotherApiServer {
    /// One that is not started yet. `number` tells it from others.
    pub(crate) fn new(
        folder: &Path,
        number: u32,
        files: &Files,
        program: PathBuf,
        mut admin: kube::Config,
    ) -> Result<Self, Error> {
        let port = Port::reserve()?;
        let socket = folder.join(format!("etcd-{number}.sock"));
        let link = Link::start(&socket, apiserver::etcd_socket(folder))
            .map_err(Error::file("listen on", &socket))?;
        let name = format!("another-apiserver-{number}");
        let audit_log = folder.join(format!("{name}-audit.log"));
        let arguments = apiserver::arguments(&socket, files, &port, &audit_log);
        admin.cluster_url = url(&port).parse().expect("a constant URL is valid");
        let log = folder.join(format!("{name}.log"));
        Ok(Self {
            server: Mutex::new(Server::new("another kube-apiserver", program, log)),
            link,
            port,
            arguments,
            admin,
        })
    }

    /// Where it listens; the same after a restart.
    pub fn url(&self) -> String {
        url(&self.port)
    }

    /// A new client of the admin. It belongs to the runtime in which it is made.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn client(&self) -> kube::Client {
        kube::Client::try_from(self.admin.clone())
            .expect("the admin's kubeconfig was made by this crate")
    }

    /// Nothing passes between it and etcd any more: what it serves from its memory stays as it is,
    /// and everything else hangs. No connection breaks.
    pub fn freeze(&self) {
        self.link.freeze();
    }

    /// What was held up passes, and everything after it.
    pub fn thaw(&self) {
        self.link.thaw();
    }

    /// SIGKILL: connections break, and new ones are refused until it is restarted.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn kill(&self) -> Result<(), Error> {
        self.server().kill()
    }

    /// Ends it if it runs, starts it, and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready within 60 s.
    pub async fn restart(&self) -> Result<(), Error> {
        self.server().start(&self.arguments)?;
        let client = self.client();
        let ready = clock::poll(READY_PAUSE, READY_LIMIT, async || {
            if let Some(status) = self.server().ended() {
                return Some(Err(not_ready(&self.server(), format!("ended ({status})"))));
            }
            let probe = tokio::time::timeout(PROBE_LIMIT, probe(&client)).await;
            matches!(probe, Ok(Ok(()))).then_some(Ok(()))
        })
        .await;
        ready.unwrap_or_else(|| {
            let problem = format!("was not ready within {} s", READY_LIMIT.as_secs());
            Err(not_ready(&self.server(), problem))
        })
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
