//! Every name derived from a CourseShard: one place, so that the operator, the
//! kubectl plugin and the scenarios can't disagree.
//!
//! With the CourseShard's name at most [`NAME_MAX_LENGTH`] characters long, every
//! name below fits into a DNS label (63 characters).

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::CourseShard;

/// Longest name a CourseShard may have. The longest derived label is the Service
/// `<name>-g<gg>-readonly`; 30 leaves room for it and for Patroni's `-failover`.
pub const NAME_MAX_LENGTH: usize = 30;

/// Cluster-internal DNS suffix.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// The application's database.
pub const DATABASE: &str = "lyceum";
/// PgBouncer's name for [`DATABASE`] on the replicas of group 0 (on the primary if there is none).
pub const DATABASE_READ_ONLY: &str = "lyceum_ro";
/// PgBouncer's admin console, a database on the pooler's own port.
pub const POOLER_CONSOLE: &str = "pgbouncer";
/// PostgreSQL's port, on pods and Services; the pooler listens on the same number.
pub const POSTGRES_PORT: u16 = 5432;
/// Patroni's REST port.
pub const PATRONI_PORT: u16 = 8008;
/// Directory of PostgreSQL's Unix socket inside a database pod.
pub const SOCKET_DIR: &str = "/run/lyceum";
/// Container that runs Patroni and PostgreSQL in a database pod.
pub const POSTGRES_CONTAINER: &str = "postgres";
/// Container that runs PgBouncer in a pooler pod.
pub const POOLER_CONTAINER: &str = "pgbouncer";

/// Database superuser.
pub const SUPERUSER: &str = "postgres";
/// Role of streaming replication.
pub const REPLICATION_USER: &str = "replicator";
/// Role of `pg_rewind`.
pub const REWIND_USER: &str = "rewinder";
/// Owner of the application's schemas.
pub const OWNER_ROLE: &str = "lyceum_owner";
/// The operator's role: canary, schema state, monitoring.
pub const OPERATOR_ROLE: &str = "lyceum_operator";
/// One database role a service.
pub const SERVICE_ROLES: [&str; 6] = ["identity", "catalog", "learning", "economics", "discovery", "loader"];

/// Finalizer on every CourseShard.
pub const FINALIZER: &str = "lyceum.dev/courseshard";
/// Field manager of applied objects.
pub const FIELD_MANAGER: &str = "lyceum.dev/courseshard";
/// Field manager of status.
pub const STATUS_FIELD_MANAGER: &str = "lyceum.dev/courseshard-status";
/// Annotation on a CourseShard: take over the render revision in its value.
pub const TAKE_OVER_ANNOTATION: &str = "lyceum.dev/take-over-render";

/// Label: who manages the object.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`LABEL_MANAGED_BY`].
pub const MANAGED_BY: &str = "lyceum-operator";
/// Label: what kind of application the object is part of.
pub const LABEL_NAME: &str = "app.kubernetes.io/name";
/// Value of [`LABEL_NAME`].
pub const APP_NAME: &str = "courseshard";
/// Label: the CourseShard's name.
pub const LABEL_INSTANCE: &str = "app.kubernetes.io/instance";
/// Label: [`Component`].
pub const LABEL_COMPONENT: &str = "app.kubernetes.io/component";
/// Label: `status.formationId`. Also Patroni's `kubernetes.scope_label`.
pub const LABEL_FORMATION: &str = "lyceum.dev/formation";
/// Label on database pods: Citus group.
pub const LABEL_GROUP: &str = "lyceum.dev/group";
/// Label on database pods: Patroni's `kubernetes.role_label`.
pub const LABEL_ROLE: &str = "lyceum.dev/role";
/// Label that Patroni itself sets and selects by when Citus is configured.
pub const LABEL_CITUS_GROUP: &str = "citus-group";

/// Value of [`LABEL_ROLE`] on the leader (`kubernetes.leader_label_value`).
pub const ROLE_PRIMARY: &str = "primary";
/// Value of [`LABEL_ROLE`] on a replica (`kubernetes.follower_label_value`).
pub const ROLE_REPLICA: &str = "replica";
/// Value of [`LABEL_ROLE`] on the leader of a standby cluster (`kubernetes.standby_leader_label_value`).
pub const ROLE_STANDBY_LEADER: &str = "standby-leader";

