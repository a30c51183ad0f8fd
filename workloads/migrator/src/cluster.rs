//! What must be there before the first table: the database, Citus and its workers.

use std::time::{Duration, Instant};

use sqlx::PgConnection;
use tokio::time::sleep;
use tracing::info;

use crate::{
    db,
    error::{Doing, MigrateError},
};

const TRY_EVERY: Duration = Duration::from_secs(1);
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Makes the application's database if it is missing. `connection` is to the maintenance database,
/// under its lock.
pub(crate) async fn database(connection: &mut PgConnection, name: &str) -> Result<(), MigrateError> {
    let there = format!("SELECT EXISTS (SELECT FROM pg_database WHERE datname = {})", db::literal(name));
    if db::yes(connection, &there).await.doing("look for the database")? {
        return Ok(());
    }
    // template0: template1 can't be copied while anybody is connected to it.
    let create = format!("CREATE DATABASE {} TEMPLATE template0", db::identifier(name));
    db::run(connection, create).await.doing("create the database")?;
    info!("created database {name}");
    Ok(())
}

/// Makes sure that the extension is there if it was asked for, and not there otherwise.
pub(crate) async fn extension(connection: &mut PgConnection, asked: bool) -> Result<(), MigrateError> {
    let installed = installed(connection).await?;
    match (asked, installed) {
        (true, true) | (false, false) => Ok(()),
        (false, true) => Err(MigrateError::CitusNotAsked),
        (true, false) => {
            let offered = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'citus')";
            if !db::yes(connection, offered).await.doing("look for the citus extension")? {
                return Err(MigrateError::NoCitus);
            }
            let preloaded = "SELECT current_setting('shared_preload_libraries') ~ '(^|,)\\s*citus\\s*(,|$)'";
            if !db::yes(connection, preloaded).await.doing("read shared_preload_libraries")? {
                return Err(MigrateError::NotPreloaded);
            }
            db::run(connection, "CREATE EXTENSION IF NOT EXISTS citus")
                .await
                .doing("create the citus extension")?;
            info!("created extension citus");
            Ok(())
        }
    }
}

/// Whether the connection's database has Citus.
pub(crate) async fn installed(connection: &mut PgConnection) -> Result<bool, MigrateError> {
    let sql = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')";
    db::yes(connection, sql).await.doing("look for the citus extension")
}

/// Waits until `asked` worker groups are registered: shards are dealt out when a table is
/// distributed, to the workers there are at that moment.
pub(crate) async fn workers(
    connection: &mut PgConnection,
    asked: u32,
    longest: Duration,
) -> Result<(), MigrateError> {
    let started = Instant::now();
    let mut said: Option<Instant> = None;
    let sql = "SELECT count(*) FROM pg_dist_node WHERE groupid > 0 AND noderole = 'primary' AND isactive \
               AND hasmetadata AND metadatasynced AND shouldhaveshards";
    loop {
        let found = db::number(connection, sql).await.doing("count the workers")?;
        if found >= i64::from(asked) {
            return Ok(());
        }
        let waited = started.elapsed();
        if waited >= longest {
            return Err(MigrateError::Workers { found, asked, waited: waited.as_secs() });
        }
        if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            info!("waiting for workers: {found} of {asked} groups are registered");
            said = Some(Instant::now());
        }
        sleep(TRY_EVERY).await;
    }
}
