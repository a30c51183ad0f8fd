//! What Patroni is told: the local file each pod starts from, and the dynamic
//! configuration of a group, which is kept current while it runs.

use k8s_openapi::api::core::v1::ConfigMap;
use lyceum_crds::{
    budget::{MOVES, WAL_SENDERS},
    course_shard::{
        Durability,
        names::{
            APP_NAME, Component, DATABASE, LABEL_COMPONENT, LABEL_FORMATION, LABEL_INSTANCE,
            LABEL_MANAGED_BY, LABEL_NAME, LABEL_ROLE, MANAGED_BY, PATRONI_PORT, POSTGRES_PORT,
            REPLICATION_USER, REWIND_USER, ROLE_PRIMARY, ROLE_REPLICA, ROLE_STANDBY_LEADER, SOCKET_DIR,
            SUPERUSER,
        },
    },
};
use serde_json::{Map, Value, json};

use super::{Formation, Store, memory};

/// File name in the ConfigMap.
const FILE: &str = "patroni.yml";
/// PostgreSQL's data directory; its parent is the mounted volume.
const DATA_DIR: &str = "/var/lib/postgresql/data";
/// PostgreSQL major that brought the builtin locale provider.
const BUILTIN_LOCALE_SINCE: i32 = 17;
/// Write-ahead log, where it has a volume of its own.
const WAL_DIR: &str = "/var/lib/postgresql-wal/pg_wal";

/// Seconds after which a leader that no longer renews is replaced: Patroni's lower bound.
const TTL: u32 = 20;
/// Seconds between two looks of a member at the state of the group. The leader's object is
/// written once each, so this is also the formation's steady load on the Kubernetes API.
const LOOP_WAIT: u32 = 5;
/// Seconds that calls to the Kubernetes API and to PostgreSQL are tried again for.
/// `loop_wait + 2 × retry_timeout ≤ ttl`, or a leader could be replaced while it still tries.
const RETRY_TIMEOUT: u32 = 7;
/// WAL bytes a replica may miss and still be promoted, where commits don't wait for replicas.
const MAXIMUM_LAG_ON_FAILOVER: u32 = 1024 * 1024;

/// ConfigMap with a group's `patroni.yml`.
pub(super) fn config_map(formation: Formation<'_>, group: i32) -> ConfigMap {
    // JSON is YAML: what is written is what was built, with no second serializer in between.
    let text = serde_json::to_string_pretty(&local_config(formation, group)).unwrap_or_default();
    ConfigMap {
        metadata: formation.meta(formation.names.patroni_config(group), Component::Database),
        data: Some([(FILE.to_owned(), text)].into()),
        ..ConfigMap::default()
    }
}

