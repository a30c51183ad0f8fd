//! What can go wrong with one CourseShard, and how a person is told.

use lyceum_crds::course_shard::reasons;

use super::pki::PkiError;
use crate::runtime::{Categorised, Category, EffectError};

/// A reconciliation that did not get through.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Kubernetes API, or the lease.
    #[error(transparent)]
    Effect(#[from] EffectError),
    /// An object of a name we need belongs to somebody else.
    #[error("{kind} {name} belongs to somebody else and was not touched; delete it or choose another name")]
    Foreign {
        /// Kind.
        kind: String,
        /// Name.
        name: String,
    },
    /// An object of an earlier CourseShard of this name is still being removed.
    #[error("{kind} {name} of a deleted CourseShard of this name is still being removed")]
    Leftover {
        /// Kind.
        kind: String,
        /// Name.
        name: String,
    },
    /// A Secret lacks what it should hold.
    #[error("Secret {name} has no key {key}; restore it from a backup")]
    SecretIncomplete {
        /// Name.
        name: String,
        /// Key.
        key: String,
    },
    /// Certificates could not be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

impl Categorised for Error {
    fn category(&self) -> Category {
        match self {
            Self::Effect(error) => error.category(),
            Self::Foreign { .. } => Category::ForeignObject,
            Self::Leftover { .. } => Category::Conflict,
            Self::SecretIncomplete { .. } | Self::Pki(_) => Category::Internal,
        }
    }
}

impl Error {
    /// Reason of the condition and the event that report it; `None` for what the next
    /// attempt, a moment later, is expected to get past.
    pub fn reason(&self) -> Option<&'static str> {
        match self.category() {
            Category::Conflict | Category::LostLeadership => None,
            Category::ForeignObject => Some(reasons::FOREIGN_OBJECT),
            Category::Database => Some(reasons::DATABASE_ERROR),
            Category::InvalidSpec => Some(reasons::INVALID_SPEC),
            Category::Internal => Some(reasons::SECRETS_LOST),
            Category::Kubernetes | Category::Timeout => Some(reasons::KUBERNETES_ERROR),
        }
    }
}
