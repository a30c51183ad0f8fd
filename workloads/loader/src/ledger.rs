//! The ledger of loaded batches.

use std::collections::HashSet;

use lyceum_kit::statement::{Local, Statement};
use sqlx::{PgConnection, Row};

use crate::{
    batch::{Key, REPLICAS},
    load::LoadError,
};

static LOADED: Statement<Local> =
    Statement::local("SELECT load, replica, chunk, seed FROM platform.load_batches");

static ENTER: Statement<Local> = Statement::local(
    "INSERT INTO platform.load_batches (load, replica, chunk, seed, row_count) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (load, replica, chunk) DO NOTHING",
);

/// Batches that are there. Replicas of another seed have the same ids and other rows: they are an error.
pub(crate) async fn loaded(connection: &mut PgConnection, seed: i64) -> Result<HashSet<Key>, LoadError> {
    let mut loaded = HashSet::new();
    for row in LOADED.query().fetch_all(connection).await? {
        let found: i64 = row.try_get("seed")?;
        if row.try_get::<&str, _>("load")? == REPLICAS && found != seed {
            return Err(LoadError::OtherSeed { found, asked: seed });
        }
        let replica: i32 = row.try_get("replica")?;
        let chunk: i32 = row.try_get("chunk")?;
        loaded.insert(Key { replica: replica.into(), chunk: chunk.into() });
    }
    Ok(loaded)
}

/// Enters a batch in the transaction that copies it. `false`: it is there already. If another
/// loader is copying the same batch, this waits for its end.
pub(crate) async fn enter(
    connection: &mut PgConnection,
    key: Key,
    seed: i64,
    rows: i64,
) -> Result<bool, sqlx::Error> {
    let number = |n: i64| i32::try_from(n).unwrap_or(i32::MAX);
    let entered = ENTER
        .query()
        .bind(key.load())
        .bind(number(key.replica))
        .bind(number(key.chunk))
        .bind(key.seed(seed))
        .bind(rows)
        .execute(connection)
        .await?;
    Ok(entered.rows_affected() == 1)
}
