//! One migrator at a time.
//!
//! The lock belongs to the session that does the work, so it ends with it: a migrator that is
//! killed leaves none behind. It is tried and never waited for inside a statement: a waiting
//! statement holds a snapshot, which CREATE INDEX CONCURRENTLY of the lock's holder would wait
//! for in turn, for ever (element-hq/matrix-authentication-service#5297).

use std::time::{Duration, Instant};

use sqlx::PgConnection;
use tokio::time::sleep;
use tracing::info;

use crate::{
    db,
    error::{Doing, MigrateError},
};

/// "lyceum" in ASCII, then 1.
const KEY: i64 = 0x6c79_6365_756d_0001;
const TRY_EVERY: Duration = Duration::from_millis(500);
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Takes the lock of the connection's database.
pub(crate) async fn take(connection: &mut PgConnection, longest: Duration) -> Result<(), MigrateError> {
    let started = Instant::now();
    let mut said: Option<Instant> = None;
    loop {
        if db::yes(connection, &format!("SELECT pg_try_advisory_lock({KEY})"))
            .await
            .doing("ask for the lock")?
        {
            return Ok(());
        }
        let holder = holder(connection).await?;
        let waited = started.elapsed();
        if waited >= longest {
            return Err(MigrateError::LockHeld { waited: waited.as_secs(), holder });
        }
        if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            info!("waiting for the lock, held by {holder}");
            said = Some(Instant::now());
        }
        sleep(TRY_EVERY).await;
    }
}

/// Who holds it, in words.
async fn holder(connection: &mut PgConnection) -> Result<String, MigrateError> {
    let (high, low) = (KEY >> 32, KEY & 0xffff_ffff);
    let sql = format!(
        "SELECT format('%s (process %s, from %s, connected since %s s, %s: %s)', application_name, pid,
                coalesce(host(client_addr), 'a local socket'),
                extract(epoch FROM now() - backend_start)::bigint, state, left(regexp_replace(query, '\\s+', ' ', 'g'), 80))
         FROM pg_locks JOIN pg_stat_activity USING (pid)
         WHERE locktype = 'advisory' AND granted AND classid::bigint = {high} AND objid::bigint = {low}
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    );
    let rows = db::rows::<1>(connection, &sql).await.doing("ask who holds the lock")?;
    Ok(rows.into_iter().flatten().flatten().next().unwrap_or_else(|| "a session that has just ended".into()))
}
