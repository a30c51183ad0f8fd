//! Distributing tables as the dictionary says.

use std::collections::BTreeSet;

use lyceum_schema::{TABLES, Table};
use sqlx::PgConnection;

use crate::{
    db,
    error::{Doing, MigrateError},
};

/// Distributes the tables that a version brings, in the dictionary's order, in the transaction that
/// created them. Returns how many there were.
pub(crate) async fn tables_of(
    connection: &mut PgConnection,
    version: i32,
    shard_count: i32,
) -> Result<usize, MigrateError> {
    let mut distributed = 0;
    for table in TABLES.iter().filter(|table| table.since == version) {
        if let Some(sql) = table.distribution_sql(shard_count) {
            db::run(connection, sql).await.doing("distribute a table")?;
            distributed += 1;
        }
    }
    Ok(distributed)
}

/// Tables up to `version` that should have shards or copies and are local.
pub(crate) async fn missing(
    connection: &mut PgConnection,
    version: i32,
) -> Result<Vec<&'static Table>, MigrateError> {
    // By way of pg_class: a cast to text would leave out schemas on the search path.
    let sql = "SELECT n.nspname || '.' || c.relname FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid \
               JOIN pg_namespace n ON n.oid = c.relnamespace";
    let rows = db::rows::<1>(connection, sql).await.doing("read the distributed tables")?;
    let found: BTreeSet<String> = rows.into_iter().flatten().flatten().collect();
    Ok(TABLES
        .iter()
        .filter(|table| table.since <= version && table.distribution_sql(1).is_some())
        .filter(|table| !found.contains(&table.qualified()))
        .collect())
}
