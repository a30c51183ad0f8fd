//! The vocabulary: lyceum's custom resources, their validation and their YAML.
//!
//! **Architecture invariant:** nothing here knows a Kubernetes client or does I/O.

pub mod budget;
pub mod course_shard;
mod schema;
pub mod validate;

pub use course_shard::{CourseShard, CourseShardSpec, CourseShardStatus};
