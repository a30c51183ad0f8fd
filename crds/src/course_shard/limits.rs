//! Bounds of the fields: one source for the schema, the rules and whoever renders.
//!
//! Every list, map and string has one, because the API server prices a CEL rule by
//! the largest object that the schema lets through.

/// Most worker groups: half the shards of the default `shardCount`, so that each holds two.
pub const WORKERS_MAX: i32 = 48;
/// Most members of a group.
pub const INSTANCES_MAX: i32 = 9;
/// Most shards of a co-location group.
pub const SHARDS_MAX: i32 = 4096;
/// Most connections one PostgreSQL accepts; beyond, a pooler is the answer.
pub const CONNECTIONS_MAX: i32 = 10_000;
/// Most PgBouncer processes.
pub const POOLER_INSTANCES_MAX: i32 = 32;
/// Fewest server connections of a PgBouncer process: one for `lyceum`, one for `lyceum_ro`.
pub const SERVER_CONNECTIONS_MIN: i32 = 2;
/// Most server connections of a PgBouncer process.
pub const SERVER_CONNECTIONS_MAX: i32 = 2_000;
/// Most client connections of a PgBouncer process.
pub const CLIENT_CONNECTIONS_MAX: i32 = 100_000;
/// Most PostgreSQL settings in a group's `parameters`.
pub const SETTINGS_MAX: u32 = 64;
/// Longest name of a PostgreSQL setting (NAMEDATALEN - 1).
pub const SETTING_NAME_MAX_LENGTH: u32 = 63;
/// Longest value of a PostgreSQL setting, in characters.
pub const SETTING_VALUE_MAX_LENGTH: u32 = 1024;
/// Longest quantity, in characters.
pub const QUANTITY_MAX_LENGTH: u32 = 32;
/// Longest name of a Kubernetes object.
pub const OBJECT_NAME_MAX_LENGTH: u32 = 253;
/// Longest image reference, in characters.
pub const IMAGE_MAX_LENGTH: u32 = 512;
/// Most labels in a node selector, tolerations, and spread constraints.
pub const SCHEDULING_ITEMS_MAX: u32 = 32;
/// Most database pods in `status.nodes`: every member of the coordinator and of each worker group.
pub const NODES_MAX: u32 = 441;
/// Longest text in status, in characters: that of a condition's message. Far above what
/// is ever written, for the API server would refuse the whole status over it.
pub const STATUS_TEXT_MAX_LENGTH: u32 = 32_768;
/// Most conditions.
pub const CONDITIONS_MAX: u32 = 16;

const _: () = assert!(NODES_MAX as i32 == (WORKERS_MAX + 1) * INSTANCES_MAX);
