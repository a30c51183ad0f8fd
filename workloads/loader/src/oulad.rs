//! The Open University's registrations, out of the Parquet files in `data/`.

use bytes::Bytes;
use jiff::{ToSpan, civil::Date};
use parquet::{
    errors::ParquetError,
    file::{reader::FileReader, serialized_reader::SerializedFileReader},
    record::{Field, Row},
};

static COURSES: &[u8] = include_bytes!("../data/courses.parquet");
static RESULTS: &[u8] = include_bytes!("../data/studentInfo.parquet");
static REGISTRATIONS: &[u8] = include_bytes!("../data/studentRegistration.parquet");

/// Modules, in the order of their numbers from 1 on.
const MODULES: [&str; 7] = ["AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "GGG"];
/// Presentations, in the order of their numbers from 1 on, with year and month they start in:
/// B is February, J is October. The data set gives no day; the first of the month is taken.
const PRESENTATIONS: [(&str, i16, i8); 4] =
    [("2013B", 2013, 2), ("2013J", 2013, 10), ("2014B", 2014, 2), ("2014J", 2014, 10)];

/// The data set is not as expected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OuladError {
    #[error("the built-in data can't be read: {0}")]
    Parquet(#[from] ParquetError),
    #[error("the built-in data is not the expected data set: {0}")]
    Content(String),
}

/// A presentation of a module: a course.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Presentation {
    /// Number of the module, 1 to 7.
    pub(crate) module: i64,
    /// Number of the presentation, 1 to 4.
    pub(crate) number: i64,
    /// Length in days.
    pub(crate) days: i32,
}

impl Presentation {
    /// `AAA`
    pub(crate) fn module_code(&self) -> &'static str {
        by_number(&MODULES, self.module).copied().unwrap_or_default()
    }

    /// `2013J`
    pub(crate) fn code(&self) -> &'static str {
        by_number(&PRESENTATIONS, self.number).map(|(code, ..)| *code).unwrap_or_default()
    }

    /// Its first day.
    pub(crate) fn starts_on(&self) -> Date {
        by_number(&PRESENTATIONS, self.number)
            .and_then(|(_, year, month)| Date::new(*year, *month, 1).ok())
            .unwrap_or(Date::ZERO)
    }

    /// The day `offset` days after its first; days before it are negative.
    pub(crate) fn day(&self, offset: i32) -> Date {
        self.starts_on().saturating_add(offset.days())
    }
}

fn by_number<T>(all: &[T], number: i64) -> Option<&T> {
    all.get(usize::try_from(number - 1).ok()?)
}

/// How a student ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Distinction,
    Pass,
    Fail,
    Withdrawn,
}

/// A student's registration for a presentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    /// Number of the student in the data set.
    pub(crate) student: i64,
    /// What it is for.
    pub(crate) presentation: Presentation,
    /// Day of registration, counted from the first day; unknown for 45.
    pub(crate) registered: Option<i32>,
    /// Day of withdrawal.
    pub(crate) withdrew: Option<i32>,
    /// How it ended.
    pub(crate) outcome: Outcome,
}

/// The data set.
#[derive(Clone, Debug)]
pub(crate) struct Oulad {
    /// 22 presentations, by module and number.
    pub(crate) presentations: Vec<Presentation>,
    /// 32,593 registrations, by student, then module and presentation.
    pub(crate) registrations: Vec<Registration>,
}

impl Oulad {
    /// Reads the built-in files.
    pub(crate) fn read() -> Result<Self, OuladError> {
        let mut presentations = rows(COURSES)?
            .iter()
            .map(|row| {
                let (module, number) = codes(row)?;
                let days = whole(row, "module_presentation_length")?
                    .and_then(|days| i32::try_from(days).ok())
                    .ok_or_else(|| wrong(row, "a presentation without a length"))?;
                Ok(Presentation { module, number, days })
            })
            .collect::<Result<Vec<_>, OuladError>>()?;
        presentations.sort();

        let mut outcomes = std::collections::HashMap::new();
        for row in &rows(RESULTS)? {
            let outcome = match text(row, "final_result")? {
                "Distinction" => Outcome::Distinction,
                "Pass" => Outcome::Pass,
                "Fail" => Outcome::Fail,
                "Withdrawn" => Outcome::Withdrawn,
                other => return Err(wrong(row, &format!("the result `{other}`"))),
            };
            outcomes.insert((codes(row)?, student(row)?), outcome);
        }

        let mut registrations = rows(REGISTRATIONS)?
            .iter()
            .map(|row| {
                let (key, student) = (codes(row)?, student(row)?);
                let presentation = presentations.iter().find(|p| (p.module, p.number) == key).copied();
                Ok(Registration {
                    student,
                    presentation: presentation
                        .ok_or_else(|| wrong(row, "a registration for no presentation"))?,
                    registered: day(row, "date_registration")?,
                    withdrew: day(row, "date_unregistration")?,
                    outcome: *outcomes
                        .get(&(key, student))
                        .ok_or_else(|| wrong(row, "a registration without a result"))?,
                })
            })
            .collect::<Result<Vec<_>, OuladError>>()?;
        registrations.sort_by_key(|r| (r.student, r.presentation));
        Ok(Self { presentations, registrations })
    }

