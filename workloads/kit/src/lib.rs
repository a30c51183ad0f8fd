//! What every lyceum service shares. Only this crate opens sockets and pools.

pub mod backoff;
pub mod pg;
pub mod pooler;
pub mod secret;
pub mod statement;

pub use secret::Secret;
pub use statement::Statement;
