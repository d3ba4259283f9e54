//! The only place of this crate that reads a clock or waits for time to pass.

use std::time::Duration;

use jiff::Timestamp;

#[expect(
    clippy::disallowed_methods,
    reason = "the log says when a request came"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

#[expect(clippy::disallowed_methods, reason = "a delay is a fault to inject")]
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}
