//! What a person asks for.
//!
//! Bounds are in [`super::limits`], rules in [`super::rules`]. A field that is unknown
//! to the schema is refused by the API server; reading is tolerant on purpose, so that
//! an operator rolled back by one version still reads what the newer one allowed.

// KubeSchema repeats each struct inside a function, where `pub` reaches nothing.
#![allow(unreachable_pub)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration, TopologySpreadConstraint};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::{
    CLIENT_CONNECTIONS_MAX, CONNECTIONS_MAX, IMAGE_MAX_LENGTH, INSTANCES_MAX, OBJECT_NAME_MAX_LENGTH,
    POOLER_INSTANCES_MAX, QUANTITY_MAX_LENGTH, SCHEDULING_ITEMS_MAX, SERVER_CONNECTIONS_MAX,
    SERVER_CONNECTIONS_MIN, SHARDS_MAX, WORKERS_MAX,
};
use super::{CourseShardStatus, rules};

/// One database formation of the course marketplace.
///
/// `workers.count: 0` is one plain PostgreSQL group; any other count is a Citus
/// coordinator (group 0) with that many worker groups (1 to count).
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "lyceum.dev",
    version = "v1alpha1",
    kind = "CourseShard",
    plural = "courseshards",
    shortname = "cshard",
    category = "lyceum",
    namespaced,
    status = "CourseShardStatus",
    derive = "PartialEq",
    doc = "One database formation of the course marketplace: a Citus coordinator with its workers, or a single PostgreSQL group, behind a pooler.",
    printcolumn(name = "READY", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "PRIMARY", type_ = "string", json_path = ".status.primary"),
    printcolumn(name = "WORKERS", type_ = "string", json_path = ".status.workers"),
    printcolumn(name = "SHARDS", type_ = "integer", json_path = ".status.shards.total"),
    printcolumn(name = "SCHEMA", type_ = "integer", json_path = ".status.schema.version"),
    printcolumn(name = "LAG", type_ = "string", json_path = ".status.lag"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "REASON",
        type_ = "string",
        priority = 1,
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    validation = rules::name(),
    validation = rules::formation_id_is_kept()
)]
#[x_kube(
    validation = rules::citus_with_workers(),
    validation = rules::durability_coordinator(),
    validation = rules::durability_workers(),
    validation = rules::shards_for_every_worker(),
    validation = rules::shard_count_is_kept(),
    validation = rules::schema_version_only_rises(),
    validation = rules::coordinator_budget(),
    validation = rules::workers_budget()
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
pub struct CourseShardSpec {
    /// The engine: PostgreSQL major version, Citus line, optionally an image of your own.
    pub postgres: PostgresSpec,
    /// Group 0: the coordinator, or the only group when `workers.count` is 0.
    pub coordinator: CoordinatorSpec,
    /// Groups 1 to `count`, each holding a share of the shards.
    pub workers: WorkersSpec,
    /// When a commit is acknowledged.
    #[serde(default)]
    pub durability: Durability,
    /// PgBouncer in transaction mode in front of the coordinator.
    #[serde(default)]
    pub pooler: PoolerSpec,
    /// Shards a co-location group is split into; set once. 96 divides evenly over
    /// 1, 2, 3, 4, 6, 8, 12, 16, 24, 32 and 48 workers.
    #[serde(default = "default_shard_count")]
    #[schemars(range(min = 0, max = SHARDS_MAX))]
    pub shard_count: i32,
    /// The operator observes and reports but changes nothing while this is true.
    #[serde(default)]
    pub paused: bool,
    /// What deleting the CourseShard does with its volumes, secrets and Patroni keys.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Schema version to be at. Left out at creation it is set once to the newest
    /// the operator knows; afterwards it moves only when a person raises it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub schema_version: Option<i32>,
    /// Where the first data comes from; set once.
    #[serde(default)]
    pub bootstrap: Bootstrap,
}

