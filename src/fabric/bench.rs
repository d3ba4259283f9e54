//! A Fabric of memory for this room's tests: it answers every request the same way.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use jiff::Timestamp;
use secrecy::SecretString;
use tower::util::BoxCloneSyncService;
use uuid::{Uuid, uuid};

use super::{Endpoint, FabricClient};
use crate::cancellation::JobInstance;
use crate::entra::AccessToken;
use crate::outbound::{Origin, Transport};

pub(super) const JOB: JobInstance = JobInstance {
    workspace_id: uuid!("11111111-aaaa-4aaa-8aaa-111111111111"),
    item_id: uuid!("22222222-bbbb-4bbb-8bbb-222222222222"),
    job_instance_id: uuid!("33333333-cccc-4ccc-8ccc-333333333333"),
};

pub(super) const OTHER_JOB: Uuid = uuid!("44444444-dddd-4ddd-8ddd-444444444444");

pub(super) const TOKEN: &str =
    "eyJ0eXAiOiJKV1QifQ.eyJhdWQiOiJmYWJyaWMifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg";

/// What comes back.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
        ending: Ending,
    },
    /// No answer: the connection fails so.
    Fails(ErrorKind),
    /// No answer, ever.
    Hangs,
}

/// How a body ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    Complete,
    Reset,
    Endless,
    Hangs,
}

pub(super) fn answer(status: u16) -> Reply {
    Reply::Answer {
        status,
        headers: Vec::new(),
        body: Vec::new(),
        ending: Ending::Complete,
    }
}

impl Reply {
    pub(super) fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name, value.to_string()));
        }
        self
    }

    pub(super) fn body(mut self, text: impl Into<Vec<u8>>) -> Self {
        if let Self::Answer { body, .. } = &mut self {
            *body = text.into();
        }
        self
    }

    pub(super) fn ending(mut self, how: Ending) -> Self {
        if let Self::Answer { ending, .. } = &mut self {
            *ending = how;
        }
        self
    }
}

/// What was asked.
pub(super) type Asked = Arc<Mutex<Vec<Request<Bytes>>>>;

pub(super) fn transport(reply: Reply) -> (Transport, Asked) {
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    let transport = BoxCloneSyncService::new(tower::service_fn(move |request| {
        log.lock().unwrap().push(request);
        let reply = reply.clone();
        async move {
            match reply {
                Reply::Fails(kind) => {
                    Err(Box::new(io::Error::new(kind, "it failed")) as tower::BoxError)
                }
                Reply::Hangs => std::future::pending().await,
                Reply::Answer {
                    status,
                    headers,
                    body,
                    ending,
                } => {
                    let mut response = Response::new(());
                    *response.status_mut() = StatusCode::from_u16(status).unwrap();
                    for (name, value) in headers {
                        response
                            .headers_mut()
                            .append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
                    }
                    Ok(response.map(|()| body_of(body.into(), ending)))
                }
            }
        }
    }));
    (transport, asked)
}

fn body_of(body: Bytes, ending: Ending) -> UnsyncBoxBody<Bytes, tower::BoxError> {
    type Part = Result<Bytes, io::Error>;
    let first = stream::iter([Part::Ok(body)]);
    let blanks = || Part::Ok(Bytes::from_static(&[b' '; 4096]));
    let body = match ending {
        Ending::Complete => Body::from_stream(first),
        Ending::Reset => Body::from_stream(
            first.chain(stream::iter([Part::Err(ErrorKind::ConnectionReset.into())])),
        ),
        Ending::Endless => Body::from_stream(first.chain(stream::repeat_with(blanks))),
        Ending::Hangs => Body::from_stream(first.chain(stream::pending())),
    };
    body.map_err(axum::Error::into_inner).boxed_unsync()
}

pub(super) fn client(reply: Reply) -> (FabricClient, Asked) {
    let (transport, asked) = transport(reply);
    let origin = Origin::parse("https://api.fabric.microsoft.com", false).unwrap();
    (FabricClient::new(transport, Endpoint::new(origin)), asked)
}

pub(super) fn token() -> AccessToken {
    AccessToken::new(SecretString::from(TOKEN), now()).unwrap()
}

pub(super) fn now() -> Timestamp {
    "2026-02-06T08:30:00Z".parse().unwrap()
}
