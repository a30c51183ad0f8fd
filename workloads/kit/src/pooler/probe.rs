//! The pooler probe: several clients with the project's own settings run statements side by side,
//! and every row must be the one its client asked for.
//!
//! sqlx sends Parse and Bind in two steps. A pooler in transaction mode may give the second step
//! another server connection, where an unnamed statement is another client's: the wrong row comes
//! back without an error (sqlx#67). Named statements that the pooler tracks are safe; this
//! proves it against the pooler that is there.

#![allow(
    clippy::disallowed_methods,
    reason = "made-up statements of no table, and the banned setting is the control"
)]

use std::sync::Arc;

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};
use tokio::{sync::Barrier, task::JoinSet, time::timeout};

use super::peer::{Peer, peer};
use crate::pg::{Settings, connect, wire::WireError, words};

/// Distinct statements of each client.
const STATEMENTS: usize = 8;
/// Executions at a service's start.
const AT_START: usize = 200;

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Clients side by side.
    pub clients: usize,
    /// Executions of all clients together, rounded up to a multiple of their number.
    pub executions: usize,
    /// With names, as the project does. Without is the control: it must show foreign rows, or
    /// the probe proves nothing.
    pub named: bool,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who answered.
    pub peer: Peer,
    /// Executions tried.
    pub executions: usize,
    /// Rows that were another client's or another statement's.
    pub foreign: usize,
    /// Executions that failed.
    pub errors: usize,
    /// The first failure.
    pub first_error: Option<String>,
}

/// Why a pooler must not be used.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It hands out other clients' rows.
    #[error(
        "{foreign} of {executions} rows through the pooler were another client's; do not use it: check pool_mode and max_prepared_statements"
    )]
    Foreign {
        /// Wrong rows.
        foreign: usize,
        /// Of all.
        executions: usize,
    },
    /// Statements fail that must not.
    #[error("{errors} of {executions} statements through the pooler failed, the first with: {first}")]
    Failing {
        /// Failures.
        errors: usize,
        /// Of all.
        executions: usize,
        /// The first one.
        first: String,
    },
    /// It keeps too few prepared statements.
    #[error(
        "the pooler keeps {found} prepared statements, a client of ours up to {needed}; set max_prepared_statements to {needed} or more"
    )]
    TooFewStatements {
        /// What it says.
        found: u32,
        /// What a client keeps.
        needed: usize,
    },
    /// It has no transactions.
    #[error("the pooler's pool_mode is `{0}`; transactions need `transaction` or `session`")]
    Mode(String),
    /// It does not say what it is.
    #[error("a pooler that does not report its pool_mode is in the way; use PgBouncer 1.26 or newer")]
    UnknownPooler,
    /// It could not be reached.
    #[error("the pooler probe could not log in: {0}")]
    Wire(#[from] WireError),
    /// A client could not connect.
    #[error("a client of the pooler probe could not connect: {}", words(.0))]
    Connect(sqlx::Error),
}

/// The check at a service's start: short, and an error when the pooler must not be used.
pub async fn at_start(settings: &Settings) -> Result<Report, ProbeError> {
    let report = run(settings, Plan { clients: 2, executions: AT_START, named: true }).await?;
    judge(&report)?;
    Ok(report)
}

/// Whether what was seen allows the pooler's use.
pub fn judge(report: &Report) -> Result<(), ProbeError> {
    match &report.peer {
        Peer::Server => {}
        Peer::Unknown => return Err(ProbeError::UnknownPooler),
        Peer::PgBouncer { pool_mode, max_prepared_statements } => match pool_mode.as_str() {
            "session" => {}
            "transaction"
                if usize::try_from(*max_prepared_statements).is_ok_and(|n| n >= connect::STATEMENT_CACHE) => {
            }
            "transaction" => {
                return Err(ProbeError::TooFewStatements {
                    found: *max_prepared_statements,
                    needed: connect::STATEMENT_CACHE,
                });
            }
            other => return Err(ProbeError::Mode(other.to_owned())),
        },
    }
    if report.foreign > 0 {
        return Err(ProbeError::Foreign { foreign: report.foreign, executions: report.executions });
    }
    match &report.first_error {
        Some(first) => Err(ProbeError::Failing {
            errors: report.errors,
            executions: report.executions,
            first: first.clone(),
        }),
        None => Ok(()),
    }
}

