//! What users see and type: the real kubectl.

use control_plane::{ControlPlane, KubectlOutput, Suite};
use fabric_job_operator::api::conditions;
use serde_json::{Value, json};

use crate::installed;

/// Adds these tests.
pub fn tests(suite: Suite) -> Suite {
    suite
        .test(
            "kubectl_get_shows_the_columns",
            kubectl_get_shows_the_columns,
        )
        .test(
            "kubectl_get_wide_shows_the_rest",
            kubectl_get_wide_shows_the_rest,
        )
        .test(
            "kubectl_get_fabric_lists_cancellations",
            kubectl_get_fabric_lists_cancellations,
        )
        .test(
            "waiting_for_ready_ends_when_the_goal_is_reached",
            waiting_for_ready_ends_when_the_goal_is_reached,
        )
        .test(
            "waiting_for_the_completion_time_ends_on_every_end",
            waiting_for_the_completion_time_ends_on_every_end,
        )
        .test(
            "waiting_for_stalled_ends_when_a_person_must_act",
            waiting_for_stalled_ends_when_a_person_must_act,
        )
        .test(
            "a_fresh_object_satisfies_no_wait",
            a_fresh_object_satisfies_no_wait,
        )
        .test(
            "a_condition_of_an_older_generation_satisfies_no_wait",
            a_condition_of_an_older_generation_satisfies_no_wait,
        )
        .test(
            "each_id_selects_its_cancellations",
            each_id_selects_its_cancellations,
        )
        .test(
            "kubectl_explain_is_a_manual_of_the_spec",
            kubectl_explain_is_a_manual_of_the_spec,
        )
        .test(
            "kubectl_explain_is_a_manual_of_the_status",
            kubectl_explain_is_a_manual_of_the_status,
        )
        .test(
            "kubectl_apply_refuses_a_misspelt_field_and_warns_when_told_to",
            kubectl_apply_refuses_a_misspelt_field_and_warns_when_told_to,
        )
}

const WORKSPACE: &str = "cfafbeb1-8037-4d0c-896e-a46fb27ff229";
const ITEM: &str = "431e8d7b-4a95-4c02-8ccd-6faef5ba1bd7";
const JOB: &str = "4b218778-e7a5-4d73-8187-f10824047715";
const OTHER: &str = "11111111-2222-3333-4444-555555555555";

async fn kubectl_get_shows_the_columns(plane: &ControlPlane) {
    given(plane, "columns").await;
    write_status(plane, "columns", &ended()).await;
    let table = table(plane, &["get", "fjc", "-n", "columns"]).await;
    assert_eq!(table[0], ["NAME", "READY", "REASON", "JOB STATUS", "AGE"]);
    assert_eq!(table[1][..4], ["x", "True", "JobCancelled", "Cancelled"]);
}

async fn kubectl_get_wide_shows_the_rest(plane: &ControlPlane) {
    given(plane, "wide").await;
    write_status(plane, "wide", &ended()).await;
    let table = table(plane, &["get", "fjc", "-n", "wide", "-o", "wide"]).await;
    let header = [
        "NAME",
        "READY",
        "REASON",
        "JOB STATUS",
        "AGE",
        "COMPLETED",
        "JOB",
        "ITEM",
        "WORKSPACE",
        "IDENTITY",
        "MESSAGE",
    ];
    assert_eq!(table[0], header);
    assert!(
        table[1][5].ends_with('d'),
        "completed some years and days ago: {:?}",
        table[1]
    );
    assert_eq!(
        table[1][6..],
        [
            JOB,
            ITEM,
            WORKSPACE,
            "fabric-credentials",
            "The job is cancelled."
        ]
    );
}

async fn kubectl_get_fabric_lists_cancellations(plane: &ControlPlane) {
    given(plane, "category").await;
    let listed = succeeds(plane, &["get", "fabric", "-n", "category", "-o", "name"]).await;
    assert_eq!(listed, "fabricjobcancellation.fabricjobs.dev/x\n");
}

async fn waiting_for_ready_ends_when_the_goal_is_reached(plane: &ControlPlane) {
    given(plane, "ready").await;
    let ended = ended();
    let (waited, ()) = tokio::join!(
        kubectl_wait(plane, "ready", "condition=Ready", "30s"),
        write_status(plane, "ready", &ended),
    );
    assert!(waited.is_success(), "{waited:?}");
}

