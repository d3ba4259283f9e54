//! One HTTP exchange with Fabric: bounded in size and time, and failures with stable names.

use std::io::{self, ErrorKind};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri, response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower::ServiceExt;

use super::Transport;
use crate::entra::AccessToken;
use crate::telemetry::text;

/// The largest body that is read. A job instance takes about a kilobyte; the rest is room for
/// an item type that adds properties of its own.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// Name and version, so that support can find our requests. Sent to Fabric only.
const AGENT: &str = concat!("fabric-job-operator/", env!("CARGO_PKG_VERSION"));

/// What came back, as far as it came.
pub(super) struct Reply {
    /// Status and headers; absent when there was no answer at all.
    pub(super) head: Option<response::Parts>,
    /// The body, or why it could not be had. A status stays known without its body.
    pub(super) body: Result<Bytes, Failure>,
}

/// Why there is no answer, or none that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// A stable name of ours, which is recorded as the error code.
    pub(super) code: &'static str,
    /// One stable sentence.
    pub(super) message: String,
}

impl Failure {
    fn timeout() -> Self {
        Self {
            code: "Timeout",
            message: "no complete answer in time".to_owned(),
        }
    }
}

/// An empty request with the token in a header that is marked as sensitive.
pub(super) fn request(method: Method, url: &Uri, token: &AccessToken) -> Request<Bytes> {
    let posts = method == Method::POST;
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = method;
    *request.uri_mut() = url.clone();
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, token.authorization());
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    // Nothing is decompressed here, so the cap counts real bytes.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if posts {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    request
}

/// Sends `request` once and reads the answer, both within `deadline`.
pub(super) async fn send(
    transport: &Transport,
    request: Request<Bytes>,
    deadline: Duration,
) -> Reply {
    let mut head = None;
    let whole = async {
        let response = transport.clone().oneshot(request).await.map_err(failure)?;
        let (parts, body) = response.into_parts();
        head = Some(parts);
        let body = Limited::new(body, MAX_BODY_BYTES);
        Ok(body.collect().await.map_err(failure)?.to_bytes())
    };
    let body = match tokio::time::timeout(deadline, whole).await {
        Ok(body) => body,
        Err(_) => Err(Failure::timeout()),
    };
    Reply { head, body }
}

/// Names a failure of the transport. The transport speaks in [`io::Error`]s; anything else is
/// an unexplained failure to connect.
#[expect(clippy::needless_pass_by_value, reason = "used as `map_err(failure)`")]
fn failure(error: tower::BoxError) -> Failure {
    if error.is::<LengthLimitError>() {
        return Failure {
            code: "BodyTooLarge",
            message: format!("the answer is larger than {MAX_BODY_BYTES} bytes"),
        };
    }
    let Some(error) = error.downcast_ref::<io::Error>() else {
        return Failure {
            code: "ConnectionFailed",
            message: "the connection failed".to_owned(),
        };
    };
    let code = match error.kind() {
        ErrorKind::TimedOut => "Timeout",
        ErrorKind::InvalidData => "TlsFailed",
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => "ConnectionClosed",
        _ => "ConnectionFailed",
    };
    Failure {
        code,
        message: text::clean(&error.to_string(), text::MESSAGE),
    }
}
