//! Objects as large as the API server takes them, and a namespace that goes away with many.

use bench::{Scene, journeys};
use control_plane::{ControlPlane, Suite};
use fabric_simulator::{HoldPoint, Route, Rule};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, WatchParams};
use serde_json::json;
use tokio::time::timeout;

use crate::{PATIENCE, setup};

pub fn journeys(suite: Suite) -> Suite {
    journeys![suite;
        an_object_as_large_as_can_be_is_cancelled_or_sends_nothing_and_hinders_nobody,
        a_namespace_that_is_deleted_takes_all_in_flight_with_it,
    ]
}

/// What etcd takes in one request.
const LARGEST: usize = 3 * 512 * 1024;

/// Gives the cancellation an owner with a name of so many bytes, which is all that nobody limits;
/// whether the API server took it.
async fn fill(scene: &Scene, name: &str, bytes: usize) -> bool {
    let owner = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "x".repeat(bytes),
        "uid": "4b218778-e7a5-4d73-8187-f10824047715",
    });
    let patch = json!({"metadata": {"ownerReferences": [owner]}});
    let (api, how) = (scene.cancellations(), PatchParams::default());
    api.patch(name, &how, &Patch::Merge(&patch)).await.is_ok()
}

async fn an_object_as_large_as_can_be_is_cancelled_or_sends_nothing_and_hinders_nobody(
    plane: &ControlPlane,
) {
    let mut scene = Scene::prepare(plane, setup()).await;
    let [large, full] = [scene.another_job(), scene.another_job()];
    scene.cancel_job("large", &large, json!({})).await;
    scene.cancel_job("full", &full, json!({})).await;
    // As much as fits, but for less than a status takes.
    let (mut fits, mut does_not) = (LARGEST - 10_000, LARGEST);
    while does_not - fits > 500 {
        let bytes = usize::midpoint(fits, does_not);
        if fill(&scene, "full", bytes).await {
            fits = bytes;
        } else {
            does_not = bytes;
        }
    }
    println!("{fits} bytes fit");
    assert!(fill(&scene, "large", fits - 10_000).await);

    scene.start_operator().await;
    scene.cancel("beside", json!({})).await;
    scene.wait_for_end("beside", "JobCancelled").await;
    scene.wait_for_end("large", "JobCancelled").await;
    scene
        .operator()
        .wait_for_log("that there is no room", |log| log.contains("too large"))
        .await;
    assert_eq!(scene.fabric.processed_cancels(full.job_instance_id), 0);
    assert_eq!(scene.get("full").await["status"]["attempts"], 0);
    // Others go on, and it heals once there is room.
    let another = scene.another_job();
    scene.cancel_job("later", &another, json!({})).await;
    scene.wait_for_end("later", "JobCancelled").await;
    scene
        .edit("full", json!({"metadata": {"ownerReferences": null}}))
        .await;
    scene.wait_for_end("full", "JobCancelled").await;
    assert_eq!(
        scene.fabric.requests(Route::Cancel).len(),
        4,
        "one request each"
    );
}

async fn a_namespace_that_is_deleted_takes_all_in_flight_with_it(plane: &ControlPlane) {
    const MANY: usize = 60;
    const ACCEPTED: usize = MANY - 1;
    let mut setup = setup().fabric(|settings| {
        settings.accepted_retry_after = Some(PATIENCE * 20);
    });
    setup.arguments = vec!["--requests-per-minute=2000".to_owned()];
    let mut scene = Scene::start(plane, setup).await;
    // The Events of all but one, which nobody could publish later.
    let events: Api<Event> = Api::namespaced(scene.client(), &scene.namespace);
    let published = events
        .watch(&WatchParams::default(), "0")
        .await
        .expect("Events can be watched")
        .take(ACCEPTED)
        .try_collect::<Vec<_>>();
    let through = Rule::on(Route::Cancel).times(ACCEPTED.try_into().expect("a few"));
    scene.fabric.script(through);
    let held = scene
        .fabric
        .script(Rule::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    for number in 0..MANY {
        let job = scene.another_job();
        scene
            .cancel_job(&format!("job{number}"), &job, json!({}))
            .await;
    }
    held.wait_for_arrivals(1, PATIENCE).await.expect("a POST");
    timeout(PATIENCE, published)
        .await
        .expect("in time")
        .expect("a watch");

    // What the namespace controller does, which is no part of the bench: nothing new from here on,
    // then everything in it.
    let namespaces: Api<Namespace> = Api::all(scene.client());
    namespaces
        .delete(&scene.namespace, &DeleteParams::default())
        .await
        .expect("it can be deleted");
    let cancellations = scene.cancellations();
    cancellations
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .expect("they can be deleted");
    let left = cancellations.list(&ListParams::default()).await;
    assert_eq!(left.expect("a list").items.len(), 0, "nothing holds them");
    held.release();
    let ended = scene.operator().terminate().await;
    assert!(ended.success(), "what was sent has nowhere to be recorded");
    assert_eq!(scene.fabric.requests(Route::Cancel).len(), MANY);
    assert_eq!(
        scene.fabric.requests(Route::Job).len(),
        0,
        "nobody is looked at any more"
    );
    let complaints = |level: &str| {
        let level = format!(r#""level":"{level}""#);
        let log = scene.log();
        let lines = log.lines().filter(|line| line.contains(&level));
        lines.filter(|line| !line.contains("not ready")).count()
    };
    let (warnings, errors) = (complaints("WARN"), complaints("ERROR"));
    println!("{warnings} warnings, {errors} errors");
    assert_eq!(errors, 0, "{}", scene.log());
    assert!(warnings <= MANY - ACCEPTED, "{}", scene.log());
}