async fn waiting_for_the_completion_time_ends_on_every_end(plane: &ControlPlane) {
    given(plane, "completion").await;
    let mut failed = ended();
    failed["conditions"] = json!([
        condition("Ready", "False", "DeadlineExceeded", 1),
        condition("Stalled", "True", "DeadlineExceeded", 1),
    ]);
    let (waited, ()) = tokio::join!(
        kubectl_wait(
            plane,
            "completion",
            "jsonpath={.status.completionTime}",
            "30s"
        ),
        write_status(plane, "completion", &failed),
    );
    assert!(waited.is_success(), "{waited:?}");
}

async fn waiting_for_stalled_ends_when_a_person_must_act(plane: &ControlPlane) {
    given(plane, "stalled").await;
    let stalled = json!({
        "observedGeneration": 1,
        "conditions": [
            condition("Ready", "False", "PermissionDenied", 1),
            condition("Stalled", "True", "PermissionDenied", 1),
        ],
    });
    let (waited, ()) = tokio::join!(
        kubectl_wait(plane, "stalled", "condition=Stalled", "30s"),
        write_status(plane, "stalled", &stalled),
    );
    assert!(waited.is_success(), "{waited:?}");
    let ended = kubectl_wait(plane, "stalled", "jsonpath={.status.completionTime}", "0").await;
    assert!(!ended.is_success(), "stalled is not ended: {ended:?}");
}

async fn a_fresh_object_satisfies_no_wait(plane: &ControlPlane) {
    given(plane, "fresh").await;
    for what in [
        "condition=Ready",
        "condition=Stalled",
        "condition=Cancelled",
        "jsonpath={.status.completionTime}",
        "jsonpath={.status.observedGeneration}=1",
    ] {
        let waited = kubectl_wait(plane, "fresh", what, "0").await;
        assert!(!waited.is_success(), "{what}: {waited:?}");
    }
}

async fn a_condition_of_an_older_generation_satisfies_no_wait(plane: &ControlPlane) {
    given(plane, "older").await;
    write_status(plane, "older", &ended()).await;
    assert!(
        kubectl_wait(plane, "older", "condition=Ready", "0")
            .await
            .is_success()
    );
    let edit = r#"{"spec":{"suspend":true}}"#;
    succeeds(
        plane,
        &[
            "patch",
            "fjc",
            "x",
            "-n",
            "older",
            "--type=merge",
            "-p",
            edit,
        ],
    )
    .await;
    let waited = kubectl_wait(plane, "older", "condition=Ready", "0").await;
    assert!(
        !waited.is_success(),
        "a condition of generation 1 counted for generation 2: {waited:?}"
    );
}

async fn each_id_selects_its_cancellations(plane: &ControlPlane) {
    given(plane, "select").await;
    for (field, id) in [
        ("workspaceId", WORKSPACE),
        ("itemId", ITEM),
        ("jobInstanceId", JOB),
    ] {
        for (id, expected) in [
            (id, "fabricjobcancellation.fabricjobs.dev/x\n"),
            (OTHER, ""),
        ] {
            let selector = format!("spec.{field}={id}");
            let arguments = [
                "get",
                "fjc",
                "-n",
                "select",
                "-o",
                "name",
                "--field-selector",
                &selector,
            ];
            assert_eq!(succeeds(plane, &arguments).await, expected, "{selector}");
        }
    }
}

async fn kubectl_explain_is_a_manual_of_the_spec(plane: &ControlPlane) {
    installed(plane).await;
    let manual = words(&succeeds(plane, &["explain", "fjc.spec"]).await);
    for sentence in [
        "the address is `https://app.fabric.microsoft.com/groups/<workspaceId>/...`",
        "`.../groups/<workspaceId>/<kind of item>/<itemId>`",
        "`Location` header that ends in `/jobs/instances/<jobInstanceId>`",
        "`GET /v1/workspaces/<workspaceId>/items/<itemId>/jobs/instances`",
        "Exactly one of `serviceAccountName` and `secretRef`",
        "from 60 (a minute) to 604800 (a week). Default 3600",
        "Left out: it is kept for ever",
        "at most 512 characters",
        "enum: Succeed, Fail",
        "enum: Fail, Succeed",
        "workspaceId <string> -required-",
        "itemId <string> -required-",
        "jobInstanceId <string> -required-",
    ] {
        assert!(
            manual.contains(sentence),
            "{sentence:?} is not in: {manual}"
        );
    }
    let secret = words(&succeeds(plane, &["explain", "fjc.spec.credentials.secretRef"]).await);
    assert!(
        secret.contains("AZURE_TENANT_ID, AZURE_CLIENT_ID"),
        "{secret}"
    );
}