/// The engine and its version. A pair that Citus does not support is refused.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
#[x_kube(
    validation = rules::major_is_known(),
    validation = rules::citus_is_known(),
    validation = rules::citus_fits_major(),
    validation = rules::image_for_other_majors(),
    validation = rules::major_is_not_lowered(),
    validation = rules::major_is_not_raised(),
    validation = rules::citus_is_not_lowered(),
    validation = rules::citus_is_not_raised()
)]
pub struct PostgresSpec {
    /// PostgreSQL major version.
    #[schemars(range(min = 0, max = 99))]
    pub major: i32,
    /// Citus line such as `13.2`; required with workers, absent without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub citus: Option<String>,
    /// Image to run instead of the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = IMAGE_MAX_LENGTH), regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._:/@-]*$"))]
    pub image: Option<String>,
}

/// Group 0.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
#[x_kube(
    validation = rules::instances("spec.coordinator"),
    validation = rules::wal_volume_is_kept("spec.coordinator")
)]
pub struct CoordinatorSpec {
    /// Members of the group, the primary counted.
    #[serde(default = "default_instances")]
    #[schemars(range(min = 0, max = INSTANCES_MAX))]
    pub instances: i32,
    /// Data volume of each member.
    #[x_kube(
        validation = rules::size("spec.coordinator.storage"),
        validation = rules::size_does_not_shrink("spec.coordinator.storage"),
        validation = rules::class_is_kept("spec.coordinator.storage")
    )]
    pub storage: StorageSpec,
    /// A volume of its own for the write-ahead log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = rules::size("spec.coordinator.walStorage"),
        validation = rules::size_does_not_shrink("spec.coordinator.walStorage"),
        validation = rules::class_is_kept("spec.coordinator.walStorage")
    )]
    pub wal_storage: Option<StorageSpec>,
    /// CPU and memory of each member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::embedded::<ResourceRequirements>")]
    pub resources: Option<ResourceRequirements>,
    /// Where members may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,
    /// PostgreSQL settings.
    #[serde(default)]
    #[x_kube(
        validation = rules::setting_names("spec.coordinator.parameters"),
        validation = rules::setting_values("spec.coordinator.parameters"),
        validation = rules::settings_leave_out_reserved("spec.coordinator.parameters")
    )]
    pub parameters: Parameters,
}

/// Groups 1 to `count`, all alike.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
#[x_kube(
    validation = rules::instances("spec.workers"),
    validation = rules::wal_volume_is_kept("spec.workers"),
    validation = rules::workers_have_storage(),
    validation = rules::workers_stay_or_stay_away(),
    validation = rules::workers_are_not_removed()
)]
pub struct WorkersSpec {
    /// Number of worker groups. 0 makes a plain PostgreSQL formation.
    #[schemars(range(min = 0, max = WORKERS_MAX))]
    pub count: i32,
    /// Members of each group, the primary counted.
    #[serde(default = "default_instances")]
    #[schemars(range(min = 0, max = INSTANCES_MAX))]
    pub instances: i32,
    /// Data volume of each member; required when `count` is above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = rules::size("spec.workers.storage"),
        validation = rules::size_does_not_shrink("spec.workers.storage"),
        validation = rules::class_is_kept("spec.workers.storage")
    )]
    pub storage: Option<StorageSpec>,
    /// A volume of its own for the write-ahead log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = rules::size("spec.workers.walStorage"),
        validation = rules::size_does_not_shrink("spec.workers.walStorage"),
        validation = rules::class_is_kept("spec.workers.walStorage")
    )]
    pub wal_storage: Option<StorageSpec>,
    /// CPU and memory of each member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::embedded::<ResourceRequirements>")]
    pub resources: Option<ResourceRequirements>,
    /// Where members may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,
    /// PostgreSQL settings.
    #[serde(default)]
    #[x_kube(
        validation = rules::setting_names("spec.workers.parameters"),
        validation = rules::setting_values("spec.workers.parameters"),
        validation = rules::settings_leave_out_reserved("spec.workers.parameters")
    )]
    pub parameters: Parameters,
}

