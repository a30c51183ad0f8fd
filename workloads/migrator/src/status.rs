//! Where the schema stands.

use std::time::Duration;

use lyceum_schema::LATEST;
use serde::Serialize;

use crate::{
    args, cluster, db, distribute,
    error::{Doing, MigrateError},
    server::{Access, close},
    sweep::{self, Invalid},
    version,
};

/// A status is asked for now; what is not there is not waited for.
const WAIT: Duration = Duration::ZERO;

/// The schema's state, as printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    /// Version reached; absent in a database without a schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i32>,
    /// Newest version this migrator knows.
    latest: i32,
    /// The next version is half done.
    dirty: bool,
    /// Statements of it that are done.
    step: usize,
    /// Why the last attempt stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Poolers may still use statements prepared before the last change.
    reconnect_due: bool,
    /// The database has the citus extension.
    citus: bool,
    /// Tables that should have shards and have none.
    not_distributed: Vec<String>,
    /// Invalid indexes on any node.
    invalid_indexes: Vec<Invalid>,
}

/// Prints the state as one line of JSON.
pub(crate) async fn status(args: &args::Status) -> Result<(), MigrateError> {
    let access = Access::new(&args.server)?;
    let mut maintenance = access.primary(WAIT).await?;
    let there =
        format!("SELECT EXISTS (SELECT FROM pg_database WHERE datname = {})", db::literal(&access.database));
    let there = db::yes(&mut maintenance, &there).await.doing("look for the database")?;
    close(maintenance).await;
    let mut status = Status {
        version: None,
        latest: LATEST,
        dirty: false,
        step: 0,
        detail: None,
        reconnect_due: false,
        citus: false,
        not_distributed: Vec::new(),
        invalid_indexes: Vec::new(),
    };
    if there {
        let mut connection = access.application().await?;
        status.citus = cluster::installed(&mut connection).await?;
        if let Some(row) = version::read(&mut connection).await? {
            if status.citus {
                let missing = distribute::missing(&mut connection, row.version).await?;
                status.not_distributed = missing.iter().map(|table| table.qualified()).collect();
            }
            status.invalid_indexes = sweep::find(&mut connection, row.version).await?;
            status.version = Some(row.version);
            status.dirty = row.dirty;
            status.step = row.step;
            status.detail = row.detail;
            status.reconnect_due = row.reconnect_due;
        }
        close(connection).await;
    }
    match serde_json::to_string(&status) {
        Ok(line) => println!("{line}"),
        Err(error) => tracing::error!("the status could not be written as JSON: {error}"),
    }
    Ok(())
}
