//! What is copied in one transaction: the accounts and courses of a replica, or some of its
//! students with all that is theirs. Pure.

use crate::{
    copy::Rows,
    draw::Zipf,
    oulad::{Oulad, Registration},
    replica::{Enrollment, Place, State, place, student_id},
};

/// Students of one batch: about 60,000 rows, 6 MB. On Citus a batch pays once for a connection to every
/// shard it reaches and for a prepared transaction on each, so that small ones are slow.
const STUDENTS: usize = 15_000;
/// When teaching accounts were made: before the first registration.
const ACCOUNTS_SINCE: jiff::civil::Date = jiff::civil::Date::constant(2012, 1, 1);

/// Name of the original in the ledger.
pub(crate) const ORIGINAL: &str = "oulad";
/// Name of the replicas in the ledger.
pub(crate) const REPLICAS: &str = "generated";

/// Names a batch; what the ledger keeps of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// 0 is the original.
    pub(crate) replica: i64,
    /// 0 is the accounts and courses.
    pub(crate) chunk: i64,
}

impl Key {
    /// What is loaded.
    pub(crate) fn load(&self) -> &'static str {
        if self.replica == 0 { ORIGINAL } else { REPLICAS }
    }

    /// What it is drawn from. The original is drawn from nothing.
    pub(crate) fn seed(&self, seed: i64) -> i64 {
        if self.replica == 0 { 0 } else { seed }
    }
}

/// Rows of one table, with the statement that copies them.
pub(crate) struct Part {
    /// `COPY … FROM STDIN`.
    pub(crate) copy: &'static str,
    /// What it reads.
    pub(crate) rows: Rows,
}

/// A data set: the original and its replicas.
pub(crate) struct World {
    oulad: Oulad,
    zipf: Zipf,
    scale: i64,
    seed: i64,
}

impl World {
    /// The original and `scale - 1` replicas.
    pub(crate) fn new(oulad: Oulad, scale: i64, seed: i64) -> Self {
        Self { zipf: Zipf::new(scale), oulad, scale, seed }
    }

    /// Number of replicas, the original counted.
    pub(crate) fn scale(&self) -> i64 {
        self.scale
    }

    /// Seed of the replicas.
    pub(crate) fn seed(&self) -> i64 {
        self.seed
    }

