//! The way out: an origin that is safe to send a secret to, one bounded HTTP exchange, and the
//! client that carries it.
//!
//! Both rooms that send a secret, `fabric` and `entra`, go through here, so that what is safe is
//! decided once. What is asked, and what an answer means, is theirs.

pub mod client;
pub(crate) mod exchange;
mod origin;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

pub(crate) use origin::Part;
pub use origin::{InvalidOrigin, Origin};

/// What carries a request: one HTTP exchange, no redirect, no retry, no cookie.
///
/// The process builds it with [`client::transport`]; tests give an in-memory one. Its error is a
/// [`std::io::Error`] wherever it can be: the kind says what happened (`TimedOut`,
/// `ConnectionRefused`, `InvalidData` for TLS, ...), and its text is one stable sentence for
/// people.
pub type Transport = tower::util::BoxCloneSyncService<
    http::Request<Bytes>,
    http::Response<UnsyncBoxBody<Bytes, tower::BoxError>>,
    tower::BoxError,
>;
