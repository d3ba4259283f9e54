//! The connection to the Kubernetes API server.

use std::time::Duration;

use kube::Client;
use kube::config::{Config, KubeConfigOptions};
use tracing::info;

use super::Failure;

/// Set by Kubernetes in every container.
const IN_A_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";

/// A list that is never answered, or a watch on a connection that died silently, ends after this.
/// A living watch carries a bookmark about once a minute.
const LONGEST_SILENCE: Duration = Duration::from_secs(150);

/// A client for the cluster that this process runs in; elsewhere, and where a context is named,
/// for the one that the kubeconfig names. Whether the server answers is not tried.
///
/// # Errors
///
/// When neither describes a cluster, or what they describe cannot be used.
pub(super) async fn connect(context: Option<&str>) -> Result<Client, Failure> {
    // kube's own inference takes a kubeconfig first: a stray KUBECONFIG in a Pod would win.
    let in_cluster = context.is_none() && std::env::var_os(IN_A_CLUSTER).is_some();
    let (found_in, config) = if in_cluster {
        let config = Config::incluster().map_err(|error| Failure::NoCluster(error.into()))?;
        ("this cluster", config)
    } else {
        let options = KubeConfigOptions {
            context: context.map(str::to_owned),
            ..KubeConfigOptions::default()
        };
        let config = Config::from_kubeconfig(&options)
            .await
            .map_err(|error| Failure::NoCluster(error.into()))?;
        ("kubeconfig", config)
    };
    info!(server = %config.cluster_url, found_in, "using this Kubernetes API server");
    Client::try_from(bounded(config)).map_err(|error| Failure::Client(Box::new(error)))
}

/// The same connection, without what has no limit in time.
fn bounded(mut config: Config) -> Config {
    // A write that kube repeats by itself may meet itself as a conflict, and its `Retry-After`
    // has no limit: the controller repeats, with deadlines.
    config.default_retry = false;
    config.read_timeout = Some(LONGEST_SILENCE);
    // Else the time that a connection waited for its next request counts, too.
    config.reset_reader_on_write = true;
    config
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, TryStreamExt};
    use k8s_openapi::api::core::v1::Secret;
    use kube::Api;
    use kube::api::{ListParams, WatchEvent, WatchParams};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_list_that_is_never_answered_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let silent = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok(connection) = listener.accept().await {
                held.push(connection);
            }
        });
        let client = Client::try_from(bounded(Config::new(url.parse().unwrap()))).unwrap();
        let list = Api::<Secret>::default_namespaced(client);
        let answer = timeout(LONGEST_SILENCE * 2, list.list(&ListParams::default())).await;
        assert!(answer.expect("it ends by itself").is_err());
        silent.abort();
    }

    /// The answer to a watch, and its first event.
    fn begun() -> String {
        let event = r#"{"type":"BOOKMARK","object":{"kind":"Secret","apiVersion":"v1","metadata":{"resourceVersion":"7","creationTimestamp":null}}}"#;
        let length = event.len() + 1;
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{event}\n\r\n"
        )
    }

    #[tokio::test]
    #[expect(
        clippy::disallowed_methods,
        reason = "the test measures how long it takes"
    )]
    async fn a_watch_that_goes_silent_in_an_open_connection_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let silent = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 4096]).await.unwrap();
            connection.write_all(begun().as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        });
        let client = Client::try_from(bounded(Config::new(url.parse().unwrap()))).unwrap();
        let secrets = Api::<Secret>::default_namespaced(client);
        let watch = secrets.watch(&WatchParams::default(), "1").await.unwrap();
        let mut watch = watch.boxed();
        let first = watch.try_next().await.unwrap();
        assert!(matches!(first, Some(WatchEvent::Bookmark(_))), "{first:?}");

        // From here on nothing comes, so no byte can be late.
        tokio::time::pause();
        let since = Instant::now();
        let next = timeout(LONGEST_SILENCE * 2, watch.next()).await;
        let next = next.expect("it ends by itself");
        assert!(!matches!(next, Some(Ok(_))), "{next:?}");
        let silence = since.elapsed();
        assert!(
            silence <= LONGEST_SILENCE + Duration::from_secs(1),
            "{silence:?}"
        );
        silent.abort();
    }
}
