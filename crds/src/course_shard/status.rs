//! What the operator reports.

// KubeSchema repeats each struct inside a function, where `pub` reaches nothing.
#![allow(unreachable_pub)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::{CONDITIONS_MAX, NODES_MAX, OBJECT_NAME_MAX_LENGTH, STATUS_TEXT_MAX_LENGTH, WORKERS_MAX};

/// What the operator has seen and done. Written only when it changes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
pub struct CourseShardStatus {
    /// Names Patroni's scope, replication slots and prefixes. Set once, never reused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub formation_id: Option<String>,
    /// Generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Progressing, Degraded, SchemaCurrent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions", length(max = CONDITIONS_MAX))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Pod that is the coordinator's primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = OBJECT_NAME_MAX_LENGTH))]
    pub primary: Option<String>,
    /// Worker groups with a primary, of those asked for: `2/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub workers: Option<String>,
    /// Every database pod, by group and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = NODES_MAX))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub nodes: Vec<NodeStatus>,
    /// Worst lag of any replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<LagBucket>,
    /// Shards by worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<ShardsStatus>,
    /// Schema version in the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaStatus>,
    /// Where clients connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,
    /// What the database pods are rendered from; pinned until taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub render: Option<RenderStatus>,
    /// The one action under way that must not run twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
}

/// One database pod.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
pub struct NodeStatus {
    /// Pod name.
    #[schemars(length(max = OBJECT_NAME_MAX_LENGTH))]
    pub name: String,
    /// Citus group; 0 is the coordinator.
    pub group: i32,
    /// What Patroni says the member is.
    pub role: NodeRole,
    /// Fully qualified host name that peers and `pg_dist_node` use.
    #[schemars(length(max = OBJECT_NAME_MAX_LENGTH))]
    pub address: String,
    /// PostgreSQL timeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<i64>,
    /// How far behind its primary; bytes are a metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<LagBucket>,
    /// Why the pod is not ready and since when, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = STATUS_TEXT_MAX_LENGTH))]
    pub waiting: Option<String>,
}

/// A member's role.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeRole {
    /// Accepts writes.
    Primary,
    /// Follows its primary and must confirm its commits.
    SyncReplica,
    /// Follows its primary.
    Replica,
    /// Not (yet) a member.
    Unknown,
}

/// Lag in steps wide enough not to flap.
///
/// A replica moves up a step at the step's bound and back down at half of it.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LagBucket {
    /// Below 16 MiB, one WAL segment.
    Current,
    /// 16 MiB to 1 GiB.
    Behind,
    /// 1 GiB and more.
    FarBehind,
    /// Not known.
    Unknown,
}

/// Where the shards are.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
pub struct ShardsStatus {
    /// Shards of one co-location group.
    pub total: i64,
    /// The same by worker group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = WORKERS_MAX as u32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["group".into()]))]
    pub by_worker: Vec<WorkerShards>,
}

/// Shards of one co-location group on one worker group.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
pub struct WorkerShards {
    /// Citus group.
    pub group: i32,
    /// Number of shards.
    pub shards: i64,
}

/// The schema in the database.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
pub struct SchemaStatus {
    /// Version reached.
    pub version: i32,
    /// A migration stopped half-way; the SchemaCurrent condition says where and why.
    pub dirty: bool,
}

/// Where clients connect, as `host:port`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
pub struct Endpoints {
    /// PgBouncer, transaction mode: what services use.
    #[schemars(length(max = STATUS_TEXT_MAX_LENGTH))]
    pub pooler: String,
    /// The coordinator's primary, past the pooler: migrations and administration.
    #[schemars(length(max = STATUS_TEXT_MAX_LENGTH))]
    pub primary: String,
    /// The coordinator's replicas.
    #[schemars(length(max = STATUS_TEXT_MAX_LENGTH))]
    pub read_only: String,
    /// Database name.
    #[schemars(length(max = OBJECT_NAME_MAX_LENGTH))]
    pub database: String,
    /// Secret with the CA certificate to verify all of them (`ca.crt`).
    #[schemars(length(max = STATUS_TEXT_MAX_LENGTH))]
    pub ca_secret: String,
}

/// What the database pods are rendered from.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
pub struct RenderStatus {
    /// Revision of the operator's templates in use.
    pub revision: i32,
    /// Database image in use.
    #[schemars(length(max = STATUS_TEXT_MAX_LENGTH))]
    pub postgres_image: String,
    /// Pooler image in use.
    #[schemars(length(max = STATUS_TEXT_MAX_LENGTH))]
    pub pooler_image: String,
    /// The operator has newer templates or images; taken over with the
    /// annotation `lyceum.dev/take-over-render`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub update_available: bool,
    /// Revision to name in the annotation, while an update is available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_revision: Option<i32>,
}

/// An action that must not run twice, written before it starts.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
pub struct Intent {
    /// Unique id; names what the action makes.
    #[schemars(length(max = 63))]
    pub id: String,
    /// What it does.
    pub action: IntentAction,
    /// Grows by one with each intent of this object.
    pub epoch: i64,
    /// RFC 3339 time after which it counts as failed.
    #[schemars(length(max = 64))]
    pub deadline: String,
}

/// Actions that are not idempotent.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
pub struct IntentAction {
    /// Kind of action.
    pub kind: IntentKind,
    /// Schema version to reach, for `Migrate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_version: Option<i32>,
}

/// Kinds of [`Intent`].
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntentKind {
    /// Run the migrator up to `toVersion`.
    Migrate,
}
