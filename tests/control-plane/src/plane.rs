//! The control plane itself: start, readiness, kubeconfigs, troubles.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, ObjectMeta, PostParams};
use serde_json::Value;

use crate::another::AnotherApiServer;
use crate::apiserver::{self, Files, Port};
use crate::audit::Logs;
use crate::certificates::Authority;
use crate::clock;
use crate::error::Error;
use crate::folder::Folder;
use crate::kubeconfig;
use crate::process::{Server, State};
use crate::tools::{Tools, Unavailable};

/// A running etcd and kube-apiserver, ended on drop and when this process ends in any other way.
///
/// It belongs to no tokio runtime, so tests with runtimes of their own can share it.
pub struct ControlPlane {
    // Dropped in this order: servers before the folder that they write to.
    apiserver: Mutex<Server>,
    etcd: Mutex<Server>,
    logs: Mutex<Logs>,
    tools: Tools,
    authority: Authority,
    files: Files,
    port: Port,
    admin: kube::Config,
    kubeconfig_admin: PathBuf,
    kubeconfigs: AtomicU32,
    kubectl_caches: AtomicU32,
    others: AtomicU32,
    folder: Folder,
}

impl ControlPlane {
    /// Where the tools are, built first if they have to be, which takes minutes and is told on stderr.
    ///
    /// # Errors
    /// When they cannot be had; the message says what to install.
    pub fn available() -> Result<Tools, Unavailable> {
        Tools::locate()
    }

    /// Finds or builds the tools, starts etcd and kube-apiserver, and waits until they are ready.
    ///
    /// # Errors
    /// No tools, or a server that does not become ready within 60 s (with the end of its log).
    pub async fn start() -> Result<Self, Error> {
        let located = tokio::task::spawn_blocking(Tools::locate).await;
        Self::start_with(located.expect("looking for the tools does not panic")?).await
    }

    /// [`start`](Self::start) with tools that were located before.
    ///
    /// # Errors
    /// A server that does not become ready within 60 s (with the end of its log).
    pub async fn start_with(tools: Tools) -> Result<Self, Error> {
        let folder = Folder::create()?;
        let authority = Authority::new()?;
        let files = Files::write(&folder, &authority)?;
        let port = Port::reserve()?;
        let admin = kubeconfig::certificate_user(&authority.client("admin", &["system:masters"])?);
        let kubeconfig_admin = folder.write(
            "kubeconfig-admin",
            &kubeconfig::text(&url(&port), &authority.certificate(), &admin),
        )?;
        let plane = Self {
            apiserver: Mutex::new(Server::new(
                "kube-apiserver",
                tools.kube_apiserver(),
                folder.path().join("kube-apiserver.log"),
            )),
            etcd: Mutex::new(Server::new(
                "etcd",
                tools.etcd(),
                folder.path().join("etcd.log"),
            )),
            logs: Mutex::new(Logs::default()),
            tools,
            authority,
            files,
            port,
            admin: kubeconfig::read(&kubeconfig_admin).await?,
            kubeconfig_admin,
            kubeconfigs: AtomicU32::new(0),
            kubectl_caches: AtomicU32::new(0),
            others: AtomicU32::new(0),
            folder,
        };
        plane.launch_etcd()?;
        plane.launch_apiserver()?;
        plane.ready().await?;
        Ok(plane)
    }

    /// Where the API server listens, for example `https://127.0.0.1:40123`; the same after a restart.
    pub fn url(&self) -> String {
        url(&self.port)
    }

