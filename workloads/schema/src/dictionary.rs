//! Every table. The order is the order of distribution: a table comes after those it refers to,
//! and the first of each group decides the group's shards.

use crate::{
    role::Role,
    table::{Grant, Group, Privilege, Table},
};
use Group::{C, L, Local, S, T};
use Privilege::{Delete, Insert, Select, Truncate, Update};

/// What a service does with rows of its own.
const WRITE: &[Privilege] = &[Select, Insert, Update, Delete];
/// A log: rows are added and never changed.
const APPEND: &[Privilege] = &[Select, Insert];
/// An outbox: rows are added with what they tell of, marked as sent, and dropped by the table.
const OUTBOX: &[Privilege] = &[Select, Insert, Update, Truncate];
/// What a bulk load does.
const LOAD: &[Privilege] = &[Select, Insert];
const READ: &[Privilege] = &[Select];

const CATALOG: &[Grant] = &[(Role::Catalog, WRITE), (Role::Loader, LOAD)];
const LEARNING: &[Grant] = &[(Role::Learning, WRITE), (Role::Loader, LOAD)];
const IDENTITY: &[Grant] = &[(Role::Identity, WRITE), (Role::Loader, LOAD)];
const PRICES: &[Grant] = &[(Role::Catalog, APPEND), (Role::Loader, LOAD)];
const CATALOG_OUTBOX: &[Grant] = &[(Role::Catalog, OUTBOX)];
const LEARNING_OUTBOX: &[Grant] = &[(Role::Learning, OUTBOX)];
const IDENTITY_OUTBOX: &[Grant] = &[(Role::Identity, OUTBOX)];
const STATE: &[Grant] = &[(Role::Operator, READ)];
const CANARY: &[Grant] = &[(Role::Operator, &[Select, Insert, Update])];
const LEDGER: &[Grant] = &[(Role::Operator, READ), (Role::Loader, LOAD)];

const fn platform(name: &'static str, group: Group, since: i32, grants: &'static [Grant]) -> Table {
    Table { schema: "platform", name, group, since, owner_service: None, grants }
}

const fn teaching(name: &'static str, since: i32, grants: &'static [Grant]) -> Table {
    Table { schema: "teaching", name, group: T, since, owner_service: Some(Role::Catalog), grants }
}

const fn studying(name: &'static str, since: i32, grants: &'static [Grant]) -> Table {
    Table { schema: "studying", name, group: S, since, owner_service: Some(Role::Learning), grants }
}

const fn claims(name: &'static str, since: i32, grants: &'static [Grant]) -> Table {
    Table { schema: "claims", name, group: L, since, owner_service: Some(Role::Identity), grants }
}

/// Every table, in the order of distribution.
pub static TABLES: &[Table] = &[
    platform("schema_version", Local, 0, STATE),
    platform("schema_history", Local, 0, STATE),
    platform("canary", C, 1, CANARY),
    platform("load_batches", Local, 1, LEDGER),
    teaching("teaching_accounts", 2, CATALOG),
    teaching("account_members", 2, CATALOG),
    teaching("courses", 2, CATALOG),
    teaching("lessons", 2, CATALOG),
    teaching("price_log", 2, PRICES),
    teaching("course_roster", 2, CATALOG),
    teaching("outbox_t_0", 3, CATALOG_OUTBOX),
    teaching("outbox_t_1", 3, CATALOG_OUTBOX),
    teaching("outbox_t_2", 3, CATALOG_OUTBOX),
    studying("students", 4, LEARNING),
    studying("enrollments", 4, LEARNING),
    studying("lesson_progress", 4, LEARNING),
    studying("outbox_s_0", 5, LEARNING_OUTBOX),
    studying("outbox_s_1", 5, LEARNING_OUTBOX),
    studying("outbox_s_2", 5, LEARNING_OUTBOX),
    claims("slug_claims", 6, IDENTITY),
    claims("email_claims", 6, IDENTITY),
    claims("outbox_l_0", 6, IDENTITY_OUTBOX),
    claims("outbox_l_1", 6, IDENTITY_OUTBOX),
    claims("outbox_l_2", 6, IDENTITY_OUTBOX),
];
