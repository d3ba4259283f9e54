//! The simulator as a client sees it, over a real socket.

use std::time::Duration;

use fabric_simulator::{
    Access, Answer, EntraRefusal, HoldPoint, JobSpec, JobStatus, LookRetryAfter, Outcome,
    QuotaLimit, Route, Rule, Settings, Simulator,
};
use serde_json::json;
use uuid::Uuid;

use crate::client::{self, Client, SOON, start};

/// Form fields that replace those of a good request.
type Fields<'a> = &'a [(&'a str, &'a str)];

#[tokio::test]
async fn a_running_job_is_cancelled_and_the_ledger_has_every_request() {
    let simulator = start(Settings {
        cancel_takes: Duration::ZERO,
        ..Settings::default()
    })
    .await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;

    let before = client.look().await;
    assert_eq!(before.json["status"], "InProgress");
    assert_eq!(before.json["endTimeUtc"], json!(null));
    assert_eq!(before.json["failureReason"], json!(null));

    let cancel = client.cancel().await;
    assert_eq!(cancel.status, 202);
    assert_eq!(cancel.header("location").unwrap(), client.job_url());
    assert_eq!(cancel.header("retry-after").unwrap(), "60");
    assert_eq!(cancel.header("content-encoding").unwrap(), "gzip");
    assert_eq!(cancel.header("content-length").unwrap(), "0");
    assert_eq!(
        cancel.header("content-type").unwrap(),
        "application/octet-stream"
    );
    assert!(cancel.header("x-ms-operation-id").is_none());
    assert_eq!(cancel.text, "");

    let after = client.look().await;
    assert_eq!(after.json["status"], "Cancelled");
    assert_eq!(after.header("retry-after"), None);
    let end = after.json["endTimeUtc"].as_str().unwrap();
    assert!(!end.ends_with('Z') && end.contains('.'), "{end}");

    let again = client.cancel().await;
    assert_eq!(
        (again.status, again.code().as_str()),
        (400, "JobAlreadyCompleted")
    );
    assert_eq!(
        again.header("x-ms-public-api-error-code").unwrap(),
        "JobAlreadyCompleted"
    );

    let ledger = simulator.ledger();
    let routes: Vec<_> = ledger
        .iter()
        .map(|entry| (entry.route, entry.status))
        .collect();
    assert_eq!(
        routes,
        [
            (Route::Token, Some(200)),
            (Route::Job, Some(200)),
            (Route::Cancel, Some(202)),
            (Route::Job, Some(200)),
            (Route::Cancel, Some(400)),
        ]
    );
    let sequence: Vec<_> = ledger.iter().map(|entry| entry.sequence).collect();
    assert_eq!(sequence, [1, 2, 3, 4, 5]);
    let accepted = &ledger[2];
    assert!(accepted.processed && !ledger[4].processed);
    assert_eq!(accepted.identity, Some(seed.identity()));
    assert_eq!(accepted.retry_after.as_deref(), Some("60"));
    assert_eq!(accepted.user_agent.as_deref(), Some("a-client/1.0"));
    assert_eq!(
        cancel.header("requestid").unwrap(),
        accepted.request_id.to_string()
    );
    assert_eq!(ledger[4].error_code.as_deref(), Some("JobAlreadyCompleted"));
    assert_eq!(simulator.processed_cancels(seed.job.job_instance_id), 1);
}

#[tokio::test]
async fn neither_tokens_nor_secrets_stand_in_the_ledger_but_their_misplacement_does() {
    let simulator = start(Settings::default()).await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    let secret = &seed.client_secret;
    let http = &client.http;
    let base = simulator.url();

    client.look().await;
    http.get(format!("{base}/elsewhere/{secret}"))
        .bearer_auth(&client.token)
        .send()
        .await
        .unwrap();
    http.get(client.job_url())
        .bearer_auth(secret)
        .send()
        .await
        .unwrap();
    http.get(format!("{}?access_token=abc", client.job_url()))
        .send()
        .await
        .unwrap();
    http.get(client.job_url())
        .header("referer", &client.token)
        .send()
        .await
        .unwrap();
    http.post(format!("{base}/{}/oauth2/v2.0/token", seed.tenant_id))
        .bearer_auth(&client.token)
        .send()
        .await
        .unwrap();

    let ledger = simulator.ledger();
    let text = serde_json::to_string(&ledger).unwrap();
    assert!(
        !text.contains(secret) && !text.contains(&client.token),
        "{text}"
    );
    let misplaced: Vec<_> = ledger
        .iter()
        .map(|entry| entry.misplaced_credentials.join(", "))
        .collect();
    assert_eq!(
        misplaced,
        [
            "",
            "",
            "Authorization header on an unknown route, credential in the URL",
            "client secret sent as an access token",
            "credential in the URL",
            "credential in the header referer",
            "access token in a request to Entra",
        ]
    );
}

