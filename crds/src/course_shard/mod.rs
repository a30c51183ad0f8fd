//! `CourseShard`: one database formation, a Citus coordinator with its workers
//! or a single PostgreSQL group, behind a pooler.

pub mod conditions;
pub mod engines;
pub mod limits;
pub mod names;
pub mod reasons;
pub mod reserved;
mod rules;
mod spec;
mod status;

pub use spec::*;
pub use status::*;
