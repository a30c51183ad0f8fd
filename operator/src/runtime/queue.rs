//! What waits to be reconciled, since when; and which of our own writes to wait for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{Histogram, IntGauge};
use tokio::sync::mpsc;

use super::Key;

/// Says that an object may have to be reconciled. Cheap to clone, never blocks.
///
/// For what no watch tells: a timer of a probe that turned, a call from outside. Any
/// number of calls before the reconciliation starts amount to one.
#[derive(Clone, Debug)]
pub struct Trigger {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    waiting: Mutex<HashMap<Key, Instant>>,
    sender: mpsc::UnboundedSender<Key>,
    depth: IntGauge,
    latency: Histogram,
}

/// Receiving end of a [`Trigger`]; the controller's.
pub(crate) type Triggered = mpsc::UnboundedReceiver<Key>;

impl Trigger {
    /// A queue whose depth and latency go to the given metrics.
    pub(crate) fn new(depth: IntGauge, latency: Histogram) -> (Self, Triggered) {
        // Unbounded, and yet no longer than there are objects: a key is sent again only
        // after it was taken.
        let (sender, receiver) = mpsc::unbounded_channel();
        let queue = Queue { waiting: Mutex::default(), sender, depth, latency };
        (Self { queue: Arc::new(queue) }, receiver)
    }

    /// Reconcile this object soon.
    pub fn push(&self, key: Key) {
        let mut waiting = self.queue.waiting();
        if waiting.contains_key(&key) {
            return;
        }
        waiting.insert(key.clone(), Instant::now());
        self.queue.depth.set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
        // Fails only when the controller has gone, and the process with it.
        self.queue.sender.send(key).ok();
    }

    /// Its reconciliation starts now (or it is gone): from here on a push counts again.
    pub(crate) fn take(&self, key: &Key) {
        let mut waiting = self.queue.waiting();
        if let Some(since) = waiting.remove(key) {
            self.queue.latency.observe(since.elapsed().as_secs_f64());
        }
        self.queue.depth.set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
    }
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Key, Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a reconciliation waits for the cache to show this process's own last write.
const FRESHNESS_LIMIT: Duration = Duration::from_secs(5);

/// Own status writes that the cache has not shown yet.
///
/// Planning on the object as it was before our own write repeats or contradicts what was
/// just decided.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    written: Mutex<HashMap<Key, (u64, Instant)>>,
}

impl Freshness {
    /// This process wrote the object, and the API server made it `resource_version`.
    pub(crate) fn wrote(&self, key: Key, resource_version: Option<String>) {
        // Resource versions of one kind are comparable numbers (KEP-5504). One that is no
        // number, from some other API server, is not waited for.
        if let Some(version) = resource_version.and_then(|v| v.parse().ok()) {
            self.lock().insert(key, (version, Instant::now()));
        }
    }

    /// Whether an object of that version is at least as new as our last write, or we have
    /// waited long enough (its compare-and-swap then fails, which is safe).
    pub(crate) fn is_fresh(&self, key: &Key, resource_version: Option<&str>) -> bool {
        let mut written = self.lock();
        let Some((expected, at)) = written.get(key).copied() else { return true };
        let seen = resource_version.and_then(|v| v.parse::<u64>().ok());
        let fresh = seen.is_none_or(|seen| seen >= expected) || at.elapsed() >= FRESHNESS_LIMIT;
        if fresh {
            written.remove(key);
        }
        fresh
    }

    /// The object is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, (u64, Instant)>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use prometheus::HistogramOpts;

    use super::*;

    fn queue() -> (Trigger, Triggered, IntGauge, Histogram) {
        let depth = IntGauge::new("depth", "d").unwrap();
        let latency = Histogram::with_opts(HistogramOpts::new("latency", "l")).unwrap();
        let (trigger, triggered) = Trigger::new(depth.clone(), latency.clone());
        (trigger, triggered, depth, latency)
    }

    #[test]
    fn many_pushes_before_a_start_are_one_and_a_push_after_it_is_another() {
        let (trigger, mut triggered, depth, latency) = queue();
        let key = Key::new("ns", "a");
        trigger.push(key.clone());
        trigger.push(key.clone());
        assert_eq!((triggered.try_recv().ok(), triggered.try_recv().ok()), (Some(key.clone()), None));
        assert_eq!(depth.get(), 1);
        trigger.take(&key);
        assert_eq!((depth.get(), latency.get_sample_count()), (0, 1));
        trigger.push(key.clone());
        assert_eq!(triggered.try_recv().ok(), Some(key));
    }

    #[test]
    fn a_start_by_timer_counts_no_latency() {
        let (trigger, _triggered, depth, latency) = queue();
        trigger.take(&Key::new("ns", "a"));
        assert_eq!((depth.get(), latency.get_sample_count()), (0, 0));
    }

    #[test]
    fn an_object_older_than_our_own_write_is_waited_for() {
        let freshness = Freshness::default();
        let key = Key::new("ns", "a");
        assert!(freshness.is_fresh(&key, Some("7")));
        freshness.wrote(key.clone(), Some("10".into()));
        assert!(!freshness.is_fresh(&key, Some("9")));
        assert!(freshness.is_fresh(&key, Some("10")));
        assert!(freshness.is_fresh(&key, Some("9")), "seen once, a write is not waited for again");
        freshness.wrote(key.clone(), Some("opaque".into()));
        assert!(freshness.is_fresh(&key, Some("opaque")));
    }
}