#[tokio::test]
async fn fabric_refuses_missing_unknown_expired_revoked_and_foreign_tokens() {
    let simulator = start(Settings::default()).await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    let look = async |token: Option<&str>| {
        let request = client.http.get(client.job_url());
        let answer = client::read(match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
        .await;
        (answer.status, answer.code())
    };
    assert_eq!(look(None).await, (401, "TokenIsMissing".into()));
    assert_eq!(look(Some("made-up")).await, (401, "InvalidToken".into()));
    let foreign = client
        .token_for("https://management.azure.com/.default")
        .await;
    let foreign = foreign.json["access_token"].as_str().unwrap().to_owned();
    assert_eq!(look(Some(&foreign)).await, (401, "InvalidToken".into()));

    assert_eq!(look(Some(&client.token)).await.0, 200);
    simulator.clock().advance(Duration::from_secs(3_599));
    assert_eq!(
        look(Some(&client.token)).await,
        (401, "TokenExpired".into())
    );

    let fresh = client.new_token().await;
    assert_eq!(look(Some(&fresh)).await.0, 200);
    simulator.revoke_tokens(&seed.identity());
    assert_eq!(look(Some(&fresh)).await, (401, "InvalidToken".into()));
}

#[tokio::test]
async fn entra_refuses_with_its_own_bodies() {
    let simulator = start(Settings::default()).await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    let ask = async |tenant: &str, change: &[(&str, &str)]| {
        let mut form = std::collections::BTreeMap::from([
            ("grant_type", "client_credentials"),
            ("client_id", &seed.client_id),
            ("client_secret", &seed.client_secret),
            ("scope", client::SCOPE),
        ]);
        form.extend(change.iter().copied());
        client::read(client::form(&client.http, client.token_url(tenant), &form)).await
    };
    let rows: [(&str, Fields, u16, &str, u64); 7] = [
        ("no-such-tenant", &[], 400, "invalid_request", 90002),
        (
            &seed.tenant_id,
            &[("client_id", "nobody")],
            400,
            "unauthorized_client",
            700016,
        ),
        (
            &seed.tenant_id,
            &[("client_secret", "wrong")],
            401,
            "invalid_client",
            7000215,
        ),
        (
            &seed.tenant_id,
            &[("client_secret", "")],
            401,
            "invalid_client",
            7000218,
        ),
        (
            &seed.tenant_id,
            &[("scope", "Item.Execute.All")],
            400,
            "invalid_scope",
            70011,
        ),
        (
            &seed.tenant_id,
            &[("scope", "https://a.example/.default")],
            400,
            "invalid_resource",
            500011,
        ),
        (
            &seed.tenant_id,
            &[("grant_type", "password")],
            400,
            "unsupported_grant_type",
            70003,
        ),
    ];
    for (tenant, change, status, error, code) in rows {
        let answer = ask(tenant, change).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.json["error"], error);
        assert_eq!(answer.json["error_codes"], json!([code]));
        let description = answer.json["error_description"].as_str().unwrap();
        assert!(
            description.starts_with(&format!("AADSTS{code}: ")),
            "{description}"
        );
        for field in ["trace_id", "correlation_id"] {
            let id = answer.json[field].as_str().unwrap();
            assert!(
                Uuid::parse_str(id).is_ok() && description.contains(id),
                "{description}"
            );
        }
        assert_ne!(answer.json["trace_id"], answer.json["correlation_id"]);
        assert!(answer.json["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    simulator.expire_secrets(&seed.identity());
    assert_eq!(
        ask(&seed.tenant_id, &[]).await.json["error_codes"],
        json!([7000222])
    );
    simulator.rotate_secret(&seed.identity(), "another secret");
    assert_eq!(
        ask(&seed.tenant_id, &[]).await.json["error_codes"],
        json!([7000215])
    );
    assert_eq!(
        ask(&seed.tenant_id, &[("client_secret", "another secret")])
            .await
            .status,
        200
    );

    simulator
        .script(Rule::on(Route::Token).answer(Answer::entra(EntraRefusal::Throttled(Some(7)))));
    simulator.script(Rule::on(Route::Token).answer(Answer::entra(EntraRefusal::Unavailable)));
    let throttled = ask(&seed.tenant_id, &[]).await;
    assert_eq!(
        (throttled.status, throttled.header("retry-after")),
        (429, Some("7".into()))
    );
    assert_eq!(ask(&seed.tenant_id, &[]).await.status, 503);
}

#[tokio::test]
async fn discovery_names_endpoints_on_the_host_that_was_asked_and_basic_credentials_work() {
    let simulator = start(Settings::default()).await;
    let seed = simulator.seed();
    let http = reqwest::Client::new();
    let url = |tenant: &str| {
        format!(
            "{}/{tenant}/v2.0/.well-known/openid-configuration?",
            simulator.url()
        )
    };
    let found = client::read(http.get(url(&seed.tenant_id))).await;
    let endpoint = found.json["token_endpoint"].as_str().unwrap();
    assert!(
        found.json["issuer"]
            .as_str()
            .unwrap()
            .starts_with(&simulator.url())
    );

    let form = [
        ("grant_type", "client_credentials"),
        (
            "scope",
            "https://api.fabric.microsoft.com/.default openid offline_access profile",
        ),
        ("client_info", "1"),
    ];
    let request = client::form(&http, endpoint.to_owned(), &form.into())
        .basic_auth(&seed.client_id, Some(&seed.client_secret));
    let token = client::read(request).await;
    assert_eq!(token.json["token_type"], "Bearer");
    assert_eq!(token.json["expires_in"], 3_599);

    let unknown = client::read(http.get(url("no-such-tenant"))).await;
    assert_eq!(unknown.status, 400);
    assert_eq!(unknown.json["error"], "invalid_tenant");
}

#[tokio::test]
async fn unknown_things_and_missing_rights_have_fabrics_codes() {
    let simulator = start(Settings::default()).await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    let job = seed.job;
    let url = |workspace: &str, item: &str, instance: &str| {
        let base = simulator.url();
        format!("{base}/v1/workspaces/{workspace}/items/{item}/jobs/instances/{instance}")
    };
    let (w, i, j) = (job.workspace_id, job.item_id, job.job_instance_id);
    let (w, i, j) = (w.to_string(), i.to_string(), j.to_string());
    let other = Uuid::new_v4().to_string();
    let sibling = simulator
        .add_item(job.workspace_id, "another item", "Notebook")
        .to_string();
    let rows = [
        (url(&other, &i, &j), 404, "WorkspaceNotFound"),
        (url(&w, &other, &j), 404, "ItemNotFound"),
        (url(&w, &i, &other), 404, "JobInstanceNotFound"),
        (url(&w, &i, "not-a-uuid"), 400, "InvalidParameter"),
        (url(&w, &i, &j.replace('-', "")), 400, "InvalidParameter"),
        (url(&w, &sibling, &j), 404, "JobInstanceNotFound"),
        (
            format!("{}/v2/nothing", simulator.url()),
            404,
            "EntityNotFound",
        ),
    ];
    for (url, status, code) in rows {
        let answer = client.get(&url).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{url}"
        );
        assert!(answer.json["message"].is_string());
    }

    let as_granted = async |access| {
        simulator.grant(job.workspace_id, &seed.identity(), access);
        (client.look().await.code(), client.cancel().await.code())
    };
    let no = || "InsufficientPrivileges".to_owned();
    let hidden = || "WorkspaceNotFound".to_owned();
    assert_eq!(as_granted(Access::Hidden).await, (hidden(), hidden()));
    assert_eq!(as_granted(Access::Denied).await, (no(), no()));
    assert_eq!(as_granted(Access::Read).await, (String::new(), no()));
    assert_eq!(
        as_granted(Access::Execute).await,
        (String::new(), String::new())
    );

    simulator.set_capacity_paused(job.workspace_id, true);
    let paused = client.look().await;
    assert_eq!(
        (paused.status, paused.code().as_str()),
        (404, "CapacityNotActive")
    );
}

#[tokio::test]
async fn the_quota_blocks_one_identity_until_its_window_refills() {
    let quota = QuotaLimit {
        calls: 2,
        window: Duration::from_secs(60),
    };
    let simulator = start(Settings {
        quota: Some(quota),
        ..Settings::default()
    })
    .await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    client.look().await;
    client.look().await;
    let blocked = client.cancel().await;
    assert_eq!(
        (blocked.status, blocked.code().as_str()),
        (429, "RequestBlocked")
    );
    assert_eq!(blocked.json["isRetriable"], true);
    let seconds: u64 = blocked.header("retry-after").unwrap().parse().unwrap();
    assert!((1..60).contains(&seconds), "{seconds}");
    assert_eq!(simulator.processed_cancels(seed.job.job_instance_id), 0);

    simulator.clock().advance(Duration::from_secs(60));
    assert_eq!(client.cancel().await.status, 202);
}

#[tokio::test]
async fn a_stale_view_shows_a_cancelled_job_as_running_and_counts_down_to_its_refresh() {
    let simulator = start(Settings {
        view_refresh: Duration::from_secs(60),
        cancel_takes: Duration::ZERO,
        ..Settings::default()
    })
    .await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    client.cancel().await;
    assert_eq!(client.cancel().await.code(), "JobAlreadyCompleted");
    let stale = client.look().await;
    assert_eq!(stale.json["status"], "InProgress");
    let left: u64 = stale.header("retry-after").unwrap().parse().unwrap();
    assert!(left < 60, "{left}");

    simulator.clock().advance(Duration::from_secs(60));
    let fresh = client.look().await;
    assert_eq!(fresh.json["status"], "Cancelled");
    assert_eq!(fresh.header("retry-after"), None);
}

#[tokio::test]
async fn a_run_creates_a_job_that_can_be_listed_page_by_page() {
    let simulator = start(Settings {
        list_page_size: 2,
        ..Settings::default()
    })
    .await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    let list = client.job_url().rsplit_once('/').unwrap().0.to_owned();
    let (item, _) = list.rsplit_once("/instances").unwrap();

    let post = async |url: String| client.send(client.http.post(url)).await;
    let first = post(format!("{item}/Pipeline/instances")).await;
    let second = post(format!("{list}?jobType=RunNotebook")).await;
    for run in [&first, &second] {
        assert_eq!(run.status, 202);
        let job = client.get(&run.header("location").unwrap()).await;
        assert_eq!(job.json["status"], "NotStarted");
        assert_eq!(job.json["rootActivityId"], run.header("requestid").unwrap());
    }

    let page = client.get(&format!("{list}?continuationToken=")).await;
    assert_eq!(page.json["value"].as_array().unwrap().len(), 2);
    assert_eq!(page.json["value"][0]["jobType"], "RunNotebook");
    let last = client
        .get(page.json["continuationUri"].as_str().unwrap())
        .await;
    assert_eq!(last.json["value"].as_array().unwrap().len(), 1);
    assert_eq!(last.json.get("continuationToken"), None);

    simulator.update_settings(|settings| settings.null_continuation_token = true);
    let last = client
        .get(page.json["continuationUri"].as_str().unwrap())
        .await;
    assert_eq!(last.json["continuationToken"], json!(null));
}

#[tokio::test]
async fn workspaces_and_items_are_listed_to_those_who_may_see_them() {
    let simulator = start(Settings::default()).await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    let hidden = simulator.add_item(Uuid::new_v4(), "secret plans", "Notebook");
    let base = simulator.url();
    let items = client
        .get(&format!(
            "{base}/v1/workspaces/{}/items",
            seed.job.workspace_id
        ))
        .await;
    assert_eq!(items.json["value"][0]["id"], seed.job.item_id.to_string());
    assert_eq!(items.json["value"][0]["type"], "DataPipeline");
    assert!(!items.text.contains(&hidden.to_string()));

    simulator.grant(seed.job.workspace_id, &seed.identity(), Access::Hidden);
    let workspaces = client.get(&format!("{base}/v1/workspaces")).await;
    assert_eq!(workspaces.json["value"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_script_answers_the_next_calls_and_then_the_truth_returns() {
    let simulator = start(Settings::default()).await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    let other = simulator.add_job(JobSpec::running(Uuid::new_v4(), Uuid::new_v4()));
    simulator.script(
        Rule::on(Route::Cancel)
            .job(seed.job.job_instance_id)
            .times(2)
            .answer(Answer::throttled(None)),
    );
    simulator.script(
        Rule::on(Route::Cancel)
            .job(other.job_instance_id)
            .answer(Answer::new(500)),
    );
    for _ in 0..2 {
        let answer = client.cancel().await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (429, "RequestBlocked")
        );
        assert_eq!(answer.header("retry-after"), None);
    }
    assert_eq!(client.cancel().await.status, 202);
    assert_eq!(simulator.rules().len(), 1);
    let entry = &simulator.requests(Route::Cancel)[0];
    assert_eq!(
        entry.fault.as_deref(),
        Some("answered instead of processing")
    );
    assert!(!entry.processed);
}

#[tokio::test]
async fn answers_of_every_kind_can_be_scripted() {
    let simulator = start(Settings::default()).await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    let cancel_with = async |answer: Answer| {
        simulator.script(Rule::on(Route::Cancel).answer(answer));
        client.cancel().await
    };
    let foreign = "https://wabi-us-central-b-primary-redirect.analysis.windows.net/v1/x";
    let accepted = cancel_with(Answer::accepted(Some(foreign), Some("soon"))).await;
    assert_eq!(accepted.header("location").unwrap(), foreign);
    assert_eq!(accepted.header("retry-after").unwrap(), "soon");
    let page = cancel_with(Answer::new(200).html("<html>hello</html>")).await;
    assert_eq!(
        (page.status, page.text.as_str()),
        (200, "<html>hello</html>")
    );
    let redirect = cancel_with(Answer::redirect(307, "http://127.0.0.1:9/")).await;
    assert_eq!(
        (
            redirect.status,
            redirect.header("location").unwrap().as_str()
        ),
        (307, "http://127.0.0.1:9/")
    );
    let twice = Answer::new(503)
        .header("Retry-After", "1")
        .header("Retry-After", "2");
    assert_eq!(
        cancel_with(twice)
            .await
            .headers
            .get_all("retry-after")
            .iter()
            .count(),
        2
    );
    let huge = cancel_with(Answer::new(200).huge(1_000_000)).await;
    assert_eq!(huge.text.len(), 1_000_000 + r#"{"value":""}"#.len());
    assert_eq!(
        cancel_with(Answer::job_already_completed()).await.code(),
        "JobAlreadyCompleted"
    );
    assert_eq!(simulator.processed_cancels(seed.job.job_instance_id), 0);

    simulator.script(Rule::on(Route::Job).overlay(json!({ "status": "Dehydrated" })));
    let odd = client.look().await;
    assert_eq!(odd.json["status"], "Dehydrated");
    assert_eq!(odd.json["id"], seed.job.job_instance_id.to_string());
}

#[tokio::test]
async fn a_lost_answer_has_taken_effect_and_a_lost_request_has_not() {
    let simulator = start(Settings::default()).await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    let job = seed.job.job_instance_id;

    simulator.script(Rule::on(Route::Cancel).drop_before_processing());
    client.try_cancel().await.unwrap_err();
    assert_eq!(simulator.processed_cancels(job), 0);
    assert_eq!(simulator.job(job).unwrap().cancel_requested_time, None);

    simulator.script(Rule::on(Route::Cancel).drop_after_processing());
    client.try_cancel().await.unwrap_err();
    assert_eq!(simulator.processed_cancels(job), 1);
    assert!(simulator.job(job).unwrap().cancel_requested_time.is_some());
    let outcomes: Vec<_> = simulator
        .requests(Route::Cancel)
        .iter()
        .map(|entry| entry.outcome)
        .collect();
    assert_eq!(outcomes, [Outcome::Dropped, Outcome::Dropped]);
}

#[tokio::test]
async fn a_held_request_waits_to_be_released_or_cut() {
    let simulator = start(Settings::default()).await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    let job = seed.job.job_instance_id;

    let held = simulator.script(Rule::on(Route::Cancel).hold(HoldPoint::BeforeProcessing));
    let cancel = tokio::spawn(client.clone().try_cancel_owned());
    held.wait_for_arrivals(1, SOON).await.unwrap();
    assert_eq!(simulator.processed_cancels(job), 0);
    assert_eq!(
        simulator.requests(Route::Cancel)[0].outcome,
        Outcome::Pending
    );
    held.release();
    assert_eq!(cancel.await.unwrap().unwrap().status, 202);

    let held = simulator.script(Rule::on(Route::Cancel).hold(HoldPoint::AfterProcessing));
    let cancel = tokio::spawn(client.clone().try_cancel_owned());
    held.wait_for_arrivals(1, SOON).await.unwrap();
    assert_eq!(simulator.processed_cancels(job), 2);
    held.drop_connections();
    cancel.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_request_whose_sender_died_still_takes_effect() {
    let simulator = start(Settings::default()).await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    let held = simulator.script(Rule::on(Route::Cancel).hold(HoldPoint::BeforeProcessing));
    let cancel = tokio::spawn(client.clone().try_cancel_owned());
    held.wait_for_arrivals(1, SOON).await.unwrap();
    cancel.abort();
    simulator
        .wait_for(SOON, |entry| entry.outcome == Outcome::ClientGone)
        .await
        .unwrap();
    held.release();
    let entry = simulator
        .wait_for(SOON, |entry| {
            entry.route == Route::Cancel && entry.processed
        })
        .await
        .unwrap();
    assert_eq!(entry.outcome, Outcome::ClientGone);
}

#[tokio::test]
async fn waiting_for_what_never_comes_ends_with_the_ledger() {
    let simulator = start(Settings::default()).await;
    let seed = simulator.seed();
    Client::new(&simulator, &seed).await;
    let moment = Duration::from_millis(20);
    let error = simulator
        .wait_for(moment, |entry| entry.route == Route::Cancel)
        .await
        .unwrap_err();
    assert_eq!(error.held.len(), 1);
    let unmet = simulator.script(Rule::on(Route::Cancel));
    let error = unmet.wait_for_arrivals(1, moment).await.unwrap_err();
    assert_eq!((error.arrived, error.wanted), (0, 1));
}

#[tokio::test]
async fn offline_refuses_connections_until_it_comes_back_at_the_same_address() {
    let simulator = start(Settings::default()).await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    simulator.go_offline().await;
    assert!(client.try_cancel().await.unwrap_err().is_connect());
    let before = simulator.connections();
    simulator.come_back().await;
    assert_eq!(client.cancel().await.status, 202);
    assert_eq!(simulator.connections(), before + 1);
}

#[tokio::test]
async fn tls_is_trusted_through_the_simulators_own_authority_only() {
    let config = fabric_simulator::Config {
        tls: true,
        ..Default::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    assert!(
        reqwest::get(simulator.url())
            .await
            .unwrap_err()
            .is_connect()
    );

    let authority = reqwest::Certificate::from_pem(simulator.ca_pem().unwrap().as_bytes()).unwrap();
    let http = reqwest::Client::builder()
        .tls_certs_only([authority])
        .build()
        .unwrap();
    let seed = simulator.seed();
    let client = Client::with(http, &simulator, &seed).await;
    let accepted = client.cancel().await;
    assert_eq!(accepted.header("location").unwrap(), client.job_url());
    assert!(client.job_url().starts_with("https://127.0.0.1:"));
}

#[tokio::test]
async fn a_running_job_may_carry_any_retry_after_and_an_ended_one_none() {
    let simulator = start(Settings::default()).await;
    let seed = simulator.seed();
    let client = Client::new(&simulator, &seed).await;
    assert_eq!(client.look().await.header("retry-after"), None);
    simulator.update_settings(|settings| settings.look_retry_after = LookRetryAfter::Seconds(0));
    assert_eq!(client.look().await.header("retry-after").unwrap(), "0");
    simulator.set_job_status(seed.job.job_instance_id, JobStatus::Failed);
    let failed = client.look().await;
    assert_eq!(failed.header("retry-after"), None);
    assert_eq!(
        failed.json["failureReason"]["errorCode"],
        "JobInstanceStatusFailed"
    );
}
