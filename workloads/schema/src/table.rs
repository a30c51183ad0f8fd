//! What the dictionary says about a table.

use crate::{TABLES, role::Role};

/// Where a table's rows live. Groups are co-located within themselves and with nothing else:
/// to isolate one teaching account must not split every student table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// By `teacher_id`: teaching accounts and what they offer.
    T,
    /// By `student_id`: students and what they do.
    S,
    /// By `claim`, a text: values that must be unique over all shards.
    L,
    /// By `canary_id`: the operator's canary.
    C,
    /// On every node: small, static lists only, because a write locks and goes everywhere.
    Reference,
    /// On the coordinator only: bookkeeping.
    Local,
}

impl Group {
    /// Column that decides a row's shard.
    pub const fn distribution_column(self) -> Option<&'static str> {
        match self {
            Self::T => Some("teacher_id"),
            Self::S => Some("student_id"),
            Self::L => Some("claim"),
            Self::C => Some("canary_id"),
            Self::Reference | Self::Local => None,
        }
    }
}

/// What a role may do with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Privilege {
    /// Read.
    Select,
    /// Add rows.
    Insert,
    /// Change rows.
    Update,
    /// Remove rows.
    Delete,
    /// Empty it: outboxes only.
    Truncate,
}

impl Privilege {
    /// Its name in SQL.
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Truncate => "TRUNCATE",
        }
    }
}

/// A role and what it may do.
pub type Grant = (Role, &'static [Privilege]);

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Schema.
    pub schema: &'static str,
    /// Name without the schema.
    pub name: &'static str,
    /// Where its rows live.
    pub group: Group,
    /// Version that creates it.
    pub since: i32,
    /// Service that owns it; `None`: the platform. Other services reach it through this one's API.
    pub owner_service: Option<Role>,
    /// Who may touch it. Nothing is granted that is not here.
    pub grants: &'static [Grant],
}

impl Table {
    /// `schema.name`.
    pub fn qualified(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Column that decides a row's shard; `None` for tables that have no shards.
    pub const fn distribution_column(&self) -> Option<&'static str> {
        self.group.distribution_column()
    }

    /// The statement that distributes it, `None` for a local table.
    ///
    /// Co-location is always said: by default Citus puts every table of one key type and shard
    /// count together. The first table of a group decides its number of shards.
    pub fn distribution_sql(&self, shard_count: i32) -> Option<String> {
        let table = self.qualified();
        if self.group == Group::Reference {
            return Some(format!("SELECT create_reference_table('{table}')"));
        }
        let column = self.distribution_column()?;
        Some(match anchor(self.group) {
            Some(first) if first != self => format!(
                "SELECT create_distributed_table('{table}', '{column}', colocate_with => '{}')",
                first.qualified()
            ),
            _ => format!(
                "SELECT create_distributed_table('{table}', '{column}', colocate_with => 'none', shard_count => {shard_count})"
            ),
        })
    }
}

/// First table of a group, which the others are co-located with.
pub fn anchor(group: Group) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.group == group)
}

/// Schemas that hold a table of version `version` or older, in the dictionary's order.
pub fn schemas(version: i32) -> Vec<&'static str> {
    let mut schemas = Vec::new();
    for table in TABLES.iter().filter(|table| table.since <= version) {
        if !schemas.contains(&table.schema) {
            schemas.push(table.schema);
        }
    }
    schemas
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn table(qualified: &str) -> &'static Table {
        TABLES.iter().find(|table| table.qualified() == qualified).unwrap()
    }

    #[test]
    fn the_first_table_of_a_group_says_none_and_the_others_name_it() {
        assert_eq!(
            table("studying.students").distribution_sql(96).unwrap(),
            "SELECT create_distributed_table('studying.students', 'student_id', colocate_with => 'none', shard_count => 96)"
        );
        assert_eq!(
            table("studying.outbox_s_2").distribution_sql(96).unwrap(),
            "SELECT create_distributed_table('studying.outbox_s_2', 'student_id', colocate_with => 'studying.students')"
        );
    }

    #[test]
    fn a_local_table_is_left_alone_and_a_reference_table_goes_everywhere() {
        assert_eq!(table("platform.load_batches").distribution_sql(96), None);
        let list = Table { group: Group::Reference, ..*table("platform.load_batches") };
        assert_eq!(
            list.distribution_sql(96).unwrap(),
            "SELECT create_reference_table('platform.load_batches')"
        );
    }

    #[test]
    fn schemas_come_with_the_version_that_first_needs_them() {
        assert_eq!(schemas(0), ["platform"]);
        assert_eq!(schemas(4), ["platform", "teaching", "studying"]);
    }
}