    /// Registrations of each student, by student.
    pub(crate) fn students(&self) -> impl Iterator<Item = &[Registration]> {
        self.registrations.chunk_by(|a, b| a.student == b.student)
    }
}

fn rows(file: &'static [u8]) -> Result<Vec<Row>, OuladError> {
    let reader = SerializedFileReader::new(Bytes::from_static(file))?;
    let rows = reader.get_row_iter(None)?.collect::<Result<Vec<_>, _>>()?;
    Ok(rows)
}

fn field<'a>(row: &'a Row, name: &str) -> Result<&'a Field, OuladError> {
    let found = row.get_column_iter().find(|(column, _)| *column == name);
    found.map(|(_, field)| field).ok_or_else(|| wrong(row, &format!("no column {name}")))
}

fn text<'a>(row: &'a Row, name: &str) -> Result<&'a str, OuladError> {
    match field(row, name)? {
        Field::Str(text) => Ok(text),
        _ => Err(wrong(row, &format!("{name} is no text"))),
    }
}

/// A whole number; the files keep all numbers as floating point.
fn whole(row: &Row, name: &str) -> Result<Option<i64>, OuladError> {
    match field(row, name)? {
        Field::Null => Ok(None),
        // Below 2^53 every whole number is exact.
        Field::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => Ok(Some(*number as i64)),
        _ => Err(wrong(row, &format!("{name} is no whole number"))),
    }
}

fn day(row: &Row, name: &str) -> Result<Option<i32>, OuladError> {
    let day = whole(row, name)?;
    day.map(|day| i32::try_from(day).map_err(|_| wrong(row, &format!("{name} is no day")))).transpose()
}

fn student(row: &Row) -> Result<i64, OuladError> {
    whole(row, "id_student")?.ok_or_else(|| wrong(row, "no student"))
}

fn codes(row: &Row) -> Result<(i64, i64), OuladError> {
    let (module, presentation) = (text(row, "code_module")?, text(row, "code_presentation")?);
    let module = MODULES.iter().zip(1..).find(|(code, _)| **code == module).map(|(_, number)| number);
    let number =
        PRESENTATIONS.iter().zip(1..).find(|((code, ..), _)| *code == presentation).map(|(_, number)| number);
    module.zip(number).ok_or_else(|| wrong(row, "an unknown module or presentation"))
}

fn wrong(row: &Row, problem: &str) -> OuladError {
    OuladError::Content(format!("{problem} in {row}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    // The numbers of the paper (Scientific Data 4, 170171) and of the files' own counts.
    #[test]
    fn the_data_set_is_whole() {
        let oulad = Oulad::read().unwrap();
        assert_eq!(oulad.presentations.len(), 22);
        assert_eq!(oulad.registrations.len(), 32_593);
        assert_eq!(oulad.students().count(), 28_785);
        let with = |outcome| oulad.registrations.iter().filter(|r| r.outcome == outcome).count();
        assert_eq!(
            [Outcome::Distinction, Outcome::Pass, Outcome::Fail, Outcome::Withdrawn].map(with),
            [3_024, 12_361, 7_052, 10_156]
        );
        assert_eq!(oulad.registrations.iter().filter(|r| r.withdrew.is_some()).count(), 10_072);
        assert_eq!(oulad.registrations.iter().filter(|r| r.registered.is_none()).count(), 45);
    }

    #[test]
    fn nobody_registers_twice_for_one_presentation() {
        let oulad = Oulad::read().unwrap();
        let mut keys: Vec<_> = oulad.registrations.iter().map(|r| (r.student, r.presentation)).collect();
        keys.dedup();
        assert_eq!(keys.len(), 32_593);
    }

    #[test]
    fn days_count_from_the_first_of_the_month_that_the_code_names() {
        let presentation = Presentation { module: 1, number: 2, days: 268 };
        assert_eq!((presentation.module_code(), presentation.code()), ("AAA", "2013J"));
        assert_eq!(presentation.day(0).to_string(), "2013-10-01");
        assert_eq!(presentation.day(-159).to_string(), "2013-04-25");
        assert_eq!(presentation.day(presentation.days).to_string(), "2014-06-26");
    }
}