async fn kubectl_explain_is_a_manual_of_the_status(plane: &ControlPlane) {
    installed(plane).await;
    let manual = words(&succeeds(plane, &["explain", "fjc.status", "--recursive=false"]).await);
    for sentence in [
        "-1 until the operator has seen the resource",
        "`spec.activeDeadlineSeconds` counts from here",
        "When Fabric accepted the cancel request (HTTP 202)",
        "0 means that nothing was sent",
        "The operator never follows it",
    ] {
        assert!(
            manual.contains(sentence),
            "{sentence:?} is not in: {manual}"
        );
    }
    let reasons = words(&succeeds(plane, &["explain", "fjc.status.conditions.reason"]).await);
    for doc in conditions::REASONS {
        let entry = format!("{}: {} {}", doc.name, doc.meaning, doc.what_to_do);
        assert!(reasons.contains(&entry), "{entry:?} is not in: {reasons}");
    }
}

async fn kubectl_apply_refuses_a_misspelt_field_and_warns_when_told_to(plane: &ControlPlane) {
    installed(plane).await;
    namespace(plane, "misspelt").await;
    let manifest = manifest("misspelt").replace("spec:", "spec:\n  jobinstanceid: x");
    let strict = apply(plane, &[], &manifest).await;
    assert!(!strict.is_success(), "{strict:?}");
    assert!(
        strict
            .stderr
            .contains("unknown field \"spec.jobinstanceid\""),
        "{strict:?}"
    );
    let warned = apply(plane, &["--validate=warn"], &manifest).await;
    assert!(warned.is_success(), "{warned:?}");
    assert!(
        warned
            .stderr
            .contains("unknown field \"spec.jobinstanceid\""),
        "{warned:?}"
    );
}

/// One cancellation `x` in a namespace of its own.
async fn given(plane: &ControlPlane, namespace_name: &str) {
    installed(plane).await;
    namespace(plane, namespace_name).await;
    plane
        .apply(&manifest(namespace_name))
        .await
        .expect("the manifest is valid");
}

async fn namespace(plane: &ControlPlane, name: &str) {
    let namespace = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}");
    plane
        .apply(&namespace)
        .await
        .expect("a namespace can be made");
}

fn manifest(namespace: &str) -> String {
    format!(
        "apiVersion: fabricjobs.dev/v1alpha1\nkind: FabricJobCancellation\nmetadata:\n  name: x\n  namespace: {namespace}\nspec:\n  workspaceId: {WORKSPACE}\n  itemId: {ITEM}\n  jobInstanceId: {JOB}\n"
    )
}

fn condition(type_: &str, status: &str, reason: &str, generation: i64) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": "The job is cancelled.",
           "lastTransitionTime": "2020-01-01T00:00:00Z", "observedGeneration": generation})
}

/// A status of generation 1 that ended well.
fn ended() -> Value {
    json!({
        "observedGeneration": 1,
        "attempts": 1,
        "completionTime": "2020-01-01T00:00:00Z",
        "job": {"status": "Cancelled"},
        "identity": {"source": "Secret", "name": "fabric-credentials"},
        "conditions": [condition("Ready", "True", "JobCancelled", 1)],
    })
}

async fn write_status(plane: &ControlPlane, namespace: &str, status: &Value) {
    let patch = json!({ "status": status }).to_string();
    let arguments = [
        "patch",
        "fjc",
        "x",
        "-n",
        namespace,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ];
    succeeds(plane, &arguments).await;
}

/// A limit of 0 looks once.
async fn kubectl_wait(
    plane: &ControlPlane,
    namespace: &str,
    what: &str,
    limit: &str,
) -> KubectlOutput {
    let (what, limit) = (format!("--for={what}"), format!("--timeout={limit}"));
    plane
        .run_kubectl(&["wait", "fjc/x", "-n", namespace, &what, &limit])
        .await
        .expect("kubectl runs")
}

async fn apply(plane: &ControlPlane, flags: &[&str], manifest: &str) -> KubectlOutput {
    let mut command = plane.kubectl();
    command.args(["apply", "-f", "-"]).args(flags);
    plane
        .run(command, Some(manifest))
        .await
        .expect("kubectl runs")
}

async fn succeeds(plane: &ControlPlane, arguments: &[&str]) -> String {
    let output = plane.run_kubectl(arguments).await.expect("kubectl runs");
    assert!(output.is_success(), "kubectl {arguments:?}: {output:?}");
    output.stdout
}

/// The cells of a printed table, which kubectl sets three spaces apart.
async fn table(plane: &ControlPlane, arguments: &[&str]) -> Vec<Vec<String>> {
    let printed = succeeds(plane, arguments).await;
    let cells = |line: &str| {
        line.split("   ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .map(str::to_owned)
            .collect()
    };
    printed.lines().map(cells).collect()
}

/// The text without the line breaks that the terminal's width made.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
