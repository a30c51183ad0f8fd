//! Indexes that a broken-off build left behind.
//!
//! An INVALID index answers no query and costs every write. On Citus it may be invalid on one
//! shard only, which the coordinator does not show. It is dropped everywhere and built again.

use std::collections::BTreeSet;

use lyceum_schema::{
    Migration, Role, migration,
    split::{Index, Statement},
    table,
};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tracing::{info, warn};

use crate::{
    cluster, db,
    error::{Doing, MigrateError},
    version::Row,
};

/// An invalid index on one node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Invalid {
    /// Node it was found on.
    pub(crate) node: String,
    /// Schema.
    pub(crate) schema: String,
    /// Its name there; on a worker with the shard's number.
    pub(crate) name: String,
    /// Its name without that number.
    pub(crate) index: String,
    /// Somebody is building it at this moment.
    pub(crate) building: bool,
}

/// A row of [`query`].
#[derive(Deserialize)]
struct Seen {
    schema: String,
    name: String,
    table: String,
    building: bool,
}

/// One JSON array, so that it fits the single value that Citus brings from a worker.
fn query(version: i32) -> String {
    let schemas: Vec<_> = table::schemas(version).into_iter().map(db::literal).collect();
    format!(
        "SELECT coalesce(json_agg(json_build_object('schema', n.nspname, 'name', c.relname, 'table', t.relname, \
         'building', EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid))), '[]')::text \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT i.indisvalid AND n.nspname IN ({})",
        schemas.join(", ")
    )
}

/// Every invalid index in the schemas of `version`, on every node.
pub(crate) async fn find(connection: &mut PgConnection, version: i32) -> Result<Vec<Invalid>, MigrateError> {
    let query = query(version);
    let mut found = Vec::new();
    let here = db::text(connection, &query).await.doing("look for invalid indexes")?;
    found.extend(read("coordinator", here.as_deref().unwrap_or("[]"))?);
    if cluster::installed(connection).await? {
        for (node, answer) in on_workers(connection, &query, "look for invalid indexes").await? {
            found.extend(read(&node, &answer)?);
        }
    }
    found.sort();
    Ok(found)
}

fn read(node: &str, json: &str) -> Result<Vec<Invalid>, MigrateError> {
    let seen: Vec<Seen> = serde_json::from_str(json).map_err(|error| MigrateError::Node {
        node: node.to_owned(),
        doing: "list its invalid indexes",
        problem: error.to_string(),
    })?;
    Ok(seen
        .into_iter()
        .map(|Seen { schema, name, table, building }| {
            let index = without_shard(&name, &table).to_owned();
            Invalid { node: node.to_owned(), schema, name, index, building }
        })
        .collect())
}

/// An index on shard `courses_102008` is called as on the table, with `_102008` behind.
fn without_shard<'a>(index: &'a str, table: &str) -> &'a str {
    let shard =
        table.rsplit('_').next().filter(|shard| shard.len() > 1 && shard.bytes().all(|b| b.is_ascii_digit()));
    shard.and_then(|shard| index.strip_suffix(shard)?.strip_suffix('_')).unwrap_or(index)
}

/// Whether an index is there (which, after [`repair`], is to say valid on every node).
pub(crate) async fn exists(connection: &mut PgConnection, index: &Index) -> Result<bool, MigrateError> {
    let name = format!("{}.{}", db::identifier(&index.schema), db::identifier(&index.name));
    let sql = format!("SELECT to_regclass({}) IS NOT NULL", db::literal(&name));
    db::yes(connection, &sql).await.doing("look for an index")
}

/// Drops every invalid index that nobody is building, and builds again those that were done:
/// by a version reached, or by a step of the version under way.
pub(crate) async fn repair(
    connection: &mut PgConnection,
    files: &[Migration],
    row: &Row,
) -> Result<(), MigrateError> {
    let version = row.version;
    let step = if row.dirty { row.step } else { 0 };
    let found = find(connection, version).await?;
    for building in found.iter().filter(|invalid| invalid.building) {
        warn!(
            "index {}.{} on {} is being built by another session; left alone",
            building.schema, building.name, building.node
        );
    }
    let broken: Vec<_> = found.into_iter().filter(|invalid| !invalid.building).collect();
    let indexes: BTreeSet<_> =
        broken.iter().map(|invalid| (invalid.schema.clone(), invalid.index.clone())).collect();
    for (schema, index) in indexes {
        let on: Vec<_> = broken.iter().filter(|i| i.schema == schema && i.index == index).collect();
        info!("index {schema}.{index} is invalid in {} places; dropping it", on.len());
        drop_everywhere(connection, &schema, &index, &on).await?;
        if let Some(statement) = migration::index(migration::done(files, version, step), &schema, &index) {
            info!("building index {schema}.{index} again");
            as_owner(connection, beside_writes(statement), "build an index again").await?;
        }
    }
    let left = find(connection, version).await?;
    match left
        .into_iter()
        .find(|left| broken.iter().any(|b| (&b.schema, &b.index) == (&left.schema, &left.index)))
    {
        Some(left) => Err(MigrateError::StillInvalid {
            index: format!("{}.{}", left.schema, left.name),
            node: left.node,
        }),
        None => Ok(()),
    }
}

