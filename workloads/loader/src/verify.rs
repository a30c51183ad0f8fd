//! Counting what is there against what should be.

use lyceum_kit::statement::{FanOut, Statement};
use sqlx::{PgConnection, Row};
use tracing::info;

use crate::{
    batch::World,
    load::LoadError,
    replica::{STUDENTS, State, TEACHERS},
};

const WHY: &str = "counts at the end of a bulk load";

static ACCOUNTS: Statement<FanOut> =
    Statement::fan_out("SELECT count(*)::text FROM teaching.teaching_accounts WHERE teacher_id < $1", WHY);
static COURSES: Statement<FanOut> =
    Statement::fan_out("SELECT count(*)::text FROM teaching.courses WHERE teacher_id < $1", WHY);
static SLUGS: Statement<FanOut> =
    Statement::fan_out("SELECT count(*)::text FROM claims.slug_claims WHERE teacher_id < $1", WHY);
static EMAILS: Statement<FanOut> =
    Statement::fan_out("SELECT count(*)::text FROM claims.email_claims WHERE person_id < $1", WHY);
static STUDENTS_LOADED: Statement<FanOut> =
    Statement::fan_out("SELECT count(*)::text FROM studying.students WHERE student_id < $1", WHY);
static ENROLLMENTS: Statement<FanOut> = Statement::fan_out(
    "SELECT count(*) || ' (' || count(*) FILTER (WHERE state = 'withdrawn') || ' withdrawn), checksum ' || \
     coalesce(sum((student_id % 1000003) * (course_id % 1000003)), 0) \
     FROM studying.enrollments WHERE student_id < $1",
    WHY,
);
static ROSTER: Statement<FanOut> = Statement::fan_out(
    "SELECT count(*) || ' (' || count(*) FILTER (WHERE state = 'withdrawn') || ' withdrawn), checksum ' || \
     coalesce(sum((student_id % 1000003) * (course_id % 1000003)), 0) \
     FROM teaching.course_roster WHERE student_id < $1",
    WHY,
);

/// Prime below which ids are cut before they are multiplied, so that the sum stays exact.
const CUT: i64 = 1_000_003;

/// Counts the rows of the loaded id ranges. Rows that services made have higher ids.
pub(crate) async fn verify(connection: &mut PgConnection, world: &World) -> Result<(), LoadError> {
    let scale = world.scale();
    let (courses, accounts) = world.courses_and_accounts_of_a_replica();
    let students = world.students_of_a_replica() * scale;
    let enrollments = enrollments(world);
    let checks = [
        ("teaching.teaching_accounts", &ACCOUNTS, scale * TEACHERS, (accounts * scale).to_string()),
        ("teaching.courses", &COURSES, scale * TEACHERS, (courses * scale).to_string()),
        ("claims.slug_claims", &SLUGS, scale * TEACHERS, ((courses + accounts) * scale).to_string()),
        ("claims.email_claims", &EMAILS, scale * STUDENTS, students.to_string()),
        ("studying.students", &STUDENTS_LOADED, scale * STUDENTS, students.to_string()),
        ("studying.enrollments", &ENROLLMENTS, scale * STUDENTS, enrollments.clone()),
        ("teaching.course_roster", &ROSTER, scale * STUDENTS, enrollments),
    ];
    for (table, count, below, expected) in checks {
        let row = count.query().bind(below).fetch_one(&mut *connection).await?;
        let found: String = row.try_get(0)?;
        if found != expected {
            return Err(LoadError::Wrong { table, found, expected });
        }
        info!("{table}: {found}");
    }
    Ok(())
}

/// What the enrollments and the roster must add up to.
fn enrollments(world: &World) -> String {
    let (mut count, mut withdrawn, mut sum) = (0_u64, 0_u64, 0_i128);
    for (student, place, enrollment) in world.enrollments() {
        count += 1;
        withdrawn += u64::from(enrollment.state == State::Withdrawn);
        sum += i128::from((student % CUT) * (place.course_id() % CUT));
    }
    format!("{count} ({withdrawn} withdrawn), checksum {sum}")
}