/// Runs the plan and counts. Only a login that fails is an error.
pub async fn run(settings: &Settings, plan: Plan) -> Result<Report, ProbeError> {
    let mut report =
        Report { peer: peer(settings).await?, executions: 0, foreign: 0, errors: 0, first_error: None };
    let clients = plan.clients.max(1);
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        let connection = timeout(connect::CONNECT_TIMEOUT, connect::pooled(settings).connect())
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(ProbeError::Connect)?;
        connections.push(connection);
    }
    // All start each of their executions at one moment: side by side, and not one after the other.
    let start = Arc::new(Barrier::new(clients));
    let rounds = plan.executions.div_ceil(clients);
    let mut tasks = JoinSet::new();
    for (client, connection) in connections.into_iter().enumerate() {
        tasks.spawn(run_client(connection, client, rounds, plan.named, start.clone()));
    }
    for client in tasks.join_all().await {
        report.executions += client.executions;
        report.foreign += client.foreign;
        report.errors += client.errors;
        report.first_error = report.first_error.or(client.first_error);
    }
    Ok(report)
}

#[derive(Default)]
struct Seen {
    executions: usize,
    foreign: usize,
    errors: usize,
    first_error: Option<String>,
}

async fn run_client(
    mut connection: PgConnection,
    client: usize,
    executions: usize,
    named: bool,
    start: Arc<Barrier>,
) -> Seen {
    let mut seen = Seen::default();
    for execution in 0..executions {
        seen.executions += 1;
        start.wait().await;
        match execute(&mut connection, client, execution, named).await {
            Ok(true) => {}
            Ok(false) => seen.foreign += 1,
            Err(error) => {
                seen.errors += 1;
                seen.first_error.get_or_insert_with(|| words(&error));
            }
        }
    }
    // An unfinished goodbye is of no interest.
    let _ = connection.close().await;
    seen
}

/// Whether the row is the one that was asked for. Every client has texts of its own under the
/// same statement names, so a mixed-up statement shows in `owner` and a mixed-up value in `number`.
async fn execute(
    connection: &mut PgConnection,
    client: usize,
    execution: usize,
    named: bool,
) -> Result<bool, sqlx::Error> {
    let owner = format!("client {client} statement {}", execution % STATEMENTS);
    let number = i64::try_from(client * 1_000_000_000 + execution).unwrap_or(i64::MAX);
    let row = sqlx::query(AssertSqlSafe(format!("SELECT $1::bigint AS number, '{owner}'::text AS owner")))
        .bind(number)
        .persistent(named)
        .fetch_one(connection)
        .await?;
    Ok(row.try_get::<i64, _>("number")? == number && row.try_get::<String, _>("owner")? == owner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn report(pool_mode: &str, max_prepared_statements: u32) -> Report {
        Report {
            peer: Peer::PgBouncer { pool_mode: pool_mode.into(), max_prepared_statements },
            executions: 200,
            foreign: 0,
            errors: 0,
            first_error: None,
        }
    }

    #[test]
    fn a_pooler_that_tracks_enough_statements_is_accepted() {
        judge(&report("transaction", 200)).unwrap();
        judge(&report("session", 0)).unwrap();
        judge(&Report { peer: Peer::Server, ..report("", 0) }).unwrap();
    }

    #[test]
    fn one_foreign_row_is_enough_to_refuse() {
        let seen = Report { foreign: 1, ..report("transaction", 200) };
        assert!(matches!(judge(&seen), Err(ProbeError::Foreign { foreign: 1, .. })));
    }

    #[test]
    fn what_can_not_be_safe_is_refused_although_all_rows_were_right() {
        assert!(matches!(judge(&report("statement", 200)), Err(ProbeError::Mode(_))));
        assert!(matches!(judge(&report("transaction", 99)), Err(ProbeError::TooFewStatements { .. })));
        assert!(matches!(
            judge(&Report { peer: Peer::Unknown, ..report("", 0) }),
            Err(ProbeError::UnknownPooler)
        ));
    }

    #[test]
    fn failing_statements_are_refused_with_the_first_reason() {
        let seen =
            Report { errors: 3, first_error: Some("no such statement".into()), ..report("transaction", 200) };
        assert!(judge(&seen).unwrap_err().to_string().contains("no such statement"));
    }
}
