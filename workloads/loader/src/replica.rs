//! From the Open University's data to ours, and from the original to its replicas. Pure.
//!
//! Ids are arithmetic, so that anybody can tell what a row was made from:
//!
//! | id | replica r of |
//! |---|---|
//! | student | r × 10,000,000 + the student's number (at most 2,716,795) |
//! | teaching account | r × 1,000 + the module's number (AAA is 1) |
//! | course | teaching account × 100 + the presentation's number (2013B is 1) |
//!
//! Ids that services make start with the milliseconds since the platform's epoch and are above
//! 10^15 from its fourth minute on; 10,000 replicas end at 10^11.
//!
//! A replica has the original's students again, with accounts and courses of its own. Which
//! replica's account a student's module is taken at is drawn by Zipf's law over this replica and
//! those before it: early accounts grow large, late ones stay small, and a larger scale leaves
//! every row of a smaller one as it is.

use jiff::civil::Date;

use crate::{
    draw::{Zipf, unit},
    oulad::{Outcome, Presentation, Registration},
};

/// Ids of one replica's students.
pub(crate) const STUDENTS: i64 = 10_000_000;
/// Ids of one replica's teaching accounts.
pub(crate) const TEACHERS: i64 = 1_000;
/// Ids of one account's courses.
const COURSES: i64 = 100;

/// A teaching account or a course of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Replica whose account it is.
    pub(crate) replica: i64,
    /// What it is a copy of.
    pub(crate) presentation: Presentation,
}

impl Place {
    /// Id of the account.
    pub(crate) fn teacher_id(&self) -> i64 {
        self.replica * TEACHERS + self.presentation.module
    }

    /// Id of the course.
    pub(crate) fn course_id(&self) -> i64 {
        self.teacher_id() * COURSES + self.presentation.number
    }

    /// Slug of the account, unique over all.
    pub(crate) fn account_slug(&self) -> String {
        format!("{}{}", self.prefix(), self.presentation.module_code().to_lowercase())
    }

    /// Slug of the course, unique over all.
    pub(crate) fn course_slug(&self) -> String {
        format!("{}-{}", self.account_slug(), self.presentation.code().to_lowercase())
    }

    fn prefix(&self) -> String {
        if self.replica == 0 { "ou-".into() } else { format!("ou{}-", self.replica) }
    }
}

/// Id of a student.
pub(crate) fn student_id(replica: i64, student: i64) -> i64 {
    replica * STUDENTS + student
}

/// Where a replica's student takes a presentation. All presentations of one module are taken at
/// one account, so that no student takes one course twice.
pub(crate) fn place(replica: i64, seed: i64, zipf: &Zipf, registration: &Registration) -> Place {
    let presentation = registration.presentation;
    let replica = match replica {
        0 => 0,
        _ => zipf.rank(replica, unit(&[seed, replica, registration.student, presentation.module])),
    };
    Place { replica, presentation }
}

/// State of an enrollment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Withdrawn,
    Completed,
}

/// An enrollment as we keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Enrollment {
    /// State.
    pub(crate) state: State,
    /// `None`: a student who withdrew has no result, but for nine who also failed.
    pub(crate) outcome: Option<&'static str>,
    /// Day of registration. Where the data set has none (45), the first day, or the day of
    /// withdrawal if that was earlier.
    pub(crate) enrolled_on: Date,
    /// Day of withdrawal; unknown for 93 who withdrew.
    pub(crate) withdrawn_on: Option<Date>,
    /// Last day of the presentation, when results are given.
    pub(crate) completed_on: Option<Date>,
}

impl From<&Registration> for Enrollment {
    fn from(registration: &Registration) -> Self {
        let Registration { presentation, registered, withdrew, outcome, .. } = registration;
        let state = match outcome {
            Outcome::Withdrawn => State::Withdrawn,
            _ if withdrew.is_some() => State::Withdrawn,
            _ => State::Completed,
        };
        let enrolled = registered.unwrap_or_else(|| withdrew.unwrap_or(0).min(0));
        Self {
            state,
            outcome: match outcome {
                Outcome::Distinction => Some("distinction"),
                Outcome::Pass => Some("pass"),
                Outcome::Fail => Some("fail"),
                Outcome::Withdrawn => None,
            },
            enrolled_on: presentation.day(enrolled),
            withdrawn_on: withdrew.map(|day| presentation.day(day)),
            completed_on: (state == State::Completed).then(|| presentation.day(presentation.days)),
        }
    }
}

