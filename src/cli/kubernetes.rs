//! The connection to the Kubernetes API server.

use kube::Client;
use kube::config::{Config, KubeConfigOptions};
use tracing::info;

use super::Failure;

/// Set by Kubernetes in every container.
const IN_A_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";

/// A client for the cluster that this process runs in; elsewhere, and where a context is named,
/// for the one that the kubeconfig names. Whether the server answers is not tried.
///
/// # Errors
///
/// When neither describes a cluster, or what they describe cannot be used.
pub(super) async fn connect(context: Option<&str>) -> Result<Client, Failure> {
    // kube's own inference takes a kubeconfig first: a stray KUBECONFIG in a Pod would win.
    let in_cluster = context.is_none() && std::env::var_os(IN_A_CLUSTER).is_some();
    let (found_in, mut config) = if in_cluster {
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
    // A write that kube repeats by itself may meet itself as a conflict, and its `Retry-After`
    // has no limit: the controller repeats, with deadlines.
    config.default_retry = false;
    info!(server = %config.cluster_url, found_in, "using this Kubernetes API server");
    Client::try_from(config).map_err(|error| Failure::Client(Box::new(error)))
}
