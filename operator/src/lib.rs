//! The operator of lyceum's custom resources.
//!
//! `runtime` knows leases, watches, queues and metrics but none of lyceum's kinds;
//! each other folder is one controller over it.
//!
//! **Architecture invariant:** nothing outside `runtime::effects` writes to the API server.

pub mod config;
pub mod courseshard;
pub mod runtime;