    /// Every batch, in the order of loading.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let chunks = self.oulad.students().count().div_ceil(STUDENTS);
        let chunks = i64::try_from(chunks).unwrap_or(0);
        (0..self.scale).flat_map(|replica| (0..=chunks).map(move |chunk| Key { replica, chunk })).collect()
    }

    /// The rows of a batch, table by table in an order that foreign keys allow.
    pub(crate) fn parts(&self, key: Key) -> Vec<Part> {
        match key.chunk {
            0 => self.accounts(key.replica),
            _ => self.students(key),
        }
    }

    /// Every registration of every replica, with where it leads.
    pub(crate) fn enrollments(&self) -> impl Iterator<Item = (i64, Place, Enrollment)> {
        (0..self.scale).flat_map(move |replica| {
            self.oulad.registrations.iter().map(move |registration| {
                let place = place(replica, self.seed, &self.zipf, registration);
                (student_id(replica, registration.student), place, Enrollment::from(registration))
            })
        })
    }

    /// Students of one replica.
    pub(crate) fn students_of_a_replica(&self) -> i64 {
        i64::try_from(self.oulad.students().count()).unwrap_or(i64::MAX)
    }

    /// Courses and accounts of one replica.
    pub(crate) fn courses_and_accounts_of_a_replica(&self) -> (i64, i64) {
        let mut modules: Vec<_> = self.oulad.presentations.iter().map(|p| p.module).collect();
        modules.dedup();
        let number = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
        (number(self.oulad.presentations.len()), number(modules.len()))
    }

    fn accounts(&self, replica: i64) -> Vec<Part> {
        let (mut accounts, mut courses, mut slugs) = (Rows::default(), Rows::default(), Rows::default());
        let places: Vec<_> =
            self.oulad.presentations.iter().map(|p| Place { replica, presentation: *p }).collect();
        for place in places.chunk_by(|a, b| a.teacher_id() == b.teacher_id()).filter_map(<[Place]>::first) {
            let name = format!("Open University, module {}", place.presentation.module_code());
            let row = accounts
                .row()
                .number(place.teacher_id())
                .text(&place.account_slug())
                .text(&name)
                .text("active");
            row.number(1).midnight(ACCOUNTS_SINCE).midnight(ACCOUNTS_SINCE).end();
            let claim = lyceum_schema::claim::account_slug(&place.account_slug());
            let row = slugs.row().text(&claim).text("account").number(place.teacher_id()).null();
            row.text("confirmed").number(1).midnight(ACCOUNTS_SINCE).null().end();
        }
        for place in places {
            let presentation = place.presentation;
            let title =
                format!("Module {}, presentation {}", presentation.module_code(), presentation.code());
            let row =
                courses.row().number(place.teacher_id()).number(place.course_id()).text(&place.course_slug());
            let row = row.text(&title).text("en").text("published");
            let row = row.date(presentation.starts_on()).number(presentation.days).null().number(1);
            row.midnight(ACCOUNTS_SINCE).midnight(ACCOUNTS_SINCE).end();
            let claim = lyceum_schema::claim::course_slug(&place.course_slug());
            let row =
                slugs.row().text(&claim).text("course").number(place.teacher_id()).number(place.course_id());
            row.text("confirmed").number(1).midnight(ACCOUNTS_SINCE).null().end();
        }
        vec![
            Part {
                copy: "COPY teaching.teaching_accounts \
                       (teacher_id, slug, display_name, state, version, created_at, updated_at) FROM STDIN",
                rows: accounts,
            },
            Part {
                copy: "COPY teaching.courses (teacher_id, course_id, slug, title, language, state, starts_on, \
                       length_days, seat_limit, version, created_at, updated_at) FROM STDIN",
                rows: courses,
            },
            Part {
                copy: "COPY claims.slug_claims \
                       (claim, kind, teacher_id, course_id, state, version, claimed_at, expires_at) FROM STDIN",
                rows: slugs,
            },
        ]
    }

    fn students(&self, key: Key) -> Vec<Part> {
        let before = usize::try_from(key.chunk - 1).unwrap_or(0) * STUDENTS;
        let mut rows = StudentRows::default();
        for registrations in self.oulad.students().skip(before).take(STUDENTS) {
            self.student(key.replica, registrations, &mut rows);
        }
        vec![
            Part {
                copy: "COPY claims.email_claims (claim, person_id, state, version, claimed_at, expires_at) FROM STDIN",
                rows: rows.emails,
            },
            Part {
                copy: "COPY studying.students \
                       (student_id, display_name, locale, state, acquisition, version, created_at, updated_at) FROM STDIN",
                rows: rows.students,
            },
            Part {
                copy: "COPY studying.enrollments (student_id, course_id, teacher_id, order_id, state, outcome, version, \
                       enrolled_at, withdrawn_at, completed_at, updated_at) FROM STDIN",
                rows: rows.enrollments,
            },
            Part {
                copy: "COPY teaching.course_roster (teacher_id, course_id, student_id, state, enrolled_at, withdrawn_at, \
                       source_version, projected_at) FROM STDIN",
                rows: rows.roster,
            },
        ]
    }

    fn student(&self, replica: i64, registrations: &[Registration], rows: &mut StudentRows) {
        let Some(first) = registrations.first() else { return };
        let id = student_id(replica, first.student);
        let mut came = None;
        for registration in registrations {
            let place = place(replica, self.seed, &self.zipf, registration);
            let enrollment = Enrollment::from(registration);
            came =
                Some(came.map_or(enrollment.enrolled_on, |day: jiff::civil::Date| {
                    day.min(enrollment.enrolled_on)
                }));
            let state = match enrollment.state {
                State::Withdrawn => "withdrawn",
                State::Completed => "completed",
            };
            let row = rows.enrollments.row().number(id).number(place.course_id()).number(place.teacher_id());
            let row = row.null().text(state);
            let row = match enrollment.outcome {
                Some(outcome) => row.text(outcome),
                None => row.null(),
            };
            let row = row.number(1).midnight(enrollment.enrolled_on).maybe_midnight(enrollment.withdrawn_on);
            row.maybe_midnight(enrollment.completed_on).midnight(enrollment.changed_on()).end();

            let row =
                rows.roster.row().number(place.teacher_id()).number(place.course_id()).number(id).text(state);
            let row = row.midnight(enrollment.enrolled_on).maybe_midnight(enrollment.withdrawn_on);
            row.number(1).midnight(enrollment.changed_on()).end();
        }
        let came = came.unwrap_or(ACCOUNTS_SINCE);
        let name = format!("Student {id}");
        let row =
            rows.students.row().number(id).text(&name).text("en-GB").text("active").text("{}").number(1);
        row.midnight(came).midnight(came).end();
        // Addresses of example.org belong to nobody (RFC 2606).
        let claim = lyceum_schema::claim::email(&format!("student-{id}@example.org"));
        rows.emails.row().text(&claim).number(id).text("confirmed").number(1).midnight(came).null().end();
    }
}