/// `patroni.yml`. Certificates are the pod's own copies beside the socket, taken together
/// when it starts. Passwords, the member's name and its addresses come by environment variables.
pub(super) fn local_config(formation: Formation<'_>, group: i32) -> Value {
    let spec = formation.group(group);
    // The builtin provider sorts and compares the same on every release of the system's C
    // library, so an image can change under an index; `locale` is for messages and dates.
    let mut initdb = vec![json!({"encoding": "UTF8"}), json!({"locale": "C.UTF-8"}), json!("data-checksums")];
    if formation.spec.postgres.major >= BUILTIN_LOCALE_SINCE {
        initdb.extend([json!({"locale-provider": "builtin"}), json!({"builtin-locale": "C.UTF-8"})]);
    }
    // A spread checkpoint would keep a new replica waiting for minutes.
    let mut basebackup = vec![json!({"checkpoint": "fast"})];
    if spec.wal_storage.is_some() {
        initdb.push(json!({"waldir": WAL_DIR}));
        basebackup.push(json!({"waldir": WAL_DIR}));
    }
    let tls = |user: &str| json!({"username": user, "sslmode": "verify-full", "sslrootcert": format!("{SOCKET_DIR}/ca.crt")});
    let mut config = json!({
        "scope": formation.id,
        "kubernetes": {
            "namespace": formation.names.namespace(),
            "use_endpoints": formation.platform.store == Store::Endpoints,
            // Ask each API server by its own address: one that hangs is then left for the next.
            "bypass_api_service": true,
            "scope_label": LABEL_FORMATION,
            "role_label": LABEL_ROLE,
            "leader_label_value": ROLE_PRIMARY,
            "follower_label_value": ROLE_REPLICA,
            "standby_leader_label_value": ROLE_STANDBY_LEADER,
            // The pooler's and the migrator's pods bear the scope label too and are no members.
            "labels": {
                (LABEL_MANAGED_BY): MANAGED_BY,
                (LABEL_NAME): APP_NAME,
                (LABEL_INSTANCE): formation.names.name(),
                (LABEL_COMPONENT): Component::Database.as_str(),
            },
        },
        "restapi": {
            "listen": format!("0.0.0.0:{PATRONI_PORT}"),
            "certfile": format!("{SOCKET_DIR}/tls.crt"),
            "keyfile": format!("{SOCKET_DIR}/tls.key"),
        },
        "ctl": {"cacert": format!("{SOCKET_DIR}/ca.crt")},
        "bootstrap": {"dcs": dynamic_config(formation, group), "initdb": initdb},
        "postgresql": {
            "listen": format!("0.0.0.0:{POSTGRES_PORT}"),
            "data_dir": DATA_DIR,
            "bin_dir": format!("/usr/lib/postgresql/{}/bin", formation.spec.postgres.major),
            "pgpass": format!("{SOCKET_DIR}/patroni.pgpass"),
            "use_unix_socket": true,
            "use_unix_socket_repl": true,
            "authentication": {
                "superuser": tls(SUPERUSER),
                "replication": tls(REPLICATION_USER),
                "rewind": tls(REWIND_USER),
            },
            "basebackup": basebackup,
            "parameters": {"unix_socket_directories": SOCKET_DIR},
        },
        "log": {"level": "INFO", "deduplicate_heartbeat_logs": true},
    });
    if let Some(root) = config.as_object_mut() {
        if formation.citus() {
            root.insert("citus".into(), json!({"group": group, "database": DATABASE}));
        } else if let Some(bootstrap) = root.get_mut("bootstrap").and_then(Value::as_object_mut) {
            // With Citus Patroni makes the database; without, this does. Patroni appends a
            // connection string to the command.
            let command = format!(
                "psql --no-psqlrc --set=ON_ERROR_STOP=1 --command='CREATE DATABASE {DATABASE}' --dbname"
            );
            bootstrap.insert("post_init".into(), command.into());
        }
    }
    config
}

/// The group's dynamic configuration: used at its first start, and afterwards kept equal
/// to this in Patroni's own `-config` object, so that a change needs no restart of a pod.
pub fn dynamic_config(formation: Formation<'_>, group: i32) -> Value {
    let (synchronous, strict) = match formation.spec.durability {
        Durability::Required => (true, true),
        Durability::Preferred => (true, false),
        Durability::Async => (false, false),
    };
    json!({
        "ttl": TTL,
        "loop_wait": LOOP_WAIT,
        "retry_timeout": RETRY_TIMEOUT,
        "maximum_lag_on_failover": MAXIMUM_LAG_ON_FAILOVER,
        "synchronous_mode": synchronous,
        "synchronous_mode_strict": strict,
        // With the Kubernetes API away a primary goes on as long as it reaches all members.
        "failsafe_mode": true,
        "postgresql": {
            "use_pg_rewind": true,
            "use_slots": true,
            "remove_data_directory_on_rewind_failure": true,
            "remove_data_directory_on_diverged_timelines": true,
            "parameters": parameters(formation, group),
            "pg_hba": PG_HBA,
            "pg_ident": PG_IDENT,
        },
    })
}

/// Over the network only encrypted and by password; over the socket, which is the pod's own,
/// by being the pod's user.
const PG_HBA: [&str; 5] = [
    "local all all peer map=pod",
    "local replication all peer map=pod",
    "hostssl replication replicator all scram-sha-256",
    "hostssl all all all scram-sha-256",
    "hostnossl all all all reject",
];
/// The pod's user may be any role: Citus connects to its own node as the role of the session.
const PG_IDENT: [&str; 1] = ["pod postgres all"];

