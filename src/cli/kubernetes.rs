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
    use k8s_openapi::api::core::v1::Secret;
    use kube::Api;
    use kube::api::ListParams;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

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
}
