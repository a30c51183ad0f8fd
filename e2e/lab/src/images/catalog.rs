//! Which images there are, and what each is made from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::tools::{COREDNS, GoProgram, LOCAL_PATH_PROVISIONER};

/// An image of the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// PostgreSQL under Patroni.
    Postgres,
    /// The pooler.
    Pgbouncer,
    /// The operator.
    Operator,
    /// The schema migrator.
    Migrator,
    /// The data loader.
    Loader,
    /// Holds a pod's namespaces. Lab only.
    Pause,
    /// DNS. Lab only.
    Coredns,
    /// Dynamic local volumes. Lab only.
    LocalPathProvisioner,
    /// What the provisioner starts to make a directory. Lab only.
    LocalPathHelper,
}

impl Name {
    /// Every image.
    pub const ALL: [Self; 9] = [
        Self::Postgres,
        Self::Pgbouncer,
        Self::Operator,
        Self::Migrator,
        Self::Loader,
        Self::Pause,
        Self::Coredns,
        Self::LocalPathProvisioner,
        Self::LocalPathHelper,
    ];

    /// The name as in references and file names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Pgbouncer => "pgbouncer",
            Self::Operator => "operator",
            Self::Migrator => "migrator",
            Self::Loader => "loader",
            Self::Pause => "pause",
            Self::Coredns => "coredns",
            Self::LocalPathProvisioner => "local-path-provisioner",
            Self::LocalPathHelper => "local-path-helper",
        }
    }

    /// The image's directory below the repository's root: its Containerfile is there.
    pub(crate) const fn directory(self) -> &'static str {
        match self {
            Self::Postgres => "workloads/postgres",
            Self::Pgbouncer => "workloads/pgbouncer",
            Self::Operator => "operator",
            Self::Migrator => "workloads/migrator",
            Self::Loader => "workloads/loader",
            Self::Pause => "e2e/images/pause",
            Self::Coredns => "e2e/images/coredns",
            Self::LocalPathProvisioner => "e2e/images/local-path-provisioner",
            Self::LocalPathHelper => "e2e/images/local-path-helper",
        }
    }

    pub(crate) const fn source(self) -> Source {
        match self {
            Self::Postgres => Source::PostgresDirectory,
            Self::Pgbouncer | Self::LocalPathHelper => Source::Directory,
            Self::Operator => Source::Cargo("lyceum-operator"),
            Self::Migrator => Source::Cargo("lyceum-migrator"),
            Self::Loader => Source::Cargo("lyceum-loader"),
            Self::Pause => Source::StaticC("pause"),
            Self::Coredns => Source::Go(&COREDNS),
            Self::LocalPathProvisioner => Source::Go(&LOCAL_PATH_PROVISIONER),
        }
    }

    pub(crate) const fn base(self) -> Option<Suite> {
        match self {
            Self::Postgres | Self::Operator | Self::Migrator | Self::Loader | Self::LocalPathHelper => {
                Some(Suite::Trixie)
            }
            Self::Pgbouncer => Some(Suite::Sid),
            Self::Pause | Self::Coredns | Self::LocalPathProvisioner => None,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl std::str::FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|name| name.as_str()).collect();
            format!("there is no image {text:?}, only {}", known.join(", "))
        })
    }
}

/// Where an image's build context comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The image's directory as it is.
    Directory,
    /// The image's directory, with the configured extension overlay in place of its own.
    PostgresDirectory,
    /// The release binary of a package of the workspace.
    Cargo(&'static str),
    /// One C file of the image's directory, linked statically.
    StaticC(&'static str),
    /// A program that the Go toolchain installed.
    Go(&'static GoProgram),
}

/// A Debian suite that images stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Suite {
    /// The stable release, Debian 13.
    Trixie,
    /// Unstable: for what no release has in a version new enough.
    Sid,
}

impl Suite {
    /// Debian's name of the suite.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Trixie => "trixie",
            Self::Sid => "sid",
        }
    }

    /// The name of the base image.
    pub(crate) const fn image(self) -> &'static str {
        match self {
            Self::Trixie => "base",
            Self::Sid => "base-sid",
        }
    }

    /// Whether the suite has updates and security suites beside it. Unstable is fixed in place.
    pub(crate) const fn has_fixes_beside(self) -> bool {
        matches!(self, Self::Trixie)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_name_is_the_same_in_text_and_in_json() {
        for name in Name::ALL {
            assert_eq!(name.as_str().parse::<Name>().unwrap(), name);
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "mysql".parse::<Name>().unwrap_err();
        assert!(error.contains("mysql") && error.contains("postgres, pgbouncer"), "{error}");
    }

    fn containerfile(name: Name) -> String {
        let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let path = repository.join(name.directory()).join("Containerfile");
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn every_containerfile_takes_the_base_it_is_given() {
        for name in Name::ALL {
            let text = containerfile(name);
            let default = match name.base() {
                Some(Suite::Trixie) => "ARG BASE=debian:trixie-slim",
                Some(Suite::Sid) => "ARG BASE=debian:sid-slim",
                None => "FROM scratch",
            };
            assert!(text.lines().any(|line| line == default), "{name} has no line {default:?}");
        }
    }

    #[test]
    fn the_images_of_this_project_carry_its_version() {
        let label = format!("org.opencontainers.image.version=\"{}\"", env!("CARGO_PKG_VERSION"));
        for name in Name::ALL {
            let packaged_here = !matches!(name.source(), Source::Go(_));
            assert_eq!(containerfile(name).contains(&label), packaged_here, "{name}");
        }
    }
}
