//! What users write.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;
use super::status::FabricJobCancellationStatus;

/// Names one Microsoft Fabric job instance that must not go on running.
///
/// The three ids say which job: Fabric never gives the same job instance id to another run, so
/// applying a resource again cannot hit a later run. They cannot be changed afterwards; the
/// policies, the deadline, the time to live and `suspend` can. Nothing here names a server: the
/// operator alone decides where requests and credentials go.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "fabricjobs.dev",
    version = "v1alpha1",
    kind = "FabricJobCancellation",
    plural = "fabricjobcancellations",
    shortname = "fjc",
    category = "fabric",
    namespaced,
    status = "FabricJobCancellationStatus",
    derive = "PartialEq",
    doc = "Asks Microsoft Fabric to cancel one job instance, waits until Fabric itself reports how the job ended, and keeps the answer as a record: why, with which identity, when Fabric accepted, when and how the job ended. Deleting the resource stops the watching; it does not undo a cancellation that Fabric has accepted.",
    annotation("kustomize.toolkit.fluxcd.io/substitute", "disabled"),
    selectable = ".spec.workspaceId",
    selectable = ".spec.itemId",
    selectable = ".spec.jobInstanceId",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "True when the goal is reached, False when it failed or a person must act, Unknown while the operator works"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why Ready has that value, in one word"
    ),
    printcolumn(
        name = "Job Status",
        type_ = "string",
        json_path = ".status.job.status",
        description = "What Fabric last said about the job"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Completed",
        type_ = "date",
        json_path = ".status.completionTime",
        priority = 1,
        description = "How long ago this cancellation ended, in whatever way"
    ),
    printcolumn(name = "Job", type_ = "string", json_path = ".spec.jobInstanceId", priority = 1),
    printcolumn(name = "Item", type_ = "string", json_path = ".spec.itemId", priority = 1),
    printcolumn(name = "Workspace", type_ = "string", json_path = ".spec.workspaceId", priority = 1),
    printcolumn(
        name = "Identity",
        type_ = "string",
        json_path = ".status.identity.name",
        priority = 1,
        description = "The Secret or ServiceAccount whose identity acts"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1,
        description = "Why Ready has that value and what to do"
    ),
    validation = schema::short_name(),
    validation = schema::credentials_stay_once_accepted()
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = schema::comment_is_immutable())]
pub struct FabricJobCancellationSpec {
    /// The workspace that holds the item: a lower-case UUID with dashes. Immutable.
    ///
    /// Where to find it: open the workspace or the item in the Fabric portal; the address is
    /// `https://app.fabric.microsoft.com/groups/<workspaceId>/...`. By REST: `GET /v1/workspaces`,
    /// also for My workspace, whose address shows `me` instead of an id.
    #[schemars(length(max = schema::ID_MAX))]
    #[x_kube(
        validation = schema::uuid("in the address of the workspace in the Fabric portal, after /groups/"),
        validation = schema::immutable()
    )]
    pub workspace_id: String,

    /// The item whose job is cancelled (pipeline, notebook, Spark job definition, ...): a
    /// lower-case UUID with dashes. Immutable.
    ///
    /// Where to find it: open the item in the Fabric portal; the address is
    /// `.../groups/<workspaceId>/<kind of item>/<itemId>`. By REST:
    /// `GET /v1/workspaces/<workspaceId>/items`.
    #[schemars(length(max = schema::ID_MAX))]
    #[x_kube(
        validation = schema::uuid("in the address of the item in the Fabric portal, after the kind of item"),
        validation = schema::immutable()
    )]
    pub item_id: String,

    /// The one run of the item that must stop: a lower-case UUID with dashes. Immutable.
    ///
    /// Where to find it: the request that started the run was answered with a `Location` header
    /// that ends in `/jobs/instances/<jobInstanceId>`. In the portal, Monitor hub shows which runs
    /// there are, and the details of a run show its id. By REST:
    /// `GET /v1/workspaces/<workspaceId>/items/<itemId>/jobs/instances` lists an item's runs; take
    /// the `id` of the one whose `status` is InProgress.
    #[schemars(length(max = schema::ID_MAX))]
    #[x_kube(
        validation = schema::uuid("at the end of the Location header that answered the run request, or in the list GET /v1/workspaces/<workspaceId>/items/<itemId>/jobs/instances"),
        validation = schema::immutable()
    )]
    pub job_instance_id: String,

    /// Which identity asks Fabric. Exactly one of `serviceAccountName` and `secretRef`.
    ///
    /// Left out: the Secret `fabric-credentials` of the resource's namespace. Can be changed until
    /// Fabric has accepted the request (`status.acceptedTime`), and is immutable from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Credentials")]
    pub credentials: Option<Credentials>,

    /// What it means when the job ended, but not by being cancelled: it completed, failed, or was
    /// already over. `Succeed` (default): the goal is reached, nothing runs any more, Ready is
    /// True. `Fail`: Ready is False. The condition Cancelled tells the truth either way.
    #[serde(default)]
    pub finished_job_policy: FinishedJobPolicy,

    /// What it means when Fabric does not know the job instance, or no longer knows it (Fabric
    /// keeps about 100 finished runs of an item). `Fail` (default): Ready is False, most likely an
    /// id is wrong. `Succeed`: Ready is True; for old files that a rebuilt cluster applies again.
    #[serde(default)]
    pub missing_job_policy: MissingJobPolicy,

    /// Give up after this many seconds: from 60 (a minute) to 604800 (a week). Default 3600 (an
    /// hour).
    ///
    /// Counts from `status.startTime`, so waiting in the operator's own queue or being suspended
    /// costs nothing. When it has passed, no new request is begun, the operator looks at the job
    /// once more, and an unfinished cancellation ends with reason DeadlineExceeded. Can be changed
    /// while the cancellation is under way; afterwards it has no effect.
    #[serde(default = "one_hour")]
    #[schemars(range(min = 60, max = 604_800))]
    pub active_deadline_seconds: i32,

    /// Delete this resource this many seconds after `status.completionTime`: from 0 (at once) to
    /// 2147483647. Left out: it is kept for ever, as a record.
    ///
    /// Leave it out for objects that Flux, Argo CD or Helm own: those tools create them again, which
    /// is harmless (the job is over) but never ends. Can be changed at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 0, max = 2_147_483_647))]
    pub ttl_seconds_after_finished: Option<i32>,

    /// Hold back: no new cancel request is sent while this is true. Default false.
    ///
    /// A resource created with true is a rehearsal: the operator finds the identity, looks at the
    /// job once, shows it in `status.job`, and sends nothing. After Fabric has accepted a request
    /// it has no effect; an acceptance cannot be taken back.
    #[serde(default)]
    pub suspend: bool,

    /// Why the job is cancelled, for those who wonder later: at most 512 characters. Copied to the
    /// Event and the operator's log, never sent to Fabric. Immutable: it cannot be added, changed
    /// or removed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = schema::COMMENT_MAX))]
    pub comment: Option<String>,
}

