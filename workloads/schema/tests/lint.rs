//! The rules of `migrations/citus`: what a file may hold, and that the dictionary and the files
//! agree.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use lyceum_schema::{
    Group, Migration, Role, TABLES, Table, dictionary, migration::Phase, migrations, role::ROLES,
    split::split, table::anchor,
};
use sqlparser::{
    ast::{
        AlterTableOperation, CreateTable, DataType, Expr, Ident, IndexColumn, ObjectName, ObjectType,
        Statement, TableConstraint,
    },
    dialect::PostgreSqlDialect,
    parser::Parser,
};

/// Longest name of a constraint or an index, in bytes: on a shard it is followed by `_` and the
/// shard's number, and PostgreSQL cuts names at 63 bytes.
const NAME: usize = 40;

fn parsed(migration: &Migration) -> Vec<Statement> {
    migration
        .statements
        .iter()
        .map(|statement| {
            let mut all = Parser::parse_sql(&PostgreSqlDialect {}, &statement.sql)
                .unwrap_or_else(|e| panic!("{}, line {}: {e}", migration.name, statement.line));
            assert_eq!(all.len(), 1, "{}, line {}", migration.name, statement.line);
            all.remove(0)
        })
        .collect()
}

fn all() -> Vec<(Migration, Vec<Statement>)> {
    migrations()
        .unwrap()
        .into_iter()
        .map(|migration| {
            let statements = parsed(&migration);
            (migration, statements)
        })
        .collect()
}

fn name(object: &ObjectName) -> String {
    object.to_string()
}

fn created() -> BTreeMap<String, (i32, CreateTable)> {
    let mut tables = BTreeMap::new();
    for (migration, statements) in all() {
        for statement in statements {
            if let Statement::CreateTable(table) = statement {
                let before = tables.insert(name(&table.name), (migration.version, table));
                assert!(before.is_none(), "{}: a table is created twice", migration.name);
            }
        }
    }
    tables
}

fn in_dictionary(qualified: &str) -> &'static Table {
    TABLES
        .iter()
        .find(|table| table.qualified() == qualified)
        .unwrap_or_else(|| panic!("{qualified} is not in the dictionary"))
}

/// Columns of each primary key and unique constraint.
fn keys(table: &CreateTable) -> Vec<Vec<String>> {
    let columns = |columns: &[IndexColumn]| -> Vec<String> {
        columns.iter().map(|column| column.column.expr.to_string()).collect()
    };
    table
        .constraints
        .iter()
        .filter_map(|constraint| match constraint {
            TableConstraint::PrimaryKey(key) => Some(columns(&key.columns)),
            TableConstraint::Unique(key) => Some(columns(&key.columns)),
            _ => None,
        })
        .collect()
}

fn constraint_name(constraint: &TableConstraint) -> Option<&Ident> {
    match constraint {
        TableConstraint::PrimaryKey(c) => c.name.as_ref(),
        TableConstraint::Unique(c) => c.name.as_ref(),
        TableConstraint::ForeignKey(c) => c.name.as_ref(),
        TableConstraint::Check(c) => c.name.as_ref(),
        _ => None,
    }
}

#[test]
fn the_files_hold_only_kinds_of_statements_that_were_thought_about() {
    for (migration, statements) in all() {
        for statement in statements {
            match &statement {
                Statement::CreateSchema { .. } => assert!(migration.transaction, "{}", migration.name),
                Statement::CreateTable(_) => {
                    assert!(migration.transaction, "{}: tables come in a transaction", migration.name)
                }
                Statement::CreateIndex(index) => {
                    assert_eq!(
                        index.concurrently, !migration.transaction,
                        "{}: CONCURRENTLY and a transaction exclude each other",
                        migration.name
                    );
                    // The migrator looks for the index itself. Citus 13.2 marks an index that exists
                    // as invalid when CONCURRENTLY IF NOT EXISTS meets it, and leaves it so.
                    assert!(
                        !index.if_not_exists,
                        "{}: IF NOT EXISTS ruins an index that exists",
                        migration.name
                    );
                }
                Statement::AlterTable(alter) => {
                    assert!(migration.transaction, "{}", migration.name);
                    for operation in &alter.operations {
                        assert!(
                            !matches!(operation, AlterTableOperation::DetachPartition { .. })
                                && !operation.to_string().contains("DETACH PARTITION"),
                            "{}: Citus knows no DETACH CONCURRENTLY",
                            migration.name
                        );
                    }
                }
                Statement::Drop { object_type, if_exists, .. } => {
                    assert_eq!(
                        migration.phase,
                        Phase::Contract,
                        "{}: only a contract takes away",
                        migration.name
                    );
                    assert!(*if_exists || migration.transaction, "{}", migration.name);
                    assert!(
                        matches!(object_type, ObjectType::Table | ObjectType::Index | ObjectType::Schema),
                        "{}",
                        migration.name
                    );
                }
                other => panic!(
                    "{}: no rule for `{other}`: triggers, sequences, functions and views are not shardable; \
                    if this one is, say so here",
                    migration.name
                ),
            }
        }
    }
}

