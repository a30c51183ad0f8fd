//! Reasons of conditions and Events: stable words that alerts and people match on.
//! Each says which condition it is for; a reason never says more than its message.

/// Ready, Progressing, Degraded: all is as asked for.
pub const AVAILABLE: &str = "Available";
/// Ready: a group has no primary; the message names the groups.
pub const GROUP_WITHOUT_PRIMARY: &str = "GroupWithoutPrimary";
/// Ready: `durability` asks for synchronous replicas that are not there.
pub const DURABILITY_NOT_MET: &str = "DurabilityNotMet";
/// Ready, SchemaCurrent: the database is at another schema version than `schemaVersion`.
pub const SCHEMA_NOT_CURRENT: &str = "SchemaNotCurrent";
/// Ready: no canary write through the Service committed in the last 10 s.
pub const CANARY_STALE: &str = "CanaryStale";
/// Ready: the pooler has no ready pod.
pub const POOLER_UNAVAILABLE: &str = "PoolerUnavailable";
/// Ready, Progressing: `paused` is true, nothing is changed.
pub const PAUSED: &str = "Paused";
/// Ready, Degraded: the spec breaks a rule; the message is the rule's sentence.
pub const INVALID_SPEC: &str = "InvalidSpec";
/// Ready, Degraded: an object of a name we need belongs to somebody else; nothing of it was touched.
pub const FOREIGN_OBJECT: &str = "ForeignObject";
/// Ready, Progressing: the CourseShard is being deleted.
pub const TERMINATING: &str = "Terminating";
/// Ready, Progressing: pods are not ready yet; the message says which, since when and why.
pub const WAITING_FOR_PODS: &str = "WaitingForPods";
/// Progressing: owned objects are being created or changed.
pub const APPLYING: &str = "Applying";
/// Progressing, SchemaCurrent: the migrator is running.
pub const MIGRATING: &str = "Migrating";
/// Degraded, SchemaCurrent: the migrator failed; the message holds its last error.
pub const MIGRATION_FAILED: &str = "MigrationFailed";
/// SchemaCurrent: the database is at `schemaVersion`, and clean.
pub const SCHEMA_CURRENT: &str = "SchemaCurrent";
/// SchemaCurrent: the version could not be read.
pub const SCHEMA_UNKNOWN: &str = "SchemaUnknown";
/// SchemaCurrent: `schemaVersion` is newer than this operator knows.
pub const SCHEMA_VERSION_UNKNOWN: &str = "SchemaVersionUnknown";
/// Degraded: a setting waits for a restart of PostgreSQL.
pub const RESTART_PENDING: &str = "RestartPending";
/// Degraded: serving, but with fewer replicas than asked for.
pub const REPLICA_MISSING: &str = "ReplicaMissing";
/// Degraded: a replica is far behind its primary.
pub const REPLICA_LAGGING: &str = "ReplicaLagging";
/// Progressing: newer templates or images wait to be taken over.
pub const RENDER_OUTDATED: &str = "RenderOutdated";
/// Degraded: the Kubernetes API refused or failed a call; retried with backoff.
pub const KUBERNETES_ERROR: &str = "KubernetesError";
/// Degraded: the database refused or failed a query; retried with backoff.
pub const DATABASE_ERROR: &str = "DatabaseError";
/// Ready, Degraded: passwords or the certificate authority of a formation with data are gone.
pub const SECRETS_LOST: &str = "SecretsLost";
/// Event: deletion is done; the message names what Retain kept.
pub const CLEANED_UP: &str = "CleanedUp";
/// Event: a formation retained under this name was found and adopted.
pub const ADOPTED: &str = "Adopted";
/// Event: a group got a new primary.
pub const PRIMARY_CHANGED: &str = "PrimaryChanged";
/// Event: an action's deadline passed before it was seen done.
pub const INTENT_EXPIRED: &str = "IntentExpired";