/// What an owned object is for: the value of [`LABEL_COMPONENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// PostgreSQL under Patroni.
    Database,
    /// PgBouncer.
    Pooler,
    /// The Job that brings the schema up to date.
    Migrator,
    /// Certificates and passwords.
    Secrets,
}

impl Component {
    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Pooler => "pooler",
            Self::Migrator => "migrator",
            Self::Secrets => "secrets",
        }
    }
}

/// Names of the objects that belong to one CourseShard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Names {
    name: String,
    namespace: String,
}

impl From<&CourseShard> for Names {
    fn from(shard: &CourseShard) -> Self {
        // A CourseShard read from an API server always has both; a namespace left
        // out of a manifest means "default" to kubectl.
        Self::new(shard.name_any(), shard.namespace().unwrap_or_else(|| "default".into()))
    }
}

impl Names {
    /// Names for the CourseShard `name` in `namespace`.
    pub fn new(name: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self { name: name.into(), namespace: namespace.into() }
    }

    /// The CourseShard's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The CourseShard's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// `<name, at most 30 characters>-<suffix>`: what `status.formationId` is set to, once.
    /// `suffix` is six random characters out of `[a-z0-9]`.
    pub fn formation_id(&self, suffix: &str) -> String {
        let name: String = self.name.chars().take(NAME_MAX_LENGTH).collect();
        format!("{name}-{suffix}")
    }

    /// StatefulSet of a group.
    pub fn statefulset(&self, group: i32) -> String {
        format!("{}-g{group}", self.name)
    }

    /// Database pod, also its Patroni member name.
    pub fn pod(&self, group: i32, ordinal: i32) -> String {
        format!("{}-g{group}-{ordinal}", self.name)
    }

    /// Fully qualified, region-neutral host name of a database pod: what peers,
    /// Patroni and `pg_dist_node` use, never an address.
    pub fn pod_fqdn(&self, group: i32, ordinal: i32) -> String {
        self.pod_host(&self.pod(group, ordinal))
    }

    /// [`Names::pod_fqdn`] of a database pod known by its name.
    pub fn pod_host(&self, pod: &str) -> String {
        format!("{pod}.{}", self.service_fqdn(&self.nodes_service()))
    }

    /// Headless Service of all database pods; publishes addresses before they are ready.
    pub fn nodes_service(&self) -> String {
        format!("{}-nodes", self.name)
    }

    /// Service of a group's primary.
    pub fn primary_service(&self, group: i32) -> String {
        format!("{}-g{group}-primary", self.name)
    }

    /// Service of a group's replicas.
    pub fn readonly_service(&self, group: i32) -> String {
        format!("{}-g{group}-readonly", self.name)
    }

    /// ConfigMap with a group's `patroni.yml`.
    pub fn patroni_config(&self, group: i32) -> String {
        format!("{}-g{group}-patroni", self.name)
    }

    /// PodDisruptionBudget of a group.
    pub fn disruption_budget(&self, group: i32) -> String {
        format!("{}-g{group}", self.name)
    }

    /// Pooler's Deployment; its Service, ConfigMap and PodDisruptionBudget bear the same name.
    pub fn pooler(&self) -> String {
        format!("{}-pooler", self.name)
    }

    /// Headless Service of the pooler's pods, for RECONNECT on each.
    pub fn pooler_pods_service(&self) -> String {
        format!("{}-pooler-pods", self.name)
    }

    /// ServiceAccount of the database pods; its Role and RoleBinding bear the same name.
    pub fn database_service_account(&self) -> String {
        format!("{}-database", self.name)
    }

    /// Job that migrates the schema, by the intent it carries out.
    pub fn migrator_job(&self, intent_id: &str) -> String {
        format!("{}-migrate-{intent_id}", self.name)
    }

    /// Secret with the CA's certificate and key; only the operator reads it.
    pub fn ca_secret(&self) -> String {
        format!("{}-ca", self.name)
    }

    /// Secret with the CA's certificate alone (`ca.crt`): what clients mount.
    pub fn ca_cert_secret(&self) -> String {
        format!("{}-ca-cert", self.name)
    }

    /// Secret with the server certificate of every pod.
    pub fn tls_secret(&self) -> String {
        format!("{}-tls", self.name)
    }

    /// Secret with the passwords of superuser, replication, rewind, Patroni and pooler.
    pub fn auth_secret(&self) -> String {
        format!("{}-auth", self.name)
    }

