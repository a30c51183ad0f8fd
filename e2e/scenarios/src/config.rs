//! What a run is told from outside.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};

/// How much of each proof is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// One of each kind, fast: what `make test` runs.
    Representative,
    /// The whole series: what `make proof` runs.
    Full,
}

impl Proof {
    /// Reads `LYCEUM_PROOF`; unset means representative.
    pub fn from_environment() -> Result<Self> {
        match std::env::var("LYCEUM_PROOF").as_deref() {
            Err(_) | Ok("" | "representative") => Ok(Self::Representative),
            Ok("full") => Ok(Self::Full),
            Ok(other) => bail!("LYCEUM_PROOF is {other:?}; use `representative` or `full`"),
        }
    }

    /// `few` in a representative run, `many` in a full one.
    pub fn of<T>(self, few: T, many: T) -> T {
        match self {
            Self::Representative => few,
            Self::Full => many,
        }
    }
}

/// A path inside the repository.
pub fn in_repository(path: &str) -> Result<PathBuf> {
    // This crate lies two folders below the root.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .ok_or_else(|| anyhow!("the scenarios crate has moved: no repository root two folders up"))?;
    Ok(root.join(path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_repository_root_holds_the_workspace() {
        assert!(in_repository("Cargo.lock").unwrap().is_file());
    }
}
