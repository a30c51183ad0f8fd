//! Who answers at an address: a server, or a pooler in front of one.

use std::collections::BTreeMap;

use crate::pg::{
    Settings,
    wire::{Session, WireError},
};

/// Who answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The server itself.
    Server,
    /// PgBouncer 1.26 or newer, with what it said of itself at login.
    PgBouncer {
        /// `pool_mode`.
        pool_mode: String,
        /// `max_prepared_statements`; 0 where it keeps none.
        max_prepared_statements: u32,
    },
    /// Something that passes statements on and does not say how.
    Unknown,
}

/// Logs in and looks. A session is with the server itself when the process number given at
/// login is that of the process that runs its statements; a pooler gives a number of its own.
pub async fn peer(settings: &Settings) -> Result<Peer, WireError> {
    let mut session = Session::open(settings).await?;
    let rows = session.simple("SELECT pg_backend_pid()").await?;
    let process = rows.first().and_then(|row| row.first()).and_then(|value| value.as_deref()?.parse().ok());
    let peer = judge(session.parameters(), session.process_id(), process);
    session.close().await;
    Ok(peer)
}

fn judge(parameters: &BTreeMap<String, String>, at_login: i32, of_statement: Option<i32>) -> Peer {
    if let Some(pool_mode) = parameters.get("pgbouncer.pool_mode") {
        let kept = parameters.get("pgbouncer.max_prepared_statements").and_then(|value| value.parse().ok());
        return Peer::PgBouncer { pool_mode: pool_mode.clone(), max_prepared_statements: kept.unwrap_or(0) };
    }
    if of_statement == Some(at_login) { Peer::Server } else { Peer::Unknown }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn told(parameters: &[(&str, &str)]) -> BTreeMap<String, String> {
        parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_server_runs_statements_in_the_process_it_named() {
        assert_eq!(judge(&told(&[("server_version", "17.12")]), 4711, Some(4711)), Peer::Server);
    }

    #[test]
    fn a_pooler_that_says_nothing_is_still_no_server() {
        assert_eq!(judge(&told(&[]), 4711, Some(4712)), Peer::Unknown);
        assert_eq!(judge(&told(&[]), 4711, None), Peer::Unknown);
    }

    #[test]
    fn pgbouncer_says_its_mode_and_limit() {
        let parameters =
            told(&[("pgbouncer.pool_mode", "transaction"), ("pgbouncer.max_prepared_statements", "200")]);
        let peer = Peer::PgBouncer { pool_mode: "transaction".into(), max_prepared_statements: 200 };
        assert_eq!(judge(&parameters, 1, Some(1)), peer);
    }
}
