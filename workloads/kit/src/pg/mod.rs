//! PostgreSQL: how the project connects, and what a failure means.

pub mod connect;
pub mod failure;
mod lifetime;
pub mod settings;
mod tls;
pub mod wire;

pub use connect::{PoolSize, connect_direct, direct, pool, pooled};
pub use failure::{Failure, classify, words};
pub use settings::{Ca, Settings, SettingsError};
