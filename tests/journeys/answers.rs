//! Answers that are not what they should be, and no answer at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bench::{Scene, assert_not_before, condition, journeys, reason};
use control_plane::{ControlPlane, Suite};
use fabric_simulator::{Answer, Route, Rule};
use serde_json::json;
use tokio::net::TcpListener;

use crate::setup;

pub fn journeys(suite: Suite) -> Suite {
    journeys![suite;
        a_foreign_location_is_recorded_and_never_followed,
        a_redirect_by_fabric_is_not_followed_and_heals,
        a_redirect_by_the_token_endpoint_is_not_followed_and_heals,
        a_web_page_in_place_of_fabric_is_named_and_heals,
        fabric_down_before_the_request_is_named_and_heals,
        fabric_down_while_waiting_is_named_and_heals,
    ]
}

/// Somebody who would like to be sent a token.
struct Evil {
    url: String,
    connections: Arc<AtomicUsize>,
}

impl Evil {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let connections = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&connections);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { url, connections }
    }

    fn assert_unseen(&self) {
        assert_eq!(self.connections.load(Ordering::SeqCst), 0, "it was asked");
    }
}

async fn a_foreign_location_is_recorded_and_never_followed(plane: &ControlPlane) {
    let evil = Evil::listen().await;
    let scene = Scene::start(plane, setup()).await;
    let location = format!("{}/v1/workspaces", evil.url);
    let foreign = Answer::accepted(Some(&location), Some("1"));
    scene
        .fabric
        .script(Rule::on(Route::Cancel).answer_after_processing(foreign));
    scene.cancel("job", json!({})).await;

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(ended["status"]["location"], location.as_str());
    assert_eq!((scene.cancels().len(), scene.looks().len()), (1, 1));
    evil.assert_unseen();
    scene.assert_nothing_leaked().await;
}

async fn a_redirect_by_fabric_is_not_followed_and_heals(plane: &ControlPlane) {
    let evil = Evil::listen().await;
    let scene = Scene::start(plane, setup().faster(20)).await;
    let redirect = Answer::redirect(307, format!("{}/steal", evil.url));
    let redirects = scene.fabric.script(
        Rule::on_routes(Route::FABRIC)
            .answer(redirect)
            .until_removed(),
    );
    scene.cancel("job", json!({})).await;
    let waiting = scene.wait_for_reason("job", "FabricUnavailable").await;
    let message = waiting["status"]["lastError"]["message"].as_str();
    assert!(
        message.is_some_and(|text| text.contains("redirect")),
        "{waiting:#}"
    );
    redirects.remove();

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(
        (ended["status"]["attempts"].as_u64(), scene.processed()),
        (Some(2), 1)
    );
    evil.assert_unseen();
    scene.assert_nothing_leaked().await;
}

async fn a_redirect_by_the_token_endpoint_is_not_followed_and_heals(plane: &ControlPlane) {
    let evil = Evil::listen().await;
    let scene = Scene::start(plane, setup().faster(20)).await;
    let redirect = Answer::redirect(307, format!("{}/steal", evil.url));
    let redirects = scene.fabric.script(
        Rule::on_routes(Route::ENTRA)
            .answer(redirect)
            .until_removed(),
    );
    scene.cancel("job", json!({})).await;
    scene.wait_for_reason("job", "EntraUnavailable").await;
    redirects.remove();

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(
        (ended["status"]["attempts"].as_u64(), scene.processed()),
        (Some(1), 1)
    );
    evil.assert_unseen();
    scene.assert_nothing_leaked().await;
}

async fn a_web_page_in_place_of_fabric_is_named_and_heals(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    let page = Answer::new(200).html("<html><body>Sign in to continue</body></html>");
    let pages = scene
        .fabric
        .script(Rule::on_routes(Route::FABRIC).answer(page).until_removed());
    scene.cancel("job", json!({})).await;
    let waiting = scene.wait_for_reason("job", "FabricUnavailable").await;
    let message = condition(&waiting, "Ready")["message"]
        .as_str()
        .unwrap_or("");
    assert!(message.contains("--fabric-endpoint"), "{message}");
    let error = &waiting["status"]["lastError"];
    assert_eq!(error["httpStatus"], 200, "{waiting:#}");
    assert!(
        waiting["status"]["acceptedTime"].is_null(),
        "a page is no 202"
    );
    pages.remove();

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(
        (ended["status"]["attempts"].as_u64(), scene.processed()),
        (Some(2), 1)
    );
    println!("lastError of a web page: {error}");
    scene.assert_nothing_leaked().await;
}

async fn fabric_down_before_the_request_is_named_and_heals(plane: &ControlPlane) {
    let mut scene = Scene::start(plane, setup().faster(20)).await;
    // With a token at hand, so that Fabric alone is missed.
    scene
        .cancel_job("before", &scene.another_job(), json!({}))
        .await;
    scene.wait_for_end("before", "JobCancelled").await;
    scene.fabric.go_offline().await;
    scene.cancel("job", json!({})).await;
    let waiting = scene.wait_for_reason("job", "FabricUnavailable").await;
    assert_eq!(condition(&waiting, "Ready")["status"], "Unknown");
    assert!(
        waiting["status"]["lastError"]["code"].is_string(),
        "{waiting:#}"
    );
    let tries = fabric_calls(&mut scene).await;
    assert!(
        tries <= 12,
        "{tries} calls within some seconds of an outage"
    );
    scene.fabric.come_back().await;

    scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(scene.processed(), 1);
    scene.assert_nothing_leaked().await;
}

async fn fabric_down_while_waiting_is_named_and_heals(plane: &ControlPlane) {
    let setup = setup().faster(20).fabric(|settings| {
        settings.accepted_retry_after = Some(std::time::Duration::from_secs(20));
    });
    let scene = Scene::start(plane, setup).await;
    scene.cancel("job", json!({})).await;
    scene.wait_for_reason("job", "WaitingForCancellation").await;
    scene.fabric.go_offline().await;
    let waiting = scene.wait_for_reason("job", "FabricUnavailable").await;
    assert_eq!(
        reason(&waiting, "Accepted"),
        "CancelAccepted",
        "not forgotten"
    );
    scene.fabric.come_back().await;

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(
        (ended["status"]["attempts"].as_u64(), scene.processed()),
        (Some(1), 1)
    );
    assert_not_before(&scene.looks()[0], &scene.cancels()[0], 20);
    scene.assert_nothing_leaked().await;
}

/// How many calls to Fabric the operator says that it made.
async fn fabric_calls(scene: &mut Scene) -> u64 {
    let (_, metrics) = scene
        .operator()
        .get("--metrics-bind-address", "/metrics")
        .await;
    metrics
        .lines()
        .filter(|line| line.starts_with("fabric_api_requests_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}
