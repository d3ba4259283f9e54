//! The client, over real sockets of this machine.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::process::Command;
use std::sync::{Arc, Mutex};

use http::Method;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tower::ServiceExt;

use super::*;
use crate::outbound::Origin;

/// Tells a child process which half of a test it is.
const CHILD: &str = "FABRIC_TEST_OUTBOUND_CHILD";

fn loopback() -> Settings {
    Settings {
        allow_loopback_http: true,
        ..Settings::default()
    }
}

fn get(url: &str) -> Request<Bytes> {
    Request::builder()
        .method(Method::GET)
        .uri(url)
        .body(Bytes::new())
        .unwrap()
}

/// Sends within a time that is only needed when a test fails.
async fn send(
    out: &Transport,
    request: Request<Bytes>,
) -> Result<Response<UnsyncBoxBody<Bytes, tower::BoxError>>, tower::BoxError> {
    tokio::time::timeout(Duration::from_secs(15), out.clone().oneshot(request))
        .await
        .expect("every peer of these tests answers at once")
}

fn kind(error: &tower::BoxError) -> ErrorKind {
    error.downcast_ref::<io::Error>().unwrap().kind()
}

/// A listener that nobody should talk to.
struct Evil(StdListener);

impl Evil {
    fn listen() -> Self {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    /// A connection that was made waits in the listener's queue, so no time needs to pass.
    fn assert_untouched(&self) {
        assert_eq!(
            self.0.accept().unwrap_err().kind(),
            ErrorKind::WouldBlock,
            "somebody connected"
        );
    }
}

/// Runs one test of this file again in a process with another environment.
fn child(test: &str, env: &[(&str, &str)]) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("outbound::client::tests::{test}"),
            "--nocapture",
        ])
        .env(CHILD, "1")
        .envs(env.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Answers every connection with `reply` after the request's head; tells the first lines.
async fn server(reply: String) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (lines, heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (lines, reply) = (lines.clone(), reply.clone());
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut first = String::new();
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                        return;
                    }
                    if first.is_empty() {
                        first.clone_from(&line);
                    }
                    if line == "\r\n" {
                        break;
                    }
                }
                // Not every test listens.
                let _ = lines.send(first.trim_end().to_owned());
                stream.write_all(reply.as_bytes()).await.unwrap();
                // The client closes when it has seen enough.
                let _ = stream.read(&mut [0; 1]).await;
            });
        }
    });
    (format!("http://{address}"), heard)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Encoding: gzip\r\n\r\nhi";

#[tokio::test]
async fn http_is_spoken_with_loopback_addresses_only_and_only_when_allowed() {
    let (url, _heard) = server(OK.to_owned()).await;
    let allowed = transport(&loopback()).unwrap();
    let response = send(&allowed, get(&url)).await.unwrap();
    // Nothing is decompressed.
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "hi"
    );

    let port = url.rsplit(':').next().unwrap();
    for other in [
        format!("http://localhost:{port}/"),
        format!("http://0.0.0.0:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://127.0.0.1.nip.example:{port}/"),
        "http://169.254.169.254/metadata".to_owned(),
        format!("ftp://127.0.0.1:{port}/"),
        "/relative".to_owned(),
    ] {
        let error = send(&allowed, get(&other)).await.unwrap_err();
        assert_eq!(kind(&error), ErrorKind::PermissionDenied, "{other}");
    }
    let strict = transport(&Settings::default()).unwrap();
    let error = send(&strict, get(&url)).await.unwrap_err();
    assert_eq!(kind(&error), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let evil = Evil::listen();
    for status in ["301", "302", "303", "307", "308"] {
        let location = evil.url();
        let (url, _heard) = server(format!(
            "HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
        let out = transport(&loopback()).unwrap();
        let response = send(&out, get(&url)).await.unwrap();
        assert_eq!(response.status().as_str(), status);
    }
    evil.assert_untouched();
}

#[tokio::test]
async fn failures_are_named_by_their_kind_in_one_stable_sentence() {
    let closed = StdListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let out = transport(&loopback()).unwrap();
    let error = send(&out, get(&format!("http://{closed}/")))
        .await
        .unwrap_err();
    assert_eq!(kind(&error), ErrorKind::ConnectionRefused);
    assert_eq!(error.to_string(), "the connection was refused");

    // A server that closes after the request.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
    });
    let error = send(&out, get(&format!("http://{address}/")))
        .await
        .unwrap_err();
    assert_eq!(kind(&error), ErrorKind::ConnectionAborted);

    let error = send(&out, get("https://no-such-host.invalid/"))
        .await
        .unwrap_err();
    match kind(&error) {
        ErrorKind::AddrNotAvailable => {
            assert_eq!(error.to_string(), "the host name cannot be resolved");
        }
        // A machine whose name server is out of reach.
        other => assert_eq!(other, ErrorKind::TimedOut),
    }
}

