//! One version.

use std::time::{Duration, Instant};

use lyceum_schema::{Migration, Role, split::Statement};
use sqlx::PgConnection;
use tracing::info;

use crate::{
    db, distribute,
    error::{Doing, MigrateError},
    grants,
    plan::Pending,
    sweep, version,
};

/// How versions are applied.
pub(crate) struct Way<'a> {
    /// Distribute tables.
    pub(crate) citus: bool,
    /// Shards of a new co-location group.
    pub(crate) shard_count: i32,
    /// Longest wait of one statement for a table lock.
    pub(crate) lock_timeout: Duration,
    /// Who applies.
    pub(crate) name: &'a str,
}

/// Applies one file and raises the version. A failure leaves what was there before, or outside a
/// transaction a step to go on from.
pub(crate) async fn apply(
    connection: &mut PgConnection,
    pending: Pending<'_>,
    way: &Way<'_>,
) -> Result<(), MigrateError> {
    let started = Instant::now();
    let Pending { migration, step } = pending;
    let result = if migration.transaction {
        in_one_transaction(connection, migration, way, started).await
    } else {
        step_by_step(connection, migration, step, way, started).await
    };
    let distributed = result.map_err(|error| error.in_version(migration.version))?;
    info!(
        "{}: {} statements{}, {:.1} s",
        migration.name,
        migration.statements.len(),
        if distributed > 0 { format!(", {distributed} tables distributed") } else { String::new() },
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn in_one_transaction(
    connection: &mut PgConnection,
    migration: &Migration,
    way: &Way<'_>,
    started: Instant,
) -> Result<usize, MigrateError> {
    begin(connection, way).await?;
    for (statement, step) in migration.statements.iter().zip(0..) {
        run(connection, migration, statement, step).await?;
    }
    grants::ensure(connection, migration.version).await?;
    let distributed = match way.citus {
        true => distribute::tables_of(connection, migration.version, way.shard_count).await?,
        false => 0,
    };
    if migration.version == 0 {
        db::run(connection, version::FIRST).await.doing("write the version row")?;
    } else {
        version::swap(connection, version::raise(migration)).await?;
    }
    end(connection, migration, way, started).await?;
    Ok(distributed)
}

/// The step is noted before and after each statement. After a kill in between, an index that got
/// done is found and not built again; one that did not was left invalid and swept.
async fn step_by_step(
    connection: &mut PgConnection,
    migration: &Migration,
    first: usize,
    way: &Way<'_>,
    started: Instant,
) -> Result<usize, MigrateError> {
    for (statement, step) in migration.statements.iter().zip(0..).skip(first) {
        version::swap(connection, version::half_done(migration, step)).await?;
        // Not left to IF NOT EXISTS: with CONCURRENTLY, Citus marks an index that exists as invalid.
        let done = match statement.index() {
            Some(index) => sweep::exists(connection, &index).await?,
            None => false,
        };
        if !done {
            db::run(connection, format!("SET ROLE {}", Role::Owner.name()))
                .await
                .doing("become the owner")?;
            run(connection, migration, statement, step).await?;
            db::run(connection, "RESET ROLE").await.doing("become the superuser again")?;
        }
        version::swap(connection, version::half_done(migration, step + 1)).await?;
    }
    all_valid(connection, migration).await?;
    begin(connection, way).await?;
    grants::ensure(connection, migration.version).await?;
    version::swap(connection, version::raise(migration)).await?;
    end(connection, migration, way, started).await?;
    Ok(0)
}

/// Every index of the file is there and valid on every node.
async fn all_valid(connection: &mut PgConnection, migration: &Migration) -> Result<(), MigrateError> {
    let invalid = sweep::find(connection, migration.version).await?;
    for index in migration.statements.iter().filter_map(Statement::index) {
        let found = invalid.iter().find(|left| left.schema == index.schema && left.index == index.name);
        let node = match found {
            Some(left) => left.node.clone(),
            None if sweep::exists(connection, &index).await? => continue,
            None => "coordinator".into(),
        };
        return Err(MigrateError::StillInvalid { index: format!("{}.{}", index.schema, index.name), node });
    }
    Ok(())
}

/// Begins a transaction as the owner of the schema.
pub(crate) async fn begin(connection: &mut PgConnection, way: &Way<'_>) -> Result<(), MigrateError> {
    // For the session and not SET LOCAL ROLE: Citus would carry the latter to the superuser's
    // connections that keep the workers' metadata.
    db::run(connection, format!("SET ROLE {}", Role::Owner.name())).await.doing("become the owner")?;
    db::run(connection, "BEGIN").await.doing("begin a transaction")?;
    if way.citus {
        db::run(connection, "SET LOCAL citus.propagate_set_commands = 'local'")
            .await
            .doing("set up the transaction")?;
    }
    let lock_timeout = format!("SET LOCAL lock_timeout = {}", way.lock_timeout.as_millis());
    db::run(connection, lock_timeout).await.doing("set up the transaction")?;
    Ok(())
}

async fn end(
    connection: &mut PgConnection,
    migration: &Migration,
    way: &Way<'_>,
    started: Instant,
) -> Result<(), MigrateError> {
    let history = version::history(migration, started.elapsed().as_millis(), way.name);
    db::run(connection, history).await.doing("write the history")?;
    commit(connection).await
}

/// Commits what [`begin`] began.
pub(crate) async fn commit(connection: &mut PgConnection) -> Result<(), MigrateError> {
    db::run(connection, "COMMIT").await.doing("commit")?;
    db::run(connection, "RESET ROLE").await.doing("become the superuser again")?;
    Ok(())
}

async fn run(
    connection: &mut PgConnection,
    migration: &Migration,
    statement: &Statement,
    step: usize,
) -> Result<(), MigrateError> {
    db::run(connection, statement.sql.as_str()).await.map(drop).map_err(|source| MigrateError::Statement {
        version: migration.version,
        step,
        line: statement.line,
        head: statement.head(),
        source,
    })
}
