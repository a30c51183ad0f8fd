//! What every controller stands on.
//!
//! | Part | Question it answers |
//! |---|---|
//! | [`leadership`] | may this process act at all? |
//! | [`effects`] | how does a change reach the cluster? |
//! | [`controller`] | what is reconciled when, how often, how many at once? |
//! | [`cache`], [`watch`] | what does the cluster look like now? |
//! | [`metrics`], [`server`] | how is it doing? |
//! | [`supervisor`] | what happens when a part ends? |
//!
//! A controller implements [`Reconcile`], reads from [`Caches`] and writes through
//! [`Effects`]. It starts no task outside the supervisor and keeps no lease.

pub mod backoff;
pub mod cache;
pub mod clients;
pub mod clock;
pub mod controller;
pub mod effects;
pub mod error;
pub mod leadership;
pub mod lease;
#[cfg(test)]
mod lease_simulation;
pub mod logging;
pub mod metrics;
pub mod process;
pub mod queue;
pub mod server;
pub mod significance;
pub mod supervisor;
pub mod watch;

pub use cache::{Cache, Caches, Key};
pub use controller::{Next, Reconcile, Setup};
pub use effects::{Created, Deleted, Effects, Propagation};
pub use error::{Categorised, Category, EffectError};
pub use leadership::{Leadership, LostLeadership, Term};
pub use process::BackgroundTask;
pub use queue::Trigger;
