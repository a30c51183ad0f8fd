//! The few ways this program talks to a database.
#![allow(clippy::disallowed_methods, reason = "DDL and bookkeeping have no shard to be routed to")]

use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

/// Runs statements by the simple protocol, which DDL needs, and returns the rows touched.
pub(crate) async fn run(connection: &mut PgConnection, sql: impl Into<String>) -> Result<u64, sqlx::Error> {
    Ok(connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.into()))).await?.rows_affected())
}

/// One text out of a query that returns one row of one column, null if that is what it holds.
pub(crate) async fn text(connection: &mut PgConnection, sql: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(connection).await?.try_get(0)
}

/// One boolean.
pub(crate) async fn yes(connection: &mut PgConnection, sql: &str) -> Result<bool, sqlx::Error> {
    sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(connection).await?.try_get(0)
}

/// One number.
pub(crate) async fn number(connection: &mut PgConnection, sql: &str) -> Result<i64, sqlx::Error> {
    sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(connection).await?.try_get(0)
}

/// All rows, of text columns only.
pub(crate) async fn rows<const N: usize>(
    connection: &mut PgConnection,
    sql: &str,
) -> Result<Vec<[Option<String>; N]>, sqlx::Error> {
    let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let mut values = [const { None }; N];
            for (value, column) in values.iter_mut().zip(0_usize..) {
                *value = row.try_get(column)?;
            }
            Ok(values)
        })
        .collect()
}

/// A text as an SQL literal.
pub(crate) fn literal(text: &str) -> String {
    // standard_conforming_strings has been on since PostgreSQL 9.1: only quotes are special.
    format!("'{}'", text.replace('\'', "''"))
}

/// A name as an SQL identifier.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
    }
}