/// PostgreSQL's settings: ours, then the person's, then those that must not be changed.
fn parameters(formation: Formation<'_>, group: i32) -> Map<String, Value> {
    let spec = formation.group(group);
    let mut parameters = Map::new();
    let mut set = |name: &str, value: Value| {
        parameters.insert(name.to_owned(), value);
    };
    if let Some(memory) = spec.resources.and_then(memory::mebibytes) {
        // The usual quarter for the buffers; three quarters is what the planner may count on.
        set("shared_buffers", format!("{}MB", memory / 4).into());
        set("effective_cache_size", format!("{}MB", memory / 4 * 3).into());
    }
    if formation.citus() {
        // Room for Citus' daemon, its background tasks and the workers of its shard moves.
        set("max_worker_processes", 24.into());
        // A node that is gone is given up after this, and the statement fails, instead of 30 s.
        set("citus.node_connection_timeout", "5s".into());
        set("citus.enable_statistics_collection", "off".into());
    }
    set("wal_compression", "lz4".into());
    set("track_io_timing", "on".into());
    set("log_lock_waits", "on".into());
    set("log_checkpoints", "on".into());
    set("pg_stat_statements.max", 10_000.into());
    // Statements here are short and repeated: compiling one costs more than running it.
    set("jit", "off".into());
    // A peer that is gone without a word is noticed in 15 s instead of in two hours.
    set("tcp_keepalives_idle", 5.into());
    set("tcp_keepalives_interval", 5.into());
    set("tcp_keepalives_count", 2.into());
    set("tcp_user_timeout", "15s".into());
    for (name, value) in &spec.parameters.settings {
        set(name, value.as_str().into());
    }
    set("max_connections", spec.parameters.max_connections.into());
    set("max_wal_senders", WAL_SENDERS.into());
    set("password_encryption", "scram-sha-256".into());
    set("ssl", "on".into());
    set("ssl_ca_file", format!("{SOCKET_DIR}/ca.crt").into());
    set("ssl_cert_file", format!("{SOCKET_DIR}/tls.crt").into());
    set("ssl_key_file", format!("{SOCKET_DIR}/tls.key").into());
    set("ssl_min_protocol_version", "TLSv1.2".into());
    set("logging_collector", "off".into());
    if formation.citus() {
        parameters.extend(citus_parameters(formation, group));
    } else {
        parameters.insert("shared_preload_libraries".into(), "pg_stat_statements".into());
        parameters.insert("wal_level".into(), "replica".into());
    }
    parameters
}

/// What Citus needs on every node; sizes come out of the budget.
fn citus_parameters(formation: Formation<'_>, group: i32) -> Map<String, Value> {
    let max_connections = formation.group(group).parameters.max_connections;
    let mut parameters = Map::new();
    let mut set = |name: &str, value: Value| {
        parameters.insert(name.to_owned(), value);
    };
    set("shared_preload_libraries", "citus,pg_stat_statements".into());
    set("wal_level", "logical".into());
    // A transaction over two shards of a worker prepares two, and each backend runs one.
    set("max_prepared_transactions", max_connections.saturating_mul(2).into());
    set("max_replication_slots", (WAL_SENDERS + MOVES).into());
    set("citus.node_conninfo", format!("sslmode=verify-full sslrootcert={SOCKET_DIR}/ca.crt").into());
    set("citus.shard_count", formation.spec.shard_count.into());
    set("citus.shard_replication_factor", 1.into());
    if let Some(sizes) = &formation.budget.citus {
        set("citus.max_shared_pool_size", sizes.max_shared_pool_size.into());
        set("citus.max_adaptive_executor_pool_size", sizes.max_adaptive_executor_pool_size.into());
        set("citus.max_cached_conns_per_worker", sizes.max_cached_conns_per_worker.into());
    }
    parameters
}