#[test]
fn every_created_table_is_in_the_dictionary_with_its_version_and_the_other_way_round() {
    let created: BTreeMap<String, i32> =
        created().into_iter().map(|(name, (version, _))| (name, version)).collect();
    let known: BTreeMap<String, i32> = TABLES.iter().map(|table| (table.qualified(), table.since)).collect();
    assert_eq!(created, known);
}

#[test]
fn every_key_of_a_sharded_table_contains_the_distribution_column() {
    for (qualified, (_, table)) in created() {
        let keys = keys(&table);
        assert!(!keys.is_empty(), "{qualified} has no primary key");
        let Some(column) = in_dictionary(&qualified).distribution_column() else { continue };
        for key in keys {
            assert!(
                key.iter().any(|part| part == column),
                "{qualified}: the key ({}) lacks {column}",
                key.join(", ")
            );
        }
        let found = table
            .columns
            .iter()
            .find(|c| c.name.value == column)
            .unwrap_or_else(|| panic!("{qualified} lacks {column}"));
        assert!(
            found.options.iter().any(|option| option.option.to_string() == "NOT NULL"),
            "{qualified}.{column} may be null"
        );
    }
}

#[test]
fn every_unique_index_of_a_sharded_table_contains_the_distribution_column() {
    for (migration, statements) in all() {
        for statement in statements {
            let Statement::CreateIndex(index) = statement else { continue };
            let table = in_dictionary(&name(&index.table_name));
            let Some(column) = table.distribution_column().filter(|_| index.unique) else { continue };
            assert!(
                index.columns.iter().any(|part| part.column.expr.to_string() == column),
                "{}: {} lacks {column}",
                migration.name,
                index.name.unwrap()
            );
        }
    }
}

#[test]
fn one_group_has_one_type_of_distribution_column() {
    let mut types: BTreeMap<Group, BTreeSet<String>> = BTreeMap::new();
    for (qualified, (_, table)) in created() {
        let known = in_dictionary(&qualified);
        let Some(column) = known.distribution_column() else { continue };
        let column = table.columns.iter().find(|c| c.name.value == column).unwrap();
        types.entry(known.group).or_default().insert(column.data_type.to_string().to_lowercase());
    }
    for (group, types) in types {
        assert_eq!(types.len(), 1, "{group:?} can't be co-located over {types:?}");
    }
}

#[test]
fn a_foreign_key_stays_on_its_shard_and_points_to_a_table_distributed_before() {
    for (qualified, (_, table)) in created() {
        let known = in_dictionary(&qualified);
        for constraint in &table.constraints {
            let TableConstraint::ForeignKey(key) = constraint else { continue };
            let target = in_dictionary(&name(&key.foreign_table));
            assert_eq!(known.group, target.group, "{qualified} refers to a table of another group");
            let column = known.distribution_column().unwrap();
            let own: Vec<_> = key.columns.iter().map(|c| c.value.as_str()).collect();
            let others: Vec<_> = key.referred_columns.iter().map(|c| c.value.as_str()).collect();
            let place = own.iter().position(|c| *c == column);
            assert!(place.is_some(), "{qualified}: a foreign key lacks {column}");
            assert_eq!(
                place,
                others.iter().position(|c| *c == column),
                "{qualified}: {column} refers to another column"
            );
            let order = |t: &Table| TABLES.iter().position(|candidate| candidate == t);
            assert!(order(target) < order(known), "{qualified} is distributed before {}", target.qualified());
        }
    }
}

