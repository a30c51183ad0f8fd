//! From what the objects to reconcile look like to the store and the triggers.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use kube::Resource;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};

use super::Watch;
use crate::runtime::cache::{Change, Scopes};
use crate::runtime::{Key, Trigger, significance};

/// Keeps the store and triggers each object whose change is not our own status write.
pub(super) async fn root<K>(
    mut watch: Watch,
    mut events: impl Stream<Item = (usize, watcher::Result<Event<K>>)> + Unpin,
    mut writer: Writer<K>,
    trigger: Trigger,
) where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let store = writer.as_reader();
    let mut scopes = Scopes::default();
    let mut seen = HashMap::new();
    // Until every namespace has been listed: the store is ready only when it is complete.
    let mut held = Some(HashMap::new());
    while let Some((scope, event)) = events.next().await {
        let Some(event) = watch.next(scope, event) else { continue };
        let done = matches!(event, Event::InitDone);
        for change in changes(&mut scopes, scope, event) {
            let key = match (&change, &mut held) {
                (Change::Applied(object), Some(held)) => {
                    let key = Key::of(object);
                    held.insert(key.clone(), object.clone());
                    key
                }
                (Change::Deleted(key), Some(held)) => {
                    held.remove(key);
                    key.clone()
                }
                (Change::Applied(object), None) => {
                    writer.apply_watcher_event(&Event::Apply(object.clone()));
                    Key::of(object)
                }
                (Change::Deleted(key), None) => {
                    if let Some(object) = stored(&store, key) {
                        writer.apply_watcher_event(&Event::Delete(object));
                    }
                    key.clone()
                }
            };
            if is_significant(&mut seen, &key, &change) {
                trigger.push(key);
            }
        }
        if done && watch.listed(scope) {
            writer.apply_watcher_event(&Event::Init);
            for object in held.take().unwrap_or_default().into_values() {
                writer.apply_watcher_event(&Event::InitApply(object));
            }
            writer.apply_watcher_event(&Event::InitDone);
        }
    }
}

/// A change of a root object; of a deleted one the key is enough.
type RootChange<K> = Change<K, Key>;

/// The event as changes; what a new list no longer shows is deleted.
fn changes<K: Resource>(scopes: &mut Scopes, scope: usize, event: Event<K>) -> Vec<RootChange<K>> {
    match event {
        Event::Init => {
            scopes.begin(scope);
            Vec::new()
        }
        Event::Apply(object) | Event::InitApply(object) => {
            scopes.saw(scope, &Key::of(&object));
            vec![Change::Applied(object)]
        }
        Event::Delete(object) => {
            let key = Key::of(&object);
            scopes.lost(scope, &key);
            vec![Change::Deleted(key)]
        }
        Event::InitDone => scopes.finish(scope).into_iter().map(Change::Deleted).collect(),
    }
}

fn is_significant<K: Resource>(seen: &mut HashMap<Key, u64>, key: &Key, change: &RootChange<K>) -> bool {
    match change {
        Change::Applied(object) => {
            let digest = significance::of_root(object.meta());
            seen.insert(key.clone(), digest) != Some(digest)
        }
        Change::Deleted(_) => seen.remove(key).is_some(),
    }
}

fn stored<K>(store: &Store<K>, key: &Key) -> Option<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let object = ObjectRef::new(&key.name).within(&key.namespace);
    store.get(&object).map(Arc::unwrap_or_clone)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use futures::FutureExt;
    use kube::ResourceExt;
    use kube::core::DeserializeGuard;
    use lyceum_crds::CourseShard;
    use prometheus::{Histogram, HistogramOpts, IntGauge};
    use serde_json::json;

    use super::*;
    use crate::runtime::watch::tests::watch_of;

    fn shard(namespace: &str, name: &str, generation: i64, version: &str) -> DeserializeGuard<CourseShard> {
        serde_json::from_value(json!({
            "apiVersion": "lyceum.dev/v1alpha1", "kind": "CourseShard",
            "metadata": {
                "name": name, "namespace": namespace, "uid": name,
                "generation": generation, "resourceVersion": version,
            },
            "spec": {
                "postgres": { "major": 17 },
                "coordinator": { "storage": { "size": "1Gi" } },
                "workers": { "count": 0 },
            },
        }))
        .unwrap()
    }

    fn trigger() -> (Trigger, crate::runtime::queue::Triggered) {
        let latency = Histogram::with_opts(HistogramOpts::new("l", "l")).unwrap();
        Trigger::new(IntGauge::new("d", "d").unwrap(), latency)
    }

    #[tokio::test]
    async fn the_store_is_ready_only_when_every_namespace_is_listed_and_holds_the_newest() {
        let (reader, writer) = kube::runtime::reflector::store();
        let (trigger, mut triggered) = trigger();
        let (sender, events) = futures::channel::mpsc::unbounded();
        let task = tokio::spawn(root(watch_of(2), events, writer, trigger.clone()));
        let send = |scope, event| sender.unbounded_send((scope, Ok(event))).unwrap();
        send(0, Event::Init);
        send(0, Event::InitApply(shard("one", "a", 1, "1")));
        send(0, Event::InitDone);
        send(0, Event::Apply(shard("one", "a", 2, "2")));
        assert_eq!(triggered.recv().await, Some(Key::new("one", "a")));
        assert!(reader.wait_until_ready().now_or_never().is_none());
        send(1, Event::Init);
        send(1, Event::InitDone);
        reader.wait_until_ready().await.unwrap();
        let stored = stored(&reader, &Key::new("one", "a")).unwrap();
        assert_eq!(stored.meta().generation, Some(2));
        task.abort();
    }

    #[tokio::test]
    async fn a_status_write_reaches_the_store_and_triggers_nothing_and_a_missed_deletion_triggers() {
        let (reader, writer) = kube::runtime::reflector::store();
        let (trigger, mut triggered) = trigger();
        let key = Key::new("one", "a");
        let events = [
            Event::Init,
            Event::InitApply(shard("one", "a", 1, "1")),
            Event::InitDone,
            Event::Apply(shard("one", "a", 1, "2")),
        ];
        let events =
            futures::stream::iter(events.map(|event| (0, Ok(event)))).chain(futures::stream::pending());
        let (more, later) = futures::channel::mpsc::unbounded();
        let events = futures::stream::select(events, later);
        let task = tokio::spawn(root(watch_of(1), events.boxed(), writer, trigger.clone()));
        assert_eq!(triggered.recv().await, Some(key.clone()));
        trigger.take(&key);
        while stored(&reader, &key).and_then(|o| o.resource_version()).as_deref() != Some("2") {
            tokio::task::yield_now().await;
        }
        assert!(triggered.try_recv().is_err());
        more.unbounded_send((0, Ok(Event::Init))).unwrap();
        more.unbounded_send((0, Ok(Event::InitDone))).unwrap();
        assert_eq!(triggered.recv().await, Some(key.clone()));
        assert!(stored(&reader, &key).is_none());
        task.abort();
    }
}
