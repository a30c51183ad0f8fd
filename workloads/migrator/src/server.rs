//! Reaching the primary itself: not a pooler, not a standby.

use std::time::{Duration, Instant};

use lyceum_kit::{
    pg::{Ca, Settings, connect_direct, wire::WireError, words},
    pooler::{Peer, peer},
    secret::Secret,
};
use sqlx::{Connection, PgConnection};
use tokio::time::sleep;
use tracing::info;

use crate::{
    args::Server,
    db,
    error::{Doing, MigrateError},
};

/// Always there; where the application's database is made from.
const MAINTENANCE: &str = "postgres";
const TRY_EVERY: Duration = Duration::from_secs(1);
const SAY_EVERY: Duration = Duration::from_secs(10);
/// invalid_password, invalid_authorization_specification: waiting would lock out nobody but us.
const WRONG_LOGIN: [&str; 2] = ["28P01", "28000"];

/// The server's address and the superuser's password.
pub(crate) struct Access {
    settings: Settings,
    /// The application's database.
    pub(crate) database: String,
    /// Names this process in `pg_stat_activity` and in the history.
    pub(crate) name: String,
}

impl Access {
    /// Reads the password.
    pub(crate) fn new(server: &Server) -> Result<Self, MigrateError> {
        let path = &server.password_file;
        let password = Secret::from_file(path)
            .map_err(|source| MigrateError::Password { path: path.clone(), source })?;
        // A pod's host name is its own name. PostgreSQL cuts names at 63 bytes.
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| format!("process {}", std::process::id()));
        let name: String = format!("lyceum-migrator/{host}").chars().take(63).collect();
        Ok(Self {
            settings: Settings {
                host: server.host.clone(),
                port: server.port,
                database: MAINTENANCE.into(),
                user: server.user.clone(),
                password,
                ca: Ca::File(server.ca_file.clone()),
                application_name: name.clone(),
            },
            database: server.database.clone(),
            name,
        })
    }

    fn address(&self) -> String {
        format!("{}:{}", self.settings.host, self.settings.port)
    }

    /// Waits until a primary answers, and returns a connection to its maintenance database.
    pub(crate) async fn primary(&self, longest: Duration) -> Result<PgConnection, MigrateError> {
        let started = Instant::now();
        let mut said: Option<Instant> = None;
        loop {
            let problem = match self.try_primary().await? {
                Ok(connection) => return Ok(connection),
                Err(problem) => problem,
            };
            let waited = started.elapsed();
            if waited >= longest {
                return Err(MigrateError::NoPrimary {
                    address: self.address(),
                    waited: waited.as_secs(),
                    problem,
                });
            }
            if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                info!("waiting for a primary at {}: {problem}", self.address());
                said = Some(Instant::now());
            }
            sleep(TRY_EVERY).await;
        }
    }

    /// One try. The inner error is one that time may cure.
    async fn try_primary(&self) -> Result<Result<PgConnection, String>, MigrateError> {
        match peer(&self.settings).await {
            Ok(peer) => self.refuse_pooler(peer)?,
            Err(WireError::Server { state, .. }) if state == "57P03" => {
                return Ok(Err("the server is starting or stopping".into()));
            }
            Err(error @ WireError::Server { .. }) if wrong_login(&error) => return Err(error.into()),
            Err(error) => {
                self.refuse_pooler_without_maintenance().await?;
                return Ok(Err(error.to_string()));
            }
        }
        let mut connection = match connect_direct(&self.settings).await {
            Ok(connection) => connection,
            Err(error) => return Ok(Err(words(&error))),
        };
        match db::yes(&mut connection, "SELECT pg_is_in_recovery()").await {
            Ok(false) => Ok(Ok(connection)),
            Ok(true) => Ok(Err("the server is a standby".into())),
            Err(error) => Ok(Err(words(&error))),
        }
    }

    fn refuse_pooler(&self, peer: Peer) -> Result<(), MigrateError> {
        let kind = match peer {
            Peer::Server => return Ok(()),
            Peer::PgBouncer { pool_mode, .. } => format!("PgBouncer, pool_mode {pool_mode}"),
            Peer::Unknown => "statements run in another process than the one that logged in".into(),
        };
        Err(MigrateError::Pooler { address: self.address(), kind })
    }

    /// A pooler usually offers the application's database and no other.
    async fn refuse_pooler_without_maintenance(&self) -> Result<(), MigrateError> {
        let settings = Settings { database: self.database.clone(), ..self.settings.clone() };
        match peer(&settings).await {
            Ok(peer) => self.refuse_pooler(peer),
            Err(_) => Ok(()),
        }
    }

    /// A connection to the application's database, on a primary, set up for migrations.
    pub(crate) async fn application(&self) -> Result<PgConnection, MigrateError> {
        let settings = Settings { database: self.database.clone(), ..self.settings.clone() };
        let mut connection =
            connect_direct(&settings).await.doing("connect to the application's database")?;
        // The name may lead elsewhere by now.
        if db::yes(&mut connection, "SELECT pg_is_in_recovery()").await.doing("ask for the server's role")? {
            let problem = "the server became a standby".into();
            return Err(MigrateError::NoPrimary { address: self.address(), waited: 0, problem });
        }
        // Names are written with their schema; nothing is made in `public` by accident. A session
        // whose client is gone without a word ends within a minute, and the lock with it.
        let set = "SET search_path = pg_catalog; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
                   SET client_min_messages = warning; \
                   SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3";
        db::run(&mut connection, set).await.doing("prepare the session")?;
        Ok(connection)
    }
}

fn wrong_login(error: &WireError) -> bool {
    matches!(error, WireError::Server { state, .. } if WRONG_LOGIN.contains(&state.as_str()))
}

/// Ends a connection in an orderly way, if the server still listens.
pub(crate) async fn close(connection: PgConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!("the connection was already broken: {error}");
    }
}