impl Enrollment {
    /// Day of its last change.
    pub(crate) fn changed_on(&self) -> Date {
        self.completed_on.or(self.withdrawn_on).unwrap_or(self.enrolled_on)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::oulad::Oulad;

    fn replicas(seed: i64, replicas: i64) -> Vec<(i64, Place)> {
        let oulad = Oulad::read().unwrap();
        let zipf = Zipf::new(replicas);
        (0..replicas)
            .flat_map(|replica| {
                let zipf = &zipf;
                oulad
                    .registrations
                    .iter()
                    .map(move |r| (student_id(replica, r.student), place(replica, seed, zipf, r)))
            })
            .collect()
    }

    #[test]
    fn the_original_keeps_its_own_accounts() {
        assert!(replicas(1, 1).iter().all(|(_, place)| place.replica == 0));
    }

    #[test]
    fn no_student_takes_a_course_twice() {
        let all = replicas(1, 4);
        let keys: HashSet<_> = all.iter().map(|(student, place)| (*student, place.course_id())).collect();
        assert_eq!(keys.len(), all.len());
        assert_eq!(all.len(), 4 * 32_593);
    }

    #[test]
    fn a_larger_scale_leaves_the_smaller_one_as_it_is() {
        let (small, large) = (replicas(1, 3), replicas(1, 5));
        assert_eq!(small[..], large[..small.len()]);
    }

    #[test]
    fn another_seed_is_another_data_set() {
        assert_ne!(replicas(1, 4), replicas(2, 4));
        assert_eq!(replicas(2, 4), replicas(2, 4));
    }

    #[test]
    fn early_accounts_are_large_and_late_ones_small() {
        let mut sizes: HashMap<i64, u32> = HashMap::new();
        for (_, place) in replicas(1, 20) {
            *sizes.entry(place.replica).or_default() += 1;
        }
        assert!(sizes[&1] > 5 * sizes[&19], "{sizes:?}");
        assert_eq!(sizes.values().sum::<u32>(), 20 * 32_593);
    }

    #[test]
    fn ids_and_slugs_tell_where_a_row_comes_from() {
        let presentation = Presentation { module: 3, number: 4, days: 269 };
        let place = Place { replica: 12, presentation };
        assert_eq!((place.teacher_id(), place.course_id()), (12_003, 1_200_304));
        assert_eq!(place.course_slug(), "ou12-ccc-2014j");
        assert_eq!(Place { replica: 0, ..place }.account_slug(), "ou-ccc");
        assert_eq!(student_id(12, 2_716_795), 122_716_795);
    }

    #[test]
    fn an_enrollment_ends_by_withdrawal_or_with_the_presentation() {
        let presentation = Presentation { module: 1, number: 2, days: 268 };
        let registration = Registration {
            student: 1,
            presentation,
            registered: Some(-10),
            withdrew: None,
            outcome: Outcome::Pass,
        };
        let passed = Enrollment::from(&registration);
        assert_eq!((passed.state, passed.outcome), (State::Completed, Some("pass")));
        assert_eq!(passed.completed_on.unwrap().to_string(), "2014-06-26");

        let gone = Enrollment::from(&Registration {
            withdrew: Some(12),
            outcome: Outcome::Withdrawn,
            ..registration
        });
        assert_eq!((gone.state, gone.outcome, gone.completed_on), (State::Withdrawn, None, None));
        assert_eq!(gone.withdrawn_on.unwrap().to_string(), "2013-10-13");

        let unknown = Enrollment::from(&Registration { outcome: Outcome::Withdrawn, ..registration });
        assert_eq!((unknown.state, unknown.withdrawn_on), (State::Withdrawn, None));

        // Registered on an unknown day and gone before the first one.
        let early = Registration {
            registered: None,
            withdrew: Some(-5),
            outcome: Outcome::Withdrawn,
            ..registration
        };
        assert_eq!(Enrollment::from(&early).enrolled_on, presentation.day(-5));
    }

    #[test]
    fn nobody_leaves_before_coming() {
        for registration in &Oulad::read().unwrap().registrations {
            let enrollment = Enrollment::from(registration);
            assert!(enrollment.changed_on() >= enrollment.enrolled_on, "{registration:?}");
        }
    }
}
