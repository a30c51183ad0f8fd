//! What can go wrong, in the few kinds that a person or an alert tells apart.

use std::time::Duration;

use super::LostLeadership;

/// Kind of a failure: a metric label, an event reason and a condition reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// The spec asks for something that cannot be; only a person can help.
    InvalidSpec,
    /// An object of a name we need belongs to someone else.
    ForeignObject,
    /// The API server refused or failed.
    Kubernetes,
    /// The object changed since it was read; the next attempt sees the change.
    Conflict,
    /// The database refused or failed.
    Database,
    /// No answer within the deadline; whether the effect took place is unknown.
    Timeout,
    /// This process may no longer act.
    LostLeadership,
    /// A mistake in the operator.
    Internal,
}

impl Category {
    /// Every category, so that each metric exists before its first error.
    pub const ALL: [Self; 8] = [
        Self::InvalidSpec,
        Self::ForeignObject,
        Self::Kubernetes,
        Self::Conflict,
        Self::Database,
        Self::Timeout,
        Self::LostLeadership,
        Self::Internal,
    ];

    /// In CamelCase: what conditions and events use as reason.
    pub const fn as_reason(self) -> &'static str {
        match self {
            Self::InvalidSpec => "InvalidSpec",
            Self::ForeignObject => "ForeignObject",
            Self::Kubernetes => "KubernetesError",
            Self::Conflict => "Conflict",
            Self::Database => "DatabaseError",
            Self::Timeout => "Timeout",
            Self::LostLeadership => "LostLeadership",
            Self::Internal => "InternalError",
        }
    }

    /// In snake_case: the value of the metric label `category`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidSpec => "invalid_spec",
            Self::ForeignObject => "foreign_object",
            Self::Kubernetes => "kubernetes",
            Self::Conflict => "conflict",
            Self::Database => "database",
            Self::Timeout => "timeout",
            Self::LostLeadership => "lost_leadership",
            Self::Internal => "internal",
        }
    }
}

/// The error and what caused it, without what is said already.
///
/// A client's "client error (Connect)" alone does not tell a refused connection from an
/// unknown host.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// An error that knows its [`Category`].
pub trait Categorised {
    /// The category it counts under.
    fn category(&self) -> Category;
}

/// An effect that did not (or may not have) come to pass.
#[derive(Debug, thiserror::Error)]
pub enum EffectError {
    /// Refused before anything was sent.
    #[error(transparent)]
    LostLeadership(#[from] LostLeadership),
    /// No answer in time. The effect may still have taken place: observe before repeating.
    #[error("{verb} {target} was not answered within {} s; it is tried again", after.as_secs_f32())]
    Timeout {
        /// What was tried.
        verb: &'static str,
        /// On what: `StatefulSet lyceum/school-g1`.
        target: String,
        /// Deadline that passed.
        after: Duration,
    },
    /// The object changed (or went) since it was read.
    #[error("{verb} {target} met a newer version of it; it is read and tried again")]
    Conflict {
        /// What was tried.
        verb: &'static str,
        /// On what.
        target: String,
    },
    /// The API server refused or could not be reached.
    #[error("{verb} {target} failed: {}", chain(source.as_ref()))]
    Api {
        /// What was tried.
        verb: &'static str,
        /// On what.
        target: String,
        /// Answer of the API server or of the connection.
        #[source]
        source: Box<kube::Error>,
    },
    /// The object handed in lacks a name or a namespace.
    #[error("{verb} {kind}: the object has no {missing}; this is a mistake in the operator")]
    Unnamed {
        /// What was tried.
        verb: &'static str,
        /// Kind of the object.
        kind: String,
        /// `name`, `namespace`, `uid` or `resourceVersion`.
        missing: &'static str,
    },
}

impl EffectError {
    /// Sorts an API error by what the caller can do about it.
    pub(crate) fn from_api(verb: &'static str, target: String, source: kube::Error) -> Self {
        match &source {
            kube::Error::Api(status) if status.code == 409 && status.reason != "AlreadyExists" => {
                Self::Conflict { verb, target }
            }
            _ => Self::Api { verb, target, source: Box::new(source) },
        }
    }

    /// The API server's answer code, if it answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::Conflict { .. } => Some(409),
            _ => None,
        }
    }
}

impl Categorised for EffectError {
    fn category(&self) -> Category {
        match self {
            Self::LostLeadership(_) => Category::LostLeadership,
            Self::Timeout { .. } => Category::Timeout,
            Self::Conflict { .. } => Category::Conflict,
            Self::Api { .. } => Category::Kubernetes,
            Self::Unnamed { .. } => Category::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::collections::HashSet;

    use super::*;

    fn refused(code: u16, reason: &str) -> EffectError {
        let status = serde_json::from_value(serde_json::json!({
            "status": "Failure", "code": code, "reason": reason, "message": "no"
        }))
        .unwrap();
        EffectError::from_api("apply", "ConfigMap lyceum/school".into(), kube::Error::Api(status))
    }

    #[test]
    fn a_stale_write_is_a_conflict_and_a_taken_name_is_not() {
        assert_eq!(refused(409, "Conflict").category(), Category::Conflict);
        assert_eq!(refused(409, "AlreadyExists").category(), Category::Kubernetes);
        assert_eq!(refused(422, "Invalid").category(), Category::Kubernetes);
        assert_eq!(refused(422, "Invalid").code(), Some(422));
    }

    #[test]
    fn an_errors_text_ends_in_its_cause_and_says_nothing_twice() {
        let cause = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        let error = kube::Error::Service(Box::new(cause));
        let text = chain(&error);
        assert_eq!(text.matches("connection refused").count(), 1, "{text}");
        let shown = EffectError::from_api("apply", "Secret ns/a".into(), error).to_string();
        assert!(
            shown.starts_with("apply Secret ns/a failed: ") && shown.ends_with("connection refused"),
            "{shown}"
        );
    }

    #[test]
    fn labels_and_reasons_are_distinct_and_well_formed() {
        let labels: HashSet<_> = Category::ALL.iter().map(|c| c.as_str()).collect();
        let reasons: HashSet<_> = Category::ALL.iter().map(|c| c.as_reason()).collect();
        assert_eq!((labels.len(), reasons.len()), (Category::ALL.len(), Category::ALL.len()));
        assert!(labels.iter().all(|l| l.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
        assert!(reasons.iter().all(|r| r.chars().all(|c| c.is_ascii_alphabetic())));
    }
}
