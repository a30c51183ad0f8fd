//! Condition types and how one is set.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Every group has a primary, durability is met, the schema is current and a canary
/// write through the Service committed in the last 10 s, for this generation.
pub const READY: &str = "Ready";
/// The operator is changing something, or waits for what it changed.
pub const PROGRESSING: &str = "Progressing";
/// Serving or not, something is worse than asked for.
pub const DEGRADED: &str = "Degraded";
/// The schema in the database is at `schemaVersion`, and clean.
pub const SCHEMA_CURRENT: &str = "SchemaCurrent";

/// All condition types, in the order they are reported in.
pub const ALL: [&str; 4] = [READY, PROGRESSING, DEGRADED, SCHEMA_CURRENT];

/// A condition's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It doesn't hold.
    False,
    /// It could not be found out.
    Unknown,
}

impl ConditionStatus {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Longest message a condition may carry (bound of `metav1.Condition`), in characters.
pub const MESSAGE_MAX_LENGTH: usize = 32_768;

/// Puts the condition `type_` into `conditions`, in place if it is there already.
///
/// `lastTransitionTime` moves to `now` only when the status changes, so that it says
/// since when, and an unchanged condition stays equal byte for byte.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: ConditionStatus,
    reason: &str,
    message: impl Into<String>,
    observed_generation: Option<i64>,
    now: &Time,
) {
    let mut message: String = message.into();
    if let Some((cut, _)) = message.char_indices().nth(MESSAGE_MAX_LENGTH) {
        message.truncate(cut);
    }
    let mut next = Condition {
        type_: type_.to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation,
        last_transition_time: now.clone(),
    };
    match conditions.iter_mut().find(|condition| condition.type_ == type_) {
        Some(current) => {
            if current.status == next.status {
                next.last_transition_time = current.last_transition_time.clone();
            }
            *current = next;
        }
        None => conditions.push(next),
    }
}

/// The condition of a type, if reported.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether a condition is reported as True for this generation of the spec.
pub fn is_true(conditions: &[Condition], type_: &str, generation: Option<i64>) -> bool {
    find(conditions, type_).is_some_and(|condition| {
        condition.status == ConditionStatus::True.as_str() && condition.observed_generation == generation
    })
}

/// A message that also says when the operator tries again.
pub fn with_retry(message: &str, at: Timestamp) -> String {
    format!("{message} ({TRIED_AGAIN}{})", at.strftime("%Y-%m-%dT%H:%M:%SZ"))
}

/// When [`with_retry`] said the operator tries again.
pub fn retry_at(message: &str) -> Option<Timestamp> {
    let (_, rest) = message.rsplit_once(TRIED_AGAIN)?;
    rest.trim_end_matches(')').parse().ok()
}

const TRIED_AGAIN: &str = "tried again at ";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn at(text: &str) -> Time {
        serde_json::from_value(text.into()).unwrap()
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let (first, later) = (at("2026-11-25T10:00:00Z"), at("2026-11-25T10:05:00Z"));
        let mut conditions = Vec::new();
        set_condition(&mut conditions, READY, ConditionStatus::False, "A", "one", Some(1), &first);
        set_condition(&mut conditions, READY, ConditionStatus::False, "B", "two", Some(2), &later);
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time, first);
        assert_eq!(conditions[0].reason, "B");
        assert_eq!(conditions[0].observed_generation, Some(2));

        set_condition(&mut conditions, READY, ConditionStatus::True, "C", "", Some(2), &later);
        assert_eq!(conditions[0].last_transition_time, later);
    }

    #[test]
    fn a_condition_of_an_older_generation_is_not_true() {
        let mut conditions = Vec::new();
        set_condition(
            &mut conditions,
            READY,
            ConditionStatus::True,
            "A",
            "",
            Some(1),
            &at("2026-11-25T10:00:00Z"),
        );
        assert!(is_true(&conditions, READY, Some(1)));
        assert!(!is_true(&conditions, READY, Some(2)));
    }

    #[test]
    fn the_next_try_is_read_out_of_the_message() {
        let at: Timestamp = "2026-11-25T10:00:00Z".parse().unwrap();
        let message = with_retry("no answer", at);
        assert_eq!(message, "no answer (tried again at 2026-11-25T10:00:00Z)");
        assert_eq!(retry_at(&message), Some(at));
        assert_eq!(retry_at("no answer"), None);
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let mut conditions = Vec::new();
        let long = "ж".repeat(MESSAGE_MAX_LENGTH + 1);
        set_condition(
            &mut conditions,
            READY,
            ConditionStatus::False,
            "A",
            long,
            None,
            &at("2026-11-25T10:00:00Z"),
        );
        assert_eq!(conditions[0].message.chars().count(), MESSAGE_MAX_LENGTH);
    }
}
