//! A write through the pooler every few seconds, one to each worker: the only proof that a
//! formation takes writes. Beside it the state of schema and shards is read.

// The operator's own statements on `platform.*` and on catalogues: none is a service's, and
// each names its one row.
#![allow(clippy::disallowed_methods)]

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use lyceum_crds::course_shard::{
    CourseShard,
    names::{DATABASE, Names, OPERATOR_ROLE, POSTGRES_PORT},
};
use lyceum_kit::pg::{self, Ca, PoolSize, Settings};
use sqlx::{PgPool, Row};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    error::Error,
    observed::{DatabaseSeen, SchemaSeen},
    plan::CANARY_FRESH_SECONDS,
    pooler::value,
};
use crate::runtime::{Categorised, Category, EffectError, Effects, Key, Trigger};

/// Time between two beats: three fit into the time after which the last is stale.
const BEAT: Duration = Duration::from_secs(3);
/// Time between two looks at schema and shards.
const LOOK: Duration = Duration::from_secs(15);
/// Time after which the keys that stand for the workers are looked up again: shards move.
const KEYS: Duration = Duration::from_secs(60);
/// Longest wait for one statement: a beat that takes longer has failed.
const STATEMENT: Duration = Duration::from_secs(5);
/// Keys tried to find one on each worker. With 96 shards over 48 workers the chance that
/// one of 2,000 misses a worker is 48 × (47/48)^2000 < 10⁻¹⁶.
const KEYS_TRIED: i64 = 2_000;

/// The canaries of one operator process, one a formation. They run in one background task
/// of the process: see [`Canaries::new`].
pub(super) struct Canaries {
    running: Mutex<HashMap<Key, Running>>,
    start: mpsc::UnboundedSender<(Canary, CancellationToken)>,
}

/// Ends its canary when dropped.
struct Running {
    formation: String,
    seen: Arc<Mutex<DatabaseSeen>>,
    _stop: DropGuard,
}

impl Canaries {
    /// Canaries, and the task that runs them, which ends only with the process.
    pub(super) fn new() -> (Self, impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let (start, mut started) = mpsc::unbounded_channel::<(Canary, CancellationToken)>();
        let task = async move {
            let mut canaries = JoinSet::new();
            loop {
                tokio::select! {
                    Some((canary, stop)) = started.recv() => {
                        canaries.spawn(async move { stop.run_until_cancelled_owned(canary.run()).await });
                    }
                    Some(Err(error)) = canaries.join_next() => {
                        // One formation's mistake must not stop the others: the next look at it
                        // finds its canary gone and starts another.
                        tracing::error!(%error, "canary ended");
                    }
                    else => return Ok(()),
                }
            }
        };
        (Self { running: Mutex::default(), start }, task)
    }

    /// What the canary of this object last saw.
    pub(super) fn look(&self, key: &Key) -> DatabaseSeen {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get(key).map(|running| snapshot(&running.seen)).unwrap_or_default()
    }

    /// Lets a canary run for a formation that has a schema, and ends it where there is none.
    pub(super) fn keep(&self, shard: &CourseShard, fx: &Effects, trigger: &Trigger) {
        let key = Key::of(shard);
        let status = shard.status.as_ref();
        let formation =
            status.filter(|status| status.schema.is_some()).and_then(|status| status.formation_id.clone());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(formation) = formation.filter(|_| shard.metadata.deletion_timestamp.is_none()) else {
            running.remove(&key);
            return;
        };
        // Its snapshot is held by a canary for as long as it lives.
        if running.get(&key).is_some_and(|r| r.formation == formation && Arc::strong_count(&r.seen) > 1) {
            return;
        }
        let seen = Arc::new(Mutex::new(DatabaseSeen::default()));
        let canary = Canary {
            key: key.clone(),
            names: Names::from(shard),
            citus: shard.spec.workers.count > 0,
            fx: fx.clone(),
            trigger: trigger.clone(),
            seen: Arc::clone(&seen),
        };
        let stop = CancellationToken::new();
        // Fails only when the process is ending.
        self.start.send((canary, stop.clone())).ok();
        running.insert(key, Running { formation, seen, _stop: stop.drop_guard() });
    }

