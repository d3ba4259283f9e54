//! Calls to the Kubernetes API: each with a deadline, each failure sorted once.

use std::time::Duration;

use crate::telemetry::text::in_one_line;

/// The longest that one call to the Kubernetes API may take. kube sets no read timeout: a lost
/// answer would hang a reconcile for ever.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// A call to the Kubernetes API failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// No answer in time: whether it took effect is unknown.
    #[error("no answer from the Kubernetes API within {} s", CALL_DEADLINE.as_secs())]
    Timeout,
    /// The API server's answer, or the failure to reach it, with its causes: "client error
    /// (Connect)" alone does not say whether a name, a port or a certificate is wrong.
    #[error("{}", in_one_line(.0.as_ref()))]
    Kube(Box<kube::Error>),
}

/// Runs one call to the Kubernetes API with its deadline.
pub(super) async fn within_deadline<T>(
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(CALL_DEADLINE, call).await {
        Ok(result) => result.map_err(|error| CallError::Kube(Box::new(error))),
        Err(_) => Err(CallError::Timeout),
    }
}

impl CallError {
    /// The object does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        self.http_status() == Some(404)
    }

    /// Somebody wrote in between.
    pub(super) fn is_conflict(&self) -> bool {
        self.http_status() == Some(409)
    }

    /// The operator lacks the right.
    pub(super) fn is_forbidden(&self) -> bool {
        self.http_status() == Some(403)
    }

    /// Nothing that works answered: whoever asks for something else will fare the same.
    pub(super) fn is_unavailable(&self) -> bool {
        self.http_status()
            .is_none_or(|status| status == 429 || status >= 500)
    }

    /// A stable name.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Timeout => "KubernetesTimeout",
            Self::Kube(_) if self.http_status().is_some() => "KubernetesError",
            Self::Kube(_) => "KubernetesUnreachable",
        }
    }

    fn http_status(&self) -> Option<u16> {
        if let Self::Kube(error) = self
            && let kube::Error::Api(status) = error.as_ref()
        {
            Some(status.code)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_the_kernel_said() {
        let kernel = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = CallError::Kube(Box::new(kube::Error::Service(Box::new(Outer(kernel)))));
        let text = error.to_string();
        assert!(text.contains("client error"), "{text}");
        assert_eq!(text.matches("connection refused").count(), 1, "{text}");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect)")]
    struct Outer(#[source] std::io::Error);
}