    /// The issuer (`iss`) of this control plane's ServiceAccount tokens. Its keys: `kubectl get --raw /openid/v1/jwks`.
    pub fn issuer(&self) -> &'static str {
        apiserver::ISSUER
    }

    /// The temporary folder with all files and logs, removed on drop unless `CONTROL_PLANE_KEEP=1`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The tools that it runs.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// A kubeconfig of `admin` in group `system:masters`, whom RBAC does not bind.
    pub fn kubeconfig_admin(&self) -> PathBuf {
        self.kubeconfig_admin.clone()
    }

    /// Makes a kubeconfig with a client certificate; RBAC gives this user nothing until a test binds it.
    ///
    /// # Errors
    /// More than two groups, which a certificate made here cannot carry.
    pub fn kubeconfig_user(&self, user: &str, groups: &[&str]) -> Result<PathBuf, Error> {
        let user_entry = kubeconfig::certificate_user(&self.authority.client(user, groups)?);
        self.write_kubeconfig(user, &user_entry)
    }

    /// Makes a kubeconfig with a token of a ServiceAccount (valid for a day), which is created when missing.
    ///
    /// # Errors
    /// The namespace does not exist, or the API server does not answer.
    pub async fn kubeconfig_service_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<PathBuf, Error> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        match accounts.create(&PostParams::default(), &account).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            created => {
                created.map_err(Error::request(format!(
                    "create ServiceAccount {namespace}/{name}"
                )))?;
            }
        }
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .map_err(Error::request(format!(
                "request a token of ServiceAccount {namespace}/{name}"
            )))?;
        let token = answer
            .status
            .and_then(|status| status.token)
            .expect("a TokenRequest is answered with a token");
        self.write_kubeconfig(
            &format!("{namespace}-{name}"),
            &kubeconfig::token_user(&token),
        )
    }

    /// A new client of the admin. It belongs to the runtime in which it is made.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn client(&self) -> kube::Client {
        kube::Client::try_from(self.admin.clone())
            .expect("the admin's kubeconfig was made by this crate")
    }

    /// A new client of whoever a kubeconfig is for. It belongs to the runtime in which it is made.
    ///
    /// # Errors
    /// The file cannot be read or understood.
    pub async fn client_of(&self, kubeconfig: &Path) -> Result<kube::Client, Error> {
        let config = kubeconfig::read(kubeconfig).await?;
        kube::Client::try_from(config).map_err(|error| Error::Kubeconfig {
            path: kubeconfig.to_path_buf(),
            source: error.into(),
        })
    }

    /// The process ids of etcd and kube-apiserver, of those that have been started and not killed.
    pub fn pids(&self) -> Vec<u32> {
        [self.etcd().pid(), self.apiserver().pid()]
            .into_iter()
            .flatten()
            .collect()
    }

    /// SIGKILL: connections break, and new ones are refused until it is restarted.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn kill_apiserver(&self) -> Result<(), Error> {
        self.apiserver().kill()
    }

    /// Ends kube-apiserver if it runs, starts it on the same port, and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready within 60 s.
    pub async fn restart_apiserver(&self) -> Result<(), Error> {
        self.launch_apiserver()?;
        self.ready().await
    }

    /// SIGSTOP: connections stay open, new ones are accepted by the kernel, and nothing is answered.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause_apiserver(&self) -> Result<(), Error> {
        self.apiserver().pause()
    }

    /// SIGCONT after [`pause_apiserver`](Self::pause_apiserver), and waits until it is ready.
    ///
    /// # Errors
    /// It does not run, or does not become ready within 60 s.
    pub async fn resume_apiserver(&self) -> Result<(), Error> {
        self.apiserver().resume()?;
        self.ready().await
    }

    /// SIGKILL: the API server answers reads that it can serve from its memory, and fails the rest.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn kill_etcd(&self) -> Result<(), Error> {
        self.etcd().kill()
    }

    /// Ends etcd if it runs, starts it with the same data, and waits until a kube-apiserver that runs is ready again.
    ///
    /// # Errors
    /// It does not become ready within 60 s.
    pub async fn restart_etcd(&self) -> Result<(), Error> {
        self.launch_etcd()?;
        self.ready().await
    }

    /// SIGSTOP: the API server hangs with every request that needs etcd.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause_etcd(&self) -> Result<(), Error> {
        self.etcd().pause()
    }

    /// SIGCONT after [`pause_etcd`](Self::pause_etcd), and waits until a kube-apiserver that runs is ready again.
    ///
    /// # Errors
    /// It does not run, or does not become ready within 60 s.
    pub async fn resume_etcd(&self) -> Result<(), Error> {
        self.etcd().resume()?;
        self.ready().await
    }

    /// Starts another kube-apiserver on the same etcd and waits until it is ready. It belongs to the
    /// runtime in which it is started, and has to be dropped before this control plane.
    ///
    /// # Errors
    /// It does not become ready within 60 s.
    pub async fn another_apiserver(&self) -> Result<AnotherApiServer, Error> {
        let number = self.others.fetch_add(1, Ordering::Relaxed);
        let another = AnotherApiServer::new(
            self.folder.path(),
            number,
            &self.files,
            self.tools.kube_apiserver(),
            self.admin.clone(),
        )?;
        another.restart().await?;
        Ok(another)
    }

    pub(crate) fn apiserver(&self) -> MutexGuard<'_, Server> {
        self.apiserver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn etcd(&self) -> MutexGuard<'_, Server> {
        self.etcd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn logs(&self) -> MutexGuard<'_, Logs> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where kubectl remembers what the API server serves.
    pub(crate) fn kubectl_cache(&self) -> PathBuf {
        let number = self.kubectl_caches.load(Ordering::Relaxed);
        self.folder.path().join(format!("kubectl-cache-{number}"))
    }

    /// Makes later commands begin with an empty cache; one that runs now keeps its own.
    pub(crate) fn forget_kubectl_cache(&self) {
        self.kubectl_caches.fetch_add(1, Ordering::Relaxed);
    }

    fn launch_etcd(&self) -> Result<(), Error> {
        self.etcd()
            .start(&apiserver::etcd_arguments(self.folder.path()))
    }

    fn launch_apiserver(&self) -> Result<(), Error> {
        // Killed first: the log of a new start is the one that a marker is looked for in.
        self.apiserver().kill()?;
        let audit_log = self.logs().begin(self.folder.path());
        self.apiserver().start(&apiserver::arguments(
            &apiserver::etcd_socket(self.folder.path()),
            &self.files,
            &self.port,
            &audit_log,
        ))
    }

    /// Waits until the API server is ready and reads from etcd, unless it is killed or paused on purpose.
    async fn ready(&self) -> Result<(), Error> {
        if self.apiserver().state() != State::Running {
            return Ok(());
        }
        let client = self.client();
        let mut last_answer = "no answer".to_owned();
        let outcome = clock::poll(READY_PAUSE, READY_LIMIT, async || {
            if let Some(error) = self.death() {
                return Some(Err(error));
            }
            match tokio::time::timeout(PROBE_LIMIT, probe(&client)).await {
                Ok(Ok(())) => return Some(Ok(())),
                Ok(Err(error)) => last_answer = error.to_string(),
                Err(_) => last_answer = "a probe hung".to_owned(),
            }
            None
        })
        .await;
        outcome.unwrap_or_else(|| {
            let problem = format!(
                "was not ready within {} s: {last_answer}",
                READY_LIMIT.as_secs()
            );
            Err(not_ready(&self.apiserver(), problem))
        })
    }

    /// A server that ended on its own.
    fn death(&self) -> Option<Error> {
        [self.etcd(), self.apiserver()]
            .into_iter()
            .find_map(|mut server| {
                let status = server.ended()?;
                Some(not_ready(&server, format!("ended ({status})")))
            })
    }

    fn write_kubeconfig(&self, whose: &str, user: &Value) -> Result<PathBuf, Error> {
        // Names have characters that paths do not like; the number keeps the files apart.
        let readable: String = whose
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let number = self.kubeconfigs.fetch_add(1, Ordering::Relaxed);
        let text = kubeconfig::text(&self.url(), &self.authority.certificate(), user);
        self.folder
            .write(&format!("kubeconfig-{number}-{readable:.40}"), &text)
    }
}