#[test]
fn constraints_and_indexes_are_named_and_short_and_there_once() {
    let mut seen = BTreeSet::new();
    let mut check = |place: &str, schema: &str, name: Option<String>| {
        let name = name.unwrap_or_else(|| panic!("{place}: something has no name of its own"));
        assert!(name.len() < NAME, "{place}: {name} is {} bytes long", name.len());
        assert!(seen.insert(format!("{schema}.{name}")), "{place}: {name} is there twice");
    };
    for (migration, statements) in all() {
        for statement in statements {
            match statement {
                Statement::CreateTable(table) => {
                    let table_name = name(&table.name);
                    let known = in_dictionary(&table_name);
                    assert!(known.name.len() < NAME, "{table_name}");
                    for constraint in &table.constraints {
                        check(
                            &migration.name,
                            known.schema,
                            constraint_name(constraint).map(|name| name.value.clone()),
                        );
                    }
                    for column in &table.columns {
                        for option in &column.options {
                            let text = option.option.to_string();
                            assert!(
                                text == "NOT NULL" || text.starts_with("DEFAULT"),
                                "{table_name}.{}: `{text}` makes a constraint without a name; write it below the columns",
                                column.name
                            );
                        }
                    }
                }
                Statement::CreateIndex(index) => {
                    let schema = in_dictionary(&name(&index.table_name)).schema;
                    check(&migration.name, schema, index.name.as_ref().map(name));
                }
                _ => {}
            }
        }
    }
}

#[test]
fn no_column_makes_its_own_value() {
    for (qualified, (_, table)) in created() {
        for column in &table.columns {
            assert!(
                !matches!(&column.data_type, DataType::Custom(kind, _) if kind.to_string().to_lowercase().contains("serial")),
                "{qualified}.{}: ids are made by the application",
                column.name
            );
            for option in &column.options {
                let text = option.option.to_string().to_lowercase();
                assert!(
                    !text.contains("nextval") && !text.contains("identity"),
                    "{qualified}.{}",
                    column.name
                );
            }
        }
    }
}

#[test]
fn the_outboxes_of_all_groups_carry_the_same_envelope() {
    let mut envelopes = BTreeSet::new();
    let mut number = 0;
    for (qualified, (_, table)) in created() {
        let known = in_dictionary(&qualified);
        if !known.name.starts_with("outbox_") {
            continue;
        }
        number += 1;
        assert_eq!(
            known.name[..known.name.len() - 1],
            format!("outbox_{}_", format!("{:?}", known.group).to_lowercase())
        );
        let key = known.distribution_column().unwrap();
        let columns: Vec<String> =
            table.columns.iter().filter(|c| c.name.value != key).map(|c| c.to_string()).collect();
        envelopes.insert(columns);
        assert_eq!(keys(&table), [vec![key.to_owned(), "event_id".to_owned()]], "{qualified}");
    }
    assert_eq!((number, envelopes.len()), (9, 1));
}

#[test]
fn only_the_owning_service_the_loader_and_the_operator_may_write() {
    for table in TABLES {
        for (role, privileges) in table.grants {
            assert_ne!(*role, Role::Owner, "{}: the owner needs no grant", table.qualified());
            assert!(ROLES.contains(role));
            let only_reads = privileges.iter().all(|p| *p == lyceum_schema::Privilege::Select);
            let may_write =
                [Some(Role::Loader), Some(Role::Operator), table.owner_service].contains(&Some(*role));
            assert!(only_reads || may_write, "{} writes {}", role.name(), table.qualified());
            if let Some(owner) = table.owner_service {
                assert!(
                    [owner, Role::Loader].contains(role),
                    "{} reaches into {}",
                    role.name(),
                    table.qualified()
                );
            }
        }
    }
}

#[test]
fn a_group_is_led_by_its_oldest_table() {
    for table in dictionary::TABLES {
        if table.distribution_column().is_some() {
            let first = anchor(table.group).unwrap();
            assert!(first.since <= table.since, "{} is older than {}", table.qualified(), first.qualified());
            assert_eq!(first.schema, table.schema, "{}", table.qualified());
        }
    }
}

#[test]
fn statements_are_cut_as_a_real_parser_cuts_them() {
    for (migration, _) in all() {
        let joined: String = migration.statements.iter().map(|s| format!("{};\n", s.sql)).collect();
        let parser = Parser::parse_sql(&PostgreSqlDialect {}, &joined).unwrap();
        assert_eq!(parser.len(), split(&joined).len(), "{}", migration.name);
    }
}

// The parser keeps an expression where a name is meant; this test exists so that the checks
// above can't pass because a key's column was read as something else.
#[test]
fn a_key_column_reads_as_its_name() {
    let sql = "CREATE TABLE a (x bigint NOT NULL, CONSTRAINT a_pk PRIMARY KEY (x, y))";
    let Statement::CreateTable(table) = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0)
    else {
        panic!()
    };
    assert_eq!(keys(&table), [vec!["x".to_owned(), "y".to_owned()]]);
    let TableConstraint::PrimaryKey(key) = &table.constraints[0] else { panic!() };
    assert!(matches!(key.columns[0].column.expr, Expr::Identifier(_)));
}
