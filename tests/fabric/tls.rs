//! Servers whose TLS is not in order: they learn nothing, the reason is named, and once it is in
//! order the same clients go on.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use fabric_job_operator::entra::TokenError;
use fabric_job_operator::outbound::client::Settings;
use fabric_simulator::Route;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{Bench, Folder, clients, now, outcome};

/// A certificate and its key.
type Identity = (CertificateDer<'static>, KeyPair);

/// What a connection meets.
#[derive(Clone)]
enum Peer {
    /// A TLS server that passes everything on to the simulator.
    Server(Arc<ServerConfig>),
    /// Whatever the client says first, it gets these bytes; then the connection is closed.
    Says(Vec<u8>),
    /// A TLS server that answers this, and cuts the connection without TLS's own farewell.
    Cuts(Arc<ServerConfig>, String),
}

/// What stands in front of the simulator.
struct Front {
    address: SocketAddr,
    peer: Arc<Mutex<Peer>>,
    /// How many bytes clients said inside TLS.
    heard: Arc<AtomicUsize>,
}

impl Front {
    async fn before(simulator: SocketAddr, peer: Peer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Self {
            address: listener.local_addr().unwrap(),
            peer: Arc::new(Mutex::new(peer)),
            heard: Arc::default(),
        };
        let (peer, heard) = (Arc::clone(&front.peer), Arc::clone(&front.heard));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let peer = peer.lock().unwrap().clone();
                tokio::spawn(meet(stream, peer, Arc::clone(&heard), simulator));
            }
        });
        front
    }

    fn becomes(&self, peer: Peer) {
        *self.peer.lock().unwrap() = peer;
    }

    fn heard(&self) -> usize {
        self.heard.load(Ordering::SeqCst)
    }
}

/// One connection; how it ends is the client's affair.
async fn meet(mut stream: TcpStream, peer: Peer, heard: Arc<AtomicUsize>, simulator: SocketAddr) {
    match peer {
        Peer::Server(config) => {
            let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await else {
                return;
            };
            let mut behind = TcpStream::connect(simulator).await.unwrap();
            if let Ok((said, _)) = copy_bidirectional(&mut stream, &mut behind).await {
                heard.fetch_add(said.try_into().unwrap(), Ordering::SeqCst);
            }
        }
        Peer::Says(bytes) => {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&bytes).await;
            // Its alert, or its end: closing first could reset what it has not read yet.
            let _ = stream.shutdown().await;
            while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
        }
        Peer::Cuts(config, answer) => {
            let mut stream = TlsAcceptor::from(config).accept(stream).await.unwrap();
            let said = stream.read(&mut [0; 4096]).await.unwrap_or_default();
            heard.fetch_add(said, Ordering::SeqCst);
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            stream.get_mut().0.shutdown().await.unwrap();
        }
    }
}

/// An authority, and what it signs.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority of this test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    fn signs(&self, wish: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        (wish.signed_by(&key, &issuer).unwrap().der().clone(), key)
    }
}

/// What a server's certificate has to be.
fn good() -> CertificateParams {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn self_signed(params: &CertificateParams) -> Identity {
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().der().clone(), key)
}

fn config((certificate, key): Identity) -> Arc<ServerConfig> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}

/// The first flight of a server whose newest version is TLS 1.1: a ServerHello without extensions.
/// The libraries of this workspace cannot speak it.
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    // No session, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, no compression.
    hello.extend([0, 0xc0, 0x13, 0]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, 2, 0, length + 4, 2, 0, 0, length];
    record.extend(hello);
    record
}

/// The other answer of such a server: a fatal alert, `protocol_version`.
const ALERT_PROTOCOL_VERSION: [u8; 7] = [21, 3, 2, 0, 2, 2, 70];

