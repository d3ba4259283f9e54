//! Input that is not as it should be.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bench::{Scene, condition};
use control_plane::{ControlPlane, Suite};
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::ends::{calls_for, says};
use crate::history::{event, lawful};
use crate::{CRD, setup};

pub fn journeys(suite: Suite) -> Suite {
    suite
        .test(
            "what_passed_an_older_crd_ends_as_invalid_and_the_others_go_on",
            what_passed_an_older_crd_ends_as_invalid_and_the_others_go_on,
        )
        .test(
            "a_newline_at_the_end_of_a_secret_is_left_out_and_told",
            a_newline_at_the_end_of_a_secret_is_left_out_and_told,
        )
        .test(
            "a_comment_goes_to_event_and_log_and_never_to_fabric",
            a_comment_goes_to_event_and_log_and_never_to_fabric,
        )
}

/// On a control plane of its own, whose CRD is first an older one that checked nothing.
async fn what_passed_an_older_crd_ends_as_invalid_and_the_others_go_on(_: &ControlPlane) {
    let plane = ControlPlane::start().await.expect("a control plane");
    plane
        .install_crd(&older_crd())
        .await
        .expect("the older CRD can be installed");
    let mut scene = Scene::prepare(&plane, setup()).await;
    let good = scene.seed.job;
    scene.cancel_job("good", &good, json!({})).await;
    let bad = scene.another_job();
    let spec = || {
        json!({ "workspaceId": bad.workspace_id, "itemId": bad.item_id,
            "jobInstanceId": bad.job_instance_id })
    };
    let shouted = bad.job_instance_id.to_string().to_uppercase();
    let rows = [
        (
            "upper-case",
            "jobInstanceId",
            json!(shouted),
            "`spec.jobInstanceId` must be a lower-case UUID",
        ),
        (
            "braces",
            "itemId",
            json!(format!("{{{}}}", bad.item_id)),
            "`spec.itemId` must be",
        ),
        (
            "path",
            "workspaceId",
            json!("../../admin"),
            "`spec.workspaceId` must be",
        ),
        ("yes", "suspend", json!("yes"), "Expected a boolean"),
        ("soon", "activeDeadlineSeconds", json!("soon"), "soon"),
        ("maybe", "finishedJobPolicy", json!("Maybe"), "Maybe"),
    ];
    for (name, field, value, _) in &rows {
        let mut spec = spec();
        spec[*field] = value.clone();
        let object = json!({
            "apiVersion": "fabricjobs.dev/v1alpha1", "kind": "FabricJobCancellation",
            "metadata": { "name": name }, "spec": spec,
        });
        let object: DynamicObject = serde_json::from_value(object).expect("a resource");
        scene
            .cancellations()
            .create(&PostParams::default(), &object)
            .await
            .expect("the older CRD lets it pass");
    }
    plane.install_crd(CRD).await.expect("the CRD of today");

    scene.start_operator().await;
    scene.wait_for_end("good", "JobCancelled").await;
    for (name, _, _, problem) in &rows {
        let ended = scene.wait_for_end(name, "InvalidSpec").await;
        lawful(&ended);
        says(
            &ended,
            "Ready",
            &[problem, "Nothing was sent", "create a corrected one"],
        );
        assert_eq!(condition(&ended, "Accepted")["status"], "False");
        assert_eq!(condition(&ended, "Cancelled")["status"], "Unknown");
        assert_eq!(condition(&ended, "Stalled")["status"], "True");
        assert_eq!(ended["status"]["observedGeneration"], 1);
        scene
            .operator()
            .wait_for_log("the object and the problem", |log| {
                log.lines().any(|line| {
                    line.contains(&format!(r#""name":"{name}""#)) && line.contains("cannot be used")
                })
            })
            .await;
    }
    assert!(calls_for(&scene, &bad).is_empty(), "nothing was sent");
    scene.cancel_job("corrected", &bad, json!({})).await;
    scene.wait_for_end("corrected", "JobCancelled").await;
    let (_, metrics) = scene
        .operator()
        .get("--metrics-bind-address", "/metrics")
        .await;
    assert!(
        metrics.contains(r#"fabric_cancellations_total{outcome="InvalidSpec"} 6"#),
        "{metrics}"
    );
}

/// The CRD with a spec that is hardly checked.
fn older_crd() -> String {
    let mut crd: Value = serde_saphyr::from_str(CRD).expect("the CRD is YAML");
    let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema
        .as_object_mut()
        .expect("a schema")
        .remove("x-kubernetes-validations");
    let text = json!({ "type": "string" });
    schema["properties"]["spec"] = json!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        // The selectable fields must exist.
        "properties": { "workspaceId": text, "itemId": text, "jobInstanceId": text },
    });
    crd.to_string()
}

async fn a_newline_at_the_end_of_a_secret_is_left_out_and_told(plane: &ControlPlane) {
    let mut scene = Scene::start(plane, setup().without_secret()).await;
    let line = |text: &str| format!("{text}\n");
    let entries = json!({
        "AZURE_TENANT_ID": line(&scene.seed.tenant_id),
        "AZURE_CLIENT_ID": line(&scene.seed.client_id),
        "AZURE_CLIENT_SECRET": line(&scene.seed.client_secret),
    });
    scene.put_secret_with("fabric-credentials", entries).await;
    scene.cancel("job", json!({})).await;
    let ended = scene.wait_for_end("job", "JobCancelled").await;
    let client = &ended["status"]["identity"]["clientId"];
    assert_eq!(*client, scene.seed.client_id.as_str());
    let log = scene.operator().log();
    let object = format!("{}/fabric-credentials", scene.namespace);
    for key in ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"] {
        let told = log
            .lines()
            .any(|line| line.contains("newline") && line.contains(&object) && line.contains(key));
        assert!(told, "{key}: {log}");
    }
}

async fn a_comment_goes_to_event_and_log_and_never_to_fabric(plane: &ControlPlane) {
    let mut scene = Scene::prepare(plane, setup()).await;
    let (address, sent) = tee(scene.fabric.address()).await;
    let direct = scene.fabric.url();
    for argument in &mut scene.options().arguments {
        if *argument == direct {
            *argument = format!("http://{address}");
        }
    }
    scene.start_operator().await;
    let comment = "runaway-load-7341";
    scene.cancel("job", json!({ "comment": comment })).await;
    scene.wait_for_end("job", "JobCancelled").await;

    for reason in ["CancelAccepted", "JobCancelled"] {
        let (_, note) = event(&scene, "job", reason).await;
        assert!(note.contains(comment), "{note}");
    }
    let log = scene.operator().log();
    assert!(log.contains(comment), "{log}");
    let sent = sent.lock().expect("no panic").clone();
    let sent = String::from_utf8_lossy(&sent);
    let job = scene.seed.job.job_instance_id.to_string();
    assert!(
        sent.contains(&format!("{job}/cancel")),
        "it was listened to"
    );
    assert!(sent.contains("client_credentials"), "it was listened to");
    assert!(!sent.contains(comment) && !sent.contains("7341"), "{sent}");
}

/// Forwards to `to`, and keeps every byte that is sent there.
async fn tee(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let sent = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let server = TcpStream::connect(to).await?;
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(
                    async move { tokio::io::copy(&mut from_server, &mut to_client).await },
                );
                let mut buffer = vec![0; 16_384];
                loop {
                    let read = from_client.read(&mut buffer).await?;
                    if read == 0 {
                        return to_server.shutdown().await;
                    }
                    kept.lock().expect("no panic").extend(&buffer[..read]);
                    to_server.write_all(&buffer[..read]).await?;
                }
            });
        }
    });
    (address, sent)
}
