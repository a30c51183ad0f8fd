//! Migrating forward.
//!
//! One pass does everything from the connection on, and each step of it finds out for itself
//! whether it is still to be done. So whatever breaks, the answer is another pass.

use std::time::{Duration, Instant};

use lyceum_kit::backoff::Backoff;
use lyceum_schema::{LATEST, Migration, migrations};
use sqlx::PgConnection;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{
    apply::{self, Way},
    args::Up,
    cluster, db, distribute,
    error::{Doing, MigrateError},
    grants, lock, plan, poolers, roles,
    server::{Access, close},
    sweep, version,
};

const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(15) };
/// Leaving the reason of a failure must not take longer than this.
const LEAVE_REASON: Duration = Duration::from_secs(15);

/// Everything that stays the same over all passes.
struct Errand<'a> {
    args: &'a Up,
    access: Access,
    files: Vec<Migration>,
    target: i32,
    passwords: roles::Passwords,
}

/// Brings the schema to the version asked for.
pub(crate) async fn up(args: &Up) -> Result<(), MigrateError> {
    let started = Instant::now();
    let files = migrations()?;
    let target = args.to.number(LATEST);
    // What can't work is said before anything is waited for.
    plan::pending(&files, None, target)?;
    let access = Access::new(&args.server)?;
    if args.dry_run {
        return dry_run(args, &access, &files, target).await;
    }
    let passwords = roles::Passwords::read(&args.roles_dir, args.citus)?;
    let errand = Errand { args, access, files, target, passwords };
    let mut failures = 0;
    let mut reached = None;
    loop {
        let before = reached;
        let Err(error) = pass(&errand, &mut reached).await else {
            info!("the schema is at version {target}, {:.1} s", started.elapsed().as_secs_f64());
            return Ok(());
        };
        failures = if reached == before { failures + 1 } else { 1 };
        leave_reason(&errand.access, reached, &error).await;
        if !error.is_transient() || failures >= args.attempts {
            return Err(error);
        }
        warn!("attempt {failures} of {}: {error}", args.attempts);
        BACKOFF.sleep(failures).await;
    }
}

/// One pass. `reached` is the version known to be reached.
async fn pass(errand: &Errand<'_>, reached: &mut Option<i32>) -> Result<(), MigrateError> {
    let mut maintenance = errand.access.primary(errand.args.wait).await?;
    lock::take(&mut maintenance, errand.args.lock_wait).await?;
    cluster::database(&mut maintenance, &errand.access.database).await?;
    close(maintenance).await;
    let mut connection = errand.access.application().await?;
    lock::take(&mut connection, errand.args.lock_wait).await?;
    let result = locked(&mut connection, errand, reached).await;
    close(connection).await;
    result
}

async fn locked(
    connection: &mut PgConnection,
    errand: &Errand<'_>,
    reached: &mut Option<i32>,
) -> Result<(), MigrateError> {
    let Errand { args, access, files, target, passwords } = errand;
    cluster::extension(connection, args.citus).await?;
    let row = version::read(connection).await?;
    *reached = row.as_ref().map(|row| row.version);
    let pending = plan::pending(files, row.as_ref(), *target)?;
    if let Some(row) = &row {
        version::unchanged(connection, files).await?;
        if args.citus
            && let Some(table) = distribute::missing(connection, row.version).await?.first()
        {
            return Err(MigrateError::NotDistributed { table: table.qualified() });
        }
    }
    set_up_session(connection, args.citus).await?;
    if args.citus {
        // Before the roles: what is granted on the database goes to the workers there are at that
        // moment, and before the tables: so do their shards.
        cluster::workers(connection, args.workers, args.wait).await?;
    }
    roles::ensure(connection, &access.database, passwords).await?;
    if args.citus {
        roles::ensure_on_workers(connection, &access.database).await?;
    }
    if let Some(row) = &row {
        sweep::repair(connection, files, row).await?;
    }
    let way = Way {
        citus: args.citus,
        shard_count: args.shard_count.get(),
        lock_timeout: args.lock_timeout,
        name: &access.name,
    };
    if pending.is_empty() {
        apply::begin(connection, &way).await?;
        grants::ensure(connection, *target).await?;
        apply::commit(connection).await?;
    }
    for pending in pending {
        apply::apply(connection, pending, &way).await?;
        *reached = Some(pending.migration.version);
    }
    tidy(connection, errand).await
}

async fn set_up_session(connection: &mut PgConnection, citus: bool) -> Result<(), MigrateError> {
    let limits = lyceum_schema::Role::Owner.limits();
    // Outside transactions; inside, --lock-timeout holds.
    db::run(connection, format!("SET lock_timeout = {}", limits.lock_timeout_ms))
        .await
        .doing("prepare the session")?;
    if citus {
        // One shard after the other: in parallel, DDL on tables that refer to each other deadlocks
        // with itself (citusdata/citus#4675, #6609).
        let sequential = "SET citus.multi_shard_modify_mode = 'sequential'";
        db::run(connection, sequential).await.doing("prepare the session")?;
    }
    Ok(())
}

/// What is left when the version is reached: the poolers, and an old failure's reason.
async fn tidy(connection: &mut PgConnection, errand: &Errand<'_>) -> Result<(), MigrateError> {
    let Some(row) = version::read(connection).await? else { return Ok(()) };
    let mut due = row.reconnect_due;
    if due {
        due = !poolers::reconnect(&errand.args.poolers, &errand.args.server).await?;
    }
    if due != row.reconnect_due || row.detail.is_some() {
        let sql = format!(
            "UPDATE platform.schema_version SET reconnect_due = {due}, detail = NULL, updated_at = now() WHERE version = {}",
            row.version
        );
        version::swap(connection, sql).await?;
    }
    Ok(())
}

/// Writes the reason of a failure into the version row, if there is one to write it into.
async fn leave_reason(access: &Access, reached: Option<i32>, error: &MigrateError) {
    let Some(reached) = reached else { return };
    let write = async {
        let mut connection = access.application().await?;
        version::leave_reason(&mut connection, reached, &error.to_string())
            .await
            .doing("leave the reason")?;
        close(connection).await;
        Ok::<(), MigrateError>(())
    };
    match timeout(LEAVE_REASON, write).await {
        Ok(Ok(())) => {}
        Ok(Err(problem)) => warn!("the reason could not be left in the version row: {problem}"),
        Err(_) => warn!("the reason could not be left in the version row in time"),
    }
}

/// Prints what would be run.
async fn dry_run(args: &Up, access: &Access, files: &[Migration], target: i32) -> Result<(), MigrateError> {
    let mut maintenance = access.primary(args.wait).await?;
    let there =
        format!("SELECT EXISTS (SELECT FROM pg_database WHERE datname = {})", db::literal(&access.database));
    let there = db::yes(&mut maintenance, &there).await.doing("look for the database")?;
    close(maintenance).await;
    let mut row = None;
    if there {
        let mut connection = access.application().await?;
        row = version::read(&mut connection).await?;
        close(connection).await;
    } else {
        println!("create database {}", access.database);
    }
    for pending in plan::pending(files, row.as_ref(), target)? {
        let migration = pending.migration;
        println!(
            "version {}: {} ({:?}): {}",
            migration.version, migration.name, migration.phase, migration.why
        );
        for statement in migration.statements.iter().skip(pending.step) {
            println!("  {}", statement.head());
        }
        for table in
            lyceum_schema::TABLES.iter().filter(|table| args.citus && table.since == migration.version)
        {
            if let Some(sql) = table.distribution_sql(args.shard_count.get()) {
                println!("  {sql}");
            }
        }
    }
    Ok(())
}
