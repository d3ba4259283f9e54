//! What can go wrong with a control plane that the tools for exist.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::tools::Unavailable;

/// A control plane could not do what a test asked for.
///
/// `Debug` is the text with its causes, because tests show it when they unwrap.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// etcd, kube-apiserver or kubectl cannot be had on this machine.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),

    /// A file or folder of the control plane could not be read or written.
    #[error("{action} {}", path.display())]
    File {
        /// What was tried, for example "write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },

    /// A server process could not be started, stopped, paused or resumed.
    #[error("{action} {server}")]
    Process {
        /// What was tried, for example "start".
        action: &'static str,
        /// `etcd` or `kube-apiserver`.
        server: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },

    /// A server cannot be paused or resumed in the state that it is in.
    #[error("{action} {server}: it is {state}; restart it first")]
    State {
        /// What was tried.
        action: &'static str,
        /// `etcd` or `kube-apiserver`.
        server: &'static str,
        /// What it is instead of running.
        state: &'static str,
    },

    /// No port could be reserved on 127.0.0.1.
    #[error("reserve a port on 127.0.0.1")]
    Port(#[source] std::io::Error),

    /// A certificate or key could not be made.
    #[error("make the certificate of {subject}")]
    Certificate {
        /// Whom it is for.
        subject: String,
        /// Why it failed.
        source: rcgen::Error,
    },

    /// A client certificate was asked for with more groups than it can carry.
    #[error(
        "user {user} has {count} groups, a client certificate made here carries at most 2; bind the user itself"
    )]
    TooManyGroups {
        /// The user.
        user: String,
        /// How many groups were asked for.
        count: usize,
    },

    /// A server ended, or was not ready in time.
    #[error("{server} {problem}\n--- end of its log ({}) ---\n{log_tail}", log.display())]
    NotReady {
        /// `etcd` or `kube-apiserver`.
        server: &'static str,
        /// What happened, with the last answer of the readiness probe.
        problem: String,
        /// The whole log, gone when the control plane is dropped.
        log: PathBuf,
        /// The last lines of the log.
        log_tail: String,
    },

    /// A kubeconfig could not be read or understood.
    #[error("use kubeconfig {}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The API server refused a request that the bench itself made as admin.
    #[error("{action}")]
    Request {
        /// What was asked for, of which object.
        action: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },

    /// kubectl failed.
    #[error("kubectl {arguments}: exit code {code:?}\n{stderr}{stdout}")]
    Kubectl {
        /// The arguments.
        arguments: String,
        /// The exit code; `None` when a signal ended it.
        code: Option<i32>,
        /// What it printed to stdout.
        stdout: String,
        /// What it printed to stderr.
        stderr: String,
    },

    /// Something that the bench waited for did not happen.
    #[error("waited {} s for {what}", limit.as_secs())]
    Timeout {
        /// What did not happen.
        what: String,
        /// How long the bench waited.
        limit: Duration,
    },

    /// A line of the audit log is not what kube-apiserver documents.
    #[error("read line {line:?} of the audit log {}", path.display())]
    AuditLine {
        /// The log.
        path: PathBuf,
        /// The line.
        line: String,
        /// Why it cannot be read.
        source: serde_json::Error,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            write!(f, "\n  because: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl Error {
    /// For `map_err`: `action` on `path` failed.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// For `map_err`: the API server did not do `action`.
    pub(crate) fn request(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let action = action.into();
        move |source| Self::Request {
            action,
            source: Box::new(source),
        }
    }
}