#[tokio::test]
async fn a_server_whose_tls_is_not_in_order_gets_no_byte_of_a_request_until_it_is() {
    let authority = Authority::new();
    let with = |change: fn(&mut CertificateParams)| {
        let mut params = good();
        change(&mut params);
        params
    };
    let server = |params| Peer::Server(config(authority.signs(&params)));
    let as_openssl_makes_it = |params: &mut CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    };
    let cases = [
        (
            "expired",
            server(with(|it| it.not_after = date_time_ymd(2020, 1, 1))),
            "has expired",
        ),
        (
            "not valid yet",
            server(with(|it| it.not_before = date_time_ymd(2400, 1, 1))),
            "not valid yet",
        ),
        (
            "of another name",
            server(with(|it| {
                it.subject_alt_names = CertificateParams::new(["fabric.example".to_owned()])
                    .unwrap()
                    .subject_alt_names;
            })),
            "for another host",
        ),
        (
            "a client's",
            server(with(|it| {
                it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            })),
            "not accepted: it has to be a server's",
        ),
        (
            "of an unknown authority",
            Peer::Server(config(Authority::new().signs(&good()))),
            "not trusted",
        ),
        (
            "self-signed",
            Peer::Server(config(self_signed(&good()))),
            "not trusted",
        ),
        (
            "self-signed, and an authority as well",
            Peer::Server(config(self_signed(&with(as_openssl_makes_it)))),
            "not accepted: it has to be a server's",
        ),
        (
            "TLS 1.1 alone",
            Peer::Says(hello_of_tls_1_1()),
            "neither TLS 1.2 nor TLS 1.3",
        ),
        (
            "TLS 1.1 alone, said with an alert",
            Peer::Says(ALERT_PROTOCOL_VERSION.to_vec()),
            "neither TLS 1.2 nor TLS 1.3",
        ),
        ("a handshake cut short", Peer::Says(Vec::new()), ""),
    ];
    let bench = Bench::http().await;
    let simulator = bench.simulator.address();
    let folder = Folder::with_bundle(&authority.pem);
    let settings = Settings {
        ca_bundle: Some(folder.bundle()),
        ..Settings::default()
    };
    let token = bench.token().await;
    for (case, peer, reason) in cases {
        let code = if reason.is_empty() {
            "ConnectionFailed"
        } else {
            "TlsFailed"
        };
        let front = Front::before(simulator, peer).await;
        let (fabric, entra) = clients(&format!("https://{}", front.address), &settings);
        let before = bench.simulator.ledger().len();

        let error = entra.token(&bench.credential, now()).await.unwrap_err();
        let TokenError::Unavailable {
            code: named,
            message,
            ..
        } = &error
        else {
            panic!("{case}: {error:?}");
        };
        assert_eq!(named, code, "{case}: {message}");
        assert!(message.contains(reason), "{case}: {message}");
        let observed = fabric.cancel(&bench.job, &token, now()).await;
        assert_eq!(outcome(&observed), ("unknown", code), "{case}");
        let observed = fabric.look(&bench.job, &token, now()).await;
        assert_eq!(outcome(&observed), ("inconclusive", code), "{case}");
        assert_eq!(front.heard(), 0, "{case}: it learned something");
        assert_eq!(bench.simulator.ledger().len(), before, "{case}");

        front.becomes(server(good()));
        entra.token(&bench.credential, now()).await.unwrap();
        let observed = fabric.look(&bench.job, &token, now()).await;
        assert_eq!(outcome(&observed), ("seen", "InProgress"), "{case}");
    }
    assert_eq!(bench.requests(Route::Cancel).len(), 0);
}

#[tokio::test]
async fn an_answer_that_tls_did_not_end_is_no_complete_answer() {
    let authority = Authority::new();
    let bench = Bench::http().await;
    let folder = Folder::with_bundle(&authority.pem);
    let settings = Settings {
        ca_bundle: Some(folder.bundle()),
        ..Settings::default()
    };
    let server = config(authority.signs(&good()));
    let simulator = bench.simulator.address();
    let front = Front::before(simulator, Peer::Server(Arc::clone(&server))).await;
    let (fabric, _) = clients(&format!("https://{}", front.address), &settings);
    let token = bench.token().await;

    // Without a length the end of the connection is the end of the body, so whoever can cut the
    // connection could shorten it: here to a job that reads as over.
    let job = format!(
        r#"{{"id":"{}","status":"Cancelled"}}"#,
        bench.job.job_instance_id
    );
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{job}");
    front.becomes(Peer::Cuts(Arc::clone(&server), answer));
    let observed = fabric.look(&bench.job, &token, now()).await;
    assert_eq!(outcome(&observed), ("inconclusive", "ConnectionClosed"));

    let answer = "HTTP/1.1 202 Acc".to_owned();
    front.becomes(Peer::Cuts(Arc::clone(&server), answer));
    let observed = fabric.cancel(&bench.job, &token, now()).await;
    assert_eq!(outcome(&observed), ("unknown", "ConnectionClosed"));
    assert!(front.heard() > 0, "these were asked");

    front.becomes(Peer::Server(server));
    let observed = fabric.look(&bench.job, &token, now()).await;
    assert_eq!(outcome(&observed), ("seen", "InProgress"));
}
