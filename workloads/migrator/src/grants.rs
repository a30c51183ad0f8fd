//! Who may touch what: the dictionary's word, compared with the database's.

use std::collections::BTreeSet;

use lyceum_schema::{Role, TABLES, role::ROLES, table};
use sqlx::PgConnection;
use tracing::debug;

use crate::{
    db,
    error::{Doing, MigrateError},
};

/// One privilege of one grantee on one schema or table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Granted {
    /// `SCHEMA teaching` or `TABLE teaching.courses`.
    on: String,
    /// Role, or `PUBLIC`.
    to: String,
    /// `SELECT`, `USAGE`, …
    privilege: String,
}

/// What the dictionary grants at a version.
fn wanted(version: i32) -> BTreeSet<Granted> {
    let mut wanted = BTreeSet::new();
    for table in TABLES.iter().filter(|table| table.since <= version) {
        for (role, privileges) in table.grants {
            let to = role.name().to_owned();
            wanted.insert(Granted {
                on: format!("SCHEMA {}", table.schema),
                to: to.clone(),
                privilege: "USAGE".into(),
            });
            for privilege in *privileges {
                let on = format!("TABLE {}", table.qualified());
                wanted.insert(Granted { on, to: to.clone(), privilege: privilege.sql().into() });
            }
        }
    }
    wanted
}

/// What leads from one to the other: one statement for each object and grantee.
fn statements(found: &BTreeSet<Granted>, wanted: &BTreeSet<Granted>) -> Vec<String> {
    let by_object = |granted: BTreeSet<Granted>, verb: &str, word: &str| {
        let mut statements: Vec<(String, String, Vec<String>)> = Vec::new();
        for Granted { on, to, privilege } in granted {
            match statements.last_mut() {
                Some((last_on, last_to, privileges)) if *last_on == on && *last_to == to => {
                    privileges.push(privilege)
                }
                _ => statements.push((on, to, vec![privilege])),
            }
        }
        let sql = |(on, to, privileges): (String, String, Vec<String>)| {
            format!("{verb} {} ON {on} {word} {to}", privileges.join(", "))
        };
        statements.into_iter().map(sql).collect::<Vec<_>>()
    };
    let mut all = by_object(found - wanted, "REVOKE", "FROM");
    all.extend(by_object(wanted - found, "GRANT", "TO"));
    all
}

/// Grants what the dictionary grants at `version` and revokes the rest from our roles and from
/// PUBLIC. Roles that others made are left alone. To be run as the owner.
pub(crate) async fn ensure(connection: &mut PgConnection, version: i32) -> Result<(), MigrateError> {
    let found = read(connection, version).await?;
    let statements = statements(&found, &wanted(version));
    for statement in &statements {
        db::run(connection, statement.as_str()).await.doing("set a grant")?;
    }
    if !statements.is_empty() {
        debug!("{} grants set", statements.len());
    }
    Ok(())
}

async fn read(connection: &mut PgConnection, version: i32) -> Result<BTreeSet<Granted>, MigrateError> {
    let quoted = |names: Vec<&str>| names.iter().map(|name| db::literal(name)).collect::<Vec<_>>().join(", ");
    let ours = ROLES.iter().filter(|role| **role != Role::Owner).map(|role| role.name()).collect();
    let sql = format!(
        "WITH acl AS (
             SELECT 'SCHEMA ' || nspname AS object, (aclexplode(nspacl)).*
             FROM pg_namespace WHERE nspname IN ({schemas})
             UNION ALL
             SELECT 'TABLE ' || nspname || '.' || relname, (aclexplode(relacl)).*
             FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
             WHERE nspname IN ({schemas}) AND relkind IN ('r', 'p'))
         SELECT object, coalesce(rolname, 'PUBLIC'), privilege_type
         FROM acl LEFT JOIN pg_roles r ON r.oid = grantee
         WHERE grantee = 0 OR rolname IN ({roles})",
        schemas = quoted(table::schemas(version)),
        roles = quoted(ours),
    );
    let rows = db::rows::<3>(connection, &sql).await.doing("read the grants")?;
    let granted =
        |[on, to, privilege]: [Option<String>; 3]| Some(Granted { on: on?, to: to?, privilege: privilege? });
    Ok(rows.into_iter().filter_map(granted).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn granted(on: &str, to: &str, privilege: &str) -> Granted {
        Granted { on: on.into(), to: to.into(), privilege: privilege.into() }
    }

    #[test]
    fn what_is_right_needs_no_statement() {
        assert_eq!(statements(&wanted(6), &wanted(6)), Vec::<String>::new());
    }

    #[test]
    fn a_table_grants_nothing_before_its_version() {
        assert!(wanted(2).iter().all(|granted| !granted.on.contains("outbox")));
        assert!(wanted(3).contains(&granted("TABLE teaching.outbox_t_0", "catalog", "TRUNCATE")));
    }

    #[test]
    fn the_difference_is_granted_and_revoked_in_few_statements() {
        let found = BTreeSet::from([
            granted("TABLE teaching.courses", "PUBLIC", "SELECT"),
            granted("TABLE teaching.courses", "catalog", "SELECT"),
        ]);
        let wanted = BTreeSet::from([
            granted("TABLE teaching.courses", "catalog", "INSERT"),
            granted("TABLE teaching.courses", "catalog", "SELECT"),
            granted("TABLE teaching.courses", "catalog", "UPDATE"),
        ]);
        assert_eq!(
            statements(&found, &wanted),
            [
                "REVOKE SELECT ON TABLE teaching.courses FROM PUBLIC",
                "GRANT INSERT, UPDATE ON TABLE teaching.courses TO catalog"
            ]
        );
    }

    #[test]
    fn no_service_may_touch_the_tables_of_another() {
        for granted in wanted(i32::MAX) {
            if granted.on.starts_with("TABLE teaching.") {
                assert!(["catalog", "loader"].contains(&granted.to.as_str()), "{granted:?}");
            }
        }
    }
}
