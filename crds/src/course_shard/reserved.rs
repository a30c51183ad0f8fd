//! PostgreSQL settings that the operator or Patroni owns. A person's value would
//! either be overwritten without a word or break what the CourseShard promises.

/// Names refused in `parameters.settings`, by why.
pub const RESERVED: &[&str] = &[
    // The connection budget.
    "max_connections",
    "reserved_connections",
    "superuser_reserved_connections",
    "max_prepared_transactions",
    "max_replication_slots",
    "max_wal_senders",
    // `durability`: what an acknowledged commit means.
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "synchronous_standby_names",
    // Replication and recovery, which Patroni steers.
    "hot_standby",
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
    "recovery_end_command",
    "wal_level",
    "wal_log_hints",
    // Where the server listens and keeps its files.
    "bonjour",
    "cluster_name",
    "config_file",
    "data_directory",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "listen_addresses",
    "port",
    // Who may connect, and how.
    "krb_server_keyfile",
    "password_encryption",
    // Code that is loaded.
    "dynamic_library_path",
    "extension_control_path",
    "jit_provider",
    "local_preload_libraries",
    "session_preload_libraries",
    "shared_preload_libraries",
    // The log goes to the container's standard error; the root file system is read-only.
    "log_destination",
    "log_directory",
    "log_filename",
    "logging_collector",
    // Would put people's data into the log, or time every node of every plan.
    "auto_explain.log_analyze",
    "auto_explain.log_parameter_max_length",
    // Citus: sized by the budget, or by `shardCount`, or part of how nodes find each other.
    "citus.cluster_name",
    "citus.local_hostname",
    "citus.local_shared_pool_size",
    "citus.max_adaptive_executor_pool_size",
    "citus.max_cached_conns_per_worker",
    "citus.max_client_connections",
    "citus.max_shared_pool_size",
    "citus.node_conninfo",
    "citus.shard_count",
    "citus.shard_replication_factor",
    "citus.use_secondary_nodes",
];

/// Families refused as a whole, so that a new PostgreSQL major adds no gap.
pub const RESERVED_PREFIXES: &[&str] = &["archive_", "recovery_target", "restore_", "ssl", "unix_socket_"];

/// Whether a setting is refused.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Characters a setting's name may hold. PostgreSQL reads names without regard to
/// case, so without this `Port` would pass for a name that is not `port`.
pub const NAME_CHARACTERS: &str = "abcdefghijklmnopqrstuvwxyz0123456789_.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_listed_twice_or_covered_by_a_family() {
        let mut sorted = RESERVED.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), RESERVED.len());
        for name in RESERVED {
            assert!(!RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)), "{name}");
            assert!(name.chars().all(|c| NAME_CHARACTERS.contains(c)), "{name}");
        }
    }

    #[test]
    fn ordinary_tuning_is_left_to_people() {
        for name in [
            "shared_buffers",
            "work_mem",
            "max_worker_processes",
            "recovery_prefetch",
            "citus.max_background_task_executors",
        ] {
            assert!(!is_reserved(name), "{name}");
        }
        for name in ["ssl_min_protocol_version", "archive_command", "port"] {
            assert!(is_reserved(name), "{name}");
        }
    }
}
