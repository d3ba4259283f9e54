//! The simulator without a socket, under paused time: hours pass in milliseconds.

use std::time::Duration;

use axum::body::Body;
use fabric_simulator::{
    Clock, Config, ConnectionDropped, JobRef, Route, Rule, Seed, Settings, Simulator,
};
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

fn simulator(settings: Settings) -> Simulator {
    let start = "2026-01-31T23:30:00Z".parse().unwrap();
    Simulator::in_memory(Config {
        clock: Clock::starting_at(start),
        settings,
        ..Config::default()
    })
}

fn request(seed: &Seed, method: &str, token: &str, suffix: &str) -> Request<Body> {
    let JobRef {
        workspace_id,
        item_id,
        job_instance_id,
    } = seed.job;
    Request::builder()
        .method(method)
        .uri(format!(
            "https://fabric.example/v1/workspaces/{workspace_id}/items/{item_id}/jobs/instances/{job_instance_id}{suffix}"
        ))
        .header("authorization", format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap()
}

async fn token(simulator: &Simulator, seed: &Seed) -> String {
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fapi.fabric.microsoft.com%2F.default",
        seed.client_id, seed.client_secret
    );
    let request = Request::post(format!("/{}/oauth2/v2.0/token", seed.tenant_id))
        .body(Body::from(form))
        .unwrap();
    let answer = json(simulator.connection().oneshot(request).await.unwrap()).await;
    answer["access_token"].as_str().unwrap().to_owned()
}

async fn json(response: Response<Body>) -> Value {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_day_of_waiting_for_a_cancel_passes_at_once() {
    let day = Duration::from_secs(24 * 3_600);
    let simulator = simulator(Settings {
        cancel_takes: day,
        ..Settings::default()
    });
    let seed = simulator.seed();
    let before = token(&simulator, &seed).await;
    let cancel = request(&seed, "POST", &before, "/cancel");
    let answer = simulator.connection().oneshot(cancel).await.unwrap();
    assert_eq!(answer.status(), 202);
    assert_eq!(answer.headers()["date"], "Sat, 31 Jan 2026 23:30:00 GMT");
    let location = answer.headers()["location"].to_str().unwrap();
    assert!(
        location.starts_with("https://fabric.example/v1/"),
        "{location}"
    );

    tokio::time::advance(day).await;
    let expired = request(&seed, "GET", &before, "");
    let expired = json(simulator.connection().oneshot(expired).await.unwrap()).await;
    assert_eq!(expired["errorCode"], "TokenExpired");
    let look = request(&seed, "GET", &token(&simulator, &seed).await, "");
    let look = json(simulator.connection().oneshot(look).await.unwrap()).await;
    assert_eq!(look["status"], "Cancelled");
    assert!(
        look["endTimeUtc"]
            .as_str()
            .unwrap()
            .starts_with("2026-02-01T23:30:00.00")
    );
}

#[tokio::test(start_paused = true)]
async fn a_scripted_delay_is_simulated_time() {
    let simulator = simulator(Settings::default());
    let seed = simulator.seed();
    let token = token(&simulator, &seed).await;
    simulator.script(Rule::on(Route::Job).delay(Duration::from_secs(3_600)));
    let look = request(&seed, "GET", &token, "");
    simulator.connection().oneshot(look).await.unwrap();
    let entry = &simulator.requests(Route::Job)[0];
    let taken = entry.end_time.unwrap().duration_since(entry.time);
    assert_eq!(taken.as_secs(), 3_600);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_connection_is_an_error_of_the_service_and_a_broken_body_of_the_router() {
    let simulator = simulator(Settings::default());
    let seed = simulator.seed();
    let token = token(&simulator, &seed).await;
    simulator.script(Rule::on(Route::Cancel).times(2).drop_after_processing());
    let cancel = || request(&seed, "POST", &token, "/cancel");
    let ConnectionDropped = simulator.connection().oneshot(cancel()).await.unwrap_err();
    let broken = simulator.router().oneshot(cancel()).await.unwrap();
    assert_eq!(broken.status(), 502);
    broken.into_body().collect().await.unwrap_err();
    assert_eq!(simulator.processed_cancels(seed.job.job_instance_id), 2);
}

#[tokio::test(start_paused = true)]
async fn a_held_request_ends_with_its_simulator() {
    let simulator = simulator(Settings::default());
    let seed = simulator.seed();
    let token = token(&simulator, &seed).await;
    let held = simulator
        .script(Rule::on(Route::Cancel).hold(fabric_simulator::HoldPoint::BeforeProcessing));
    let cancel = request(&seed, "POST", &token, "/cancel");
    let answer = tokio::spawn(simulator.connection().oneshot(cancel));
    held.wait_for_arrivals(1, Duration::from_secs(1))
        .await
        .unwrap();
    let handle = simulator.handle();
    drop(simulator);
    answer.await.unwrap().unwrap_err();
    assert_eq!(handle.processed_cancels(seed.job.job_instance_id), 0);
}
