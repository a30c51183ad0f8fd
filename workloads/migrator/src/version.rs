//! The version row: read, and raised by compare-and-swap.

use sqlx::PgConnection;

use lyceum_schema::Migration;

use crate::{
    db,
    error::{Doing, MigrateError},
};

/// `platform.schema_version`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Version reached.
    pub(crate) version: i32,
    /// The next version is half done.
    pub(crate) dirty: bool,
    /// Statements of the next version that are done.
    pub(crate) step: usize,
    /// Why the last attempt stopped.
    pub(crate) detail: Option<String>,
    /// Poolers have to RECONNECT.
    pub(crate) reconnect_due: bool,
}

/// The row, `None` in a database without one.
pub(crate) async fn read(connection: &mut PgConnection) -> Result<Option<Row>, MigrateError> {
    let there = db::yes(connection, "SELECT to_regclass('platform.schema_version') IS NOT NULL");
    if !there.await.doing("look for the version row")? {
        return Ok(None);
    }
    let sql = "SELECT version::text, dirty::text, step::text, detail, reconnect_due::text FROM platform.schema_version";
    let rows = db::rows::<5>(connection, sql).await.doing("read the version row")?;
    Ok(rows.into_iter().next().and_then(|[version, dirty, step, detail, reconnect_due]| {
        Some(Row {
            version: version?.parse().ok()?,
            dirty: dirty? == "true",
            step: step?.parse().ok()?,
            detail,
            reconnect_due: reconnect_due? == "true",
        })
    }))
}

/// The first row, with the version that makes its table.
pub(crate) const FIRST: &str =
    "INSERT INTO platform.schema_version (version, reconnect_due) VALUES (0, false)";

/// Raises the version by one. Exactly one row must be touched.
pub(crate) fn raise(migration: &Migration) -> String {
    format!(
        "UPDATE platform.schema_version SET version = {to}, dirty = false, step = 0, detail = NULL, reconnect_due = true, \
         updated_at = now() WHERE version = {from}",
        to = migration.version,
        from = migration.version - 1,
    )
}

/// Notes that `step` statements of the next version are done, outside a transaction.
pub(crate) fn half_done(migration: &Migration, step: usize) -> String {
    format!(
        "UPDATE platform.schema_version SET dirty = true, step = {step}, updated_at = now() WHERE version = {}",
        migration.version - 1
    )
}

/// Notes what was applied.
pub(crate) fn history(migration: &Migration, took_ms: u128, applied_by: &str) -> String {
    format!(
        "INSERT INTO platform.schema_history (version, name, checksum, took_ms, applied_by) VALUES ({}, {}, {}, {took_ms}, {})",
        migration.version,
        db::literal(&migration.name),
        db::literal(&migration.checksum),
        db::literal(applied_by),
    )
}

/// Runs an update of the row that must touch exactly it.
pub(crate) async fn swap(connection: &mut PgConnection, sql: String) -> Result<(), MigrateError> {
    match db::run(connection, sql).await.doing("update the version row")? {
        1 => Ok(()),
        _ => Err(MigrateError::LostRace),
    }
}

/// Leaves the reason of a failure in the row, unless another migrator has got further meanwhile.
pub(crate) async fn leave_reason(
    connection: &mut PgConnection,
    reached: i32,
    reason: &str,
) -> Result<(), sqlx::Error> {
    let sql = format!(
        "UPDATE platform.schema_version SET detail = {}, updated_at = now() WHERE version = {reached}",
        db::literal(reason)
    );
    db::run(connection, sql).await.map(drop)
}

/// Finds an applied file that is not what was applied.
pub(crate) async fn unchanged(
    connection: &mut PgConnection,
    files: &[Migration],
) -> Result<(), MigrateError> {
    let sql = "SELECT version::text, checksum FROM platform.schema_history ORDER BY version";
    let applied = db::rows::<2>(connection, sql).await.doing("read the history")?;
    for [version, checksum] in applied {
        let version = version.and_then(|version| version.parse::<i32>().ok());
        let file = files.iter().find(|file| Some(file.version) == version);
        if let Some(file) = file.filter(|file| Some(&file.checksum) != checksum.as_ref()) {
            return Err(MigrateError::Changed { version: file.version, name: file.name.clone() });
        }
    }
    Ok(())
}