    /// Secret of one service role (one of [`SERVICE_ROLES`], or the owner's or the operator's).
    pub fn role_secret(&self, service: &str) -> String {
        format!("{}-role-{}", self.name, service.replace('_', "-"))
    }

    /// Whether an object of that kind and name is this CourseShard's own or part of it,
    /// by name alone: for what carries no labels, such as Events.
    pub fn owns(&self, kind: &str, object: &str) -> bool {
        if kind == "CourseShard" {
            return object == self.name;
        }
        let prefix = format!("{}-", self.name);
        let part = match kind {
            // <claim>-<pod>
            "PersistentVolumeClaim" => object.split_once(&format!("-{prefix}")).map(|(_, pod)| pod),
            _ => object.strip_prefix(&prefix),
        };
        let first = part.and_then(|part| part.split('-').next()).unwrap_or_default();
        let is_group = first.strip_prefix('g').is_some_and(|group| group.parse::<u32>().is_ok());
        is_group
            || ["auth", "ca", "database", "deny", "migrate", "nodes", "pooler", "role", "tls"]
                .contains(&first)
    }

    /// `<service>.<namespace>.svc.cluster.local`.
    pub fn service_fqdn(&self, service: &str) -> String {
        format!("{service}.{}.svc.{CLUSTER_DOMAIN}", self.namespace)
    }

    /// The four forms a client may write a Service's name in, all of them in the certificate.
    pub fn service_hosts(&self, service: &str) -> [String; 4] {
        let namespace = &self.namespace;
        [
            service.to_owned(),
            format!("{service}.{namespace}"),
            format!("{service}.{namespace}.svc"),
            self.service_fqdn(service),
        ]
    }

    /// Labels of every owned object.
    pub fn labels(&self, formation_id: &str, component: Component) -> BTreeMap<String, String> {
        [
            (LABEL_MANAGED_BY, MANAGED_BY),
            (LABEL_NAME, APP_NAME),
            (LABEL_INSTANCE, self.name.as_str()),
            (LABEL_FORMATION, formation_id),
            (LABEL_COMPONENT, component.as_str()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
    }

    /// Labels that select the database pods of a group, whatever their role.
    pub fn group_selector(&self, formation_id: &str, group: i32) -> BTreeMap<String, String> {
        [
            (LABEL_FORMATION, formation_id.to_owned()),
            (LABEL_COMPONENT, Component::Database.as_str().to_owned()),
            (LABEL_GROUP, group.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_still_fits_every_derived_name_into_a_dns_label() {
        let names = Names::new("a".repeat(NAME_MAX_LENGTH), "lyceum");
        let group = crate::course_shard::limits::WORKERS_MAX;
        let longest = [
            names.pod(group, 9),
            names.primary_service(group),
            names.readonly_service(group),
            names.patroni_config(group),
            names.pooler_pods_service(),
            names.database_service_account(),
            names.migrator_job("0123456789ab"),
            names.role_secret("lyceum_operator"),
            // Patroni's own objects: <scope>-<group>-<key>.
            format!("{}-{group}-failover", names.formation_id("abc123")),
            // The StatefulSet controller labels pods with <set>-<10-character hash>.
            format!("{}-0123456789", names.statefulset(group)),
        ];
        for name in longest {
            assert!(name.len() <= 63, "{name} has {} characters", name.len());
        }
    }

    #[test]
    fn parts_are_told_from_those_of_a_longer_name() {
        let names = Names::new("school", "lyceum");
        for (kind, name) in [
            ("CourseShard", "school"),
            ("Pod", "school-g12-0"),
            ("StatefulSet", "school-g0"),
            ("Pod", "school-pooler-6c9d-x2x4p"),
            ("PersistentVolumeClaim", "data-school-g0-1"),
        ] {
            assert!(names.owns(kind, name), "{kind} {name}");
        }
        for (kind, name) in [
            ("CourseShard", "school-two"),
            ("Pod", "school-two-g0-0"),
            ("Pod", "school-gate-0"),
            ("Pod", "other"),
            ("PersistentVolumeClaim", "data-school-two-g0-1"),
        ] {
            assert!(!names.owns(kind, name), "{kind} {name}");
        }
    }

    #[test]
    fn a_pod_is_known_by_a_full_name_without_address_or_region() {
        let names = Names::new("school", "lyceum");
        assert_eq!(names.pod_fqdn(1, 0), "school-g1-0.school-nodes.lyceum.svc.cluster.local");
    }
}
