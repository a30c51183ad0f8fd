//! What the loader is told on its command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

/// Most replicas: ids of more would meet those that services make (see [`crate::replica`]).
const MOST_REPLICAS: i64 = 10_000;

/// Loads the Open University's registrations, and scaled copies of them.
#[derive(Debug, Parser)]
#[command(name = "lyceum-loader", version)]
pub(crate) struct Cli {
    /// What to load.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to load. Loading a second time adds nothing; a load that broke off goes on.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The Open University's registrations: 7 teaching accounts, 22 courses, 28,785 students,
    /// 32,593 enrollments.
    Oulad(Target),
    /// The same, and replicas of its shape.
    Generate {
        /// Size, in multiples of the original: 30 is nearly a million enrollments. A larger scale
        /// over a smaller one of the same seed adds the difference.
        #[arg(long, value_parser = clap::value_parser!(i64).range(1..=MOST_REPLICAS))]
        scale: i64,
        /// What replicas are drawn from: one seed, one data set.
        #[arg(long, default_value_t = 1)]
        seed: i64,
        /// Where to.
        #[command(flatten)]
        target: Target,
    },
}

/// Where to load to, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// Folder of the mounted role Secret: files host, port, dbname, username, password.
    #[arg(long, default_value = "/etc/lyceum/role")]
    pub(crate) role_dir: PathBuf,
    /// File with the certificate of the authority that signed the server's certificate.
    #[arg(long, default_value = "/etc/lyceum/ca/ca.crt")]
    pub(crate) ca_file: PathBuf,
    /// Host to use instead of the Secret's.
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// Port to use instead of the Secret's.
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Batches copied at once, each on a connection of its own.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) parallel: u32,
    /// How long the database may be away before the load gives up, in seconds.
    #[arg(long, default_value_t = 300)]
    pub(crate) patience: u64,
}

impl Target {
    /// How long the database may be away.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_scale_is_at_least_one_and_bounded() {
        let parse = |scale: &str| Cli::try_parse_from(["lyceum-loader", "generate", "--scale", scale]);
        assert!(parse("1").is_ok() && parse("10000").is_ok());
        assert!(parse("0").is_err() && parse("10001").is_err() && parse("x").is_err());
    }
}
