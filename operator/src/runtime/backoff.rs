//! When a failed object is tried again. Each object has its own count.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Category, Key};

/// Wait after the first failure.
pub const FIRST: Duration = Duration::from_secs(1);
/// Longest wait.
pub const LONGEST: Duration = Duration::from_secs(120);
/// Wait after a conflict: the newer version is on its way to the cache already.
pub const AFTER_CONFLICT: Duration = Duration::from_millis(250);
/// A wait is spread by this share to either side, so that objects that failed together
/// (an API server that was away) do not come back together.
pub const JITTER: f64 = 0.2;

/// Consecutive failures by object.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<Key, u32>>,
}

impl Backoff {
    /// Consecutive failures so far.
    pub fn failures(&self, key: &Key) -> u32 {
        self.with(|failures| failures.get(key).copied().unwrap_or(0))
    }

    /// One more failure.
    pub fn failed(&self, key: &Key) {
        self.with(|failures| {
            let count = failures.entry(key.clone()).or_default();
            *count = count.saturating_add(1);
        });
    }

    /// A success, or the object is gone: the count starts anew.
    pub fn reset(&self, key: &Key) {
        self.with(|failures| failures.remove(key));
    }

    fn with<T>(&self, f: impl FnOnce(&mut HashMap<Key, u32>) -> T) -> T {
        f(&mut self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Wait before the attempt after `failures` earlier ones failed and this one too.
///
/// `spread` is uniform in 0..1; it moves the wait by up to [`JITTER`] to either side,
/// never past [`LONGEST`].
pub fn delay(failures: u32, spread: f64) -> Duration {
    // 2^7 · 1 s is past the cap: more doublings change nothing and could overflow.
    let doubled = FIRST.saturating_mul(1 << failures.min(7)).min(LONGEST);
    doubled.mul_f64(1.0 + JITTER * (2.0 * spread.clamp(0.0, 1.0) - 1.0)).min(LONGEST)
}

/// [`delay`], but soon after the first few conflicts.
pub fn delay_after(category: Category, failures: u32, planned: Duration) -> Duration {
    match category {
        Category::Conflict if failures < 3 => AFTER_CONFLICT.min(planned),
        _ => planned,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn waits_double_from_one_second_to_two_minutes() {
        let waits: Vec<u64> = (0..9).map(|n| delay(n, 0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
        assert_eq!(delay(u32::MAX, 1.0), LONGEST);
    }

    #[test]
    fn jitter_spreads_a_fifth_to_either_side() {
        assert_eq!(delay(3, 0.0), Duration::from_millis(6400));
        assert_eq!(delay(3, 1.0), Duration::from_millis(9600));
    }

    #[test]
    fn a_conflict_comes_back_soon_unless_it_keeps_coming() {
        let planned = Duration::from_secs(1);
        assert_eq!(delay_after(Category::Conflict, 0, planned), AFTER_CONFLICT);
        assert_eq!(delay_after(Category::Conflict, 3, planned), planned);
        assert_eq!(delay_after(Category::Kubernetes, 0, planned), planned);
    }

    #[test]
    fn one_objects_failures_are_not_anothers_and_a_success_clears_them() {
        let backoff = Backoff::default();
        let (a, b) = (Key::new("ns", "a"), Key::new("ns", "b"));
        backoff.failed(&a);
        backoff.failed(&a);
        assert_eq!((backoff.failures(&a), backoff.failures(&b)), (2, 0));
        backoff.reset(&a);
        assert_eq!(backoff.failures(&a), 0);
    }
}
