//! Troubles that a person must end: shown at once, `Stalled` after two minutes, healed by the fix.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bench::{Scene, condition, reason};
use control_plane::{ControlPlane, Suite};
use fabric_simulator::{Access, Answer, JobSpec, Route, Rule};
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ends::{calls_for, says};
use crate::history::{History, event};
use crate::setup;

pub fn journeys(suite: Suite) -> Suite {
    suite
        .test(
            "a_missing_right_in_fabric_stalls_and_heals",
            a_missing_right_in_fabric_stalls_and_heals,
        )
        .test(
            "an_unknown_workspace_or_item_stalls_and_heals",
            an_unknown_workspace_or_item_stalls_and_heals,
        )
        .test(
            "a_paused_capacity_stalls_and_heals",
            a_paused_capacity_stalls_and_heals,
        )
        .test(
            "a_token_that_fabric_refuses_stalls_and_heals",
            a_token_that_fabric_refuses_stalls_and_heals,
        )
        .test(
            "a_client_secret_that_entra_refuses_stalls_and_heals",
            a_client_secret_that_entra_refuses_stalls_and_heals,
        )
        .test(
            "an_unusable_secret_stalls_with_object_key_and_fix_and_heals",
            an_unusable_secret_stalls_with_object_key_and_fix_and_heals,
        )
        .test(
            "a_secret_of_another_name_needs_a_role",
            a_secret_of_another_name_needs_a_role,
        )
        .test(
            "a_service_account_is_refused_honestly",
            a_service_account_is_refused_honestly,
        )
        .test(
            "a_missing_secret_stalls_and_heals",
            a_missing_secret_stalls_and_heals,
        )
        .test(
            "fabric_and_entra_out_of_order_are_shown_and_waited_for",
            fabric_and_entra_out_of_order_are_shown_and_waited_for,
        )
        .test(
            "a_secret_that_the_api_server_does_not_serve_is_read_again",
            a_secret_that_the_api_server_does_not_serve_is_read_again,
        )
}

/// What a trouble looks like.
struct Trouble<'a> {
    reason: &'static str,
    /// `lastError.code`.
    code: &'a str,
    http_status: Option<u16>,
    /// Parts of the message: object and fix.
    fix: &'a [&'a str],
}

/// Sees the trouble at once, then `Stalled` after two minutes and not before.
async fn stalls(scene: &Scene, name: &str, trouble: &Trouble<'_>) {
    let first = scene.wait_for_reason(name, trouble.reason).await;
    assert_eq!(condition(&first, "Ready")["status"], "Unknown", "{first:#}");
    assert_eq!(reason(&first, "Reconciling"), trouble.reason);
    says(&first, "Ready", trouble.fix);
    let error = &first["status"]["lastError"];
    assert_eq!(error["code"], trouble.code, "{error:#}");
    assert_eq!(error["httpStatus"], json!(trouble.http_status), "{error:#}");
    assert!(error["message"].is_string(), "{error:#}");
    let raised = |it: &Value| condition(it, "Stalled")["status"] == "True";
    let stalled = scene.wait(name, "Stalled", raised).await;
    assert_eq!(condition(&stalled, "Ready")["status"], "False");
    assert_eq!(reason(&stalled, "Stalled"), trouble.reason);
    assert!(stalled["status"]["completionTime"].is_null(), "not ended");
    let time = |value: &Value| -> jiff::Timestamp {
        let time = value.as_str().expect("a time");
        time.parse().expect("a valid time")
    };
    let raised = time(&condition(&stalled, "Stalled")["lastTransitionTime"]);
    let lasted = raised.duration_since(time(&stalled["status"]["lastError"]["time"]));
    assert!((120..160).contains(&lasted.as_secs()), "after {lasted}");
    let (kind, note) = event(scene, name, trouble.reason).await;
    assert_eq!(kind, "Warning");
    assert!(trouble.fix.iter().all(|part| note.contains(part)), "{note}");
}

