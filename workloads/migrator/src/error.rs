//! Why the migrator stopped.

use std::{io, path::PathBuf};

use lyceum_kit::pg::{Failure, classify, failure, wire::WireError, words};
use lyceum_schema::migration::MigrationError;
use serde::Serialize;
use sqlx::postgres::PgDatabaseError;

/// Why the migrator stopped. Every text says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    #[error("a migration file is broken: {0}")]
    Files(#[from] MigrationError),
    #[error("could not read the password in {path}: {source}; mount the Secret there")]
    Password { path: PathBuf, source: io::Error },
    #[error(
        "no primary at {address} within {waited} s: {problem}; check that the coordinator's group has a leader"
    )]
    NoPrimary { address: String, waited: u64, problem: String },
    #[error(
        "{address} is a pooler ({kind}); give the address of the coordinator's primary: migrations need a session of their own"
    )]
    Pooler { address: String, kind: String },
    #[error(
        "version {asked} is unknown to this migrator, which knows versions up to {latest}; use a newer migrator image"
    )]
    UnknownTarget { asked: i32, latest: i32 },
    #[error(
        "the schema is at version {found} and this migrator knows versions up to {latest}; use the newer migrator image"
    )]
    NewerSchema { found: i32, latest: i32 },
    #[error(
        "the schema is at version {found}, past the version {asked} asked for; versions never go back: ask for {found} or more"
    )]
    Behind { found: i32, asked: i32 },
    #[error(
        "{name} was changed after it was applied as version {version}; put the old text back and write a new version"
    )]
    Changed { version: i32, name: String },
    #[error(
        "Citus was asked for and the server does not offer it; use a PostgreSQL image with the citus extension"
    )]
    NoCitus,
    #[error("Citus was asked for and is not in shared_preload_libraries; add it there, first in the list")]
    NotPreloaded,
    #[error("the database has the citus extension; run with --citus, or new tables would not be distributed")]
    CitusNotAsked,
    #[error(
        "{table} exists without being distributed; a plain formation can't be turned into one with workers yet"
    )]
    NotDistributed { table: String },
    #[error(
        "{found} of {asked} worker groups are registered with the coordinator after {waited} s; check that every group has a leader"
    )]
    Workers { found: i64, asked: u32, waited: u64 },
    #[error(
        "a worker refused the grants on the database; look at the workers' PostgreSQL logs, the next attempt tries again"
    )]
    WorkerGrants,
    #[error(
        "another session has held the migrators' lock for over {waited} s: {holder}; wait for it, or end it if nothing runs there"
    )]
    LockHeld { waited: u64, holder: String },
    #[error(
        "the version row changed under this migrator, which holds the lock; somebody edits it by hand: leave that and run again"
    )]
    LostRace,
    #[error("version {version}, statement {} (line {line}: `{head}`): {}", .step + 1, said(.source))]
    Statement { version: i32, step: usize, line: usize, head: String, source: sqlx::Error },
    #[error("version {version}: {source}")]
    Version { version: i32, source: Box<MigrateError> },
    #[error(
        "{index} is missing or invalid on {node} right after it was built; look for duplicate keys or a full disk there"
    )]
    StillInvalid { index: String, node: String },
    #[error("node {node} failed to {doing}: {problem}")]
    Node { node: String, doing: &'static str, problem: String },
    #[error("could not {doing}: {}", said(.source))]
    Sql { doing: &'static str, source: sqlx::Error },
    #[error("could not log in: {0}")]
    Wire(#[from] WireError),
    #[error(
        "the pooler's name {host} can't be resolved: {source}; the schema is in place, RECONNECT is still due: run again"
    )]
    PoolerName { host: String, source: io::Error },
    #[error(
        "the pooler at {address} did not take RECONNECT: {problem}; the schema is in place, but the pooler may still use statements prepared before: run again"
    )]
    Reconnect { address: String, problem: String },
}

