//! One HTTP exchange: bounded in size and time, and failures with stable names.

use std::future;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri, response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower::ServiceExt;

use super::Transport;
use crate::telemetry::text;

/// Name and version, so that Microsoft's support can find our requests.
const AGENT: &str = concat!("fabric-job-operator/", env!("CARGO_PKG_VERSION"));

/// What came back, as far as it came.
pub(crate) struct Reply {
    /// Status and headers.
    pub(crate) head: response::Parts,
    /// The body, or why it could not be had. A status stays known without its body.
    pub(crate) body: Result<Bytes, Failure>,
}

/// Why there is no answer, or none that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// A stable name of ours, which is recorded as the error code.
    pub(crate) code: &'static str,
    /// One stable sentence.
    pub(crate) message: String,
}

impl Failure {
    /// The time was over first.
    pub(crate) fn timeout() -> Self {
        Self {
            code: "Timeout",
            message: "no complete answer in time".to_owned(),
        }
    }
}

/// A request for JSON that says who asks.
pub(crate) fn request(method: Method, url: Uri, body: Bytes) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = url;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    // Nothing is decompressed here, so the cap counts real bytes.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    request
}

/// Sends `request` once and reads at most `max_body_bytes` of the answer's body. The caller
/// sets the time limit.
///
/// # Errors
/// [`Failure`] when there was no answer at all.
pub(crate) async fn send(
    transport: &Transport,
    request: Request<Bytes>,
    max_body_bytes: usize,
) -> Result<Reply, Failure> {
    send_until(transport, request, max_body_bytes, future::pending()).await
}

/// As [`send`], from the start to the last byte of the answer within `deadline`.
///
/// # Errors
/// As [`send`].
pub(crate) async fn send_within(
    transport: &Transport,
    request: Request<Bytes>,
    max_body_bytes: usize,
    deadline: Duration,
) -> Result<Reply, Failure> {
    let over = tokio::time::timeout(deadline, future::pending::<()>()).map(|_| ());
    send_until(transport, request, max_body_bytes, over).await
}

/// As [`send`], and gives up when `over` is done. A caller that stopped waiting on its own
/// would forget a status that came without its body.
async fn send_until(
    transport: &Transport,
    request: Request<Bytes>,
    max_body_bytes: usize,
    over: impl Future<Output = ()>,
) -> Result<Reply, Failure> {
    let named = |error| failure(&error, max_body_bytes);
    let mut over = pin!(over);
    let response = tokio::select! {
        biased;
        response = transport.clone().oneshot(request) => response.map_err(named)?,
        () = &mut over => return Err(Failure::timeout()),
    };
    let (head, body) = response.into_parts();
    // Boxed: the compiler cannot prove that a future over boxed errors may cross threads.
    let body = tokio::select! {
        biased;
        body = Limited::new(body, max_body_bytes).collect().boxed() => {
            body.map(|body| body.to_bytes()).map_err(named)
        }
        () = &mut over => Err(Failure::timeout()),
    };
    Ok(Reply { head, body })
}

/// Names a failure of the transport. The transport speaks in [`io::Error`]s; anything else is
/// an unexplained failure to connect.
fn failure(error: &tower::BoxError, max_body_bytes: usize) -> Failure {
    let mut causes = std::iter::successors(
        Some(error.as_ref() as &(dyn std::error::Error + 'static)),
        |error| error.source(),
    );
    // The outermost one that says something, as a layer may have wrapped it.
    let said = causes.find_map(|cause| {
        if cause.is::<LengthLimitError>() {
            return Some(None);
        }
        cause.downcast_ref::<io::Error>().map(Some)
    });
    let error = match said {
        Some(Some(error)) => error,
        Some(None) => {
            return Failure {
                code: "BodyTooLarge",
                message: format!("the answer is larger than {max_body_bytes} bytes"),
            };
        }
        None => {
            return Failure {
                code: "ConnectionFailed",
                message: "the connection failed".to_owned(),
            };
        }
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
