//! How etcd and kube-apiserver are started: flags, files, ports.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::net::TcpSocket;

use crate::certificates::{Authority, service_account_key};
use crate::error::Error;
use crate::folder::Folder;

/// A port on 127.0.0.1 that is ours from before the server's first start until after its last.
///
/// Our socket is bound and never listens, so the kernel gives the port to nobody else, and no
/// connection ever lands on it; the server binds the same port with SO_REUSEPORT.
pub(crate) struct Port {
    _socket: TcpSocket,
    address: SocketAddr,
}

impl Port {
    pub(crate) fn reserve() -> Result<Self, Error> {
        let reserve = || {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseport(true)?;
            socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
            let address = socket.local_addr()?;
            Ok(Self {
                _socket: socket,
                address,
            })
        };
        reserve().map_err(Error::Port)
    }

    pub(crate) fn number(&self) -> u16 {
        self.address.port()
    }
}

/// The files that kube-apiserver reads, the same at every start.
pub(crate) struct Files {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    service_account_key: PathBuf,
    audit_policy: PathBuf,
}

impl Files {
    pub(crate) fn write(folder: &Folder, authority: &Authority) -> Result<Self, Error> {
        let serving = authority.serving(&["127.0.0.1", "localhost", "kubernetes.default.svc"])?;
        Ok(Self {
            authority: folder.write("ca.crt", &authority.certificate())?,
            certificate: folder.write("apiserver.crt", &serving.certificate)?,
            key: folder.write("apiserver.key", &serving.key)?,
            service_account_key: folder.write("service-account.key", &service_account_key()?)?,
            audit_policy: folder.write("audit-policy.yaml", AUDIT_POLICY)?,
        })
    }
}

/// etcd needs no port: only our kube-apiserver talks to it, over a socket in our private folder.
pub(crate) fn etcd_arguments(folder: &Path) -> Vec<String> {
    let data = folder.join("etcd");
    let peer = folder.join("peer.sock");
    [
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={}", etcd_url(folder)),
        format!("--advertise-client-urls={}", etcd_url(folder)),
        format!("--listen-peer-urls=unix://{}", peer.display()),
        // Nobody ever dials it: the cluster has one member.
        "--initial-advertise-peer-urls=http://localhost:2380".to_owned(),
        "--initial-cluster=default=http://localhost:2380".to_owned(),
        // The data is gone with the folder: losing it in a power cut loses nothing. A killed etcd keeps it.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]
    .to_vec()
}

/// The flags of kube-apiserver. `etcd` is the socket that it reaches etcd by, `audit_log` a new file
/// for each start.
pub(crate) fn arguments(etcd: &Path, files: &Files, port: &Port, audit_log: &Path) -> Vec<String> {
    [
        format!("--etcd-servers=unix://{}", etcd.display()),
        format!("--secure-port={}", port.number()),
        "--bind-address=127.0.0.1".to_owned(),
        "--permit-port-sharing=true".to_owned(),
        "--permit-address-sharing=true".to_owned(),
        format!("--tls-cert-file={}", files.certificate.display()),
        format!("--tls-private-key-file={}", files.key.display()),
        format!("--client-ca-file={}", files.authority.display()),
        "--authorization-mode=RBAC".to_owned(),
        format!("--service-account-issuer={ISSUER}"),
        format!(
            "--service-account-key-file={}",
            files.service_account_key.display()
        ),
        format!(
            "--service-account-signing-key-file={}",
            files.service_account_key.display()
        ),
        format!("--audit-policy-file={}", files.audit_policy.display()),
        format!("--audit-log-path={}", audit_log.display()),
        // The entry is written before the response ends; see `audit`.
        "--audit-log-mode=blocking".to_owned(),
        // Never rotated: the reader remembers how far it has read.
        "--audit-log-maxsize=0".to_owned(),
        // It wants the default ServiceAccount, which the controller manager would make.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        // A loopback address is no valid endpoint of the Service `kubernetes`, which nobody uses here.
        "--advertise-address=127.0.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
    ]
    .to_vec()
}

fn etcd_url(folder: &Path) -> String {
    format!("unix://{}", etcd_socket(folder).display())
}

/// Where etcd listens.
pub(crate) fn etcd_socket(folder: &Path) -> PathBuf {
    folder.join("etcd.sock")
}

/// The issuer in ServiceAccount tokens, as in a cluster that does not publish its own.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Everything but health probes; for our own kind with bodies, so that a test can say what a write wrote.
/// No stage is left out: `RequestReceived` is how the reader knows of requests that are still worked on.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: None
  nonResourceURLs: ['/healthz*', '/livez*', '/readyz*']
- level: RequestResponse
  resources:
  - group: fabricjobs.dev
- level: Metadata
";
