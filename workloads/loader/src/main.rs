//! Loads the Open University's registrations, and scaled copies of them, by COPY.

mod args;
mod batch;
mod copy;
mod draw;
mod ledger;
mod load;
mod oulad;
mod progress;
mod replica;
mod verify;

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{EnvFilter, fmt::time::Uptime};

use crate::{
    args::{Cli, Command},
    batch::World,
    load::{LoadError, load},
    oulad::Oulad,
};

/// Exit status of a process that SIGTERM ended.
const TERMINATED: u8 = 143;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(Uptime::default())
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    tokio::select! {
        result = run(cli) => match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error}");
                ExitCode::FAILURE
            }
        },
        // The first process of a container ignores SIGTERM unless it asks for it.
        () = terminated() => {
            tracing::warn!("stopped by SIGTERM; run again to go on");
            ExitCode::from(TERMINATED)
        }
    }
}

async fn run(cli: Cli) -> Result<(), LoadError> {
    let (scale, seed, target) = match cli.command {
        Command::Oulad(target) => (1, 0, target),
        Command::Generate { scale, seed, target } => (scale, seed, target),
    };
    load(World::new(Oulad::read()?, scale, seed), &target).await
}

async fn terminated() {
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}
