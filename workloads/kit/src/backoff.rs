//! Waits between tries, spread so that many clients do not come back at one moment.

use std::time::Duration;

use rand::Rng;

/// Exponential waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Longest wait after the first failure.
    pub first: Duration,
    /// Longest wait ever.
    pub longest: Duration,
}

impl Backoff {
    /// Wait after failure number `failures` (from 1). `unit` in `[0, 1)` spreads it between half
    /// of its length and the whole.
    pub fn after(&self, failures: u32, unit: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        whole.mul_f64(0.5 + 0.5 * unit.clamp(0.0, 1.0))
    }

    /// Sleeps for [`Backoff::after`] with a random spread.
    pub async fn sleep(&self, failures: u32) {
        let unit = rand::rng().random::<f64>();
        tokio::time::sleep(self.after(failures, unit)).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(5) };

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<_> =
            [1, 2, 3, 10, u32::MAX].map(|failures| BACKOFF.after(failures, 1.0).as_millis()).into();
        assert_eq!(waits, [100, 200, 400, 5_000, 5_000]);
    }

    #[test]
    fn a_wait_is_never_less_than_half() {
        assert_eq!(BACKOFF.after(1, 0.0), Duration::from_millis(50));
        assert_eq!(BACKOFF.after(1, -3.0), Duration::from_millis(50));
    }
}