/// A resolver: the answer of each question in turn, and how long it takes. The last one stays. No
/// address at all is an error, as it is for `getaddrinfo`.
struct Answers(Mutex<VecDeque<(Duration, Vec<SocketAddr>)>>);

impl Resolve for Answers {
    fn resolve(&self, _: Name) -> Resolving {
        let mut answers = self.0.lock().unwrap();
        let (pause, addresses) = match answers.len() {
            1 => answers.front().cloned().unwrap(),
            _ => answers.pop_front().unwrap(),
        };
        Box::pin(async move {
            let _ = tokio::time::timeout(pause, std::future::pending::<()>()).await;
            if addresses.is_empty() {
                return Err("No address associated with hostname".into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn resolving(answers: impl IntoIterator<Item = (Duration, Vec<SocketAddr>)>) -> Transport {
    let answers = Answers(Mutex::new(answers.into_iter().collect()));
    let settings = Settings::default();
    let builder = builder(&settings).unwrap().dns_resolver(answers);
    service(build(builder, &settings).unwrap(), &settings)
}

#[tokio::test]
async fn a_name_that_moves_is_followed_and_one_without_an_address_is_named() {
    let (old, new) = (Evil::listen(), Evil::listen());
    let at = |listener: &Evil| vec![listener.0.local_addr().unwrap()];
    let closed = {
        let gone = Evil::listen();
        at(&gone)
    };
    let soon = Duration::ZERO;
    let out = resolving([
        (soon, at(&old)),
        (soon, vec![]),
        (soon, closed.clone()),
        (soon, [closed, at(&new)].concat()),
    ]);
    let ask = || send(&out, get("https://fabric.test/"));
    // Whoever accepts, and closes.
    let hang_up = async |listener: &Evil| {
        let listener = TcpListener::from_std(listener.0.try_clone().unwrap()).unwrap();
        drop(listener.accept().await.unwrap());
    };

    let (error, ()) = tokio::join!(ask(), hang_up(&old));
    assert_eq!(kind(&error.unwrap_err()), ErrorKind::NotConnected);
    let empty = ask().await.unwrap_err();
    assert_eq!(empty.to_string(), "the host name cannot be resolved");
    assert_eq!(kind(&empty), ErrorKind::AddrNotAvailable);
    let refused = ask().await.unwrap_err();
    assert_eq!(kind(&refused), ErrorKind::ConnectionRefused);
    let (error, ()) = tokio::join!(ask(), hang_up(&new));
    assert_eq!(kind(&error.unwrap_err()), ErrorKind::NotConnected);
    old.assert_untouched();
}

#[tokio::test(start_paused = true)]
#[expect(
    clippy::disallowed_methods,
    reason = "the test is the caller that owns the clock"
)]
async fn a_name_server_that_takes_half_a_minute_is_not_waited_for() {
    let evil = Evil::listen();
    let address = evil.0.local_addr().unwrap();
    let out = resolving([(Duration::from_secs(30), vec![address])]);
    let began = tokio::time::Instant::now();
    let error = send(&out, get("https://fabric.test/")).await.unwrap_err();
    assert_eq!(error.to_string(), "no connection in time");
    assert_eq!(kind(&error), ErrorKind::TimedOut);
    assert_eq!(began.elapsed(), CONNECT_DEADLINE);
    // Nor does the late answer make a connection that nobody waits for.
    tokio::time::sleep(Duration::from_secs(60)).await;
    evil.assert_untouched();
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_a_tls_failure() {
    let out = transport(&Settings::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read(&mut [0; 1024]).await;
    });
    let error = send(&out, get(&format!("https://{address}/")))
        .await
        .unwrap_err();
    assert_eq!(kind(&error), ErrorKind::InvalidData, "{error:?}");
}

#[tokio::test]
async fn the_proxy_variables_of_the_environment_are_ignored() {
    const NAME: &str = "the_proxy_variables_of_the_environment_are_ignored";
    if std::env::var_os(CHILD).is_some() {
        let (url, mut heard) = server(OK.to_owned()).await;
        let out = transport(&loopback()).unwrap();
        send(&out, get(&url)).await.unwrap();
        assert_eq!(heard.recv().await.unwrap(), "GET / HTTP/1.1");
        // Refused directly, instead of asked of the proxy.
        let closed = StdListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let error = send(&out, get(&format!("https://{closed}/")))
            .await
            .unwrap_err();
        assert_eq!(kind(&error), ErrorKind::ConnectionRefused);
        return;
    }
    let evil = Evil::listen();
    let url = evil.url();
    let env = [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ]
    .map(|name| (name, url.as_str()));
    child(NAME, &env);
    evil.assert_untouched();
}

#[tokio::test]
async fn a_proxy_that_a_flag_names_is_used_for_https_but_for_its_exceptions() {
    let (proxy, mut heard) =
        server("HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n".to_owned()).await;
    let closed = StdListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut settings = Settings {
        https_proxy: Some(proxy.parse().unwrap()),
        ..loopback()
    };
    let url = format!("https://{closed}/");
    let error = send(&transport(&settings).unwrap(), get(&url))
        .await
        .unwrap_err();
    assert_eq!(
        heard.recv().await.unwrap(),
        format!("CONNECT {closed} HTTP/1.1")
    );
    assert_eq!(kind(&error), ErrorKind::NotConnected, "{error:?}");

    settings.no_proxy = Some("example.com, 127.0.0.0/8".to_owned());
    let error = send(&transport(&settings).unwrap(), get(&url))
        .await
        .unwrap_err();
    assert_eq!(kind(&error), ErrorKind::ConnectionRefused);
    assert!(heard.try_recv().is_err());
}

#[test]
fn without_any_root_certificate_the_error_says_what_is_missing() {
    const NAME: &str = "without_any_root_certificate_the_error_says_what_is_missing";
    if std::env::var_os(CHILD).is_some() {
        let error = transport(&Settings::default()).unwrap_err();
        assert!(matches!(error, Error::NoRoots { .. }), "{error:?}");
        assert!(error.to_string().contains("--ca-bundle"));
        let bundle = Some(PathBuf::from(std::env::var_os("BUNDLE").unwrap()));
        transport(&Settings {
            ca_bundle: bundle,
            ..Settings::default()
        })
        .unwrap();
        return;
    }
    let folder = Folder::new("no-roots");
    let empty = Folder::new("empty");
    let bundle = folder.file("ca.pem", CA);
    child(
        NAME,
        &[
            ("SSL_CERT_FILE", "/dev/null"),
            ("SSL_CERT_DIR", empty.0.to_str().unwrap()),
            ("BUNDLE", bundle.to_str().unwrap()),
        ],
    );
}

#[test]
fn a_ca_bundle_that_cannot_be_used_is_named() {
    let folder = Folder::new("bundles");
    let with = |path: PathBuf| {
        let settings = Settings {
            ca_bundle: Some(path),
            ..Settings::default()
        };
        transport(&settings).unwrap_err()
    };
    let missing = with(folder.0.join("missing.pem"));
    assert!(matches!(missing, Error::ReadBundle { .. }));
    let empty = with(folder.file("empty.pem", "no certificate here\n"));
    assert!(matches!(empty, Error::EmptyBundle { .. }), "{empty:?}");
    let damaged = with(folder.file(
        "damaged.pem",
        "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n",
    ));
    assert!(
        matches!(damaged, Error::DamagedBundle { .. }),
        "{damaged:?}"
    );
    let no_certificate = with(folder.file(
        "wrong.pem",
        "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
    ));
    assert!(
        matches!(no_certificate, Error::DamagedBundle { .. }),
        "{no_certificate:?}"
    );
    for error in [missing, empty, damaged, no_certificate] {
        let text = error.to_string();
        assert!(
            text.contains(".pem") && text.contains("--ca-bundle"),
            "{text}"
        );
    }
}

#[test]
fn debug_of_the_settings_prints_no_proxy_password() {
    let settings = Settings {
        https_proxy: Some("http://user:hunter2@proxy.example:3128".parse().unwrap()),
        ..Settings::default()
    };
    let shown = format!("{settings:?}");
    assert!(shown.contains("proxy.example:3128"));
    assert!(
        !shown.contains("hunter2") && !shown.contains("user"),
        "{shown}"
    );
}

/// What was logged on this thread, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_token_nor_secret_is_logged_at_any_level() {
    if std::env::var_os(CHILD).is_none() {
        // In a process of its own: tests beside it would switch its log lines off.
        child("neither_token_nor_secret_is_logged_at_any_level", &[]);
        return;
    }
    const TOKEN: &str = "eyJ0eXAiOiJKV1Qi.cGF5bG9hZC1vZi10aGUtdG9rZW4.c2lnbmF0dXJlLW9mLWl0";
    const SECRET: &str = "the-client-secret-value";
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let body = format!(r#"{{"access_token":"{TOKEN}","expires_in":3600}}"#);
    let length = body.len();
    let (granting, _) = server(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
    .await;
    // A gateway that echoes what it got.
    let echo = format!(
        r#"{{"error":"x","error_description":"{SECRET} {TOKEN}","errorCode":"X","message":"{SECRET} Bearer {TOKEN}"}}"#
    );
    let length = echo.len();
    let (echoing, _) = server(format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Length: {length}\r\n\r\n{echo}"
    ))
    .await;

    let credential = crate::entra::Credential {
        source: crate::entra::SourceKey {
            kind: "Secret",
            namespace: "n".to_owned(),
            name: "s".to_owned(),
            uid: String::new(),
            resource_version: String::new(),
        },
        tenant_id: uuid::Uuid::from_u128(1),
        client_id: uuid::Uuid::from_u128(2),
        proof: crate::entra::Proof::ClientSecret(SECRET.to_owned().into()),
    };
    let entra = |url: &str| {
        let authority = crate::entra::Authority::new(Origin::parse(url, true).unwrap());
        crate::entra::EntraClient::new(transport(&loopback()).unwrap(), authority, "s".to_owned())
    };
    let now = jiff::Timestamp::UNIX_EPOCH;
    let token = entra(&granting).token(&credential, now).await.unwrap();
    let refused = entra(&echoing).token(&credential, now).await.unwrap_err();
    let job = crate::cancellation::JobInstance {
        workspace_id: uuid::Uuid::from_u128(3),
        item_id: uuid::Uuid::from_u128(4),
        job_instance_id: uuid::Uuid::from_u128(5),
    };
    let endpoint = crate::fabric::Endpoint::new(Origin::parse(&echoing, true).unwrap());
    let fabric = crate::fabric::FabricClient::new(transport(&loopback()).unwrap(), endpoint);
    let seen = fabric.cancel(&job, &token, now).await;

    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        logged.contains("Fabric did not do what was asked"),
        "{logged}"
    );
    assert!(logged.contains("Entra issued no token"), "{logged}");
    for text in [
        logged,
        format!("{seen:?}"),
        format!("{refused:?} {refused}"),
    ] {
        assert!(!text.contains(SECRET), "{text}");
        for part in TOKEN.split('.') {
            assert!(!text.contains(part), "{text}");
        }
    }
}

/// A folder of this test's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("outbound-{name}-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A certificate of nobody's: its key was thrown away.
const CA: &str = "\
-----BEGIN CERTIFICATE-----
MIIBmjCCAUGgAwIBAgIUSDQF/wYVIklTIymZ5gs4zio/rfEwCgYIKoZIzj0EAwIw
IjEgMB4GA1UEAwwXb3V0Ym91bmQgdGVzdCBhdXRob3JpdHkwIBcNMjYxMTIzMjMw
NjE2WhgPMjEyNjEwMzAyMzA2MTZaMCIxIDAeBgNVBAMMF291dGJvdW5kIHRlc3Qg
YXV0aG9yaXR5MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAExGJkszylYiCDhDaM
zlxiVjb4lJLL7/SE4ryOP/jZv61kA+zJsCuWPn5u/5oG/kCeGx2vk0Z9/iRDScAf
KxXoKqNTMFEwHQYDVR0OBBYEFPh7yydGCEkQV5ixl8UAtig3lTwbMB8GA1UdIwQY
MBaAFPh7yydGCEkQV5ixl8UAtig3lTwbMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZI
zj0EAwIDRwAwRAIgB94eeOsvuh7WVm6BJxFiAIyIBt4Bx+IifEhg3gcyLkACIDQo
YbsRvmyWCG+S7y5zcVLo2zWwJf1/GY2CgQi2J7Yl
-----END CERTIFICATE-----
";
