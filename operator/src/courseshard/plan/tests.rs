//! The planner's judgement in situations written down as sentences.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod convergence;
mod decisions;
pub(in crate::courseshard) mod scene;
