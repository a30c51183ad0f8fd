//! Database roles: made, kept as they should be, and let into the database.

mod verifier;

use std::{collections::BTreeMap, fmt::Write, io, path::Path};

use lyceum_kit::secret::Secret;
use lyceum_schema::{Role, role::ROLES};
use sqlx::PgConnection;
use tracing::info;

use crate::{
    db,
    error::{Doing, MigrateError},
};

/// A role as it is in the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Password verifier.
    verifier: Option<String>,
    /// May log in.
    login: bool,
    /// Has a power that no role of ours has: superuser, createdb, createrole, replication, bypassrls.
    powerful: bool,
    /// Settings its sessions start with.
    settings: BTreeMap<String, String>,
    /// Roles it is a member of.
    member_of: Vec<String>,
    /// May connect to the database.
    connect: bool,
    /// May make schemas in the database.
    create: bool,
}

/// Passwords by role. The owner may lack one on plain PostgreSQL, where nobody logs in as it:
/// a Citus coordinator logs in to its workers as the role that runs the statement.
pub(crate) struct Passwords(BTreeMap<Role, Secret>);

impl Passwords {
    /// Reads `<dir>/<role>/password`.
    pub(crate) fn read(dir: &Path, citus: bool) -> Result<Self, MigrateError> {
        let mut passwords = BTreeMap::new();
        for role in ROLES {
            let path = dir.join(role.name()).join("password");
            match Secret::from_file(&path) {
                Ok(password) if !password.is_empty() => {
                    passwords.insert(role, password);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && role == Role::Owner && !citus => {}
                Ok(_) => {
                    let source = io::Error::new(io::ErrorKind::InvalidData, "the file is empty");
                    return Err(MigrateError::Password { path, source });
                }
                Err(source) => return Err(MigrateError::Password { path, source }),
            }
        }
        Ok(Self(passwords))
    }
}

/// Brings the roles into their state. Writes nothing when they are in it.
pub(crate) async fn ensure(
    connection: &mut PgConnection,
    database: &str,
    passwords: &Passwords,
) -> Result<(), MigrateError> {
    let found = read(connection, database).await?;
    let public = "SELECT EXISTS (SELECT FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) \
                  WHERE datname = current_database() AND grantee = 0)";
    if db::yes(connection, public).await.doing("read the database's grants")? {
        let revoke = format!("REVOKE ALL ON DATABASE {} FROM PUBLIC", db::identifier(database));
        db::run(connection, revoke).await.doing("close the database to everybody")?;
    }
    for role in ROLES {
        let wanted = passwords.0.get(&role);
        if let Some(statement) = statements(role, found.get(role.name()), wanted, database) {
            db::run(connection, statement).await.doing("set up a database role")?;
            info!("role {} set up", role.name());
        }
    }
    Ok(())
}

/// Grants on the database, on every worker.
///
/// A worker that joins after a grant gets the role from Citus but not what was granted on the
/// database (seen with Citus 13.2), and the first `CREATE SCHEMA` on it is refused.
pub(crate) async fn ensure_on_workers(
    connection: &mut PgConnection,
    database: &str,
) -> Result<(), MigrateError> {
    let on = db::identifier(database);
    let mut held = vec![format!(
        "has_database_privilege('{}', {}, 'CREATE')",
        Role::Owner.name(),
        db::literal(database)
    )];
    let mut grants = format!("REVOKE ALL ON DATABASE {on} FROM PUBLIC;");
    for role in ROLES {
        let name = role.name();
        held.push(format!("has_database_privilege('{name}', {}, 'CONNECT')", db::literal(database)));
        let privileges = if role == Role::Owner { "CREATE, CONNECT" } else { "CONNECT" };
        let _ = write!(grants, "GRANT {privileges} ON DATABASE {on} TO {name};");
    }
    let closed = "NOT EXISTS (SELECT FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) \
                  WHERE datname = current_database() AND grantee = 0)";
    held.push(closed.into());
    let check = format!("SELECT {}", held.join(" AND "));
    let check = format!(
        "SELECT coalesce(bool_and(success AND result = 't'), true) FROM run_command_on_workers({})",
        db::literal(&check)
    );
    if db::yes(connection, &check).await.doing("read the workers' grants")? {
        return Ok(());
    }
    let grant = format!(
        "SELECT coalesce(bool_and(success), true) FROM run_command_on_workers({})",
        db::literal(&format!(
            "DO $grants$ BEGIN PERFORM set_config('citus.enable_ddl_propagation', 'off', true); {grants} END $grants$"
        ))
    );
    if !db::yes(connection, &grant).await.doing("grant on the workers")? {
        return Err(MigrateError::WorkerGrants);
    }
    info!("grants on the database set up on the workers");
    Ok(())
}

/// What brings one role into its state, as one text of several statements; nothing when it is in it.
fn statements(
    role: Role,
    found: Option<&Found>,
    password: Option<&Secret>,
    database: &str,
) -> Option<String> {
    let name = role.name();
    let mut sql = String::new();
    let new = Found::default();
    let now = found.unwrap_or(&new);
    if found.is_none() {
        let _ = write!(sql, "CREATE ROLE {name};");
    }
    if now.powerful {
        let _ =
            write!(sql, "ALTER ROLE {name} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;");
    }
    if now.login != password.is_some() {
        let _ = write!(sql, "ALTER ROLE {name} {};", if password.is_some() { "LOGIN" } else { "NOLOGIN" });
    }
    if let Some(password) = password
        && !now.verifier.as_deref().is_some_and(|stored| verifier::matches(stored, password))
    {
        let _ = write!(sql, "ALTER ROLE {name} PASSWORD {};", db::literal(&verifier::new(password)));
    }
    for (setting, value) in settings(role) {
        if now.settings.get(setting) != Some(&value) {
            let _ = write!(sql, "ALTER ROLE {name} SET {setting} = {};", db::literal(&value));
        }
    }
    for group in role.member_of() {
        if !now.member_of.iter().any(|member| member == group) {
            let _ = write!(sql, "GRANT {group} TO {name};");
        }
    }
    let on = db::identifier(database);
    if !now.connect {
        let _ = write!(sql, "GRANT CONNECT ON DATABASE {on} TO {name};");
    }
    if role == Role::Owner && !now.create {
        let _ = write!(sql, "GRANT CREATE ON DATABASE {on} TO {name};");
    }
    Some(sql).filter(|sql| !sql.is_empty())
}

fn settings(role: Role) -> [(&'static str, String); 3] {
    let limits = role.limits();
    [
        ("statement_timeout", format!("{}ms", limits.statement_timeout_ms)),
        ("lock_timeout", format!("{}ms", limits.lock_timeout_ms)),
        ("idle_in_transaction_session_timeout", format!("{}ms", limits.idle_in_transaction_ms)),
    ]
}

async fn read(
    connection: &mut PgConnection,
    database: &str,
) -> Result<BTreeMap<String, Found>, MigrateError> {
    let names: Vec<_> = ROLES.iter().map(|role| db::literal(role.name())).collect();
    let sql = format!(
        "SELECT rolname::text, rolpassword, rolcanlogin::text,
                (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)::text,
                (SELECT array_to_string(setconfig, E'\\n') FROM pg_db_role_setting WHERE setrole = r.oid AND setdatabase = 0),
                (SELECT string_agg(roleid::regrole::text, E'\\n') FROM pg_auth_members WHERE member = r.oid),
                (SELECT string_agg(privilege_type, E'\\n') FROM pg_database, aclexplode(datacl)
                 WHERE datname = {database} AND grantee = r.oid)
         FROM pg_authid r WHERE rolname IN ({names})",
        database = db::literal(database),
        names = names.join(", "),
    );
    let rows = db::rows::<7>(connection, &sql).await.doing("read the database roles")?;
    let lines = |text: Option<String>| -> Vec<String> {
        text.unwrap_or_default().lines().map(str::to_owned).collect()
    };
    Ok(rows
        .into_iter()
        .map(|[name, verifier, login, powerful, settings, member_of, privileges]| {
            let privileges = lines(privileges);
            let found = Found {
                verifier,
                login: login.as_deref() == Some("true"),
                powerful: powerful.as_deref() == Some("true"),
                settings: lines(settings)
                    .iter()
                    .filter_map(|line| line.split_once('='))
                    .map(|(setting, value)| (setting.to_owned(), value.to_owned()))
                    .collect(),
                member_of: lines(member_of),
                connect: privileges.iter().any(|privilege| privilege == "CONNECT"),
                create: privileges.iter().any(|privilege| privilege == "CREATE"),
            };
            (name.unwrap_or_default(), found)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn password() -> Secret {
        "p".to_owned().into()
    }

    /// A role as it should be.
    fn right(role: Role) -> Found {
        Found {
            verifier: Some(verifier::new(&password())),
            login: true,
            powerful: false,
            settings: settings(role).into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            member_of: role.member_of().iter().map(|group| (*group).to_owned()).collect(),
            connect: true,
            create: role == Role::Owner,
        }
    }

    #[test]
    fn a_role_that_is_right_is_left_alone() {
        for role in ROLES {
            assert_eq!(
                statements(role, Some(&right(role)), Some(&password()), "lyceum"),
                None,
                "{}",
                role.name()
            );
        }
    }

    #[test]
    fn a_new_role_gets_everything_and_its_password_is_in_no_statement() {
        let secret = Secret::from("hunter2hunter2".to_owned());
        let sql = statements(Role::Operator, None, Some(&secret), "lyceum").unwrap();
        assert!(sql.starts_with("CREATE ROLE lyceum_operator;ALTER ROLE lyceum_operator LOGIN;"), "{sql}");
        assert!(sql.contains("PASSWORD 'SCRAM-SHA-256$4096:"), "{sql}");
        assert!(sql.contains("GRANT pg_monitor TO lyceum_operator;"), "{sql}");
        assert!(!sql.contains("hunter2"), "{sql}");
    }

    #[test]
    fn only_what_differs_is_changed() {
        let change = |change: fn(&mut Found)| {
            let mut found = right(Role::Catalog);
            change(&mut found);
            statements(Role::Catalog, Some(&found), Some(&password()), "lyceum").unwrap()
        };
        assert_eq!(change(|found| found.login = false), "ALTER ROLE catalog LOGIN;");
        assert!(change(|found| found.powerful = true).starts_with("ALTER ROLE catalog NOSUPERUSER"));
        assert!(change(|found| found.verifier = None).starts_with("ALTER ROLE catalog PASSWORD 'SCRAM"));
        assert_eq!(change(|found| found.connect = false), "GRANT CONNECT ON DATABASE \"lyceum\" TO catalog;");
        let lost = change(|found| drop(found.settings.insert("lock_timeout".into(), "1h".into())));
        assert_eq!(lost, "ALTER ROLE catalog SET lock_timeout = '5000ms';");
    }

    #[test]
    fn without_a_password_nobody_logs_in_as_the_owner() {
        let sql = statements(Role::Owner, Some(&right(Role::Owner)), None, "lyceum").unwrap();
        assert_eq!(sql, "ALTER ROLE lyceum_owner NOLOGIN;");
    }
}