/// Ready is what `/readyz` says, and that a read went through to etcd: the etcd part of `/readyz` is cached.
///
/// The namespace `default` is made after the start and is the last thing that tests rely on.
pub(crate) async fn probe(client: &kube::Client) -> Result<(), kube::Error> {
    let readyz = http::Request::get("/readyz")
        .body(Vec::new())
        .expect("a constant request is valid");
    client.request_text(readyz).await?;
    Api::<Namespace>::all(client.clone()).get("default").await?;
    Ok(())
}

pub(crate) fn not_ready(server: &Server, problem: String) -> Error {
    Error::NotReady {
        server: server.name(),
        problem,
        log: server.log().to_path_buf(),
        log_tail: server.log_tail(),
    }
}

pub(crate) fn url(port: &Port) -> String {
    format!("https://127.0.0.1:{}", port.number())
}

/// How often readiness is asked for; a start takes about 3 s.
pub(crate) const READY_PAUSE: Duration = Duration::from_millis(50);

/// Twenty times what a start takes on two idle cores.
pub(crate) const READY_LIMIT: Duration = Duration::from_secs(60);

/// A probe that hangs (etcd is just coming back) is asked again.
pub(crate) const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Longer than any test run, so that no test meets an expired token by accident.
const TOKEN_SECONDS: i64 = 24 * 60 * 60;
