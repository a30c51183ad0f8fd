//! Copying batches.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use lyceum_kit::{
    backoff::Backoff,
    pg::{self, Ca, Failure, PoolSize, Settings, SettingsError},
    pooler::{self, ProbeError},
    statement::{Local, Statement},
};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::{
    args::Target,
    batch::{Key, World},
    ledger,
    oulad::OuladError,
    progress::Progress,
    verify,
};

/// Citus opens as many connections to each worker for one COPY, 16 if it is not told. Batches run
/// side by side, and the workers' connections are budgeted. Plain PostgreSQL takes it for a setting
/// of somebody else's.
static FEW_CONNECTIONS: Statement<Local> =
    Statement::local("SET LOCAL citus.max_adaptive_executor_pool_size = 4");

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(10) };

/// Why a load stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Data(#[from] OuladError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Pooler(#[from] ProbeError),
    #[error("the database refused: {}", pg::words(.0))]
    Database(#[from] sqlx::Error),
    #[error(
        "nothing could be loaded for {0} s, last because of: {problem}; check the CourseShard's conditions and run again: it goes on where it stopped",
        problem = pg::words(.1)
    )]
    Away(u64, sqlx::Error),
    #[error(
        "this database holds replicas of seed {found}, and seed {asked} was asked for; ask for {found}, or load into an empty formation"
    )]
    OtherSeed { found: i64, asked: i64 },
    #[error(
        "{table} holds {found} where {expected} were expected; rows were changed after the load, or the load is of another data set"
    )]
    Wrong { table: &'static str, found: String, expected: String },
    #[error("a batch could not be made: {0}")]
    Broken(#[from] tokio::task::JoinError),
    #[error("the progress bar could not be drawn: {0}")]
    Progress(#[from] io::Error),
}

/// What all copying tasks share.
struct Loading {
    world: Arc<World>,
    pool: PgPool,
    pending: Vec<Key>,
    next: AtomicUsize,
    progress: Progress,
    patience: Duration,
    /// When something last went well.
    alive: Mutex<Instant>,
}

/// Loads what is missing, then counts.
pub(crate) async fn load(world: World, target: &Target) -> Result<(), LoadError> {
    let mut settings =
        Settings::from_dir(&target.role_dir, Ca::File(target.ca_file.clone()), "lyceum-loader")?;
    settings.host = target.host.clone().unwrap_or(settings.host);
    settings.port = target.port.unwrap_or(settings.port);
    let probe = probe(&settings, target.patience()).await?;
    info!("{} statements through {}:{}, no foreign row", probe.executions, settings.host, settings.port);

    let pool = pg::pool(&settings, PoolSize { min: 0, max: target.parallel });
    let loaded = ledger::loaded(&mut *pool.acquire().await?, world.seed()).await?;
    let keys = world.keys();
    let all = keys.len();
    let pending: Vec<_> = keys.into_iter().filter(|key| !loaded.contains(key)).collect();
    info!("{} of {all} batches are there already", all - pending.len());
    let loading = Arc::new(Loading {
        progress: Progress::new(pending.len()),
        world: Arc::new(world),
        pool,
        pending,
        next: AtomicUsize::new(0),
        patience: target.patience(),
        alive: Mutex::new(Instant::now()),
    });
    let mut tasks = JoinSet::new();
    for _ in 0..target.parallel {
        tasks.spawn(run(loading.clone()));
    }
    // The first failure ends the others: dropping the set stops them.
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    loading.progress.done();
    verify::verify(&mut *loading.pool.acquire().await?, &loading.world).await
}

/// The proof that the pooler is safe, as soon as it answers: a network policy takes a moment to
/// know a new pod, and a new formation longer to take its first client.
async fn probe(settings: &Settings, patience: Duration) -> Result<pooler::Report, ProbeError> {
    let began = Instant::now();
    let mut failures = 0;
    loop {
        match pooler::at_start(settings).await {
            Err(error @ (ProbeError::Wire(_) | ProbeError::Connect(_) | ProbeError::Failing { .. }))
                if began.elapsed() < patience =>
            {
                failures += 1;
                warn!("waiting for the pooler: {error}");
                BACKOFF.sleep(failures).await;
            }
            other => return other,
        }
    }
}

/// Takes batches until there are none.
async fn run(loading: Arc<Loading>) -> Result<(), LoadError> {
    while let Some(key) = loading.pending.get(loading.next.fetch_add(1, Ordering::Relaxed)) {
        let mut failures = 0;
        loop {
            match copy(&loading, *key).await {
                Ok(rows) => {
                    loading.progress.add(rows);
                    loading.is_alive();
                    break;
                }
                Err(error) if pg::classify(&error) == Failure::Permanent => return Err(error.into()),
                Err(error) => {
                    failures += 1;
                    let away = loading.away();
                    if away > loading.patience {
                        return Err(LoadError::Away(away.as_secs(), error));
                    }
                    warn!("batch {}/{} is tried again: {}", key.replica, key.chunk, pg::words(&error));
                    BACKOFF.sleep(failures).await;
                }
            }
        }
    }
    Ok(())
}

impl Loading {
    fn is_alive(&self) {
        if let Ok(mut alive) = self.alive.lock() {
            *alive = Instant::now();
        }
    }

    fn away(&self) -> Duration {
        self.alive.lock().map_or(Duration::ZERO, |alive| alive.elapsed())
    }
}

/// Copies one batch with its entry in the ledger: both or neither. Returns the rows copied.
async fn copy(loading: &Loading, key: Key) -> Result<i64, sqlx::Error> {
    let world = loading.world.clone();
    let parts = tokio::task::spawn_blocking(move || world.parts(key)).await;
    let parts = parts.map_err(|error| sqlx::Error::Io(io::Error::other(error)))?;
    let rows = parts.iter().map(|part| part.rows.count()).sum();
    let mut transaction = loading.pool.begin().await?;
    if !ledger::enter(&mut transaction, key, loading.world.seed(), rows).await? {
        transaction.rollback().await?;
        return Ok(0);
    }
    FEW_CONNECTIONS.query().execute(&mut *transaction).await?;
    for part in &parts {
        let mut copy = transaction.copy_in_raw(part.copy).await?;
        if let Err(error) = copy.send(part.rows.as_bytes()).await {
            // The server's own words come with the end of the copy.
            return Err(copy.finish().await.err().unwrap_or(error));
        }
        copy.finish().await?;
    }
    transaction.commit().await?;
    Ok(rows)
}
