//! A way to a Unix socket that can be frozen.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Listens on one socket and passes everything on to another; ends when it is dropped.
pub(crate) struct Link {
    flows: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Link {
    /// Listens on `socket`, in front of `to`.
    pub(crate) fn start(socket: &Path, to: PathBuf) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let flows = watch::Sender::new(true);
        let task = tokio::spawn(listen(listener, to, flows.subscribe()));
        Ok(Self { flows, task })
    }

    /// From now on nothing passes, in either direction; what was sent is kept.
    pub(crate) fn freeze(&self) {
        self.flows.send_replace(false);
    }

    /// Everything passes again.
    pub(crate) fn thaw(&self) {
        self.flows.send_replace(true);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: UnixListener, to: PathBuf, flows: watch::Receiver<bool>) {
    // Connections end with their link.
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        let (to, flows) = (to.clone(), flows.clone());
        connections.spawn(async move {
            let Ok(server) = UnixStream::connect(to).await else {
                return;
            };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::join!(
                pass(from_client, to_server, flows.clone()),
                pass(from_server, to_client, flows)
            );
        });
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut flows: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let open = flows.wait_for(|flows| *flows).await.is_ok();
        if !open || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