/// A volume: how much, of which class.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
pub struct StorageSpec {
    /// Size in whole Mi, Gi or Ti, such as `20Gi`. It can grow, not shrink.
    #[schemars(length(max = QUANTITY_MAX_LENGTH))]
    pub size: String,
    /// Storage class; the cluster's default when left out. Set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = OBJECT_NAME_MAX_LENGTH))]
    pub class: Option<String>,
}

/// Where pods may run; each part as in a pod.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
pub struct Scheduling {
    /// Labels a node must carry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = SCHEDULING_ITEMS_MAX))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints a pod puts up with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::embedded_list::<Toleration>")]
    pub tolerations: Vec<Toleration>,
    /// Affinity in full; the members of a group are kept apart by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::embedded::<Affinity>")]
    pub affinity: Option<Affinity>,
    /// Spread in full, instead of the default over nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::embedded_list::<TopologySpreadConstraint>")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Priority class of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = OBJECT_NAME_MAX_LENGTH))]
    pub priority_class_name: Option<String>,
}

/// PostgreSQL settings. What the operator or Patroni must own is refused.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
pub struct Parameters {
    /// `max_connections`, one side of the connection budget.
    #[serde(default = "default_max_connections")]
    #[schemars(range(min = 1, max = CONNECTIONS_MAX))]
    pub max_connections: i32,
    /// Further settings by their PostgreSQL names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::settings")]
    pub settings: BTreeMap<String, String>,
}

/// When a commit is acknowledged.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// Only with a synchronous replica; without one, writes wait.
    Required,
    /// With a synchronous replica while there is one, else by the primary alone.
    #[default]
    Preferred,
    /// By the primary alone.
    Async,
}

/// PgBouncer. Every size comes out of one budget: see [`crate::budget`].
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::absent_not_null)]
#[x_kube(
    validation = rules::pooler_instances()
)]
pub struct PoolerSpec {
    /// PgBouncer processes.
    #[serde(default = "default_pooler_instances")]
    #[schemars(range(min = 0, max = POOLER_INSTANCES_MAX))]
    pub instances: i32,
    /// Server connections each process may hold to group 0.
    #[serde(default = "default_server_connections")]
    #[schemars(range(min = SERVER_CONNECTIONS_MIN, max = SERVER_CONNECTIONS_MAX))]
    pub server_connections: i32,
    /// Client connections each process accepts.
    #[serde(default = "default_client_connections")]
    #[schemars(range(min = 1, max = CLIENT_CONNECTIONS_MAX))]
    pub client_connections: i32,
    /// CPU and memory of each process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::embedded::<ResourceRequirements>")]
    pub resources: Option<ResourceRequirements>,
    /// Where the processes may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,
}

/// What deleting a CourseShard does with its data.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeletionPolicy {
    /// Volumes, secrets and Patroni's keys stay; a CourseShard of the same name finds them again.
    #[default]
    Retain,
    /// Everything goes.
    Delete,
}

/// Where the first data comes from; set once. With a second value comes the rule that
/// keeps it: a rule over one value could not fail.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Bootstrap {
    /// An empty formation, or the one retained under this name.
    #[default]
    New,
}

fn default_shard_count() -> i32 {
    96
}
fn default_instances() -> i32 {
    2
}
fn default_max_connections() -> i32 {
    100
}
fn default_pooler_instances() -> i32 {
    2
}
fn default_server_connections() -> i32 {
    // With the other defaults the budget holds for up to six workers.
    20
}
fn default_client_connections() -> i32 {
    2000
}

impl Default for Parameters {
    fn default() -> Self {
        Self { max_connections: default_max_connections(), settings: BTreeMap::new() }
    }
}

impl Default for PoolerSpec {
    fn default() -> Self {
        Self {
            instances: default_pooler_instances(),
            server_connections: default_server_connections(),
            client_connections: default_client_connections(),
            resources: None,
            scheduling: None,
        }
    }
}
