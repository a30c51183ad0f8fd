//! PgBouncer: telling it from a server, its admin console, and the proof that it hands no
//! client another one's rows.

pub mod admin;
pub mod peer;
pub mod probe;

pub use admin::{Console, reconnect};
pub use peer::{Peer, peer};
pub use probe::{Plan, ProbeError, Report, at_start};