impl MigrateError {
    /// Trying again may help: a lock was not to be had, the connection broke, the primary moved,
    /// somebody else made the same thing at the same moment.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Statement { source, .. } | Self::Sql { source, .. } => {
                let made_at_once = failure::state(source)
                    // duplicate_database, duplicate_object; unique_violation is what the catalogs say.
                    .is_some_and(|state| {
                        matches!(state.as_str(), "42P04" | "42710") || state == "23505" && self.is_setup()
                    });
                made_at_once || classify(source) != Failure::Permanent
            }
            Self::Wire(WireError::Io { .. } | WireError::Timeout { .. }) => true,
            Self::Wire(WireError::Server { state, .. }) => failure::by_state(state) != Failure::Permanent,
            Self::Version { source, .. } => source.is_transient(),
            Self::Node { .. } | Self::StillInvalid { .. } | Self::WorkerGrants => true,
            _ => false,
        }
    }

    /// Adds the version that was being applied, if it is not said yet.
    pub(crate) fn in_version(self, version: i32) -> Self {
        match self {
            Self::Statement { .. } | Self::Version { .. } => self,
            error => Self::Version { version, source: Box::new(error) },
        }
    }

    fn is_setup(&self) -> bool {
        matches!(self, Self::Sql { .. })
    }

    /// What a report holds of it.
    pub(crate) fn stopped(&self) -> Stopped {
        if let Self::Version { version, source } = self {
            return Stopped { version: Some(*version), sentence: self.to_string(), ..source.stopped() };
        }
        let (version, step, statement) = match self {
            Self::Statement { version, step, head, .. } => (Some(*version), Some(*step), Some(head.clone())),
            Self::Changed { version, .. } => (Some(*version), None, None),
            _ => (None, None, None),
        };
        let sqlstate = match self {
            Self::Statement { source, .. } | Self::Sql { source, .. } => failure::state(source),
            Self::Wire(WireError::Server { state, .. }) => Some(state.clone()),
            _ => None,
        };
        Stopped { version, step, statement, sqlstate, sentence: self.to_string() }
    }
}

/// What the server said, its detail included: which key is there twice, what depends on what.
fn said(error: &sqlx::Error) -> String {
    let detail = error
        .as_database_error()
        .and_then(|e| e.try_downcast_ref::<PgDatabaseError>())
        .and_then(|e| e.detail());
    match detail {
        Some(detail) => format!("{}: {detail}", words(error)),
        None => words(error),
    }
}

/// A failure as one line of JSON: what a pod's termination message holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Stopped {
    /// Version that was being applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<i32>,
    /// Statements of it that were done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<usize>,
    /// Beginning of the statement that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) statement: Option<String>,
    /// SQLSTATE, if the server gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sqlstate: Option<String>,
    /// What was wrong, where, and what to do.
    pub(crate) sentence: String,
}

/// Adds what was being done to an SQL failure.
pub(crate) trait Doing<T> {
    /// `doing` completes "could not …".
    fn doing(self, doing: &'static str) -> Result<T, MigrateError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, MigrateError> {
        self.map_err(|source| MigrateError::Sql { doing, source })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_report_names_version_step_and_statement() {
        let error = MigrateError::Statement {
            version: 7,
            step: 1,
            line: 9,
            head: "CREATE INDEX a".into(),
            source: sqlx::Error::PoolTimedOut,
        };
        assert_eq!(
            serde_json::to_string(&error.stopped()).unwrap(),
            "{\"version\":7,\"step\":1,\"statement\":\"CREATE INDEX a\",\"sentence\":\"version 7, statement 2 (line 9: \
             `CREATE INDEX a`): pool timed out while waiting for an open connection\"}"
        );
    }

    #[test]
    fn a_broken_connection_is_worth_another_try_and_a_wrong_request_is_not() {
        let broken = sqlx::Error::Io(io::ErrorKind::ConnectionReset.into());
        assert!(MigrateError::Sql { doing: "look", source: broken }.is_transient());
        assert!(!MigrateError::Sql { doing: "look", source: sqlx::Error::RowNotFound }.is_transient());
        assert!(!MigrateError::NoCitus.is_transient());
        assert!(!MigrateError::LostRace.is_transient());
    }
}
