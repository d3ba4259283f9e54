//! The program: one line of JSON, and everything else over HTTP.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
};

use serde_json::{Value, json};

use crate::client::{self, Answered};

/// A running program; killed when a test ends early.
struct Program {
    child: Child,
    line: Value,
    http: reqwest::Client,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fabric-simulator"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let line = serde_json::from_str(&line).expect("the line is JSON");
        Self {
            child,
            line,
            http: reqwest::Client::new(),
        }
    }

    fn text(&self, field: &str) -> &str {
        self.line[field].as_str().expect("a text")
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Answered {
        let url = format!("{}/_simulator/{path}", self.text("url"));
        let method = method.parse().expect("a method");
        client::read(self.http.request(method, url).json(&body)).await
    }

    async fn token(&self) -> String {
        let url = format!(
            "{}/{}/oauth2/v2.0/token",
            self.text("entraAuthority"),
            self.text("tenantId")
        );
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", self.text("clientId")),
            ("client_secret", self.text("clientSecret")),
            ("scope", client::SCOPE),
        ];
        let answer = client::read(client::form(&self.http, url, &fields.into())).await;
        answer.json["access_token"]
            .as_str()
            .expect("a token")
            .to_owned()
    }

    async fn job(&self, method: &str, suffix: &str, token: &str) -> Answered {
        let url = format!(
            "{}/v1/workspaces/{}/items/{}/jobs/instances/{}{suffix}",
            self.text("fabricEndpoint"),
            self.text("workspaceId"),
            self.text("itemId"),
            self.text("jobInstanceId"),
        );
        let method = method.parse().expect("a method");
        client::read(self.http.request(method, url).bearer_auth(token)).await
    }

    fn terminate(mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        let killed = Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .expect("kill runs");
        assert!(killed.success());
        self.child.wait().expect("it ends")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_program_prints_where_it_is_and_what_it_made_and_ends_on_sigterm() {
    let client_id = "11111111-2222-3333-4444-555555555555";
    let program = Program::start(&[
        "--listen=127.0.0.1:0",
        "--retry-after=2",
        "--cancel-takes=0s",
        "--client-id",
        client_id,
        "--client-secret=a known secret",
    ]);
    assert_eq!(program.text("clientId"), client_id);
    let token = program.token().await;
    let cancel = program.job("POST", "/cancel", &token).await;
    assert_eq!(
        (cancel.status, cancel.header("retry-after")),
        (202, Some("2".into()))
    );
    assert_eq!(
        program.job("GET", "", &token).await.json["status"],
        "Cancelled"
    );

    let ledger = program.call("GET", "ledger?after=1", json!({})).await.json;
    let routes: Vec<_> = ledger["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["route"])
        .collect();
    assert_eq!(routes, ["Cancel", "Job"]);
    assert_eq!(ledger["entries"][0]["identity"]["clientId"], client_id);
    assert_eq!(ledger["entries"][0]["processed"], true);
    assert!(program.terminate().success());
}

#[tokio::test]
async fn everything_is_steered_over_http() {
    let program = Program::start(&["--clock-factor=60", "--quota=0"]);
    let token = program.token().await;
    let job = format!("jobs/{}", program.text("jobInstanceId"));
    let workspace = format!("workspaces/{}", program.text("workspaceId"));
    let identity = json!({
        "tenantId": program.text("tenantId").to_uppercase(),
        "clientId": program.text("clientId"),
    });
    let with = |more: Value| {
        let mut body = identity.clone();
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };

    // Jobs.
    program
        .call("PATCH", &job, json!({ "status": "Dehydrated" }))
        .await;
    assert_eq!(
        program.job("GET", "", &token).await.json["status"],
        "Dehydrated"
    );
    program
        .call("PATCH", &job, json!({ "overlay": { "exitValue": 1 } }))
        .await;
    assert_eq!(program.job("GET", "", &token).await.json["exitValue"], 1);
    let made = program
        .call(
            "POST",
            "jobs",
            json!({
                "workspaceId": program.text("workspaceId"),
                "itemId": program.text("itemId"),
                "status": "Completed",
            }),
        )
        .await;
    assert_eq!(made.status, 201);
    let made = format!("jobs/{}", made.json["jobInstanceId"].as_str().unwrap());
    assert_eq!(
        program.call("GET", &made, json!({})).await.json["status"],
        "Completed"
    );
    assert_eq!(
        program
            .call("GET", "jobs", json!({}))
            .await
            .json
            .as_array()
            .unwrap()
            .len(),
        2
    );
    program.call("DELETE", &made, json!({})).await;
    assert_eq!(program.call("GET", &made, json!({})).await.status, 404);

    // Rights.
    program
        .call(
            "POST",
            &format!("{workspace}/grants"),
            with(json!({ "access": "Denied" })),
        )
        .await;
    assert_eq!(
        program.job("GET", "", &token).await.code(),
        "InsufficientPrivileges"
    );
    program
        .call(
            "POST",
            &format!("{workspace}/grants"),
            with(json!({ "access": "Execute" })),
        )
        .await;
    program
        .call("PATCH", &workspace, json!({ "capacityPaused": true }))
        .await;
    assert_eq!(
        program.job("GET", "", &token).await.code(),
        "CapacityNotActive"
    );
    program
        .call("PATCH", &workspace, json!({ "capacityPaused": false }))
        .await;

    // Identities.
    program
        .call("POST", "applications/revoke-tokens", identity.clone())
        .await;
    assert_eq!(program.job("GET", "", &token).await.code(), "InvalidToken");
    program
        .call(
            "POST",
            "applications",
            with(json!({ "clientSecret": "another secret", "only": true })),
        )
        .await;
    let ledger = program.call("GET", "ledger", json!({})).await.json;
    let seen = ledger["entries"].as_array().unwrap().len();
    let url = format!(
        "{}/{}/oauth2/v2.0/token",
        program.text("url"),
        program.text("tenantId")
    );
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", program.text("clientId")),
        ("client_secret", program.text("clientSecret")),
        ("scope", client::SCOPE),
    ];
    let refused = client::read(client::form(&program.http, url, &fields.into())).await;
    assert_eq!(refused.json["error_codes"], json!([7000215]));
    let path = format!("ledger?after={seen}&waitSeconds=20");
    let refused = &program.call("GET", &path, json!({})).await.json["entries"][0];
    assert_eq!(refused["errorCode"], "AADSTS7000215");
    program
        .call(
            "POST",
            "applications",
            with(json!({ "clientSecret": program.text("clientSecret") })),
        )
        .await;
    let token = program.token().await;

    // Scripts.
    let rule = json!({
        "routes": ["Job"],
        "skipProcessing": true,
        "reply": { "answer": {
            "status": 429,
            "headers": [["Retry-After", "7"]],
            "body": { "fabricError": { "code": "RequestBlocked" } },
        } },
    });
    assert_eq!(program.call("POST", "script", rule).await.status, 201);
    let throttled = program.job("GET", "", &token).await;
    assert_eq!(
        (throttled.status, throttled.header("retry-after")),
        (429, Some("7".into()))
    );
    let hold = json!({ "routes": ["Job"], "hold": "beforeProcessing" });
    let rule = program.call("POST", "script", hold).await.json["id"].to_string();
    let release = async {
        // The hold is met before this request is answered: the ledger shows it.
        loop {
            let state = program
                .call("GET", &format!("script/{rule}"), json!({}))
                .await
                .json;
            if state["arrived"] == 1 {
                break;
            }
            tokio::task::yield_now().await;
        }
        program
            .call("POST", &format!("script/{rule}/release"), json!({}))
            .await
    };
    let both = async { tokio::join!(program.job("GET", "", &token), release) };
    let (held, _) = tokio::time::timeout(client::SOON, both)
        .await
        .expect("it is released");
    assert_eq!(held.status, 200);
    let contradiction = json!({ "skipProcessing": true });
    let refused = program.call("POST", "script", contradiction).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.json["problem"]
            .as_str()
            .unwrap()
            .contains("skipProcessing")
    );

    // Settings and clock.
    let settings = program
        .call("PATCH", "settings", json!({ "cancelTakesSeconds": 0.5 }))
        .await;
    assert_eq!(settings.json["cancelTakesSeconds"], 0.5);
    let unknown = program
        .call("PATCH", "settings", json!({ "cancelTakes": 1 }))
        .await;
    assert_eq!(unknown.status, 400);
    assert_eq!(
        program.call("GET", "clock", json!({})).await.json["factor"],
        60.0
    );
    program
        .call("POST", "clock", json!({ "advanceSeconds": 7_200 }))
        .await;
    assert_eq!(program.job("GET", "", &token).await.code(), "TokenExpired");
}

#[tokio::test]
async fn with_a_folder_for_it_the_program_serves_tls_and_leaves_its_authority_there() {
    let folder = std::env::temp_dir().join(format!("fabric-simulator-{}", uuid::Uuid::new_v4()));
    let mut program = Program::start(&["--tls-dir", folder.to_str().unwrap()]);
    let pem = std::fs::read(program.text("caFile")).unwrap();
    let authority = reqwest::Certificate::from_pem(&pem).unwrap();
    program.http = reqwest::Client::builder()
        .tls_certs_only([authority])
        .build()
        .unwrap();
    let token = program.token().await;
    assert_eq!(program.job("GET", "", &token).await.status, 200);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_wrong_flag_ends_the_program_with_a_sentence() {
    for (flag, word) in [
        ("--cancel-takes=soon", "5s"),
        ("--clock-factor=0", "above 0"),
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fabric-simulator"))
            .arg(flag)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        if !line.is_empty() {
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        assert!(line.is_empty(), "{flag} was taken");
        assert!(!output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(word), "{text}");
    }
}
