#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use std::sync::Mutex;

use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use lyceum_crds::CourseShard;
use serde_json::{Value, json};

use super::*;

/// Does what an object's name says, and notes when.
#[derive(Default)]
struct Script {
    calls: Arc<Mutex<Vec<(String, tokio::time::Instant)>>>,
    forgotten: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug, thiserror::Error)]
#[error("as told")]
struct AsTold;

impl Categorised for AsTold {
    fn category(&self) -> Category {
        Category::Database
    }
}

impl Reconcile for Script {
    type Kind = CourseShard;
    type Error = AsTold;
    const NAME: &'static str = "courseshard";
    const FIELD_MANAGER: &'static str = "test";
    const FINALIZER: Option<&'static str> = None;

    async fn reconcile(&self, object: Arc<CourseShard>, _: &Effects) -> Result<Next, AsTold> {
        let name = object.name_any();
        self.calls.lock().unwrap().push((name.clone(), tokio::time::Instant::now()));
        match name.as_str() {
            "fails" => Err(AsTold),
            "panics" => panic!("as told"),
            "often" => Ok(Next::After(Duration::from_secs(5))),
            _ => Ok(Next::OnChange),
        }
    }

    async fn forget(&self, key: &Key) {
        self.forgotten.lock().unwrap().push(key.name.clone());
    }
}

/// A controller over a store that the test fills.
struct Stage {
    writer: Writer<DeserializeGuard<CourseShard>>,
    trigger: Trigger,
    metrics: Metrics,
    effects: Effects,
    calls: Arc<Mutex<Vec<(String, tokio::time::Instant)>>>,
    forgotten: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    fn of(names: &[&str]) -> Self {
        let metrics = Metrics::new().unwrap();
        let (depth, latency) = metrics.queue(Script::NAME);
        let (trigger, triggered) = Trigger::new(depth, latency);
        let (effects, _) = super::super::effects::tests::standby();
        let script = Script::default();
        let (calls, forgotten) = (Arc::clone(&script.calls), Arc::clone(&script.forgotten));
        let runner = Runner::new(script, effects.clone(), trigger.clone(), &metrics);
        let (store, mut writer) = kube::runtime::reflector::store();
        writer.apply_watcher_event(&Event::Init);
        for name in names {
            writer.apply_watcher_event(&Event::InitApply(object(name, json!(17))));
            trigger.push(Key::new("ns", *name));
        }
        writer.apply_watcher_event(&Event::InitDone);
        tokio::spawn(runner.run(store, triggered, 16));
        Self { writer, trigger, metrics, effects, calls, forgotten }
    }

    fn times(&self, name: &str) -> Vec<tokio::time::Instant> {
        self.calls.lock().unwrap().iter().filter(|(n, _)| n == name).map(|(_, at)| *at).collect()
    }

    fn metric(&self, line: &str) -> bool {
        self.metrics.render().unwrap().lines().any(|l| l == line)
    }
}

fn object(name: &str, major: Value) -> DeserializeGuard<CourseShard> {
    serde_json::from_value(json!({
        "apiVersion": "lyceum.dev/v1alpha1", "kind": "CourseShard",
        "metadata": { "name": name, "namespace": "ns", "uid": name, "generation": 1, "resourceVersion": "5" },
        "spec": {
            "postgres": { "major": major },
            "coordinator": { "storage": { "size": "1Gi" } },
            "workers": { "count": 0 },
        },
    }))
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_object_that_fails_or_panics_stops_no_other_and_is_tried_again_ever_later() {
    let stage = Stage::of(&["fails", "panics", "often"]);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!((5..=6).contains(&stage.times("often").len()), "{:?}", stage.times("often"));
    for name in ["fails", "panics"] {
        let times = stage.times(name);
        let gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]).as_secs_f64()).collect();
        // 1, 2, 4 and 8 s, a fifth to either side, and the debounce.
        assert!(gaps.len() >= 4, "{name}: {gaps:?}");
        for (gap, expected) in gaps.iter().zip([1.0, 2.0, 4.0, 8.0]) {
            assert!((expected * 0.8..expected * 1.2 + 0.3).contains(gap), "{name}: {gaps:?}");
        }
    }
    let errors = |category: &str, n: usize| {
        let labels = format!("category=\"{category}\",controller=\"courseshard\"");
        format!("lyceum_operator_reconcile_errors_total{{{labels}}} {n}")
    };
    assert!(stage.metric(&errors("database", stage.times("fails").len())));
    assert!(stage.metric(&errors("internal", stage.times("panics").len())));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_decoded_is_counted_and_the_others_go_on() {
    let mut stage = Stage::of(&["often", "broken"]);
    stage.writer.apply_watcher_event(&Event::Apply(object("broken", json!("seventeen"))));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let undecodable = "lyceum_operator_undecodable_objects{controller=\"courseshard\"}";
    assert!(stage.metric(&format!("{undecodable} 1")));
    assert_eq!((stage.times("broken").len(), stage.times("often").len()), (0, 1));
    stage.writer.apply_watcher_event(&Event::Apply(object("broken", json!(17))));
    stage.trigger.push(Key::new("ns", "broken"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(stage.metric(&format!("{undecodable} 0")));
    assert_eq!(stage.times("broken").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_object_is_forgotten_and_can_come_back() {
    let mut stage = Stage::of(&["a"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.writer.apply_watcher_event(&Event::Delete(object("a", json!(17))));
    stage.trigger.push(Key::new("ns", "a"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*stage.forgotten.lock().unwrap(), ["a"]);
    assert!(stage.metric("lyceum_operator_queue_depth{controller=\"courseshard\"} 0"));
    stage.writer.apply_watcher_event(&Event::Apply(object("a", json!(17))));
    stage.trigger.push(Key::new("ns", "a"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.times("a").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_triggers_is_one_reconciliation() {
    let stage = Stage::of(&["a"]);
    for _ in 0..50 {
        stage.trigger.push(Key::new("ns", "a"));
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.times("a").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_object_is_not_reconciled_as_it_was_before_our_own_write() {
    let mut stage = Stage::of(&[]);
    stage.writer.apply_watcher_event(&Event::Apply(object("a", json!(17))));
    stage.effects.freshness().wrote(Key::new("ns", "a"), Some("6".into()));
    stage.trigger.push(Key::new("ns", "a"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(stage.times("a").is_empty());
    let mut newer = object("a", json!(17));
    newer.meta_mut().resource_version = Some("6".into());
    stage.writer.apply_watcher_event(&Event::Apply(newer));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.times("a").len(), 1);
}
