//! A small client of Fabric and Entra for the tests.

use std::{collections::BTreeMap, time::Duration};

use fabric_simulator::{Config, Seed, Settings, Simulator};
use http::HeaderMap;
use reqwest::RequestBuilder;
use serde_json::Value;

pub const SCOPE: &str = "https://api.fabric.microsoft.com/.default";

/// Far longer than anything here takes; reached only when something is wrong.
pub const SOON: Duration = Duration::from_secs(20);

pub async fn start(settings: Settings) -> Simulator {
    Simulator::start(Config {
        settings,
        ..Config::default()
    })
    .await
    .unwrap()
}

#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    pub token: String,
    url: String,
    seed: Seed,
}

#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// `null` when the body is no JSON.
    pub json: Value,
}

impl Answered {
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    }

    /// The error code; empty when there is none.
    pub fn code(&self) -> String {
        self.json["errorCode"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

impl Client {
    pub async fn new(simulator: &Simulator, seed: &Seed) -> Self {
        let http = reqwest::Client::builder()
            .user_agent("a-client/1.0")
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        Self::with(http.build().unwrap(), simulator, seed).await
    }

    pub async fn with(http: reqwest::Client, simulator: &Simulator, seed: &Seed) -> Self {
        let (url, seed) = (simulator.url(), seed.clone());
        let mut client = Self {
            http,
            token: String::new(),
            url,
            seed,
        };
        client.token = client.new_token().await;
        client
    }

    pub async fn new_token(&self) -> String {
        let answer = self.token_for(SCOPE).await;
        answer.json["access_token"]
            .as_str()
            .expect("a token")
            .to_owned()
    }

    pub async fn token_for(&self, scope: &str) -> Answered {
        let fields = BTreeMap::from([
            ("grant_type", "client_credentials"),
            ("client_id", &self.seed.client_id),
            ("client_secret", &self.seed.client_secret),
            ("scope", scope),
        ]);
        read(form(
            &self.http,
            self.token_url(&self.seed.tenant_id),
            &fields,
        ))
        .await
    }

    pub fn token_url(&self, tenant: &str) -> String {
        format!("{}/{tenant}/oauth2/v2.0/token", self.url)
    }

    pub fn job_url(&self) -> String {
        let job = self.seed.job;
        format!(
            "{}/v1/workspaces/{}/items/{}/jobs/instances/{}",
            self.url, job.workspace_id, job.item_id, job.job_instance_id
        )
    }

    pub async fn look(&self) -> Answered {
        self.get(&self.job_url()).await
    }

    pub async fn get(&self, url: &str) -> Answered {
        self.send(self.http.get(url)).await
    }

    pub async fn cancel(&self) -> Answered {
        self.try_cancel().await.unwrap()
    }

    pub async fn try_cancel(&self) -> reqwest::Result<Answered> {
        try_read(
            self.http
                .post(format!("{}/cancel", self.job_url()))
                .bearer_auth(&self.token),
        )
        .await
    }

    pub async fn try_cancel_owned(self) -> reqwest::Result<Answered> {
        self.try_cancel().await
    }

    pub async fn send(&self, request: RequestBuilder) -> Answered {
        read(request.bearer_auth(&self.token)).await
    }
}

pub fn form(http: &reqwest::Client, url: String, fields: &BTreeMap<&str, &str>) -> RequestBuilder {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    http.post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
}

pub async fn read(request: RequestBuilder) -> Answered {
    try_read(request).await.unwrap()
}

async fn try_read(request: RequestBuilder) -> reqwest::Result<Answered> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await?;
    let json = serde_json::from_str(&text).unwrap_or_default();
    Ok(Answered {
        status,
        headers,
        text,
        json,
    })
}
