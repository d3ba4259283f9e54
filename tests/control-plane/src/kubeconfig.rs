//! Kubeconfig files with one cluster, one user and one context.

use std::path::Path;

use k8s_openapi::ByteString;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::certificates::Certified;
use crate::error::Error;

/// A client certificate as a kubeconfig's user.
pub(crate) fn certificate_user(certified: &Certified) -> Value {
    json!({
        "client-certificate-data": base64(&certified.certificate),
        "client-key-data": base64(&certified.key),
    })
}

/// A bearer token as a kubeconfig's user.
pub(crate) fn token_user(token: &str) -> Value {
    json!({ "token": token })
}

/// The text of a kubeconfig that needs no further file. JSON, which is YAML.
pub(crate) fn text(server: &str, authority: &str, user: &Value) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": { "server": server, "certificate-authority-data": base64(authority) } }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": "default" } }],
        "current-context": "test",
    });
    format!("{config:#}\n")
}

/// Reads a kubeconfig for kube's client.
pub(crate) async fn read(path: &Path) -> Result<kube::Config, Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Kubeconfig {
        path: path.to_path_buf(),
        source,
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| failed(error.into()))?;
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|error| failed(error.into()))?;
    // kube takes a proxy from the environment even for 127.0.0.1.
    config.proxy_url = None;
    Ok(config)
}

fn base64(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}
