//! `kubectl lyceum`: what kubectl's tables and YAML don't say about lyceum's resources.
//!
//! Each command fetches at its edge and renders in a pure function beside it.

mod check;
mod cluster;
mod explain;
mod format;
mod psql;
mod status;
mod take_over;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Look at CourseShards, find out why one is not Ready, check manifests offline.
#[derive(Parser)]
#[command(name = "kubectl lyceum", bin_name = "kubectl lyceum", version)]
struct Cli {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

/// Which cluster and namespace, as in kubectl.
#[derive(Args, Clone, Debug, Default)]
struct Connection {
    /// Kubeconfig to use instead of $KUBECONFIG or ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use instead of its current one.
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// Namespace to look in instead of the context's.
    #[arg(long, short, global = true, value_name = "NAME")]
    namespace: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Show groups, members, lag, shards, schema, endpoints and conditions.
    Status {
        /// CourseShard to show; all of the namespace if left out.
        name: Option<String>,
        /// Look in all namespaces.
        #[arg(long, short = 'A', conflicts_with = "name")]
        all_namespaces: bool,
    },
    /// Say why a CourseShard is not Ready, what was last tried, and when it is tried again.
    Explain {
        /// CourseShard to explain.
        name: String,
    },
    /// Check manifests without a cluster: schema, unknown fields and every rule, as the
    /// API server would. Exits 1 if it would refuse any.
    Check {
        /// Files with YAML or JSON; `-` reads standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
    },
    /// Open psql on a formation.
    Psql(psql::Options),
    /// Let a CourseShard take over the operator's newer templates and images.
    ///
    /// Database pods are not restarted by it; `kubectl lyceum status` names those that
    /// wait for a restart.
    TakeOver {
        /// CourseShard to update.
        name: String,
        /// Revision to take over; the newest the operator reports if left out.
        #[arg(long)]
        revision: Option<i32>,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            // What is between the two repeats one or the other.
            match (error.to_string(), error.root_cause().to_string()) {
                (what, why) if what == why => eprintln!("error: {what}"),
                (what, why) => eprintln!("error: {what}: {why}"),
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(Cli { connection, command }: Cli) -> anyhow::Result<ExitCode> {
    match command {
        Command::Status { name, all_namespaces } => status::run(&connection, name, all_namespaces).await?,
        Command::Explain { name } => explain::run(&connection, &name).await?,
        Command::Check { files } => return Ok(check::run(&files)),
        Command::Psql(options) => return psql::run(&connection, &options).await,
        Command::TakeOver { name, revision } => take_over::run(&connection, &name, revision).await?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
