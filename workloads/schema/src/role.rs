//! Database roles.

/// A database role that lyceum makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Owns schemas and tables; migrations run as it, nothing else does.
    Owner,
    /// The operator: canary, schema state, monitoring.
    Operator,
    /// The service `identity`: accounts, sessions, claims.
    Identity,
    /// The service `catalog`: courses, lessons, prices, rosters.
    Catalog,
    /// The service `learning`: students, enrollments, progress.
    Learning,
    /// The service `economics`: orders, journal, ads.
    Economics,
    /// The service `discovery`: search and recommendations.
    Discovery,
    /// Bulk loads.
    Loader,
}

/// Every role.
pub const ROLES: [Role; 8] = [
    Role::Owner,
    Role::Operator,
    Role::Identity,
    Role::Catalog,
    Role::Learning,
    Role::Economics,
    Role::Discovery,
    Role::Loader,
];

/// Limits that a role's sessions start with. They are set on the role, never by `SET` in a
/// session: behind a pooler a `SET` leaks to the next client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `statement_timeout` in milliseconds; 0 is without end.
    pub statement_timeout_ms: u32,
    /// `lock_timeout` in milliseconds.
    pub lock_timeout_ms: u32,
    /// `idle_in_transaction_session_timeout` in milliseconds.
    pub idle_in_transaction_ms: u32,
}

impl Role {
    /// Its name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "lyceum_owner",
            Self::Operator => "lyceum_operator",
            Self::Identity => "identity",
            Self::Catalog => "catalog",
            Self::Learning => "learning",
            Self::Economics => "economics",
            Self::Discovery => "discovery",
            Self::Loader => "loader",
        }
    }

    /// Limits of its sessions, on every node: Citus logs in to workers as the same role.
    pub const fn limits(self) -> Limits {
        match self {
            // An index built concurrently waits for every older transaction, also on workers,
            // where only the role's own setting applies. It blocks nobody while it waits.
            Self::Owner => {
                Limits { statement_timeout_ms: 0, lock_timeout_ms: 60_000, idle_in_transaction_ms: 600_000 }
            }
            Self::Operator => {
                Limits { statement_timeout_ms: 5_000, lock_timeout_ms: 2_000, idle_in_transaction_ms: 10_000 }
            }
            Self::Loader => Limits {
                statement_timeout_ms: 600_000,
                lock_timeout_ms: 120_000,
                idle_in_transaction_ms: 120_000,
            },
            Self::Identity | Self::Catalog | Self::Learning | Self::Economics | Self::Discovery => Limits {
                statement_timeout_ms: 15_000,
                lock_timeout_ms: 5_000,
                idle_in_transaction_ms: 30_000,
            },
        }
    }

    /// Roles of PostgreSQL's own that it is a member of.
    pub const fn member_of(self) -> &'static [&'static str] {
        match self {
            Self::Operator => &["pg_monitor"],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn every_name_is_an_identifier_that_needs_no_quotes() {
        for role in ROLES {
            assert!(role.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", role.name());
        }
    }

    #[test]
    fn only_the_owner_may_run_a_statement_without_end() {
        for role in ROLES {
            assert_eq!(role.limits().statement_timeout_ms == 0, role == Role::Owner, "{}", role.name());
        }
    }
}
