//! What the migrator is told on its command line.

use std::{num::NonZeroI32, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Parser, Subcommand};

/// Brings a formation's schema to a version, and says where it stands.
#[derive(Debug, Parser)]
#[command(name = "lyceum-migrator", version)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Migrate forward: database, extension, roles, tables, grants, then RECONNECT on every pooler.
    Up(Box<Up>),
    /// Print the schema's state as one JSON object and change nothing.
    Status(Status),
}

/// The server, reached directly: never through a pooler.
#[derive(Clone, Debug, Args)]
pub(crate) struct Server {
    /// Host of the coordinator's primary.
    #[arg(long, env = "LYCEUM_MIGRATOR_HOST")]
    pub(crate) host: String,
    /// Port of the coordinator's primary.
    #[arg(long, default_value_t = 5432)]
    pub(crate) port: u16,
    /// The application's database; made if it is missing.
    #[arg(long, default_value = "lyceum")]
    pub(crate) database: String,
    /// Superuser.
    #[arg(long, default_value = "postgres")]
    pub(crate) user: String,
    /// File with the superuser's password.
    #[arg(long, default_value = "/etc/lyceum/auth/superuser-password")]
    pub(crate) password_file: PathBuf,
    /// File with the certificate of the authority that signed the servers' certificates.
    #[arg(long, default_value = "/etc/lyceum/tls/ca.crt")]
    pub(crate) ca_file: PathBuf,
}

/// Arguments of `up`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Up {
    /// The server.
    #[command(flatten)]
    pub(crate) server: Server,
    /// Version to reach, or `latest`. Versions never go back.
    #[arg(long)]
    pub(crate) to: Target,
    /// Print what would be run and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Distribute tables with Citus; without it the same tables are plain.
    #[arg(long)]
    pub(crate) citus: bool,
    /// Worker groups that must be registered before the first table is distributed.
    #[arg(long, default_value_t = 0, requires = "citus")]
    pub(crate) workers: u32,
    /// Shards of each co-location group; decided at its first table, never changed afterwards.
    #[arg(long, default_value = "96")]
    pub(crate) shard_count: NonZeroI32,
    /// Folder with one folder a database role, each with a file `password`.
    #[arg(long, default_value = "/etc/lyceum/roles")]
    pub(crate) roles_dir: PathBuf,
    /// Poolers to RECONNECT after a change.
    #[command(flatten)]
    pub(crate) poolers: Poolers,
    /// Longest wait for the primary and, with Citus, for its workers.
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub(crate) wait: Duration,
    /// Longest wait for another migrator to finish.
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub(crate) lock_wait: Duration,
    /// Longest wait of one statement for a table lock; readers queue behind it meanwhile.
    #[arg(long, default_value = "3s", value_parser = duration)]
    pub(crate) lock_timeout: Duration,
    /// Tries of one version when locks time out or the connection breaks.
    #[arg(long, default_value_t = 10)]
    pub(crate) attempts: u32,
    /// Where a failure is also written as one line of JSON, if the file exists.
    #[arg(long, default_value = "/dev/termination-log")]
    pub(crate) termination_log: PathBuf,
}

/// The poolers' admin consoles.
#[derive(Clone, Debug, Args)]
pub(crate) struct Poolers {
    /// Headless name whose addresses are the pooler processes. Without it none is asked to reconnect.
    #[arg(long)]
    pub(crate) poolers_headless: Option<String>,
    /// Port of the poolers.
    #[arg(long, default_value_t = 5432)]
    pub(crate) pooler_port: u16,
    /// Name the poolers' certificates must bear; by default `pooler.<headless name>`, which the
    /// wildcard of the headless name covers.
    #[arg(long)]
    pub(crate) pooler_server_name: Option<String>,
    /// User of the admin console.
    #[arg(long, default_value = "lyceum_pooler")]
    pub(crate) pooler_user: String,
    /// File with that user's password.
    #[arg(long, default_value = "/etc/lyceum/auth/pooler-admin-password")]
    pub(crate) pooler_password_file: PathBuf,
}

/// Arguments of `status`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Status {
    /// The server.
    #[command(flatten)]
    pub(crate) server: Server,
}

/// A version to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The newest this migrator carries.
    Latest,
    /// This one.
    Version(i32),
}

impl Target {
    /// The number meant, with `latest` the newest version there is.
    pub(crate) fn number(self, latest: i32) -> i32 {
        match self {
            Self::Latest => latest,
            Self::Version(version) => version,
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse::<i32>()) {
            ("latest", _) => Ok(Self::Latest),
            (_, Ok(version)) if version >= 0 => Ok(Self::Version(version)),
            _ => Err(format!("`{text}` is neither a version number nor `latest`")),
        }
    }
}

/// `250ms`, `3s` or `10m`.
fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(format!("`{text}` is no duration: write a number and ms, s or m, such as 3s")),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is no duration: it has no number"))?;
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| format!("`{text}` is too long"))
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
    fn durations_carry_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        for wrong in ["", "10", "s", "3h", "1.5s", "-1s", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn a_target_is_a_version_or_latest() {
        assert_eq!("latest".parse(), Ok(Target::Latest));
        assert_eq!("4".parse(), Ok(Target::Version(4)));
        assert_eq!(Target::Latest.number(7), 7);
        for wrong in ["", "-1", "newest", "4.0"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong} was taken");
        }
    }
}
