//! What has to be run: a pure function of what there is and what is asked.

use lyceum_schema::{LATEST, Migration};

use crate::{error::MigrateError, version::Row};

/// A file and where to go on in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending<'a> {
    /// The file.
    pub(crate) migration: &'a Migration,
    /// Statements already done, by an attempt that broke off.
    pub(crate) step: usize,
}

/// Files that lead from the row's version to `target`, in their order.
pub(crate) fn pending<'a>(
    files: &'a [Migration],
    row: Option<&Row>,
    target: i32,
) -> Result<Vec<Pending<'a>>, MigrateError> {
    if target > LATEST {
        return Err(MigrateError::UnknownTarget { asked: target, latest: LATEST });
    }
    let found = row.map_or(-1, |row| row.version);
    if found > LATEST {
        return Err(MigrateError::NewerSchema { found, latest: LATEST });
    }
    if found > target {
        return Err(MigrateError::Behind { found, asked: target });
    }
    let files = files.iter().filter(|file| file.version > found && file.version <= target);
    Ok(files
        .map(|migration| Pending {
            migration,
            step: row
                .filter(|row| row.dirty && migration.version == row.version + 1)
                .map_or(0, |row| row.step),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use lyceum_schema::migrations;

    use super::*;

    fn at(version: i32) -> Row {
        Row { version, dirty: false, step: 0, detail: None, reconnect_due: false }
    }

    fn versions(row: Option<&Row>, target: i32) -> Vec<(i32, usize)> {
        let files = migrations().unwrap();
        pending(&files, row, target).unwrap().iter().map(|p| (p.migration.version, p.step)).collect()
    }

    #[test]
    fn an_empty_database_takes_every_file_from_the_bookkeeping_on() {
        assert_eq!(versions(None, 2), [(0, 0), (1, 0), (2, 0)]);
    }

    #[test]
    fn only_what_is_missing_is_run() {
        assert_eq!(versions(Some(&at(4)), 6), [(5, 0), (6, 0)]);
        assert_eq!(versions(Some(&at(6)), 6), []);
    }

    #[test]
    fn a_half_done_version_goes_on_where_it_stopped_and_later_ones_from_their_start() {
        let row = Row { dirty: true, step: 1, ..at(5) };
        assert_eq!(versions(Some(&row), 7), [(6, 1), (7, 0)]);
        // The step of an attempt that was rolled back counts for nothing.
        assert_eq!(versions(Some(&Row { step: 1, ..at(5) }), 6), [(6, 0)]);
    }

    #[test]
    fn versions_never_go_back_or_beyond_what_is_known() {
        let files = migrations().unwrap();
        let refused = |row: i32, target| pending(&files, Some(&at(row)), target).unwrap_err();
        assert!(matches!(refused(6, 4), MigrateError::Behind { found: 6, asked: 4 }));
        assert!(matches!(refused(LATEST + 1, LATEST), MigrateError::NewerSchema { .. }));
        assert!(matches!(refused(0, LATEST + 1), MigrateError::UnknownTarget { .. }));
    }
}
