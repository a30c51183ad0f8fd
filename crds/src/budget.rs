//! The connection budget: one sum that decides whether a CourseShard fits into
//! `maxConnections`, on the coordinator and on every worker, and what the pooler and
//! Citus are to be rendered with so that it stays true.
//!
//! ```text
//! pooled      = (pooler.instances + POOLER_SURGE) × pooler.serverConnections
//! coordinator = pooled + DIRECT + WAL_SENDERS + workers.count        ≤ coordinator maxConnections
//! worker      = (pooled + DIRECT) × CACHED + MOVES + WAL_SENDERS
//!               + WORKER_RESERVE + workers.count                     ≤ workers maxConnections
//! ```
//!
//! The same sums stand in the CRD as CEL ([`cel`]), made from the same constants; a
//! property test holds both against each other.

use crate::CourseShardSpec;

/// `superuser_reserved_connections`, PostgreSQL's default: for people and Patroni in an emergency.
pub const SUPERUSER_RESERVED: i32 = 3;
/// Patroni's own sessions: the loop, the REST API, and Citus' metadata on the coordinator.
pub const PATRONI: i32 = 3;
/// The operator's sessions past the pooler: schema and shards, and monitoring.
pub const OPERATOR: i32 = 2;
/// The migrator's: one holds the advisory lock, one works.
pub const MIGRATOR: i32 = 2;
/// Client backends of the coordinator that don't come through the pooler.
pub const DIRECT: i32 = SUPERUSER_RESERVED + PATRONI + OPERATOR + MIGRATOR;

/// A pooler process that is being replaced keeps its connections until its clients are
/// done, while its successor opens its own.
pub const POOLER_SURGE: i32 = 1;

/// `max_wal_senders`: eight replicas at most, and a rebuild's two streams. PostgreSQL
/// counts them apart from `max_connections`; they are in the sum because each tends to
/// bring an ordinary session along (pg_rewind, a move's snapshot and copy).
pub const WAL_SENDERS: i32 = 10;

/// `citus.max_cached_conns_per_worker`: what each coordinator backend keeps open.
pub const CACHED: i32 = 1;
/// A shard move into a worker and one out of it, each copying over four connections.
pub const MOVES: i32 = 8;
/// On a worker: the superuser's three, Patroni's two, monitoring.
pub const WORKER_RESERVE: i32 = SUPERUSER_RESERVED + 2 + 1;

/// Sizes that follow from a spec which fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Connections the coordinator needs, of its `maxConnections`.
    pub coordinator: Share,
    /// Connections each worker needs, of theirs; `None` without workers.
    pub workers: Option<Share>,
    /// What to render PgBouncer with.
    pub pooler: PoolerSizes,
    /// What to render Citus with; `None` without workers.
    pub citus: Option<CitusSizes>,
}

/// One side of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Connections that may be open at once, at worst.
    pub needed: i32,
    /// `max_connections`.
    pub max_connections: i32,
}

/// Sizes of each PgBouncer process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolerSizes {
    /// `max_client_conn`.
    pub max_client_conn: i32,
    /// `max_db_connections` of the database `lyceum`.
    pub read_write_connections: i32,
    /// `max_db_connections` of the database `lyceum_ro`. Both together are
    /// `serverConnections`, because after a failover (or without replicas) they may
    /// meet on one server.
    pub read_only_connections: i32,
    /// `default_pool_size`: no service's role can take more than half.
    pub default_pool_size: i32,
}

/// Citus' own limits, on the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CitusSizes {
    /// `citus.max_shared_pool_size`: what all backends together may open to one worker.
    pub max_shared_pool_size: i32,
    /// `citus.max_adaptive_executor_pool_size`: what one statement may open to one worker.
    pub max_adaptive_executor_pool_size: i32,
    /// `citus.max_cached_conns_per_worker`.
    pub max_cached_conns_per_worker: i32,
}

/// A spec that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// The coordinator would run out of connections.
    #[error(
        "spec.coordinator.parameters.maxConnections is {} but the budget needs {}: raise it, or lower \
         spec.pooler.instances or spec.pooler.serverConnections", .0.max_connections, .0.needed
    )]
    Coordinator(Share),
    /// A worker would run out of connections.
    #[error(
        "spec.workers.parameters.maxConnections is {} but the budget needs {}, for each coordinator backend \
         keeps a connection to each worker: raise it, or lower spec.pooler.instances or \
         spec.pooler.serverConnections", .0.max_connections, .0.needed
    )]
    Workers(Share),
}

/// Sums up a spec.
///
/// # Errors
/// [`BudgetError`] names the side that is over, by how much, and what to do. Values
/// out of the schema's bounds saturate, and so do not fit.
pub fn budget(spec: &CourseShardSpec) -> Result<Budget, BudgetError> {
    let server_connections = spec.pooler.server_connections.max(0);
    let pooled = spec.pooler.instances.saturating_add(POOLER_SURGE).saturating_mul(server_connections);
    let backends = pooled.saturating_add(DIRECT);
    let count = spec.workers.count;

    let coordinator = Share {
        needed: backends.saturating_add(WAL_SENDERS).saturating_add(count),
        max_connections: spec.coordinator.parameters.max_connections,
    };
    if coordinator.needed > coordinator.max_connections {
        return Err(BudgetError::Coordinator(coordinator));
    }

    let (workers, citus) = if count > 0 {
        let beside_backends = (MOVES + WAL_SENDERS + WORKER_RESERVE).saturating_add(count);
        let share = Share {
            needed: backends.saturating_mul(CACHED).saturating_add(beside_backends),
            max_connections: spec.workers.parameters.max_connections,
        };
        if share.needed > share.max_connections {
            return Err(BudgetError::Workers(share));
        }
        (Some(share), Some(citus_sizes(backends, share.max_connections.saturating_sub(beside_backends))))
    } else {
        (None, None)
    };

    Ok(Budget {
        coordinator,
        workers,
        pooler: pooler_sizes(server_connections, spec.pooler.client_connections),
        citus,
    })
}

fn pooler_sizes(server_connections: i32, client_connections: i32) -> PoolerSizes {
    // Reads from replicas are the exception: services read what they wrote.
    let read_only_connections = (server_connections / 5).max(1);
    let read_write_connections = server_connections.saturating_sub(read_only_connections).max(1);
    PoolerSizes {
        max_client_conn: client_connections,
        read_write_connections,
        read_only_connections,
        default_pool_size: (read_write_connections / 2).max(1),
    }
}

fn citus_sizes(backends: i32, shared: i32) -> CitusSizes {
    CitusSizes {
        max_shared_pool_size: shared,
        // Statements are routed to one shard; a second connection is for the few that
        // fan out, and only where every backend could have one.
        max_adaptive_executor_pool_size: if shared >= backends.saturating_mul(2) { 2 } else { 1 },
        max_cached_conns_per_worker: CACHED,
    }
}

/// The same sums for the API server. `self` is the spec.
pub mod cel {
    use super::{CACHED, DIRECT, MOVES, POOLER_SURGE, WAL_SENDERS, WORKER_RESERVE};

    fn backends() -> String {
        format!("((self.pooler.instances + {POOLER_SURGE}) * self.pooler.serverConnections + {DIRECT})")
    }

    /// Connections the coordinator needs.
    pub fn coordinator_needed() -> String {
        format!("({} + {WAL_SENDERS} + self.workers.count)", backends())
    }

    /// Connections each worker needs.
    pub fn worker_needed() -> String {
        format!("({} * {CACHED} + {} + self.workers.count)", backends(), MOVES + WAL_SENDERS + WORKER_RESERVE)
    }
}
