//! One line a step, with what it took.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Writes steps to standard error, so that standard output stays for results.
#[derive(Debug, Clone)]
pub struct Progress {
    began: Instant,
    quiet: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Starts the clock that the first column shows.
    #[must_use]
    pub fn new() -> Self {
        Self { began: Instant::now(), quiet: false }
    }

    /// Says nothing, for callers that watch by themselves.
    #[must_use]
    pub fn quiet() -> Self {
        Self { began: Instant::now(), quiet: true }
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Runs a step and writes its name and duration when it ends; a failure carries the step's name.
    ///
    /// # Errors
    /// What the step fails with.
    pub async fn step<T>(&self, what: impl Display, work: impl Future<Output = Result<T>>) -> Result<T> {
        let began = Instant::now();
        let outcome = work.await;
        let verdict = if outcome.is_ok() { "" } else { "FAILED " };
        self.line(&format!("{verdict}{what} ({:.1} s)", began.elapsed().as_secs_f64()));
        outcome.with_context(|| what.to_string())
    }

    /// Writes a line that is no step of its own.
    pub fn note(&self, line: impl Display) {
        self.line(&line.to_string());
    }

    fn line(&self, line: &str) {
        if !self.quiet {
            eprintln!("[{:6.1} s] {line}", self.began.elapsed().as_secs_f64());
        }
    }
}
