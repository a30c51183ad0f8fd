//! Connections with the project's settings: behind the pooler, and past it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions, Connection, PgConnection,
    postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode},
};

use super::{
    lifetime::{LONGEST, Lifetimes},
    settings::{Ca, Settings},
};

/// Named statements a connection keeps. Behind a pooler they must be named and no more than the
/// pooler keeps: without a name (`persistent(false)`), or with 0, rows of other clients come back
/// (sqlx#67, sqlx#4328, and the pooler probe's control).
pub const STATEMENT_CACHE: usize = 100;
/// Longest wait for a free connection, a new one included. Longer than the pooler's own
/// `query_wait_timeout` of 5 s: equal ones end in a login storm (pgbouncer#1284).
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a connection outside a pool.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An idle connection is closed after this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// A connection idle for longer than this is asked for a sign of life before use.
const STALE_AFTER: Duration = Duration::from_secs(15);
/// Longest wait for that sign: a peer that vanished without a word never gives one.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// Statements slower than this are logged.
const SLOW: Duration = Duration::from_secs(1);

/// Size of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSize {
    /// Connections kept open.
    pub min: u32,
    /// Connections opened at most.
    pub max: u32,
}

/// Options for connections through the pooler.
#[allow(clippy::disallowed_methods, reason = "this is the one place that sets it")]
pub fn pooled(settings: &Settings) -> PgConnectOptions {
    options(settings)
        .statement_cache_capacity(STATEMENT_CACHE)
        .log_slow_statements(tracing::log::LevelFilter::Warn, SLOW)
}

/// Options for connections to the server itself: migrations and administration.
pub fn direct(settings: &Settings) -> PgConnectOptions {
    // What goes past the pooler (index builds, copies of tables) is slow as a rule.
    options(settings).disable_statement_logging()
}

fn options(settings: &Settings) -> PgConnectOptions {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&settings.host)
        .port(settings.port)
        .database(&settings.database)
        .username(&settings.user)
        .password(settings.password.expose())
        .application_name(&settings.application_name)
        // A startup parameter that a pooler does not know is a refused login.
        .extra_float_digits(None)
        .ssl_mode(PgSslMode::VerifyFull);
    match &settings.ca {
        Ca::File(path) => options.ssl_root_cert(path),
        Ca::Pem(text) => options.ssl_root_cert_from_pem(text.clone().into_bytes()),
    }
}

/// A pool through the pooler. It connects when it is first used.
pub fn pool(settings: &Settings, size: PoolSize) -> PgPool {
    let lifetimes = Arc::new(Lifetimes::new());
    PgPoolOptions::new()
        .min_connections(size.min)
        .max_connections(size.max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        .max_lifetime(LONGEST)
        // A round trip before every use would double the cost of a small query.
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move { Ok(about.idle_for < STALE_AFTER || is_alive(connection).await) })
        })
        .after_release(move |_, about| {
            let keep = !lifetimes.is_over(Instant::now(), about.age);
            Box::pin(async move { Ok(keep) })
        })
        .connect_lazy_with(pooled(settings))
}

async fn is_alive(connection: &mut PgConnection) -> bool {
    matches!(tokio::time::timeout(SIGN_OF_LIFE, connection.ping()).await, Ok(Ok(())))
}

/// One connection to the server itself.
pub async fn connect_direct(settings: &Settings) -> Result<PgConnection, sqlx::Error> {
    match tokio::time::timeout(CONNECT_TIMEOUT, direct(settings).connect()).await {
        Ok(connection) => connection,
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}
