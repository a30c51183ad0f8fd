//! Numbers about the runtime, in one registry a process.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use super::{Category, Key};

/// From a no-op (a few ms) to a reconciliation that waits for every deadline it has.
const RECONCILE_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// From the debounce up to a backlog that people notice.
const QUEUE_SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Metrics of the runtime. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    leader: IntGauge,
    term: IntGauge,
    effects: IntCounterVec,
    reconcile_seconds: HistogramVec,
    reconcile_errors: IntCounterVec,
    undecodable: IntGaugeVec,
    queue_depth: IntGaugeVec,
    queue_seconds: HistogramVec,
    listed_at: GaugeVec,
    watch_errors: IntCounterVec,
}

/// Metrics of one controller.
#[derive(Clone, Debug)]
pub struct ControllerMetrics {
    seconds: Histogram,
    errors: IntCounterVec,
    undecodable: IntGauge,
    undecodable_keys: Arc<Mutex<HashSet<Key>>>,
    name: &'static str,
}

/// Metrics of the watch of one kind.
#[derive(Clone, Debug)]
pub struct WatchMetrics {
    listed_at: Gauge,
    errors: IntCounter,
}

impl Metrics {
    /// Registers everything in a registry of its own, with the process's CPU, memory and
    /// open files.
    ///
    /// # Errors
    /// A name is registered twice or malformed: a mistake that every start shows.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process))?;
        let build = IntGaugeVec::new(
            opts("lyceum_operator_build_info", "Always 1; the version is in the label."),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let metrics = Self {
            leader: IntGauge::with_opts(opts(
                "lyceum_operator_leader",
                "1 while this process holds the lease, else 0.",
            ))?,
            term: IntGauge::with_opts(opts(
                "lyceum_operator_lease_term",
                "Number of the term this process holds; 0 if it holds none.",
            ))?,
            effects: IntCounterVec::new(
                opts(
                    "lyceum_operator_effects_total",
                    "Changes sent to the cluster and the databases, by verb, kind and outcome \
                     (ok, failed, timeout, refused for want of the lease).",
                ),
                &["verb", "kind", "outcome"],
            )?,
            reconcile_seconds: HistogramVec::new(
                HistogramOpts::new(
                    "lyceum_operator_reconcile_duration_seconds",
                    "Time of one reconciliation, successful or not.",
                )
                .buckets(RECONCILE_SECONDS.to_vec()),
                &["controller"],
            )?,
            reconcile_errors: IntCounterVec::new(
                opts("lyceum_operator_reconcile_errors_total", "Failed reconciliations, by category of the failure."),
                &["controller", "category"],
            )?,
            undecodable: IntGaugeVec::new(
                opts("lyceum_operator_undecodable_objects", "Objects whose content cannot be read."),
                &["controller"],
            )?,
            queue_depth: IntGaugeVec::new(
                opts("lyceum_operator_queue_depth", "Objects that were triggered and wait to be reconciled."),
                &["controller"],
            )?,
            queue_seconds: HistogramVec::new(
                HistogramOpts::new(
                    "lyceum_operator_queue_latency_seconds",
                    "Time from the first trigger to the start of the reconciliation, 0.2 s of debounce included.",
                )
                .buckets(QUEUE_SECONDS.to_vec()),
                &["controller"],
            )?,
            listed_at: GaugeVec::new(
                opts(
                    "lyceum_operator_last_list_timestamp_seconds",
                    "Unix time of the last complete list of a kind; 0 if there was none.",
                ),
                &["kind"],
            )?,
            watch_errors: IntCounterVec::new(
                opts("lyceum_operator_watch_errors_total", "Lists and watches that failed and were started again."),
                &["kind"],
            )?,
            registry,
        };
        for collector in metrics.collectors() {
            metrics.registry.register(collector)?;
        }
        metrics.registry.register(Box::new(build))?;
        Ok(metrics)
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.leader.clone()),
            Box::new(self.term.clone()),
            Box::new(self.effects.clone()),
            Box::new(self.reconcile_seconds.clone()),
            Box::new(self.reconcile_errors.clone()),
            Box::new(self.undecodable.clone()),
            Box::new(self.queue_depth.clone()),
            Box::new(self.queue_seconds.clone()),
            Box::new(self.listed_at.clone()),
            Box::new(self.watch_errors.clone()),
        ]
    }

    /// The registry, for a controller's own metrics.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// A metric that cannot be encoded.
    pub fn render(&self) -> prometheus::Result<String> {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    pub(crate) fn leading(&self, term: Option<u64>) {
        self.leader.set(i64::from(term.is_some()));
        self.term.set(term.and_then(|t| i64::try_from(t).ok()).unwrap_or(0));
    }

    pub(crate) fn effect(&self, verb: &str, kind: &str, outcome: &str) {
        self.effects.with_label_values(&[verb, kind, outcome]).inc();
    }

    pub(crate) fn controller(&self, name: &'static str) -> ControllerMetrics {
        for category in Category::ALL {
            self.reconcile_errors.with_label_values(&[name, category.as_str()]).reset();
        }
        ControllerMetrics {
            seconds: self.reconcile_seconds.with_label_values(&[name]),
            errors: self.reconcile_errors.clone(),
            undecodable: self.undecodable.with_label_values(&[name]),
            undecodable_keys: Arc::default(),
            name,
        }
    }

    pub(crate) fn queue(&self, controller: &str) -> (IntGauge, Histogram) {
        let labels = &[controller];
        (self.queue_depth.with_label_values(labels), self.queue_seconds.with_label_values(labels))
    }

    pub(crate) fn watch(&self, kind: &str) -> WatchMetrics {
        WatchMetrics {
            listed_at: self.listed_at.with_label_values(&[kind]),
            errors: self.watch_errors.with_label_values(&[kind]),
        }
    }
}

