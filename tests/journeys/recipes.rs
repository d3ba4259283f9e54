//! What users type, with the operator at work.

use std::time::Duration;

use bench::Scene;
use control_plane::{ControlPlane, Suite};
use serde_json::json;

use crate::setup;

pub fn journeys(suite: Suite) -> Suite {
    suite.test(
        "kubectl_waits_for_the_end_and_shows_it_in_columns",
        kubectl_waits_for_the_end_and_shows_it_in_columns,
    )
}

async fn kubectl_waits_for_the_end_and_shows_it_in_columns(plane: &ControlPlane) {
    let slow = |fabric: &mut fabric_simulator::Settings| {
        fabric.cancel_takes = Duration::from_secs(40);
    };
    let mut scene = Scene::start(plane, setup().faster(20).fabric(slow)).await;
    let namespace = scene.namespace.clone();
    let kubectl = async |arguments: &[&str]| {
        let mut all = vec!["-n", &namespace];
        all.extend(arguments);
        let output = plane.run_kubectl(&all).await.expect("kubectl runs");
        assert!(output.is_success(), "{arguments:?}: {output:?}");
        output.stdout
    };
    scene.cancel("job", json!({})).await;
    let waits = async {
        let wait = ["wait", "fjc/job", "--timeout=40s"];
        let by = async |what| kubectl(&[wait[0], wait[1], wait[2], what]).await;
        tokio::join!(
            by("--for=condition=Ready"),
            by("--for=jsonpath={.status.completionTime}"),
            by("--for=jsonpath={.status.job.status}=Cancelled"),
            by("--for=condition=Cancelled"),
        )
    };
    let looks = async {
        scene.wait_for_reason("job", "WaitingForCancellation").await;
        kubectl(&["get", "fjc"]).await
    };
    let (waited, meanwhile) = tokio::join!(waits, looks);
    assert!(waited.0.contains("condition met"), "{waited:?}");
    let ended = scene.get("job").await;
    assert!(ended["status"]["completionTime"].is_string());

    let columns = |table: &str| -> Vec<Vec<String>> {
        let rows = table.lines().map(|line| {
            let cells = line.split("  ").map(str::trim);
            cells
                .filter(|cell| !cell.is_empty())
                .map(str::to_owned)
                .collect()
        });
        rows.collect()
    };
    let table = columns(&meanwhile);
    assert_eq!(table[0], ["NAME", "READY", "REASON", "JOB STATUS", "AGE"]);
    assert_eq!(table[1][..3], ["job", "Unknown", "WaitingForCancellation"]);
    let table = columns(&kubectl(&["get", "fabric"]).await);
    assert_eq!(table[1][..4], ["job", "True", "JobCancelled", "Cancelled"]);
    let table = columns(&kubectl(&["get", "fjc", "-o", "wide"]).await);
    assert_eq!(
        table[0][4..],
        [
            "AGE",
            "COMPLETED",
            "JOB",
            "ITEM",
            "WORKSPACE",
            "IDENTITY",
            "MESSAGE"
        ]
    );
    let job = scene.seed.job;
    assert_eq!(table[1][6], job.job_instance_id.to_string());
    assert!(
        table[1]
            .last()
            .is_some_and(|it| it.contains("Fabric confirmed"))
    );
    let selected = format!(
        "--field-selector=spec.jobInstanceId={}",
        job.job_instance_id
    );
    let named = kubectl(&["get", "fjc", &selected, "-o", "name"]).await;
    assert_eq!(named.trim(), "fabricjobcancellation.fabricjobs.dev/job");
    let events = kubectl(&["events", "--for=fjc/job"]).await;
    assert!(
        events.contains("CancelAccepted") && events.contains("JobCancelled"),
        "{events}"
    );

    let (status, metrics) = scene
        .operator()
        .get("--metrics-bind-address", "/metrics")
        .await;
    assert_eq!(status, 200);
    let counted = r#"fabric_cancellations_total{outcome="JobCancelled"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
}
