//! How long a connection lives.
//!
//! sqlx ends connections at one age. Pods that start together then all connect again together,
//! each with a TLS handshake (PostHog/posthog#49745). Here every connection has an age of its own.

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

/// Oldest a connection gets.
pub(super) const LONGEST: Duration = Duration::from_secs(30 * 60);
/// Youngest age at which one is retired.
const SHORTEST: Duration = Duration::from_secs(20 * 60);

/// Gives each connection of a pool its age.
#[derive(Debug)]
pub(super) struct Lifetimes {
    born: Instant,
    hash: RandomState,
}

impl Lifetimes {
    pub(super) fn new() -> Self {
        Self { born: Instant::now(), hash: RandomState::new() }
    }

    /// A connection of this age has lived long enough.
    pub(super) fn is_over(&self, now: Instant, age: Duration) -> bool {
        let connected = now.saturating_duration_since(self.born).saturating_sub(age);
        age >= self.of(connected)
    }

    /// Life of the connection made this long after the pool. sqlx tells no more about a connection
    /// than its age, so the moment of its making (by the millisecond) has to stand for its identity.
    fn of(&self, connected: Duration) -> Duration {
        let spread = (self.hash.hash_one(connected.as_millis()) % 1_000) as u32;
        SHORTEST + (LONGEST - SHORTEST) * spread / 1_000
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_young_connection_stays_and_an_old_one_goes() {
        let lifetimes = Lifetimes::new();
        let now = Instant::now() + Duration::from_secs(7_200);
        for millis in 0..1_000 {
            let now = now + Duration::from_millis(millis);
            assert!(!lifetimes.is_over(now, SHORTEST - Duration::from_secs(1)));
            assert!(lifetimes.is_over(now, LONGEST));
        }
    }

    #[test]
    fn connections_made_together_do_not_end_together() {
        let lifetimes = Lifetimes::new();
        let mut ends: Vec<_> =
            (0..100).map(|millis| lifetimes.of(Duration::from_millis(millis)).as_secs()).collect();
        ends.sort_unstable();
        let (first, last) = (ends[0], ends[99]);
        assert!(last - first > 300, "100 connections end within {} s", last - first);
        // No tenth of the time takes more than three tenths of the connections.
        for start in (SHORTEST.as_secs()..LONGEST.as_secs()).step_by(60) {
            let together = ends.iter().filter(|end| (start..start + 60).contains(*end)).count();
            assert!(together <= 30, "{together} end in the minute from {start} s");
        }
    }
}
