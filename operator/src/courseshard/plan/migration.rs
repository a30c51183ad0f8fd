//! Bringing the schema to its version: decided here, written to status as an intent,
//! carried out by one Job of that intent's name, and then only looked at.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lyceum_crds::course_shard::{CourseShardStatus, Intent, IntentAction, IntentKind};
use sha2::{Digest, Sha256};

use crate::courseshard::observed::{DatabaseSeen, JobSeen, JobState, Observed};

/// A migration that takes longer has failed: the Job is ended then, and tried again.
pub const DEADLINE: Duration = Duration::from_secs(3600);
/// Wait after the first failure; doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// Longest wait between two tries.
const LONGEST_RETRY: Duration = Duration::from_secs(600);
/// Jobs of failed tries that are kept to be looked at; also what the wait is counted by.
const FAILED_JOBS_KEPT: usize = 5;

/// Where the schema stands against what is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schema {
    /// At the version asked for, and clean.
    Current,
    /// A migration is running.
    Migrating,
    /// The last one failed; tried again at the time given.
    Failed {
        /// Its last words.
        message: String,
        /// When it is tried again.
        retry_at: Timestamp,
    },
    /// At another version, or none yet; the text says which.
    Behind(String),
    /// It could not be read.
    Unknown,
    /// This operator doesn't know the version asked for.
    TooNew {
        /// Newest one known.
        latest: i32,
    },
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Migration {
    /// How the schema stands.
    pub schema: Schema,
    /// What status holds from now on.
    pub intent: Option<Intent>,
    /// Create the Job of this intent, which status holds already.
    pub start: Option<Intent>,
    /// Jobs that are no longer needed.
    pub prune: Vec<JobSeen>,
    /// The intent just ended well: the version reached.
    pub reached: Option<i32>,
    /// The intent's deadline passed before its Job was made.
    pub expired: bool,
}

/// What the decision is made from.
pub struct Situation<'a> {
    /// Version asked for.
    pub target: i32,
    /// Newest version this operator's migrator knows.
    pub latest: i32,
    /// Whether a migrator could work now: every group has a primary.
    pub possible: bool,
    /// Uid of the CourseShard: part of what an intent's id is made from.
    pub uid: &'a str,
    /// Status as it was read.
    pub status: &'a CourseShardStatus,
    /// Migrator Jobs and the database.
    pub observed: &'a Observed,
    /// Now.
    pub now: Timestamp,
}

/// Decides.
pub fn migrate(situation: &Situation<'_>) -> Migration {
    let Situation { target, latest, status, observed, now, .. } = *situation;
    let mut decided = Migration {
        schema: Schema::Unknown,
        intent: status.intent.clone(),
        start: None,
        prune: Vec::new(),
        reached: None,
        expired: false,
    };
    if let Some(intent) = &status.intent {
        carry_on(intent, observed, now, &mut decided);
        if decided.intent.is_some() {
            return decided;
        }
    }
    decided.prune = superseded(&observed.jobs);
    let known = decided.reached.map(|version| (version, false)).or_else(|| known(&observed.database, status));
    decided.schema = match known {
        _ if target > latest => Schema::TooNew { latest },
        Some((version, false)) if version == target => Schema::Current,
        Some((version, _)) if version > target => Schema::Behind(format!(
            "the database is at {version}; a schema never goes back, so ask for {version} or newer"
        )),
        _ => due(situation, known, &mut decided),
    };
    decided
}

/// An intent that status holds: start its Job if there is none, else see how it stands.
fn carry_on(intent: &Intent, observed: &Observed, now: Timestamp, decided: &mut Migration) {
    decided.schema = Schema::Migrating;
    match observed.jobs.iter().find(|job| job.intent_id == intent.id).map(|job| &job.state) {
        Some(JobState::Running) => {}
        Some(JobState::Succeeded) => {
            decided.reached = intent.action.to_version;
            decided.intent = None;
        }
        Some(JobState::Failed { .. }) => decided.intent = None,
        None => {
            let passed = intent.deadline.parse::<Timestamp>().is_ok_and(|deadline| deadline <= now);
            if passed {
                decided.intent = None;
                decided.expired = true;
            } else {
                decided.start = Some(intent.clone());
            }
        }
    }
}

/// The schema is behind, or its state is not known and was never seen: a migration is due
/// unless the last one failed a moment ago.
fn due(situation: &Situation<'_>, known: Option<(i32, bool)>, decided: &mut Migration) -> Schema {
    let Situation { target, possible, uid, observed, now, .. } = *situation;
    if let Some((message, retry_at)) = last_failure(&observed.jobs)
        && now < retry_at
    {
        return Schema::Failed { message, retry_at };
    }
    if possible {
        let earlier = observed.jobs.iter().map(|job| job.epoch);
        let expired = situation.status.intent.iter().map(|intent| intent.epoch);
        let epoch = earlier.chain(expired).max().unwrap_or(0).saturating_add(1);
        decided.intent = Some(Intent {
            id: intent_id(uid, epoch, now),
            action: IntentAction { kind: IntentKind::Migrate, to_version: Some(target) },
            epoch,
            deadline: now.checked_add(DEADLINE).unwrap_or(now).to_string(),
        });
        return Schema::Migrating;
    }
    Schema::Behind(match known {
        Some((version, true)) => {
            format!("the database is at {version}, with a migration to {target} half done")
        }
        Some((version, false)) => format!("the database is at {version}, {target} is asked for"),
        None => format!("the database has no schema yet, {target} is asked for"),
    })
}

/// What was last read, else what was last reported: a database that doesn't answer has not
/// lost its schema.
fn known(database: &DatabaseSeen, status: &CourseShardStatus) -> Option<(i32, bool)> {
    let seen = database.schema.as_ref().map(|schema| (schema.version, schema.dirty));
    seen.or_else(|| status.schema.as_ref().map(|schema| (schema.version, schema.dirty)))
}

/// The newest Job's last words and the end of the wait, if it failed.
fn last_failure(jobs: &[JobSeen]) -> Option<(String, Timestamp)> {
    let JobState::Failed { at, message } = &jobs.last()?.state else { return None };
    let failures = jobs.iter().rev().take_while(|job| matches!(job.state, JobState::Failed { .. })).count();
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let wait = FIRST_RETRY.saturating_mul(1 << doublings).min(LONGEST_RETRY);
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::from_secs(10));
    Some((message.clone(), at.checked_add(wait).unwrap_or(*at)))
}

/// All finished Jobs but the newest (its epoch is counted on from) and the last few failures.
fn superseded(jobs: &[JobSeen]) -> Vec<JobSeen> {
    let keep = match jobs.last().map(|job| &job.state) {
        Some(JobState::Failed { .. }) => FAILED_JOBS_KEPT,
        _ => 1,
    };
    let old = jobs.len().saturating_sub(keep);
    jobs.iter().take(old).filter(|job| job.state != JobState::Running).cloned().collect()
}

/// Ten hexadecimal digits, different for each intent of each object.
fn intent_id(uid: &str, epoch: i64, now: Timestamp) -> String {
    let digest = Sha256::digest(format!("{uid}/{epoch}/{}", now.as_nanosecond()).as_bytes());
    digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}
