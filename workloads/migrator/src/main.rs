//! Brings a formation's schema to a version: a Job on a direct connection to the primary.
//!
//! Why not sqlx's own Migrator: it takes a session lock by a waiting statement (which deadlocks
//! with CREATE INDEX CONCURRENTLY), does not give it back after a failure, and knows neither
//! shards nor poolers. See docs/schema.md.

mod apply;
mod args;
mod cluster;
mod db;
mod distribute;
mod error;
mod grants;
mod lock;
mod plan;
mod poolers;
mod roles;
mod server;
mod status;
mod sweep;
mod up;
mod version;

use std::{
    fs::OpenOptions,
    io::{IsTerminal, Write},
    path::Path,
    process::ExitCode,
};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{EnvFilter, fmt::time::Uptime};

use crate::{
    args::{Cli, Command},
    error::MigrateError,
};

/// Exit status of a process that SIGTERM ended.
const TERMINATED: u8 = 143;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(Uptime::default())
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    tokio::select! {
        code = run(&cli) => code,
        // The first process of a container ignores SIGTERM unless it asks for it. Stopping is
        // safe anywhere: the next run goes on.
        () = terminated() => {
            tracing::warn!("stopped by SIGTERM; run again to go on");
            ExitCode::from(TERMINATED)
        }
    }
}

async fn run(cli: &Cli) -> ExitCode {
    let (result, log) = match &cli.command {
        Command::Up(args) => (up::up(args).await, Some(args.termination_log.as_path())),
        Command::Status(args) => (status::status(args).await, None),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            if let Some(log) = log {
                report(log, &error);
            }
            ExitCode::FAILURE
        }
    }
}

/// Leaves a failure where the kubelet picks it up as the container's termination message. Outside
/// of a container there is no such file, and none is made.
fn report(path: &Path, error: &MigrateError) {
    let Ok(line) = serde_json::to_string(&error.stopped()) else { return };
    if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(path)
        && let Err(problem) = writeln!(file, "{line}")
    {
        tracing::warn!("{}: {problem}", path.display());
    }
}

async fn terminated() {
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}