/// Sees the end after the fix, with `Stalled` gone and the last error kept.
async fn heals(scene: &Scene, history: &History, name: &str, trouble: &Trouble<'_>) -> Value {
    let ended = scene.wait_for_end(name, "JobCancelled").await;
    assert_eq!(condition(&ended, "Ready")["status"], "True");
    assert!(condition(&ended, "Stalled").is_null());
    assert_eq!(ended["status"]["lastError"]["code"], trouble.code);
    let reasons = history.reasons(&ended, "Ready").await;
    assert!(reasons.iter().any(|r| r == trouble.reason), "{reasons:?}");
    ended
}

/// The whole story, with a fix between the two.
async fn story(scene: &Scene, name: &str, trouble: Trouble<'_>, fix: impl Future<Output = ()>) {
    let history = History::of(scene).await;
    scene.cancel(name, json!({})).await;
    stalls(scene, name, &trouble).await;
    fix.await;
    touch(scene, name).await;
    heals(scene, &history, name, &trouble).await;
    assert_eq!(scene.processed(), 1);
}

/// A new generation: the operator tries at once.
async fn touch(scene: &Scene, name: &str) {
    let spec = json!({ "activeDeadlineSeconds": 3_000 });
    scene.edit(name, json!({ "spec": spec })).await;
}

async fn a_missing_right_in_fabric_stalls_and_heals(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(30)).await;
    let job = scene.seed.job;
    let fabric = &scene.fabric;
    fabric.set_default_access(job.workspace_id, Access::Read);
    let trouble = Trouble {
        reason: "PermissionDenied",
        code: "InsufficientPrivileges",
        http_status: Some(403),
        fix: &["Contributor", &job.workspace_id.to_string()],
    };
    story(&scene, "job", trouble, async {
        let identity = scene.seed.identity();
        fabric.grant(job.workspace_id, &identity, Access::Execute);
    })
    .await;
}

/// Heals by itself, without anybody touching the resource.
async fn an_unknown_workspace_or_item_stalls_and_heals(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(30)).await;
    let history = History::of(&scene).await;
    let identity = scene.seed.identity();
    let hidden = scene
        .fabric
        .add_job(JobSpec::running(Uuid::new_v4(), Uuid::new_v4()));
    let grant = |access| scene.fabric.grant(hidden.workspace_id, &identity, access);
    grant(Access::Hidden);
    let mut unborn = scene.seed.job;
    unborn.item_id = Uuid::new_v4();
    unborn.job_instance_id = Uuid::new_v4();
    let fix = [
        "`spec.workspaceId`",
        "`spec.itemId`",
        "role in the workspace",
    ];
    let of = |code| Trouble {
        reason: "TargetNotFound",
        code,
        http_status: Some(404),
        fix: &fix,
    };
    let (workspace, item) = (of("WorkspaceNotFound"), of("ItemNotFound"));
    scene.cancel_job("workspace", &hidden, json!({})).await;
    scene.cancel_job("item", &unborn, json!({})).await;
    tokio::join!(
        stalls(&scene, "workspace", &workspace),
        stalls(&scene, "item", &item)
    );
    grant(Access::Execute);
    scene.fabric.add_job(JobSpec {
        id: Some(unborn.job_instance_id),
        ..JobSpec::running(unborn.workspace_id, unborn.item_id)
    });
    tokio::join!(
        heals(&scene, &history, "workspace", &workspace),
        heals(&scene, &history, "item", &item)
    );
    for job in [hidden, unborn] {
        assert_eq!(scene.fabric.processed_cancels(job.job_instance_id), 1);
    }
}

async fn a_paused_capacity_stalls_and_heals(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(30)).await;
    let workspace = scene.seed.job.workspace_id;
    scene.fabric.set_capacity_paused(workspace, true);
    let trouble = Trouble {
        reason: "CapacityPaused",
        code: "CapacityNotActive",
        http_status: Some(404),
        fix: &["Resume the capacity"],
    };
    let resumed = async { scene.fabric.set_capacity_paused(workspace, false) };
    story(&scene, "job", trouble, resumed).await;
}