#[derive(Default)]
struct StudentRows {
    students: Rows,
    enrollments: Rows,
    roster: Rows,
    emails: Rows,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::collections::BTreeMap;

    use super::*;

    fn world(scale: i64) -> World {
        World::new(Oulad::read().unwrap(), scale, 1)
    }

    fn counts(world: &World, replica: i64) -> BTreeMap<String, i64> {
        let mut counts = BTreeMap::new();
        for key in world.keys().into_iter().filter(|key| key.replica == replica) {
            for part in world.parts(key) {
                let table = part.copy.split_whitespace().nth(1).unwrap().to_owned();
                *counts.entry(table).or_default() += part.rows.count();
            }
        }
        counts
    }

    #[test]
    fn every_replica_has_the_numbers_of_the_original() {
        let world = world(3);
        for replica in [0, 2] {
            let counts = counts(&world, replica);
            assert_eq!(counts["teaching.teaching_accounts"], 7);
            assert_eq!(counts["teaching.courses"], 22);
            assert_eq!(counts["claims.slug_claims"], 29);
            assert_eq!(counts["studying.students"], 28_785);
            assert_eq!(counts["claims.email_claims"], 28_785);
            assert_eq!(counts["studying.enrollments"], 32_593);
            assert_eq!(counts["teaching.course_roster"], 32_593);
        }
    }

    #[test]
    fn every_row_has_a_value_for_every_column() {
        let world = world(2);
        for key in [Key { replica: 0, chunk: 0 }, Key { replica: 1, chunk: 2 }] {
            for part in world.parts(key) {
                let columns = part.copy.matches(',').count() + 1;
                let text = std::str::from_utf8(part.rows.as_bytes()).unwrap();
                for line in text.lines() {
                    assert_eq!(line.split('\t').count(), columns, "{}: {line}", part.copy);
                }
                assert_eq!(i64::try_from(text.lines().count()).unwrap(), part.rows.count());
            }
        }
    }

    #[test]
    fn columns_copied_are_columns_of_the_schema() {
        let files = lyceum_schema::migrations().unwrap();
        let created = |table: &str| {
            let start = format!("CREATE TABLE {table} (");
            let statement =
                files.iter().flat_map(|f| &f.statements).find(|s| s.sql.starts_with(&start)).unwrap();
            let columns = statement.sql.lines().skip(1).filter_map(|line| line.split_whitespace().next());
            columns.take_while(|word| *word != "CONSTRAINT").map(str::to_owned).collect::<Vec<_>>()
        };
        for key in [Key { replica: 0, chunk: 0 }, Key { replica: 0, chunk: 1 }] {
            for part in world(1).parts(key) {
                let (head, tail) = part.copy.split_once('(').unwrap();
                let table = head.split_whitespace().nth(1).unwrap();
                let copied: Vec<_> =
                    tail.split(')').next().unwrap().split(',').map(|c| c.trim().to_owned()).collect();
                assert_eq!(copied, created(table), "{table}");
            }
        }
    }

    #[test]
    fn the_ledger_knows_the_original_by_a_seed_of_its_own() {
        let (original, replica) = (Key { replica: 0, chunk: 1 }, Key { replica: 5, chunk: 1 });
        assert_eq!((original.load(), original.seed(9)), ("oulad", 0));
        assert_eq!((replica.load(), replica.seed(9)), ("generated", 9));
    }

    #[test]
    fn a_smaller_scale_is_the_beginning_of_a_larger_one() {
        let (small, large) = (world(2), world(4));
        let key = Key { replica: 1, chunk: 1 };
        for (a, b) in small.parts(key).iter().zip(large.parts(key)) {
            assert_eq!(a.rows, b.rows);
        }
        assert_eq!(small.keys()[..], large.keys()[..small.keys().len()]);
    }
}
