//! Versioned SQL and the table dictionary: what the database holds, where each table lives and
//! who may touch it.
//!
//! The SQL serves plain PostgreSQL and Citus alike; distribution, co-location and grants are in
//! [`dictionary::TABLES`], and `tests/lint.rs` holds the two together. This crate opens no socket.

pub mod claim;
pub mod dictionary;
pub mod migration;
pub mod role;
pub mod split;
pub mod table;

pub use dictionary::TABLES;
pub use migration::{Migration, migrations};
pub use role::Role;
pub use table::{Group, Privilege, Table};

/// The newest version: `migrations/citus` holds files numbered from 0 to this.
pub const LATEST: i32 = 7;

/// Shards of a co-location group unless asked otherwise. 96 divides evenly over
/// 1, 2, 3, 4, 6, 8, 12, 16, 24, 32 and 48 workers.
pub const SHARD_COUNT: i32 = 96;
