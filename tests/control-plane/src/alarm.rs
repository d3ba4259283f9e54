//! A store that is full: etcd's alarm NOSPACE, raised and cleared over its JSON gateway.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::ControlPlane;
use crate::apiserver::etcd_socket;
use crate::error::Error;

impl ControlPlane {
    /// From now on etcd refuses every write that needs space, as when its quota is used up; the
    /// API server answers such writes with an error, and reads as before.
    ///
    /// # Errors
    /// etcd does not run, or does not answer.
    pub async fn fill_etcd(&self) -> Result<(), Error> {
        self.alarm("ACTIVATE", "fill").await
    }

    /// Ends what [`fill_etcd`](Self::fill_etcd) began.
    ///
    /// # Errors
    /// etcd does not run, or does not answer.
    pub async fn empty_etcd(&self) -> Result<(), Error> {
        self.alarm("DEACTIVATE", "empty").await
    }

    async fn alarm(&self, change: &str, action: &'static str) -> Result<(), Error> {
        let failed = |source| Error::Process {
            action,
            server: "etcd",
            source,
        };
        let body = format!(r#"{{"action":"{change}","alarm":"NOSPACE","memberID":0}}"#);
        let request = format!(
            "POST /v3/maintenance/alarm HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let asked = async {
            let mut socket = UnixStream::connect(etcd_socket(self.folder())).await?;
            socket.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await?;
            if answer.starts_with("HTTP/1.1 200") {
                Ok(())
            } else {
                Err(io::Error::other(answer))
            }
        };
        asked.await.map_err(failed)
    }
}
