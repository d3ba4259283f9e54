//! The pinned kubectl: the tool that users have.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::clock;
use crate::error::Error;
use crate::plane::ControlPlane;

/// What kubectl printed, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubectlOutput {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed to stdout.
    pub stdout: String,
    /// What it printed to stderr.
    pub stderr: String,
}

impl KubectlOutput {
    /// Did kubectl end with exit code 0?
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

impl ControlPlane {
    /// kubectl as admin. For somebody else set `KUBECONFIG`, see [`kubectl_as`](Self::kubectl_as).
    ///
    /// Nothing of the developer's machine leaks in: no kubeconfig, no `kuberc`, no discovery cache.
    pub fn kubectl(&self) -> Command {
        self.kubectl_as(&self.kubeconfig_admin())
    }

    /// kubectl as whoever a kubeconfig is for.
    pub fn kubectl_as(&self, kubeconfig: &Path) -> Command {
        let mut command = Command::new(self.tools().kubectl());
        command
            .env("KUBECONFIG", kubeconfig)
            .env("KUBECACHEDIR", self.kubectl_cache())
            .env("KUBERC", "off")
            .stdin(Stdio::null());
        command
    }

    /// Runs kubectl as admin; a failure of kubectl is no error here, because tests look at it.
    ///
    /// # Errors
    /// kubectl cannot be started, or does not end within 60 s.
    pub async fn run_kubectl(&self, arguments: &[&str]) -> Result<KubectlOutput, Error> {
        let mut command = self.kubectl();
        command.args(arguments);
        self.run(command, None).await
    }

    /// Runs a command made by [`kubectl`](Self::kubectl) or [`kubectl_as`](Self::kubectl_as), with this text on its stdin.
    ///
    /// # Errors
    /// kubectl cannot be started, or does not end within 60 s.
    pub async fn run(&self, command: Command, stdin: Option<&str>) -> Result<KubectlOutput, Error> {
        let arguments = arguments_of(&command);
        tokio::time::timeout(KUBECTL_LIMIT, run(command, stdin))
            .await
            .map_err(|_| Error::Timeout {
                what: format!("the end of kubectl {arguments}"),
                limit: KUBECTL_LIMIT,
            })?
            .map_err(|source| Error::Process {
                action: "run",
                server: "kubectl",
                source,
            })
    }

    /// Applies manifests as admin (`kubectl apply --server-side`); returns what kubectl printed.
    ///
    /// Roles and bindings among them have taken effect when it returns.
    ///
    /// # Errors
    /// kubectl failed; the error has what it printed.
    pub async fn apply(&self, yaml: &str) -> Result<String, Error> {
        let arguments = ["apply", "--server-side", "--field-manager=test", "-f", "-"];
        let printed = self.must(&arguments, yaml).await?;
        if yaml.contains("rbac.authorization.k8s.io") {
            self.rbac_settled().await?;
        }
        Ok(printed)
    }

    /// Applies one or more CRDs and waits until the API server serves them and their OpenAPI, which
    /// `kubectl explain` reads.
    ///
    /// # Errors
    /// kubectl failed, or a CRD is not served within 30 s.
    pub async fn install_crd(&self, yaml: &str) -> Result<(), Error> {
        self.apply(yaml).await?;
        self.must(
            &[
                "wait",
                // As a path, because `--for=condition=` fails on a CRD that has no conditions yet.
                r#"--for=jsonpath={.status.conditions[?(@.type=="Established")].status}=True"#,
                "--timeout=30s",
                "-f",
                "-",
            ],
            yaml,
        )
        .await?;
        let read = self.must(&["get", "-o", "json", "-f", "-"], yaml).await?;
        let answer: Value = serde_json::from_str(&read).expect("kubectl -o json prints JSON");
        let crds = match answer["items"].as_array() {
            Some(items) => items.clone(),
            None => vec![answer],
        };
        for crd in &crds {
            self.openapi_is_published(crd).await?;
        }
        // kubectl asks whether the index changed since its copy, to the second; within that second
        // the answer is no.
        self.forget_kubectl_cache();
        Ok(())
    }