    /// Ends the canary of an object that is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

fn snapshot(seen: &Mutex<DatabaseSeen>) -> DatabaseSeen {
    seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

struct Canary {
    key: Key,
    names: Names,
    citus: bool,
    fx: Effects,
    trigger: Trigger,
    seen: Arc<Mutex<DatabaseSeen>>,
}

/// A beat that failed.
#[derive(Debug, thiserror::Error)]
enum BeatError {
    #[error(transparent)]
    Operator(#[from] Error),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("no answer within {} s", STATEMENT.as_secs())]
    Slow,
}

impl From<EffectError> for BeatError {
    fn from(error: EffectError) -> Self {
        Self::Operator(error.into())
    }
}

impl Canary {
    async fn run(self) {
        let mut pool = None;
        let mut keys: Option<(Instant, Vec<i64>)> = None;
        let mut looked: Option<Instant> = None;
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let before = picture(&snapshot(&self.seen), Timestamp::now());
            let beat = self.beat(&mut pool, &mut keys, &mut looked).await;
            if let Err(BeatError::Operator(error)) = &beat
                && error.category() == Category::LostLeadership
            {
                continue;
            }
            if beat.is_err() {
                // A password may have been renewed, a shard may have moved: start from scratch.
                (pool, keys, looked) = (None, None, None);
            }
            self.note(beat);
            if picture(&snapshot(&self.seen), Timestamp::now()) != before {
                self.trigger.push(self.key.clone());
            }
        }
    }

    /// One round: the writes, and what is due to be read.
    async fn beat(
        &self,
        pool: &mut Option<PgPool>,
        keys: &mut Option<(Instant, Vec<i64>)>,
        looked: &mut Option<Instant>,
    ) -> Result<(), BeatError> {
        let pool = match pool {
            Some(pool) => pool,
            None => pool.insert(self.connect().await?),
        };
        if keys.as_ref().is_none_or(|(at, _)| at.elapsed() > KEYS) {
            *keys = Some((Instant::now(), self.keys(pool).await?));
        }
        for key in keys.iter().flat_map(|(_, keys)| keys) {
            let write =
                self.fx.external("upsert", "database", self.names.name(), within(write(pool, *key))).await?;
            write?;
        }
        self.update(|seen| seen.committed_at = Some(Timestamp::now()));
        if looked.is_none_or(|at| at.elapsed() > LOOK) {
            let schema = within(schema(pool)).await?;
            let shards = if self.citus { within(shards(pool)).await? } else { BTreeMap::new() };
            self.update(|seen| {
                seen.schema = Some(schema);
                seen.shards = shards;
            });
            *looked = Some(Instant::now());
        }
        Ok(())
    }

    async fn connect(&self) -> Result<PgPool, BeatError> {
        let password = value(&self.fx, &self.names, &self.names.role_secret("operator"), "password").await?;
        let ca = value(&self.fx, &self.names, &self.names.ca_cert_secret(), "ca.crt").await?;
        let settings = Settings {
            host: self.names.service_fqdn(&self.names.pooler()),
            port: POSTGRES_PORT,
            database: DATABASE.into(),
            user: OPERATOR_ROLE.into(),
            password: password.into(),
            ca: Ca::Pem(ca),
            application_name: "lyceum-canary".into(),
        };
        Ok(pg::pool(&settings, PoolSize { min: 0, max: 1 }))
    }

    /// One key on each worker; without Citus one key does for the one server.
    async fn keys(&self, pool: &PgPool) -> Result<Vec<i64>, BeatError> {
        if !self.citus {
            return Ok(vec![1]);
        }
        let rows = within(async {
            sqlx::query(
                "SELECT min(key) AS key
                 FROM (SELECT key, get_shard_id_for_distribution_column('platform.canary', key) AS shardid
                       FROM generate_series(1, $1::bigint) AS key) AS keys
                 JOIN pg_dist_placement USING (shardid)
                 GROUP BY groupid ORDER BY groupid",
            )
            .bind(KEYS_TRIED)
            .fetch_all(pool)
            .await
        })
        .await?;
        Ok(rows.iter().map(|row| row.try_get("key")).collect::<Result<_, _>>()?)
    }

    fn note(&self, beat: Result<(), BeatError>) {
        let error = beat.err().map(|error| error.to_string());
        if let Some(error) = &error {
            tracing::debug!(object = %self.key, error, "canary beat failed");
        }
        self.update(|seen| seen.canary_error = error);
    }

    fn update(&self, change: impl FnOnce(&mut DatabaseSeen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What of a snapshot is worth a reconciliation when it changes.
fn picture(seen: &DatabaseSeen, now: Timestamp) -> (bool, Option<SchemaSeen>, BTreeMap<i32, i64>) {
    let fresh = seen
        .committed_at
        .is_some_and(|at| now.as_second().saturating_sub(at.as_second()) <= CANARY_FRESH_SECONDS);
    (fresh, seen.schema.clone(), seen.shards.clone())
}

async fn within<T>(call: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, BeatError> {
    match tokio::time::timeout(STATEMENT, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(BeatError::Slow),
    }
}

async fn write(pool: &PgPool, key: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO platform.canary AS canary (canary_id, beat, beaten_at) VALUES ($1, 1, now())
         ON CONFLICT (canary_id) DO UPDATE SET beat = canary.beat + 1, beaten_at = excluded.beaten_at",
    )
    .bind(key)
    .execute(pool)
    .await?;
    Ok(())
}

async fn schema(pool: &PgPool) -> Result<SchemaSeen, sqlx::Error> {
    let row =
        sqlx::query("SELECT version, dirty, coalesce(detail, '') AS detail FROM platform.schema_version")
            .fetch_one(pool)
            .await?;
    Ok(SchemaSeen {
        version: row.try_get("version")?,
        dirty: row.try_get("dirty")?,
        detail: row.try_get("detail")?,
    })
}

/// Shards by worker group, of the canary's co-location group: it has as many as any other.
async fn shards(pool: &PgPool) -> Result<BTreeMap<i32, i64>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT groupid, count(*) AS shards
         FROM pg_dist_shard JOIN pg_dist_placement USING (shardid)
         WHERE logicalrelid = 'platform.canary'::regclass
         GROUP BY groupid",
    )
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("groupid")?, row.try_get("shards")?))).collect()
}