impl ControllerMetrics {
    pub(crate) fn attempt(&self, took: Duration) {
        self.seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn error(&self, category: Category) {
        self.errors.with_label_values(&[self.name, category.as_str()]).inc();
    }

    pub(crate) fn undecodable(&self, key: &Key) {
        self.count_undecodable(|keys| keys.insert(key.clone()));
    }

    /// The object can be read (again), or is gone.
    pub(crate) fn decodable(&self, key: &Key) {
        self.count_undecodable(|keys| keys.remove(key));
    }

    fn count_undecodable(&self, change: impl FnOnce(&mut HashSet<Key>) -> bool) {
        let mut keys = self.undecodable_keys.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut keys) {
            self.undecodable.set(i64::try_from(keys.len()).unwrap_or(i64::MAX));
        }
    }
}

impl WatchMetrics {
    pub(crate) fn listed(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.listed_at.set(now.as_secs_f64());
    }

    pub(crate) fn failed(&self) {
        self.errors.inc();
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn in_use() -> Metrics {
        let metrics = Metrics::new().unwrap();
        metrics.leading(Some(4));
        metrics.effect("apply", "StatefulSet", "ok");
        let controller = metrics.controller("courseshard");
        controller.attempt(Duration::from_millis(3));
        controller.error(Category::Conflict);
        controller.undecodable(&Key::new("ns", "a"));
        let (depth, latency) = metrics.queue("courseshard");
        depth.set(1);
        latency.observe(0.2);
        metrics.watch("Pod").listed();
        metrics.watch("Pod").failed();
        metrics
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for family in in_use().registry().gather() {
            let name = family.name();
            let ours = name.starts_with("lyceum_operator_");
            assert!(ours || name.starts_with("process_"), "{name}: not ours");
            assert!(!family.help().is_empty(), "{name}: no help");
            if !ours {
                continue;
            }
            let counter = family.get_field_type() == prometheus::proto::MetricType::COUNTER;
            assert_eq!(counter, name.ends_with("_total"), "{name}: _total is for counters");
            if family.get_field_type() == prometheus::proto::MetricType::HISTOGRAM {
                assert!(name.ends_with("_seconds"), "{name}: no unit");
            }
        }
    }

    #[test]
    fn an_error_counts_under_its_category_and_the_others_exist_at_zero() {
        let text = in_use().render().unwrap();
        let line = |category: &str, n: u32| {
            format!(
                "lyceum_operator_reconcile_errors_total{{category=\"{category}\",controller=\"courseshard\"}} {n}"
            )
        };
        assert!(text.contains(&line("conflict", 1)), "{text}");
        assert!(text.contains(&line("database", 0)), "{text}");
    }

    #[test]
    fn an_undecodable_object_counts_once_until_it_can_be_read() {
        let metrics = Metrics::new().unwrap();
        let controller = metrics.controller("courseshard");
        let key = Key::new("ns", "a");
        controller.undecodable(&key);
        controller.undecodable(&key);
        assert_eq!(controller.undecodable.get(), 1);
        controller.decodable(&key);
        controller.decodable(&key);
        assert_eq!(controller.undecodable.get(), 0);
    }
}