    /// Waits until the OpenAPI of each served version has the schema of *this* CRD: publishing lags
    /// behind the condition by a second or two.
    async fn openapi_is_published(&self, crd: &Value) -> Result<(), Error> {
        let client = self.client();
        let spec = &crd["spec"];
        let (group, kind) = (text(&spec["group"]), text(&spec["names"]["kind"]));
        let versions = spec["versions"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        for version in versions.iter().filter(|version| version["served"] == true) {
            let path = format!("apis/{group}/{}", text(&version["name"]));
            let published = clock::poll(OPENAPI_PAUSE, OPENAPI_LIMIT, async || {
                // As kubectl reads it: the index names a URL with a hash, and the index is the last
                // to change. An old hash is redirected, which is an error to this client.
                let index = read_json(&client, "/openapi/v3").await?;
                let url = index["paths"][&path]["serverRelativeURL"]
                    .as_str()?
                    .to_owned();
                let document = read_json(&client, &url).await?;
                has_schema(
                    &document,
                    group,
                    kind,
                    &version["schema"]["openAPIV3Schema"],
                )
                .then_some(())
            });
            let what = || format!("the schema of {kind} in the OpenAPI of {path}");
            published.await.ok_or_else(|| Error::Timeout {
                what: what(),
                limit: OPENAPI_LIMIT,
            })?;
        }
        Ok(())
    }

    async fn must(&self, arguments: &[&str], stdin: &str) -> Result<String, Error> {
        let mut command = self.kubectl();
        command.args(arguments);
        let output = self.run(command, Some(stdin)).await?;
        if output.is_success() {
            return Ok(output.stdout);
        }
        let KubectlOutput {
            code,
            stdout,
            stderr,
        } = output;
        Err(Error::Kubectl {
            arguments: arguments.join(" "),
            code,
            stdout,
            stderr,
        })
    }
}

async fn read_json(client: &kube::Client, path: &str) -> Option<Value> {
    let request = http::Request::get(path).body(Vec::new()).ok()?;
    client.request(request).await.ok()
}

async fn run(command: Command, stdin: Option<&str>) -> io::Result<KubectlOutput> {
    let mut command = tokio::process::Command::from(command);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if stdin.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn()?;
    if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
        match pipe.write_all(text.as_bytes()).await {
            // It ended before it read everything; its exit code tells more than our broken pipe.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written?,
        }
    }
    let output = child.wait_with_output().await?;
    Ok(KubectlOutput {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Does an OpenAPI document have this kind with the properties that the CRD's schema has?
///
/// The properties are compared by name, or an updated CRD would be taken for published too early.
fn has_schema(document: &Value, group: &str, kind: &str, schema: &Value) -> bool {
    let schemas = document["components"]["schemas"].as_object();
    let published = schemas
        .into_iter()
        .flat_map(|schemas| schemas.values())
        .find(|candidate| {
            let kinds = candidate["x-kubernetes-group-version-kind"].as_array();
            kinds.is_some_and(|kinds| {
                kinds
                    .iter()
                    .any(|k| k["group"] == group && k["kind"] == kind)
            })
        });
    published.is_some_and(|published| names_are_below(schema, published))
}

fn names_are_below(wanted: &Value, published: &Value) -> bool {
    let Some(wanted) = wanted["properties"].as_object() else {
        return true;
    };
    wanted.iter().all(|(name, child)| {
        let found = &published["properties"][name];
        found.is_object() && names_are_below(child, found)
    })
}

fn arguments_of(command: &Command) -> String {
    command
        .get_args()
        .map(|argument| argument.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A `kubectl wait` of a test has its own, shorter limit.
const KUBECTL_LIMIT: Duration = Duration::from_secs(60);

const OPENAPI_PAUSE: Duration = Duration::from_millis(50);

/// Publishing takes about a second.
const OPENAPI_LIMIT: Duration = Duration::from_secs(30);
