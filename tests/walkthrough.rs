//! The pages as their reader follows them: every manifest is applied and every command is run, in
//! the order of the page, on a real API server with a simulated Fabric and the operator as a
//! process. `tests/docs/page.rs` says which block is what.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use bench::{CLUSTER_ROLE, Manifests, Operator, OperatorOptions, condition, furnish};
use control_plane::{ControlPlane, Suite};
use fabric_simulator::{Config, Identity, Settings, Simulator};
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "docs/page.rs"]
mod page;

use page::{Block, Kind, Page, pages, root};

/// No block of a page takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    // Two operators would both work on everything.
    let mut suite = Suite::new()
        .one_at_a_time()
        .before_all(async |plane: &ControlPlane| {
            plane
                .install_crd(include_str!("../crds/fabricjobcancellations.yaml"))
                .await
                .expect("the CRD can be installed");
        });
    for page in pages() {
        let is_followed = page.blocks().iter().any(|block| {
            matches!(
                block.kind,
                Some(Kind::Manifest | Kind::Run | Kind::Status | Kind::Operator)
            )
        });
        if is_followed {
            let name = format!("a_reader_can_follow_{}", page.name);
            suite = suite.test(&name, async move |plane: &ControlPlane| {
                follow(&page, plane).await;
            });
        }
    }
    suite.run()
}

async fn follow(page: &Page, plane: &ControlPlane) {
    let mut desk = Desk::prepare(page, plane).await;
    let blocks = page.blocks();
    if !blocks
        .iter()
        .any(|block| block.kind == Some(Kind::Operator))
    {
        desk.start_usual_operator(plane).await;
    }
    for block in &blocks {
        match block.kind {
            Some(Kind::Manifest) => desk.bash("kubectl apply -f -", Some(block)).await,
            Some(Kind::Run) => desk.bash(&block.text, None).await,
            Some(Kind::Operator) => desk.start_operator(block).await,
            Some(Kind::Status) => desk.compare(block).await,
            Some(Kind::Checked | Kind::Text) | None => {}
        }
    }
}

/// What a reader has: a checkout, kubectl, a cluster, and Fabric.
struct Desk<'a> {
    plane: &'a ControlPlane,
    page: String,
    folder: TempDir,
    fabric: Simulator,
    identity: Identity,
    operator: Option<Operator>,
}

const CLIENT_SECRET: &str = "the reader's secret";

