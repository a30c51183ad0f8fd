//! The CourseShard controller: a database formation out of a StatefulSet a group,
//! Patroni, Citus and a pooler. `observe → plan → apply → report`, and `plan` is pure.

mod apply;
mod canary;
mod controller;
mod error;
mod metrics;
pub mod observe;
pub mod observed;
pub mod pki;
pub mod plan;
mod pooler;
pub mod render;
mod report;
mod secrets;
pub mod waiting;

pub use controller::{CourseShardController, controller};
pub use error::Error;
