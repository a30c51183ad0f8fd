//! The SQL files of `migrations/citus`, built into whatever links this crate.

use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

use crate::split::{Statement, split};

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../migrations/citus");

/// Which half of a change a file is. What services of the version before still use is taken
/// away only by a later `contract`, never by the `expand` that brings its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Adds; services of the version before go on working.
    Expand,
    /// Takes away what nothing uses any more.
    Contract,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Version it leads to.
    pub version: i32,
    /// File name without its ending, such as `0002_teaching`.
    pub name: String,
    /// Which half of a change it is.
    pub phase: Phase,
    /// Run as one transaction; otherwise statement by statement, each repeatable.
    pub transaction: bool,
    /// Why it is there.
    pub why: String,
    /// What it runs.
    pub statements: Vec<Statement>,
    /// SHA-256 of the file, in hexadecimal.
    pub checksum: String,
}

/// A file that is not as migrations are written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("migrations/citus/{file}: {problem}")]
pub struct MigrationError {
    /// File name.
    pub file: String,
    /// What is wrong and how it must be.
    pub problem: String,
}

/// All files, by version from 0 on without a gap.
pub fn migrations() -> Result<Vec<Migration>, MigrationError> {
    let mut all = FILES
        .files()
        .map(|file| {
            let name = file.path().to_string_lossy();
            let text = file.contents_utf8().ok_or_else(|| problem(&name, "it is not UTF-8"))?;
            parse(&name, text)
        })
        .collect::<Result<Vec<_>, _>>()?;
    all.sort_by_key(|migration| migration.version);
    for (migration, expected) in all.iter().zip(0..) {
        if migration.version != expected {
            return Err(problem(
                &migration.name,
                &format!("there is no version {expected}, or it is there twice"),
            ));
        }
    }
    Ok(all)
}

/// What has been run when `version` is reached and `step` statements of the next version are done.
pub fn done(
    migrations: &[Migration],
    version: i32,
    step: usize,
) -> impl DoubleEndedIterator<Item = &Statement> {
    migrations.iter().filter(move |migration| migration.version <= version + 1).flat_map(move |migration| {
        let done = if migration.version <= version { migration.statements.len() } else { step };
        migration.statements.iter().take(done)
    })
}

/// The statement that creates an index; the last one if there are several.
pub fn index<'a>(
    mut statements: impl DoubleEndedIterator<Item = &'a Statement>,
    schema: &str,
    name: &str,
) -> Option<&'a Statement> {
    statements.rfind(|statement| {
        statement.index().is_some_and(|index| index.schema == schema && index.name == name)
    })
}

fn parse(file: &str, text: &str) -> Result<Migration, MigrationError> {
    let name = file.strip_suffix(".sql").ok_or_else(|| problem(file, "its name must end in .sql"))?;
    let (number, _) = name.split_once('_').ok_or_else(|| problem(file, "its name must be NNNN_name.sql"))?;
    let version = match (number.len(), number.parse()) {
        (4, Ok(version)) => version,
        _ => return Err(problem(file, "its name must start with a version of four digits")),
    };
    let phase = match directive(file, text, "phase")? {
        "expand" => Phase::Expand,
        "contract" => Phase::Contract,
        other => return Err(problem(file, &format!("`-- phase:` is `{other}`; write expand or contract"))),
    };
    let transaction = match directive(file, text, "transaction")? {
        "yes" => true,
        "no" => false,
        other => return Err(problem(file, &format!("`-- transaction:` is `{other}`; write yes or no"))),
    };
    let why = directive(file, text, "why")?.to_owned();
    let statements = split(text);
    if statements.is_empty() {
        return Err(problem(file, "it holds no statement"));
    }
    let checksum = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Migration { version, name: name.to_owned(), phase, transaction, why, statements, checksum })
}

/// Value of the header line `-- <key>: <value>`. The header is the comment the file starts with.
fn directive<'a>(file: &str, text: &'a str, key: &str) -> Result<&'a str, MigrationError> {
    text.lines()
        .map_while(|line| line.strip_prefix("--"))
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.trim() == key)
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
        .ok_or_else(|| problem(file, &format!("its header lacks the line `-- {key}: …`")))
}

fn problem(file: &str, problem: &str) -> MigrationError {
    MigrationError { file: file.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    const HEAD: &str = "-- phase: expand\n-- transaction: no\n-- why: to see.\n";

    #[test]
    fn a_file_says_what_it_is() {
        let migration = parse("0042_answer.sql", &format!("{HEAD}\nSELECT 1;")).unwrap();
        assert_eq!((migration.version, migration.name.as_str()), (42, "0042_answer"));
        assert_eq!((migration.phase, migration.transaction), (Phase::Expand, false));
        assert_eq!(migration.why, "to see.");
        assert_eq!(migration.statements.len(), 1);
    }

    #[test]
    fn a_file_that_says_it_wrongly_is_refused_with_the_reason() {
        let wrong = |file: &str, text: &str| parse(file, text).unwrap_err().to_string();
        let body = format!("{HEAD}SELECT 1;");
        assert!(wrong("42_answer.sql", &body).contains("four digits"));
        assert!(wrong("0042.sql", &body).contains("NNNN_name.sql"));
        assert!(wrong("0042_a.sql", HEAD).contains("no statement"));
        assert!(wrong("0042_a.sql", &body.replace("expand", "shrink")).contains("expand or contract"));
        assert!(wrong("0042_a.sql", &body.replace(": no", ": maybe")).contains("yes or no"));
        assert!(wrong("0042_a.sql", &body.replace("to see.", "")).contains("-- why"));
        assert!(wrong("0042_a.sql", &format!("\n{body}")).contains("-- phase"));
    }

    #[test]
    fn the_files_are_numbered_up_to_the_newest_version() {
        let all = migrations().unwrap();
        assert_eq!(all.last().unwrap().version, crate::LATEST);
        assert_eq!(all.len(), usize::try_from(crate::LATEST).unwrap() + 1);
    }

    #[test]
    fn an_index_is_found_by_its_name_once_it_is_made() {
        let all = migrations().unwrap();
        let find = |version, step, schema: &str, name: &str| {
            index(done(&all, version, step), schema, name).map(|statement| statement.sql.clone())
        };
        let lessons = find(2, 0, "teaching", "lessons_in_order").unwrap();
        assert!(lessons.starts_with("CREATE INDEX lessons_in_order ON teaching.lessons"), "{lessons}");
        assert_eq!(find(1, 0, "teaching", "lessons_in_order"), None);
        assert_eq!(find(7, 0, "studying", "lessons_in_order"), None);
        // The second statement of a version of which one is done.
        assert_eq!(find(6, 1, "teaching", "price_log_in_force"), None);
        assert!(find(6, 1, "teaching", "course_roster_by_student").is_some());
        assert!(find(6, 2, "teaching", "price_log_in_force").is_some());
    }
}