impl FabricJobCancellationSpec {
    /// A spec with the defaults that the API server would write.
    pub fn new(
        workspace_id: impl Into<String>,
        item_id: impl Into<String>,
        job_instance_id: impl Into<String>,
    ) -> Self {
        Self {
            workspace_id: workspace_id.into(),
            item_id: item_id.into(),
            job_instance_id: job_instance_id.into(),
            credentials: None,
            finished_job_policy: FinishedJobPolicy::default(),
            missing_job_policy: MissingJobPolicy::default(),
            active_deadline_seconds: one_hour(),
            ttl_seconds_after_finished: None,
            suspend: false,
            comment: None,
        }
    }
}

/// Which identity asks Fabric: exactly one of the two fields. Both name an object in the
/// resource's own namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = schema::exactly_one_credential())]
pub struct Credentials {
    /// A ServiceAccount of this namespace that Microsoft Entra trusts (workload identity). Not
    /// supported by this version of the operator, which says so with the reason
    /// CredentialsInvalid: use `secretRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = schema::NAME_MAX))]
    #[x_kube(validation = schema::object_name("ServiceAccount"))]
    pub service_account_name: Option<String>,

    /// A Secret of this namespace with an Entra application's credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SecretReference")]
    pub secret_ref: Option<SecretReference>,
}

/// Names a Secret of the resource's own namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Name of an Opaque Secret with the keys AZURE_TENANT_ID, AZURE_CLIENT_ID and
    /// AZURE_CLIENT_SECRET.
    #[schemars(length(max = schema::NAME_MAX))]
    #[x_kube(validation = schema::object_name("Secret"))]
    pub name: String,
}

/// What a job that ended without being cancelled means for Ready.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FinishedJobPolicy {
    /// The goal is reached: nothing runs any more.
    #[default]
    Succeed,
    /// The cancellation failed: it came too late.
    Fail,
}

/// What a job instance that Fabric does not know means for Ready.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MissingJobPolicy {
    /// The cancellation failed: most likely an id is wrong.
    #[default]
    Fail,
    /// The goal is reached: what Fabric no longer knows does not run.
    Succeed,
}

/// Long enough for a capacity that is resumed or a right that is granted meanwhile.
const fn one_hour() -> i32 {
    3600
}