async fn drop_everywhere(
    connection: &mut PgConnection,
    schema: &str,
    index: &str,
    places: &[&Invalid],
) -> Result<(), MigrateError> {
    let drop = |name: &str, how: &str| {
        format!("DROP INDEX {how}IF EXISTS {}.{}", db::identifier(schema), db::identifier(name))
    };
    as_owner(connection, drop(index, "CONCURRENTLY "), "drop an invalid index").await?;
    // What a drop at the coordinator does not reach: an index that only shards still have.
    for place in places.iter().filter(|place| place.name != place.index) {
        on_workers(connection, &drop(&place.name, ""), "drop an invalid index").await?;
    }
    Ok(())
}

/// Runs something on all workers; the answer of each with its name.
async fn on_workers(
    connection: &mut PgConnection,
    command: &str,
    doing: &'static str,
) -> Result<Vec<(String, String)>, MigrateError> {
    let sql = format!(
        "SELECT nodename || ':' || nodeport, success::text, result FROM run_command_on_workers({})",
        db::literal(command)
    );
    let rows = db::rows::<3>(connection, &sql).await.doing(doing)?;
    rows.into_iter()
        .map(|[node, success, result]| {
            let (node, result) = (node.unwrap_or_default(), result.unwrap_or_default());
            match success.as_deref() {
                Some("true") => Ok((node, result)),
                _ => Err(MigrateError::Node { node, doing, problem: result }),
            }
        })
        .collect()
}

async fn as_owner(
    connection: &mut PgConnection,
    sql: String,
    doing: &'static str,
) -> Result<(), MigrateError> {
    db::run(connection, format!("SET ROLE {}", Role::Owner.name())).await.doing("become the owner")?;
    db::run(connection, sql).await.doing(doing)?;
    db::run(connection, "RESET ROLE").await.doing("become the superuser again")?;
    Ok(())
}

/// The statement that builds an index, in the form that lets writes go on.
fn beside_writes(statement: &Statement) -> String {
    let sql = &statement.sql;
    if statement.index().is_some_and(|index| index.concurrently) {
        return sql.clone();
    }
    match sql.to_ascii_uppercase().find("INDEX") {
        Some(at) => {
            let (head, tail) = sql.split_at(at + "INDEX".len());
            format!("{head} CONCURRENTLY{tail}")
        }
        None => sql.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use lyceum_schema::split::split;

    use super::*;

    #[test]
    fn the_shard_s_number_is_no_part_of_an_index_s_name() {
        assert_eq!(without_shard("lessons_in_order_102008", "lessons_102008"), "lessons_in_order");
        assert_eq!(without_shard("lessons_in_order", "lessons"), "lessons_in_order");
        // An outbox ends in a digit of its own.
        assert_eq!(without_shard("outbox_t_0_unsent", "outbox_t_0"), "outbox_t_0_unsent");
        assert_eq!(without_shard("outbox_t_0_unsent_102300", "outbox_t_0_102300"), "outbox_t_0_unsent");
        assert_eq!(without_shard("by_hand_7", "lessons_102008"), "by_hand_7");
    }

    #[test]
    fn an_index_is_built_again_beside_running_writes() {
        let again = |sql: &str| beside_writes(&split(sql)[0]);
        assert_eq!(again("CREATE INDEX a ON s.t (x)"), "CREATE INDEX CONCURRENTLY a ON s.t (x)");
        assert_eq!(
            again("CREATE UNIQUE INDEX a ON s.t (x)"),
            "CREATE UNIQUE INDEX CONCURRENTLY a ON s.t (x)"
        );
        let already = "CREATE INDEX CONCURRENTLY a ON s.t (x)";
        assert_eq!(again(already), already);
    }

    #[test]
    fn an_answer_is_read_by_node() {
        let json = r#"[{"schema":"teaching","name":"lessons_in_order_102008","table":"lessons_102008","building":false}]"#;
        let found = read("worker-1:5432", json).unwrap();
        assert_eq!((found[0].node.as_str(), found[0].index.as_str()), ("worker-1:5432", "lessons_in_order"));
        assert!(matches!(read("worker-1:5432", "ERROR"), Err(MigrateError::Node { .. })));
    }
}
