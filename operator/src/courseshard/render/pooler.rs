//! PgBouncer in front of the coordinator: transaction mode, TLS on both sides.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            ConfigMap, ConfigMapVolumeSource, Container, PodSpec, PodTemplateSpec, Probe,
            ResourceRequirements, TCPSocketAction, Volume,
        },
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use lyceum_crds::course_shard::names::{
    Component, DATABASE, DATABASE_READ_ONLY, OPERATOR_ROLE, POOLER_CONTAINER, POSTGRES_PORT,
};

use super::{
    AUTH_DIR, Formation, POOLER_ID, TLS_DIR, auth_keys, container_security, pod_security, short_hash,
    statefulset::{mount, port, schedule, scratch, secret},
};

/// File name in the ConfigMap.
const FILE: &str = "pgbouncer.ini";
const CONFIG_DIR: &str = "/etc/lyceum/pgbouncer";
/// Statements kept prepared on each server connection. Clients keep no more than this.
const MAX_PREPARED_STATEMENTS: u32 = 200;
/// A client waits no longer than this for a server connection. Shorter than any service's own
/// time-out: equal ones make all clients log in again at the same moment.
const QUERY_WAIT_SECONDS: u32 = 5;
/// A server connection is replaced after this, so that load spreads again after a failover.
const SERVER_LIFETIME_SECONDS: u32 = 600;
/// Longest transaction that a terminating pooler waits for.
const TERMINATION_GRACE_SECONDS: i64 = 30;
/// A configuration that needs a new process: pods are replaced when it changes.
const CONFIG_HASH_ANNOTATION: &str = "lyceum.dev/config-hash";

pub(super) fn config_map(formation: Formation<'_>) -> ConfigMap {
    ConfigMap {
        metadata: formation.meta(formation.names.pooler(), Component::Pooler),
        data: Some([(FILE.to_owned(), ini(formation))].into()),
        ..ConfigMap::default()
    }
}

/// `pgbouncer.ini`.
fn ini(formation: Formation<'_>) -> String {
    let names = formation.names;
    let primary = names.service_fqdn(&names.primary_service(0));
    let replicas = match formation.spec.coordinator.instances {
        1 => primary.clone(),
        _ => names.service_fqdn(&names.readonly_service(0)),
    };
    let sizes = formation.budget.pooler;
    // One line a setting, so that a diff of two ConfigMaps says what changed.
    format!(
        "[databases]
{DATABASE} = host={primary} port={POSTGRES_PORT} dbname={DATABASE} max_db_connections={read_write}
{DATABASE_READ_ONLY} = host={replicas} port={POSTGRES_PORT} dbname={DATABASE} max_db_connections={read_only}

[pgbouncer]
listen_addr = 0.0.0.0
listen_port = {POSTGRES_PORT}
unix_socket_dir =
pool_mode = transaction
max_prepared_statements = {MAX_PREPARED_STATEMENTS}
ignore_startup_parameters = extra_float_digits

auth_type = scram-sha-256
auth_file = {AUTH_DIR}/{userlist}
admin_users = {admin}
stats_users = {OPERATOR_ROLE}

client_tls_sslmode = require
client_tls_cert_file = {TLS_DIR}/tls.crt
client_tls_key_file = {TLS_DIR}/tls.key
client_tls_ca_file = {TLS_DIR}/ca.crt
client_tls_protocols = secure
server_tls_sslmode = verify-full
server_tls_ca_file = {TLS_DIR}/ca.crt
server_tls_protocols = secure

max_client_conn = {clients}
default_pool_size = {pool}
min_pool_size = 0
server_lifetime = {SERVER_LIFETIME_SECONDS}
server_idle_timeout = 60
server_connect_timeout = 3
server_login_retry = 1
server_fast_close = 1
query_wait_timeout = {QUERY_WAIT_SECONDS}
client_login_timeout = 10
dns_max_ttl = 5
dns_nxdomain_ttl = 1
tcp_keepalive = 1
tcp_keepidle = 5
tcp_keepintvl = 5
tcp_keepcnt = 2
tcp_user_timeout = 15000

log_connections = 0
log_disconnections = 0
",
        userlist = auth_keys::USERLIST,
        admin = auth_keys::POOLER_ADMIN_USER,
        read_write = sizes.read_write_connections,
        read_only = sizes.read_only_connections,
        clients = sizes.max_client_conn,
        pool = sizes.default_pool_size,
    )
}

pub(super) fn deployment(formation: Formation<'_>) -> Deployment {
    let sizes = &formation.spec.pooler;
    let selector = formation.selector(Component::Pooler);
    let mut labels = formation.names.labels(formation.id, Component::Pooler);
    labels.extend(selector.clone());
    let annotations = [(CONFIG_HASH_ANNOTATION.to_owned(), short_hash(&ini(formation)))].into();
    let mut pod = PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(pod_security(POOLER_ID)),
        image_pull_secrets: formation.pull_secrets(),
        termination_grace_period_seconds: Some(TERMINATION_GRACE_SECONDS),
        containers: vec![container(formation)],
        volumes: Some(vec![
            Volume {
                name: "config".into(),
                config_map: Some(ConfigMapVolumeSource {
                    name: formation.names.pooler(),
                    ..ConfigMapVolumeSource::default()
                }),
                ..Volume::default()
            },
            secret("tls", formation.names.tls_secret(), None),
            secret("auth", formation.names.auth_secret(), Some(auth_keys::USERLIST)),
            scratch("tmp", None),
        ]),
        ..PodSpec::default()
    };
    schedule(&mut pod, sizes.scheduling.as_ref(), selector.clone());
    Deployment {
        metadata: formation.meta(formation.names.pooler(), Component::Pooler),
        spec: Some(DeploymentSpec {
            replicas: Some(sizes.instances),
            selector: LabelSelector { match_labels: Some(selector), match_expressions: None },
            // The new process first: a pooler holds no state, and clients find the other one.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn container(formation: Formation<'_>) -> Container {
    Container {
        name: POOLER_CONTAINER.into(),
        image: Some(formation.images.pooler.clone()),
        args: Some(vec![format!("{CONFIG_DIR}/{FILE}")]),
        ports: Some(vec![port("postgres", POSTGRES_PORT)]),
        resources: formation.spec.pooler.resources.clone().or_else(|| Some(ResourceRequirements::default())),
        security_context: Some(container_security()),
        // A listening socket is all that is asked: whether the database answers is the
        // canary's question, and a pooler that waits for a failover must not be restarted.
        readiness_probe: Some(probe(2)),
        liveness_probe: Some(probe(10)),
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(vec![
            mount("config", CONFIG_DIR, true),
            mount("tls", TLS_DIR, true),
            mount("auth", AUTH_DIR, true),
            mount("tmp", "/tmp", false),
        ]),
        ..Container::default()
    }
}

fn probe(period_seconds: i32) -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction { port: IntOrString::String("postgres".into()), host: None }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(3),
        ..Probe::default()
    }
}
