//! The custom resource on a real kube-apiserver, with the real kubectl.
//!
//! Every row of `rows` and `rows/...` is a test of its own: an object or an edit that the API
//! server must accept or refuse, and what it must say.

mod apply;
mod kubectl;
mod row;
mod rows;
mod upgrade;

use std::process::ExitCode;

use control_plane::{ControlPlane, Suite};
use fabric_job_operator::api;
use tokio::sync::OnceCell;

fn main() -> ExitCode {
    let rows = rows::all();
    let refused = rows.iter().filter(|row| row.is_refused()).count();
    println!(
        "{} rows: {} accepted, {refused} refused",
        rows.len(),
        rows.len() - refused
    );
    let mut suite = Suite::new();
    for row in rows {
        let name = row.test_name();
        suite = suite.test(&name, async move |plane: &ControlPlane| {
            row.check(plane).await
        });
    }
    suite = kubectl::tests(suite);
    suite = apply::tests(suite);
    suite = upgrade::tests(suite);
    suite.run()
}

/// Installs the committed CRD, once per run.
async fn installed(plane: &ControlPlane) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED
        .get_or_init(async || {
            plane
                .install_crd(&api::crd_yaml())
                .await
                .expect("the API server takes the CRD");
        })
        .await;
}
