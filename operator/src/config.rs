//! Options of the process, from flags or the environment.

use std::net::SocketAddr;

use clap::Parser;

use crate::runtime::logging::Format;

/// The clients' own complaints are left out: each failed call is reported where it matters.
const DEFAULT_FILTER: &str = "info,kube_client::client=off,kube_runtime=warn";

/// Brings lyceum's custom resources to life and keeps them so.
///
/// Run two or more: one leads, the others stand by and take over when its lease ends
/// (at once when it is stopped in order, after at most 15 s when it is not).
#[derive(Clone, Debug, Parser)]
#[command(name = "lyceum-operator", version, about, max_term_width = 100)]
pub struct Config {
    /// Image of the database pods: PostgreSQL, Patroni and, with workers, Citus.
    #[arg(long, env = "LYCEUM_POSTGRES_IMAGE", value_name = "IMAGE", help_heading = "Images")]
    pub postgres_image: String,
    /// Image of the pooler pods: PgBouncer.
    #[arg(long, env = "LYCEUM_POOLER_IMAGE", value_name = "IMAGE", help_heading = "Images")]
    pub pooler_image: String,
    /// Image of the migration jobs.
    #[arg(long, env = "LYCEUM_MIGRATOR_IMAGE", value_name = "IMAGE", help_heading = "Images")]
    pub migrator_image: String,
    /// Secret to pull images with, in the namespace of each CourseShard; may be repeated.
    #[arg(
        long = "image-pull-secret",
        env = "LYCEUM_IMAGE_PULL_SECRETS",
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "Images"
    )]
    pub image_pull_secrets: Vec<String>,

    /// Namespace to look after; may be repeated. All of them when left out.
    #[arg(
        long = "watch-namespace",
        env = "LYCEUM_WATCH_NAMESPACES",
        value_name = "NAMESPACE",
        value_delimiter = ',',
        help_heading = "Work"
    )]
    pub watch_namespaces: Vec<String>,
    /// Objects of one kind that are reconciled side by side.
    #[arg(
        long,
        env = "LYCEUM_CONCURRENCY",
        value_name = "N",
        default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=1024),
        help_heading = "Work"
    )]
    pub concurrency: u16,

    /// Namespace of the lease; that of the kubeconfig's context when left out.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE", help_heading = "Leadership")]
    pub lease_namespace: Option<String>,
    /// Name of the lease. Operators with the same lease take turns.
    #[arg(
        long,
        env = "LYCEUM_LEASE_NAME",
        value_name = "NAME",
        default_value = "lyceum-operator",
        help_heading = "Leadership"
    )]
    pub lease_name: String,
    /// Name of this process in the lease and in events; the host's when left out.
    #[arg(long, env = "POD_NAME", value_name = "NAME", help_heading = "Leadership")]
    pub identity: Option<String>,

    /// Where to serve /healthz, /readyz and /metrics.
    #[arg(
        long,
        env = "LYCEUM_LISTEN",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8080",
        help_heading = "Observation"
    )]
    pub listen: SocketAddr,
    /// Shape of the log on standard error.
    #[arg(
        long,
        env = "LYCEUM_LOG",
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "Observation"
    )]
    pub log: Format,
    /// What to log, as a list of target=level.
    #[arg(
        long,
        env = "RUST_LOG",
        value_name = "FILTER",
        default_value = DEFAULT_FILTER,
        help_heading = "Observation"
    )]
    pub log_filter: String,
}

impl Config {
    /// The configuration without the empty entries that an empty variable leaves in lists.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        for list in [&mut self.image_pull_secrets, &mut self.watch_namespaces] {
            list.iter_mut().for_each(|entry| *entry = entry.trim().to_owned());
            list.retain(|entry| !entry.is_empty());
            list.sort();
            list.dedup();
        }
        self
    }

    /// The name of this process: the pod's, or the host's.
    pub fn name(&self) -> String {
        let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        self.identity.clone().filter(|identity| !identity.is_empty()).unwrap_or_else(host)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use clap::CommandFactory;

    use super::*;

    const IMAGES: [&str; 4] =
        ["lyceum-operator", "--postgres-image=p", "--pooler-image=b", "--migrator-image=m"];

    fn parse(more: &[&str]) -> Config {
        Config::try_parse_from(IMAGES.iter().chain(more)).unwrap().normalised()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Config::command().debug_assert();
    }

    #[test]
    fn lists_may_be_repeated_or_comma_separated_and_empty_entries_are_dropped() {
        let config = parse(&["--watch-namespace=b,a", "--watch-namespace=b", "--watch-namespace="]);
        assert_eq!(config.watch_namespaces, ["a", "b"]);
        assert!(parse(&["--watch-namespace="]).watch_namespaces.is_empty());
    }

    #[test]
    fn unbounded_concurrency_cannot_be_asked_for() {
        assert!(Config::try_parse_from(IMAGES.iter().chain(&["--concurrency=0"])).is_err());
    }
}