async fn a_token_that_fabric_refuses_stalls_and_heals(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(30)).await;
    let refusing = scene.fabric.script(
        Rule::on_routes(Route::FABRIC)
            .until_removed()
            .answer(Answer::error(401, "InvalidToken")),
    );
    let trouble = Trouble {
        reason: "AuthenticationFailed",
        code: "InvalidToken",
        http_status: Some(401),
        fix: &["tenant settings", "service principals"],
    };
    let fixed = async {
        let calls = calls_for(&scene, &scene.seed.job);
        let tokens = scene.fabric.requests(Route::Token).len();
        assert!(calls.iter().all(|call| call.route == Route::Cancel));
        assert_eq!(calls[0].status, Some(401));
        let attempts = scene.get("job").await["status"]["attempts"]
            .as_u64()
            .expect("a number");
        assert_eq!(
            calls.len() as u64,
            2 * attempts,
            "each attempt is sent once more with a fresh token, under the same intent"
        );
        assert_eq!(tokens as u64, attempts + 1, "a refused token is dropped");
        refusing.remove();
    };
    story(&scene, "job", trouble, fixed).await;
}

async fn a_client_secret_that_entra_refuses_stalls_and_heals(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().without_secret().faster(30)).await;
    scene
        .put_secret("fabric-credentials", "not-the-secret")
        .await;
    let object = format!("Secret {}/fabric-credentials", scene.namespace);
    let trouble = Trouble {
        reason: "AuthenticationFailed",
        code: "AADSTS7000215",
        http_status: Some(401),
        fix: &["The client secret is wrong", "AZURE_CLIENT_SECRET", &object],
    };
    let right = scene.put_secret("fabric-credentials", &scene.seed.client_secret);
    story(&scene, "job", trouble, right).await;
    assert!(
        !scene
            .get("job")
            .await
            .to_string()
            .contains("not-the-secret")
    );
    let log = scene.operator.as_ref().expect("it runs").log();
    assert!(!log.contains("not-the-secret") && !log.contains(&scene.seed.client_secret));
}

async fn an_unusable_secret_stalls_with_object_key_and_fix_and_heals(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(30)).await;
    let history = History::of(&scene).await;
    let seed = &scene.seed;
    let full = json!({
        "AZURE_TENANT_ID": seed.tenant_id,
        "AZURE_CLIENT_ID": seed.client_id,
        "AZURE_CLIENT_SECRET": seed.client_secret,
    });
    let with = |change: &dyn Fn(&mut Value)| {
        let mut entries = full.clone();
        change(&mut entries);
        entries
    };
    let lacking = with(&|entries| {
        entries
            .as_object_mut()
            .expect("entries")
            .remove("AZURE_CLIENT_ID");
    });
    let rows = [
        ("lacking", lacking, "lacks the key AZURE_CLIENT_ID"),
        (
            "empty",
            with(&|entries| entries["AZURE_CLIENT_SECRET"] = json!("")),
            "empty value at the key AZURE_CLIENT_SECRET",
        ),
        (
            "malformed",
            with(&|entries| entries["AZURE_TENANT_ID"] = json!("contoso")),
            "AZURE_TENANT_ID that is not a UUID",
        ),
        (
            "authority",
            with(&|entries| entries["AZURE_AUTHORITY_HOST"] = json!("https://example.com")),
            "Remove the key",
        ),
    ];
    allow_secrets(
        plane,
        &scene,
        &["lacking", "empty", "malformed", "authority", "vault"],
    )
    .await;
    let other_type = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "example.com/vault",
        "metadata": { "name": "vault", "namespace": scene.namespace }, "stringData": full,
    });
    let applied = plane.apply(&other_type.to_string()).await;
    applied.expect("a Secret of another type");
    for (name, entries, _) in &rows {
        scene.put_secret_with(name, entries.clone()).await;
    }
    let mut names: Vec<_> = rows.iter().map(|(name, _, what)| (*name, *what)).collect();
    names.push(("vault", "type example.com/vault"));
    for (name, _) in &names {
        let job = scene.another_job();
        let more = json!({ "credentials": { "secretRef": { "name": name } } });
        scene.cancel_job(name, &job, more).await;
    }
    let objects: Vec<_> = names
        .iter()
        .map(|(name, _)| format!("Secret {}/{name}", scene.namespace))
        .collect();
    let fixes: Vec<_> = names
        .iter()
        .zip(&objects)
        .map(|((_, what), object)| [object.as_str(), *what])
        .collect();
    let trouble = |fix| Trouble {
        reason: "CredentialsInvalid",
        code: "CredentialsInvalid",
        http_status: None,
        fix,
    };
    let all = names
        .iter()
        .zip(&fixes)
        .map(async |((name, _), fix)| stalls(&scene, name, &trouble(fix)).await);
    futures::future::join_all(all).await;
    assert!(scene.fabric.ledger().is_empty(), "nobody was asked");

    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(scene.client(), &scene.namespace);
    for (name, _) in &names {
        secrets
            .delete(name, &kube::api::DeleteParams::default())
            .await
            .expect("the Secret can be deleted");
        scene.put_secret_with(name, full.clone()).await;
        touch(&scene, name).await;
    }
    for (name, _) in &names {
        let ended = heals(&scene, &history, name, &trouble(&[])).await;
        assert_eq!(ended["status"]["identity"]["name"], *name);
    }
}

