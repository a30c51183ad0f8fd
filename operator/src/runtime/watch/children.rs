//! From what children look like to their owners' triggers.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use kube::Resource;
use kube::runtime::watcher::{self, Event};

use super::Watch;
use crate::runtime::cache::Change;
use crate::runtime::{Cache, Key, Trigger};

/// Keeps `cache` and tells owners of each change whose `significance` is new.
pub(super) async fn follow<K: Resource>(
    mut watch: Watch,
    mut events: impl Stream<Item = (usize, watcher::Result<Event<K>>)> + Unpin,
    cache: Cache<K>,
    trigger: Trigger,
    significance: impl Fn(&K) -> u64,
) {
    let mut seen = Seen::new();
    while let Some((scope, event)) = events.next().await {
        let Some(event) = watch.next(scope, event) else { continue };
        let done = matches!(event, Event::InitDone);
        for change in cache.take_in(scope, event) {
            for owner in affected(&mut seen, &change, &significance) {
                trigger.push(owner);
            }
        }
        if done {
            watch.listed(scope);
        }
    }
}

/// Digest of each child when it last mattered, and whose it was.
type Seen = HashMap<Key, (u64, Option<Key>)>;

/// Owners to whom the change matters: the present one, and the one it was taken from.
fn affected<K: Resource>(
    seen: &mut Seen,
    change: &Change<Arc<K>>,
    significance: &impl Fn(&K) -> u64,
) -> Vec<Key> {
    match change {
        Change::Applied(object) => {
            let owner = Key::of_owner(object.as_ref());
            let now = (significance(object), owner.clone());
            let before = seen.insert(Key::of(object.as_ref()), now.clone());
            if before.as_ref() == Some(&now) {
                return Vec::new();
            }
            let old_owner = before.and_then(|(_, owner)| owner).filter(|old| owner.as_ref() != Some(old));
            owner.into_iter().chain(old_owner).collect()
        }
        Change::Deleted(object) => {
            seen.remove(&Key::of(object.as_ref()));
            Key::of_owner(object.as_ref()).into_iter().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;
    use crate::runtime::cache::INSTANCE_LABEL;
    use crate::runtime::significance;

    fn pod(name: &str, owner: &str, phase: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "ns", "labels": { INSTANCE_LABEL: owner } },
            "status": { "phase": phase },
        }))
        .unwrap()
    }

    #[test]
    fn a_childs_owner_is_told_of_what_matters_and_so_is_the_one_it_was_taken_from() {
        let mut seen = Seen::new();
        let mut told = |pod: Pod| affected(&mut seen, &Change::Applied(Arc::new(pod)), &significance::of_pod);
        assert_eq!(told(pod("a", "x", "Pending")), [Key::new("ns", "x")]);
        assert!(told(pod("a", "x", "Pending")).is_empty());
        assert_eq!(told(pod("a", "x", "Running")), [Key::new("ns", "x")]);
        assert_eq!(told(pod("a", "y", "Running")), [Key::new("ns", "y"), Key::new("ns", "x")]);
        let gone = Change::Deleted(Arc::new(pod("a", "y", "Running")));
        assert_eq!(affected(&mut seen, &gone, &significance::of_pod), [Key::new("ns", "y")]);
    }
}
