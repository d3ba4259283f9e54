//! The committed CustomResourceDefinition, without a cluster.

use std::path::Path;

use fabric_job_operator::api;

#[test]
fn the_committed_crd_is_what_the_binary_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/fabricjobcancellations.yaml");
    let printed = api::crd_yaml();
    if std::env::var_os("UPDATE_CRDS").is_some() {
        std::fs::write(&path, &printed).expect("crds/ can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == printed,
        "crds/fabricjobcancellations.yaml is stale: run `make crds` and commit the result"
    );
}