async fn a_secret_of_another_name_needs_a_role(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(30)).await;
    let history = History::of(&scene).await;
    scene.put_secret("theirs", &scene.seed.client_secret).await;
    let more = json!({ "credentials": { "secretRef": { "name": "theirs" } } });
    scene.cancel("job", more).await;
    let object = format!("Secret {}/theirs", scene.namespace);
    let trouble = Trouble {
        reason: "IdentityNotAllowed",
        code: "SecretForbidden",
        http_status: None,
        fix: &[&object, "resourceNames: [theirs]", "fabric-credentials"],
    };
    stalls(&scene, "job", &trouble).await;
    allow_secrets(plane, &scene, &["theirs"]).await;
    touch(&scene, "job").await;
    let ended = heals(&scene, &history, "job", &trouble).await;
    assert_eq!(ended["status"]["identity"]["name"], "theirs");
}

async fn a_missing_secret_stalls_and_heals(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().without_secret().faster(30)).await;
    let object = format!(
        "Secret {}/fabric-credentials does not exist",
        scene.namespace
    );
    let trouble = Trouble {
        reason: "CredentialsNotFound",
        code: "CredentialsNotFound",
        http_status: None,
        fix: &[&object, "kubectl create secret generic fabric-credentials"],
    };
    let created = scene.put_secret("fabric-credentials", &scene.seed.client_secret);
    story(&scene, "job", trouble, created).await;
}

/// Nobody needs to act, so neither ever stalls.
async fn fabric_and_entra_out_of_order_are_shown_and_waited_for(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(20)).await;
    let history = History::of(&scene).await;
    for (name, routes, code, shown) in [
        (
            "entra",
            Route::ENTRA.to_vec(),
            "Http503",
            "EntraUnavailable",
        ),
        (
            "fabric",
            Route::FABRIC.to_vec(),
            "Http500",
            "FabricUnavailable",
        ),
    ] {
        let status = code[4..].parse().expect("a status");
        let broken = Rule::on_routes(routes).until_removed();
        let broken = scene.fabric.script(broken.answer(Answer::new(status)));
        let job = scene.another_job();
        scene.cancel_job(name, &job, json!({})).await;
        let waiting = scene.wait_for_reason(name, shown).await;
        says(&waiting, "Ready", &["keeps trying", "`status.lastError`"]);
        assert_eq!(waiting["status"]["lastError"]["code"], code);
        assert!(waiting["status"]["lastError"]["httpStatus"] == status);
        broken.remove();
        let ended = scene.wait_for_end(name, "JobCancelled").await;
        let editions = history.up_to(&ended).await;
        let stalled = |edition: &Value| !condition(edition, "Stalled").is_null();
        assert!(!editions.iter().any(stalled));
    }
}

