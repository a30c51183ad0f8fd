//! Which Secrets a formation has and what each holds. The values are made by `apply`,
//! once: nothing here is random, and no value ever passes through a plan.

use lyceum_crds::course_shard::names::{OPERATOR_ROLE, OWNER_ROLE, SERVICE_ROLES};

use super::Formation;
use crate::courseshard::pki;

/// Keys and users in the Secret `<name>-auth`.
pub mod auth_keys {
    /// Password of the superuser `postgres`.
    pub const SUPERUSER: &str = "superuser-password";
    /// Password of the replication user.
    pub const REPLICATION: &str = "replication-password";
    /// Password of the `pg_rewind` user.
    pub const REWIND: &str = "rewind-password";
    /// Password of Patroni's REST API.
    pub const REST: &str = "rest-password";
    /// User of Patroni's REST API.
    pub const REST_USER: &str = "patroni";
    /// Password of the pooler's administrator.
    pub const POOLER_ADMIN: &str = "pooler-admin-password";
    /// The pooler's administrator.
    pub const POOLER_ADMIN_USER: &str = "lyceum_pooler";
    /// Every login role with its password, as PgBouncer reads it.
    pub const USERLIST: &str = "userlist.txt";
    /// The same as libpq reads it: Citus nodes log in to each other as the session's role.
    pub const PGPASS: &str = "pgpass";

    /// Key of a login role's password.
    pub fn role(service: &str) -> String {
        format!("role-{service}-password")
    }
}

/// What a Secret is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// The certificate authority with its key. Can't be made again without breaking trust.
    Ca,
    /// All passwords. Can't be made again: the database knows the old ones.
    Auth,
    /// The authority's certificate, out of [`SecretKind::Ca`].
    CaCert,
    /// The server certificate, issued by [`SecretKind::Ca`].
    Tls,
    /// One role's connection, out of [`SecretKind::Auth`].
    Role {
        /// `identity`, …, or `operator`.
        service: String,
        /// Database role.
        username: String,
    },
}

/// The Secrets of a formation, in the order they are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredSecrets {
    /// Name and kind of each.
    pub all: Vec<(String, SecretKind)>,
    /// Names in the server certificate.
    pub hosts: Vec<String>,
}

/// Login roles: service name (part of the Secret's name) and database role.
pub fn login_roles() -> impl Iterator<Item = (&'static str, &'static str)> {
    // A Citus coordinator logs in to its workers as the role that runs the statement, so the owner,
    // as whom migrations run, needs a password too.
    SERVICE_ROLES
        .iter()
        .map(|role| (*role, *role))
        .chain([("operator", OPERATOR_ROLE), ("owner", OWNER_ROLE)])
}

pub(super) fn desired(formation: Formation<'_>) -> DesiredSecrets {
    let names = formation.names;
    let mut all = vec![
        (names.ca_secret(), SecretKind::Ca),
        (names.auth_secret(), SecretKind::Auth),
        (names.ca_cert_secret(), SecretKind::CaCert),
        (names.tls_secret(), SecretKind::Tls),
    ];
    all.extend(login_roles().map(|(service, username)| {
        (names.role_secret(service), SecretKind::Role { service: service.into(), username: username.into() })
    }));
    DesiredSecrets { all, hosts: pki::server_hosts(names, 0..=formation.spec.workers.count) }
}
