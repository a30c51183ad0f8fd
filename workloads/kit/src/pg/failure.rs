//! What a failed statement means for whoever sent it.

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection leads to a server that is gone, going or no primary any more: drop it, and
    /// repeat on a new one if repeating is harmless. Whether the statement took effect is unknown.
    Stale,
    /// Another transaction was in the way and this one is undone: repeat it.
    Contention,
    /// No connection was to be had in time: repeat later.
    Unavailable,
    /// Repeating changes nothing.
    Permanent,
}

/// Sorts a failure by its kind and SQLSTATE.
pub fn classify(error: &sqlx::Error) -> Failure {
    match error {
        sqlx::Error::Database(error) => error.code().map_or(Failure::Permanent, |code| by_state(&code)),
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => Failure::Stale,
        sqlx::Error::PoolTimedOut => Failure::Unavailable,
        _ => Failure::Permanent,
    }
}

/// Sorts an SQLSTATE (PostgreSQL, appendix A).
pub fn by_state(state: &str) -> Failure {
    match state {
        // read_only_sql_transaction: the primary was demoted under us.
        // admin_shutdown, crash_shutdown, cannot_connect_now, database_dropped, idle_session_timeout.
        "25006" | "57P01" | "57P02" | "57P03" | "57P04" | "57P05" => Failure::Stale,
        // serialization_failure, deadlock_detected, lock_not_available.
        "40001" | "40P01" | "55P03" => Failure::Contention,
        // too_many_connections.
        "53300" => Failure::Unavailable,
        // Connection exceptions: also Citus about a worker, and PgBouncer about its server.
        _ if state.starts_with("08") => Failure::Stale,
        _ => Failure::Permanent,
    }
}

/// SQLSTATE of a failure, if the server gave one.
pub fn state(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}

/// What the server said, with its SQLSTATE. sqlx's own text adds the line of PostgreSQL's source
/// code, which reads like one of the statement. A detail, which may hold values of rows, is left out.
pub fn words(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(database) => match database.code() {
            Some(code) => format!("{} (SQLSTATE {code})", database.message()),
            None => database.message().to_owned(),
        },
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_demoted_or_dying_server_makes_a_connection_stale() {
        for state in ["25006", "57P01", "57P02", "57P03", "08006", "08P01"] {
            assert_eq!(by_state(state), Failure::Stale, "{state}");
        }
    }

    #[test]
    fn only_what_is_undone_counts_as_contention() {
        for state in ["40001", "40P01", "55P03"] {
            assert_eq!(by_state(state), Failure::Contention, "{state}");
        }
        // A cancelled statement was cancelled by somebody: by its own time-out, mostly.
        for state in ["57014", "23505", "42P01", "25001"] {
            assert_eq!(by_state(state), Failure::Permanent, "{state}");
        }
    }
}