async fn a_service_account_is_refused_honestly(plane: &ControlPlane) {
    let scene = Scene::start(plane, setup().faster(30)).await;
    let history = History::of(&scene).await;
    let more = json!({ "credentials": { "serviceAccountName": "fabric-workload" } });
    scene.cancel("job", more).await;
    let trouble = Trouble {
        reason: "CredentialsInvalid",
        code: "ServiceAccountNotSupported",
        http_status: None,
        fix: &[
            "`spec.credentials.serviceAccountName`",
            "(fabric-workload)",
            "secretRef",
        ],
    };
    stalls(&scene, "job", &trouble).await;
    history.up_to(&scene.get("job").await).await;
    assert!(
        scene.fabric.ledger().is_empty(),
        "nobody else's identity is used"
    );
}

/// Between operator and API server stands a gateway that fails for Secrets alone.
async fn a_secret_that_the_api_server_does_not_serve_is_read_again(plane: &ControlPlane) {
    let mut scene = Scene::prepare(plane, setup().faster(20)).await;
    let history = History::of(&scene).await;
    let direct = plane.client_of(&scene.options().kubeconfig).await;
    let failing = Arc::new(AtomicBool::new(true));
    let server = gateway(direct.expect("the operator's client"), Arc::clone(&failing)).await;
    let kubeconfig = plane.folder().join(format!("{}-gateway", scene.namespace));
    let through = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "gateway",
        "clusters": [{ "name": "gateway", "cluster": { "server": server } }],
        "users": [{ "name": "nobody", "user": {} }],
        "contexts": [{ "name": "gateway", "context": { "cluster": "gateway", "user": "nobody" } }],
    });
    std::fs::write(&kubeconfig, through.to_string()).expect("the kubeconfig can be written");
    scene.options().kubeconfig = kubeconfig;
    scene.start_operator().await;

    scene.cancel("job", json!({})).await;
    let waiting = scene.wait_for_reason("job", "ResolvingCredentials").await;
    assert_eq!(condition(&waiting, "Ready")["status"], "Unknown");
    says(&waiting, "Ready", &["Kubernetes API", "keeps trying"]);
    let error = &waiting["status"]["lastError"];
    let object = format!("Secret {}/fabric-credentials", scene.namespace);
    let told = error["message"].as_str().unwrap_or_default();
    assert!(told.contains(&object), "{told}");
    assert!(scene.fabric.ledger().is_empty(), "nobody was asked");
    failing.store(false, Ordering::SeqCst);
    let ended = scene.wait_for_end("job", "JobCancelled").await;
    let reasons = history.reasons(&ended, "Ready").await;
    assert!(
        !reasons.contains(&"CredentialsNotFound".to_owned()),
        "{reasons:?}"
    );
}

/// Forwards everything to the API server; answers 503 for Secrets while `failing`.
async fn gateway(client: kube::Client, failing: Arc<AtomicBool>) -> String {
    let forward = move |request: axum::extract::Request| {
        let client = client.clone();
        let fails = failing.load(Ordering::SeqCst) && request.uri().path().contains("/secrets/");
        async move {
            if fails {
                return Err(StatusCode::SERVICE_UNAVAILABLE);
            }
            let (mut parts, body) = request.into_parts();
            parts.headers.remove(http::header::HOST);
            let body = axum::body::to_bytes(body, usize::MAX).await;
            let body = body.map_err(|_| StatusCode::BAD_REQUEST)?.to_vec();
            let request = http::Request::from_parts(parts, kube::client::Body::from(body));
            let answer = client.send(request).await;
            answer.map_err(|_| StatusCode::BAD_GATEWAY)
        }
    };
    let router = axum::Router::new().fallback(async move |request: axum::extract::Request| {
        forward(request)
            .await
            .map(|answer| answer.map(axum::body::Body::new))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Lets the scene's operator read Secrets of these names, as the message of the trouble says.
pub async fn allow_secrets(plane: &ControlPlane, scene: &Scene, names: &[&str]) {
    let namespace = &scene.namespace;
    let metadata = json!({ "name": "read-credentials", "namespace": namespace });
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
        "rules": [{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": names }],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "read-credentials" },
        "subjects": [{ "kind": "ServiceAccount", "name": "fabric-job-operator", "namespace": namespace }],
    });
    plane
        .apply(&format!("{role}\n---\n{binding}"))
        .await
        .expect("the right can be given");
}
