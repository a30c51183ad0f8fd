//! What the scenarios and the benches share: a cluster to run on, a stage to act on,
//! a CourseShard to look at, and ways to break it.

pub mod audit;
pub mod bench;
pub mod cluster;
pub mod config;
pub mod diagnose;
pub mod exec;
pub mod formation;
pub mod forward;
pub mod gap;
pub mod leftovers;
pub mod loader;
pub mod operator;
pub mod plugin;
pub mod podrun;
pub mod progress;
pub mod shards;
pub mod sql;
pub mod stage;
pub mod tool;
pub mod wait;