impl<'a> Desk<'a> {
    async fn prepare(page: &Page, plane: &'a ControlPlane) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["crds", "charts", "docs"] {
            symlink(root().join(name), folder.path().join(name)).expect("a link");
        }
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin).expect("a folder");
        symlink(plane.tools().kubectl(), bin.join("kubectl")).expect("a link");
        // A copy: the reader may change it.
        std::fs::copy(plane.kubeconfig_admin(), folder.path().join("kubeconfig"))
            .expect("a kubeconfig");

        let fabric = Simulator::start(Config {
            settings: Settings {
                accepted_retry_after: Some(Duration::from_secs(1)),
                cancel_takes: Duration::ZERO,
                ..Settings::default()
            },
            ..Config::default()
        })
        .await
        .expect("the simulator starts");
        for block in page.blocks() {
            if block.kind == Some(Kind::Manifest) {
                let manifests = Manifests::read(&block.text);
                let manifests = manifests.unwrap_or_else(|e| panic!("{}: {e}", block.place));
                furnish(&fabric, &manifests).unwrap_or_else(|e| panic!("{}: {e}", block.place));
            }
        }
        let identity = Identity::new(
            "1d3f5b7a-9c0e-4a2b-8d6f-0e1c2b3a4d5f",
            "2e4a6c8b-0d1f-4b3c-9e7a-1f2d3c4b5a6e",
        );
        fabric.add_secret(&identity, CLIENT_SECRET);
        Self {
            plane,
            page: page.name.clone(),
            folder,
            fabric,
            identity,
            operator: None,
        }
    }

    /// Runs a block, or this command with the block as its input.
    async fn bash(&self, script: &str, input: Option<&Block>) {
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(self.folder.path())
            .env_clear()
            .env(
                "PATH",
                format!("{}/bin:/usr/bin:/bin", self.folder.path().display()),
            )
            .env("HOME", self.folder.path())
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .env("AZURE_TENANT_ID", &self.identity.tenant_id)
            .env("AZURE_CLIENT_ID", &self.identity.client_id)
            .env("AZURE_CLIENT_SECRET", CLIENT_SECRET)
            .stdin(Stdio::null());
        let input = input.map(|block| block.text.as_str());
        let run = tokio::time::timeout(PATIENCE, self.plane.run(command, input));
        let output = run.await.expect("in time").expect("bash can be started");
        assert!(
            output.is_success(),
            "{}: this failed ({:?}):\n{script}\n{}{}{}\n{}",
            self.page,
            output.code,
            input.unwrap_or_default(),
            output.stdout,
            output.stderr,
            self.operator
                .as_ref()
                .map(Operator::log)
                .unwrap_or_default()
        );
    }

    /// The operator as the page starts it.
    async fn start_operator(&mut self, block: &Block) {
        let commands = block.commands();
        let [command] = commands.as_slice() else {
            panic!("{}: one command starts the operator", block.place);
        };
        let (variables, program) = command.split_once("cargo run -- run").expect("its command");
        let kubeconfig = variables
            .trim()
            .strip_prefix("KUBECONFIG=")
            .expect("a kubeconfig");
        let kubeconfig = self.folder.path().join(kubeconfig);
        assert_holds_the_operator_alone(&kubeconfig, &block.place);
        let arguments = program.split_whitespace().map(str::to_owned).collect();
        self.launch(&kubeconfig, arguments).await;
    }

    /// The operator as it runs before the page begins.
    async fn start_usual_operator(&mut self, plane: &ControlPlane) {
        let namespace = "walkthrough";
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "fabric-job-operator" },
            "subjects": [{ "kind": "ServiceAccount", "name": "operator", "namespace": namespace }],
        });
        let home =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        let objects = format!("{CLUSTER_ROLE}\n---\n{binding}\n---\n{home}");
        plane.apply(&objects).await.expect("the operator's rights");
        let kubeconfig = plane
            .kubeconfig_service_account(namespace, "operator")
            .await;
        let alone = vec!["--leader-elect=false".to_owned()];
        self.launch(&kubeconfig.expect("its kubeconfig"), alone)
            .await;
    }

    async fn launch(&mut self, kubeconfig: &Path, mut arguments: Vec<String>) {
        let url = self.fabric.url();
        let simulated = ["--fabric-endpoint", &url, "--entra-authority", &url];
        arguments.extend(simulated.map(str::to_owned));
        arguments.push("--allow-loopback-http".into());
        let operator = Operator::start(&OperatorOptions {
            program: env!("CARGO_BIN_EXE_fabric-job-operator").into(),
            kubeconfig: kubeconfig.to_path_buf(),
            arguments,
            environment: Vec::new(),
        });
        operator.ready().await;
        self.operator = Some(operator);
    }

    /// A resource that the page shows has the fields and conditions of the one it led to.
    async fn compare(&self, block: &Block) {
        let place = &block.place;
        let shown = Manifests::read(&block.text).unwrap_or_else(|e| panic!("{place}: {e}"));
        for shown in shown.objects() {
            let text = |field: &str| shown["metadata"][field].as_str().expect("a name");
            let get = [
                "-n",
                text("namespace"),
                "get",
                "fjc",
                text("name"),
                "-o",
                "json",
            ];
            let real = self.plane.run_kubectl(&get).await.expect("kubectl runs");
            let real: Value = serde_json::from_str(&real.stdout).expect("the resource is there");
            assert_eq!(
                fields(&shown["status"]),
                fields(&real["status"]),
                "{place}: the fields of the status differ from those of a real run"
            );
            for type_ in ["Ready", "Reconciling", "Stalled", "Accepted", "Cancelled"] {
                for part in ["status", "reason", "message"] {
                    let (shown, real) = (condition(shown, type_), condition(&real, type_));
                    assert_eq!(shown[part], real[part], "{place}: {part} of {type_}");
                }
            }
        }
    }
}

/// A reader's own credentials would make the operator's rights meaningless, and a file that others
/// can read, or that is committed, gives the token away.
fn assert_holds_the_operator_alone(kubeconfig: &Path, place: &str) {
    let text = std::fs::read_to_string(kubeconfig).expect("the page wrote a kubeconfig");
    let config: Value = serde_saphyr::from_str(&text).expect("a kubeconfig is YAML");
    let users = config["users"].as_array().expect("a list of users");
    let [user] = users.as_slice() else {
        panic!("{place}: the kubeconfig holds {} users", users.len());
    };
    assert_eq!(user["name"], "fabric-job-operator", "{place}: whose is it?");
    assert_eq!(
        fields(&user["user"]),
        BTreeSet::from(["token".to_owned()]),
        "{place}: the operator has a token and nothing else"
    );
    let mode = std::fs::metadata(kubeconfig).expect("the file is there");
    let mode = mode.permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{place}: others may read the token ({mode:o})");
    let ignored = std::fs::read_to_string(root().join(".gitignore")).expect("it is there");
    let extension = kubeconfig.extension().expect("an extension").display();
    assert!(
        ignored.lines().any(|line| line == format!("*.{extension}")),
        "{place}: .gitignore does not cover the file"
    );
}

/// The paths of all fields, in order; those of a list's elements are the same for each.
fn fields(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    match value {
        Value::Object(object) => {
            for (name, child) in object {
                found.insert(name.clone());
                found.extend(
                    fields(child)
                        .into_iter()
                        .map(|rest| format!("{name}.{rest}")),
                );
            }
        }
        Value::Array(elements) => found.extend(elements.iter().flat_map(fields)),
        _ => {}
    }
    found
}
