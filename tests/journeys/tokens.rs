//! Credentials that are missing, wrong, rotated or revoked, and a token endpoint that is down.

use bench::{Scene, condition, journeys, new_secret, reason};
use control_plane::{ControlPlane, Suite};
use fabric_simulator::{Answer, EntraRefusal, Route, Rule};
use serde_json::json;

use crate::setup;

pub fn journeys(suite: Suite) -> Suite {
    journeys![suite;
        a_token_endpoint_that_is_down_is_named_and_heals,
        a_wrong_secret_stalls_with_entras_code_and_heals_by_itself,
        a_refused_token_is_replaced_once_under_the_same_intent,
        a_secret_created_late_is_asked_for_and_then_used,
        a_secret_rotated_while_in_use_needs_no_restart,
        not_even_the_most_talkative_log_shows_a_credential,
    ]
}

async fn a_token_endpoint_that_is_down_is_named_and_heals(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    let down = Answer::entra(EntraRefusal::Unavailable);
    let down = scene
        .fabric
        .script(Rule::on(Route::Token).answer(down).until_removed());
    scene.cancel("job", json!({})).await;
    let waiting = scene.wait_for_reason("job", "EntraUnavailable").await;
    assert_eq!(condition(&waiting, "Ready")["status"], "Unknown");
    let code = waiting["status"]["lastError"]["code"].as_str();
    assert!(
        code.is_some_and(|code| code.contains("90033")),
        "{waiting:#}"
    );
    assert_eq!(waiting["status"]["attempts"], 0, "nothing was tried");
    assert!(scene.cancels().is_empty());
    down.remove();

    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(ended["status"]["attempts"], 1);
    assert_eq!(scene.processed(), 1);
    let asked = scene.fabric.requests(Route::Token).len();
    assert!(asked <= 12, "asked for a token {asked} times");
    scene.assert_nothing_leaked().await;
}

async fn a_wrong_secret_stalls_with_entras_code_and_heals_by_itself(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20).without_secret()).await;
    scene.put_secret("fabric-credentials", &new_secret()).await;
    scene.cancel("job", json!({})).await;
    let waiting = scene.wait_for_reason("job", "AuthenticationFailed").await;
    assert_eq!(condition(&waiting, "Ready")["status"], "Unknown");
    assert!(condition(&waiting, "Stalled").is_null(), "{waiting:#}");
    let stalled = scene
        .wait("job", "Stalled", |resource| {
            condition(resource, "Stalled")["status"] == "True"
        })
        .await;
    assert_eq!(condition(&stalled, "Ready")["status"], "False");
    assert_eq!(reason(&stalled, "Stalled"), "AuthenticationFailed");
    let error = &stalled["status"]["lastError"];
    assert_eq!(error["code"], "AADSTS7000215", "{stalled:#}");
    assert_eq!(error["httpStatus"], 401);
    assert!(scene.cancels().is_empty());
    let asked = scene.fabric.requests(Route::Token).len();
    assert!(asked <= 8, "asked {asked} times within some minutes");

    let right = scene.seed.client_secret.clone();
    scene.put_secret("fabric-credentials", &right).await;
    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert!(condition(&ended, "Stalled").is_null(), "{ended:#}");
    assert_eq!(ended["status"]["lastError"]["code"], "AADSTS7000215");
    assert_eq!(
        (ended["status"]["attempts"].as_u64(), scene.processed()),
        (Some(1), 1)
    );
    scene.assert_nothing_leaked().await;
}

async fn a_refused_token_is_replaced_once_under_the_same_intent(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup()).await;
    scene
        .cancel_job("before", &scene.another_job(), json!({}))
        .await;
    scene.wait_for_end("before", "JobCancelled").await;
    assert_eq!(scene.fabric.revoke_tokens(&scene.seed.identity()), 1);

    scene.cancel("job", json!({})).await;
    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(ended["status"]["attempts"], 1, "the same intent");
    assert!(ended["status"]["lastError"].is_null(), "{ended:#}");
    let cancels = scene.cancels();
    let answers: Vec<_> = cancels.iter().map(|entry| entry.status).collect();
    assert_eq!(answers, [Some(401), Some(202)]);
    assert_eq!(scene.fabric.requests(Route::Token).len(), 2);
    scene.assert_nothing_leaked().await;
}

async fn a_secret_created_late_is_asked_for_and_then_used(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20).without_secret()).await;
    scene.cancel("job", json!({})).await;
    let waiting = scene.wait_for_reason("job", "CredentialsNotFound").await;
    let message = condition(&waiting, "Ready")["message"]
        .as_str()
        .unwrap_or("");
    let command = format!(
        "kubectl create secret generic fabric-credentials -n {}",
        scene.namespace
    );
    assert!(message.contains(&command), "{message}");
    assert!(scene.fabric.ledger().is_empty(), "nobody was asked");

    let right = scene.seed.client_secret.clone();
    scene.put_secret("fabric-credentials", &right).await;
    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(
        (ended["status"]["attempts"].as_u64(), scene.processed()),
        (Some(1), 1)
    );
    scene.assert_nothing_leaked().await;
}

async fn a_secret_rotated_while_in_use_needs_no_restart(plane: &ControlPlane) {
    let mut scene = Scene::start(plane, setup()).await;
    scene
        .cancel_job("before", &scene.another_job(), json!({}))
        .await;
    scene.wait_for_end("before", "JobCancelled").await;
    let process = scene.operator().pid();

    let (identity, rotated) = (scene.seed.identity(), new_secret());
    scene.fabric.rotate_secret(&identity, &rotated);
    scene.fabric.revoke_tokens(&identity);
    scene.put_secret("fabric-credentials", &rotated).await;
    scene.cancel("job", json!({})).await;
    let ended = scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(
        (ended["status"]["attempts"].as_u64(), scene.processed()),
        (Some(1), 1)
    );
    assert_eq!(scene.operator().pid(), process);
    let refused = |entry: &fabric_simulator::Entry| entry.status != Some(200);
    let tokens = scene.fabric.requests(Route::Token);
    assert!(
        !tokens.iter().any(refused),
        "the old secret was used: {tokens:#?}"
    );
    scene.assert_nothing_leaked().await;
}

async fn not_even_the_most_talkative_log_shows_a_credential(plane: &ControlPlane) {
    let mut scene = Scene::prepare(plane, setup().faster(20)).await;
    let talkative = ("RUST_LOG".to_owned(), "trace".to_owned());
    scene.options().environment.push(talkative);
    scene.start_operator().await;
    scene
        .fabric
        .script(Rule::on(Route::Token).answer(Answer::entra(EntraRefusal::WrongSecret)));
    scene
        .fabric
        .script(Rule::on(Route::Cancel).answer(Answer::error(401, "TokenExpired")));
    scene.cancel("job", json!({})).await;
    scene.wait_for_end("job", "JobCancelled").await;
    assert!(scene.log().contains("TRACE"), "the log is talkative");
    scene.assert_nothing_leaked().await;
}
