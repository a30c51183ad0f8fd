//! SQL as a client of the platform speaks it: through the pooler, by TLS that is verified in full,
//! as one of the service roles.
// A scenario asks about rows, indexes and plans as an outsider; the routed statements of the
// services are the services' own to test.
#![allow(clippy::disallowed_methods)]

use anyhow::{Context, Result};
use kube::ResourceExt;
use lyceum_crds::course_shard::names::{DATABASE, POSTGRES_PORT};
use lyceum_kit::pg::{Ca, Settings, pooled};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::formation::Formation;
use crate::forward::Forward;

/// A connection through a pooler pod.
pub struct Session {
    connection: PgConnection,
    // Carries the connection for as long as it lives.
    _forward: Forward,
}

impl Session {
    /// Connects to a pooler of the formation as a service role.
    pub async fn open(formation: &Formation, role: &str) -> Result<Self> {
        let (settings, forward) = way_in(formation, role).await?;
        let connection = pooled(&settings).connect().await.with_context(|| {
            format!("{role} could not connect through the pooler of {}", formation.name())
        })?;
        Ok(Self { connection, _forward: forward })
    }

    /// One number.
    pub async fn number(&mut self, sql: &str) -> Result<i64> {
        sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut self.connection)
            .await
            .with_context(|| format!("{sql:?} failed"))
    }

    /// The lines of a plan, or of any other column of text.
    pub async fn lines(&mut self, sql: &str) -> Result<Vec<String>> {
        sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(&mut self.connection)
            .await
            .with_context(|| format!("{sql:?} failed"))
    }

    /// Runs a statement with one number as `$1`.
    pub async fn write(&mut self, sql: &'static str, number: i64) -> Result<()> {
        sqlx::query(sql).bind(number).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Says goodbye.
    pub async fn close(self) -> Result<()> {
        Ok(self.connection.close().await?)
    }
}

/// How to connect to a pooler of the formation as a service role, and the forward that leads there.
///
/// The certificate bears `localhost` besides the Services' names, for exactly this: a forwarded
/// port is verified like any other.
pub async fn way_in(formation: &Formation, role: &str) -> Result<(Settings, Forward)> {
    let pooler = formation.pooler_pod().await?.name_any();
    let forward = Forward::to_pod(formation.pods(), &pooler, POSTGRES_PORT).await?;
    let secret = formation.names.role_secret(role);
    let settings = Settings {
        host: "localhost".into(),
        port: forward.port,
        database: DATABASE.into(),
        user: formation.secret(&secret, "username").await?,
        password: formation.secret(&secret, "password").await?.into(),
        ca: Ca::Pem(formation.secret(&formation.names.ca_cert_secret(), "ca.crt").await?),
        application_name: "scenarios".into(),
    };
    Ok((settings, forward))
}
