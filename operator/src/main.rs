//! `lyceum-operator`: see `--help`.

use std::process::ExitCode;

use clap::Parser;
use lyceum_operator::config::Config;
use lyceum_operator::courseshard;
use lyceum_operator::runtime::{logging, process::Process};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let config = Config::parse().normalised();
    if let Err(error) = logging::init(config.log, &config.log_filter) {
        eprintln!("--log-filter {:?}: {error}; use something like info,kube=warn", config.log_filter);
        return ExitCode::from(2);
    }
    // Both Kubernetes and PostgreSQL clients take the process's provider.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is installed already");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no async runtime");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(config));
    // Tasks that ignore their abort must not hold the process up.
    runtime.shutdown_background();
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: leaving"),
            _ = interrupt.recv() => tracing::info!("SIGINT: leaving"),
        }
    };
    let process = Process::start(config).await.inspect_err(|error| {
        tracing::error!(error = format!("{error:#}"), "the operator cannot start");
    })?;
    process.run(courseshard::controller, shutdown).await
}
