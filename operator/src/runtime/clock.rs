//! A clock that nobody sets and that counts on while the machine sleeps.

use std::ops::Add;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Point on `CLOCK_BOOTTIME`.
///
/// `std::time::Instant` stands still during a suspend on Linux, so a lease held by
/// it would look young to its holder and long expired to everyone else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// Now.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        // Both parts are never negative on this clock.
        Self(Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0)))
    }

    /// A point `since` after an arbitrary zero: for simulations.
    pub const fn at(since: Duration) -> Self {
        Self(since)
    }

    /// Time from `earlier` to this; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Time left until this; zero if it has passed.
    pub fn until(self, now: Self) -> Duration {
        self.since(now)
    }

    /// Nanoseconds since boot, for an atomic. Good for 584 years of uptime.
    pub fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The reverse of [`Self::as_nanos`].
    pub fn from_nanos(nanos: u64) -> Self {
        Self(Duration::from_nanos(nanos))
    }
}

impl Add<Duration> for BootInstant {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}
