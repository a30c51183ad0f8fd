//! Fills the caches and the root store, and turns what they see into triggers.

mod children;
mod root;

use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::cache::Scopes;
use super::metrics::{Metrics, WatchMetrics};
use super::significance::{self, Rule};
use super::{Cache, Trigger};

/// Bound of a watch call: a connection that died silently is noticed 5 s later. A cache
/// that is behind for longer than that would be planned upon.
const WATCH_SECONDS: u32 = 55;

/// Where to watch, and how many of the watches have listed once.
#[derive(Clone)]
pub struct Watches {
    client: Client,
    /// Empty: all of them.
    namespaces: Vec<String>,
    metrics: Metrics,
    progress: Arc<watch::Sender<Progress>>,
}

/// Watches started, and how many of them have seen a complete list.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    started: usize,
    listed: usize,
}

impl Progress {
    fn is_complete(self) -> bool {
        self.started > 0 && self.listed >= self.started
    }
}

type Events<K> = SelectAll<BoxStream<'static, (usize, watcher::Result<Event<K>>)>>;

impl Watches {
    /// Watches of these namespaces, or of all if there are none.
    pub fn new(client: Client, namespaces: Vec<String>, metrics: Metrics) -> Self {
        Self { client, namespaces, metrics, progress: Arc::default() }
    }

    /// Whether every watch has seen a complete list of its kind.
    pub fn are_synced(&self) -> bool {
        self.progress.borrow().is_complete()
    }

    /// Returns when they have. What is planned before would take for missing what is only
    /// not listed yet.
    pub(crate) async fn synced(&self) {
        let mut progress = self.progress.subscribe();
        // The sender lives in `self`: this cannot fail while we wait.
        progress.wait_for(|progress| progress.is_complete()).await.ok();
    }

    fn scopes(&self) -> usize {
        self.namespaces.len().max(1)
    }

    fn events<K>(&self, selector: &str, trim: fn(&mut K)) -> Events<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
    {
        let config = watcher::Config::default().timeout(WATCH_SECONDS);
        let config = if selector.is_empty() { config } else { config.labels(selector) };
        let apis: Vec<Api<K>> = if self.namespaces.is_empty() {
            vec![Api::all(self.client.clone())]
        } else {
            self.namespaces.iter().map(|ns| Api::namespaced(self.client.clone(), ns)).collect()
        };
        let streams = apis.into_iter().enumerate().map(|(scope, api)| {
            let events = watcher(api, config.clone()).modify(move |object| {
                object.managed_fields_mut().clear();
                trim(object);
            });
            events.default_backoff().map(move |event| (scope, event)).boxed()
        });
        futures::stream::select_all(streams)
    }

    /// Watches children of which metadata is enough.
    pub(crate) fn children<K>(
        &self,
        cache: Cache<PartialObjectMeta<K>>,
        selector: &str,
        rule: Rule,
        trigger: Trigger,
    ) -> impl Future<Output = ()> + Send + use<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Send + Sync + 'static,
        PartialObjectMeta<K>: DeserializeOwned,
    {
        let events = self.events::<PartialObjectMeta<K>>(selector, |_| {});
        let watch = self.watch(&K::kind(&()));
        children::follow(watch, events, cache, trigger, move |object| {
            significance::of_metadata(object.meta(), rule)
        })
    }

    /// Watches pods, of which the spec is dropped but for the node.
    pub(crate) fn pods(
        &self,
        cache: Cache<Pod>,
        selector: &str,
        trigger: Trigger,
    ) -> impl Future<Output = ()> + Send + use<> {
        let events = self.events::<Pod>(selector, trim_pod);
        children::follow(self.watch("Pod"), events, cache, trigger, significance::of_pod)
    }

    /// Watches the objects to reconcile, into the store that they are reconciled from.
    pub(crate) fn root<K>(
        &self,
        writer: Writer<K>,
        trigger: Trigger,
    ) -> impl Future<Output = ()> + Send + use<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let events = self.events::<K>("", |_| {});
        root::root(self.watch(&K::kind(&())), events, writer, trigger)
    }

    fn watch(&self, kind: &str) -> Watch {
        self.progress.send_modify(|progress| progress.started += 1);
        Watch {
            kind: kind.to_owned(),
            metrics: self.metrics.watch(kind),
            scopes: self.scopes(),
            progress: Arc::clone(&self.progress),
            listed: Scopes::default(),
        }
    }
}

/// Bookkeeping of the watch of one kind.
struct Watch {
    kind: String,
    metrics: WatchMetrics,
    scopes: usize,
    progress: Arc<watch::Sender<Progress>>,
    listed: Scopes,
}

impl Watch {
    /// The event, if there is one; an error is counted and has its own backoff.
    fn next<K>(&mut self, scope: usize, event: watcher::Result<Event<K>>) -> Option<Event<K>> {
        match event {
            Ok(event) => Some(event),
            Err(error) => {
                self.metrics.failed();
                let error = super::error::chain(&error);
                tracing::warn!(error, kind = self.kind, scope, "watch failed; it is started again");
                None
            }
        }
    }

    /// A list of `scope` is complete. Whether it was the last one missing.
    fn listed(&mut self, scope: usize) -> bool {
        self.metrics.listed();
        let before = self.listed.listed();
        self.listed.finish(scope);
        let complete = before < self.scopes && self.listed.listed() == self.scopes;
        if complete {
            self.progress.send_modify(|progress| progress.listed += 1);
        }
        complete
    }
}

fn trim_pod(pod: &mut Pod) {
    let node_name = pod.spec.take().and_then(|spec| spec.node_name);
    pod.spec = Some(PodSpec { node_name, ..PodSpec::default() });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use serde_json::json;

    use super::*;

    /// A watch of `scopes` namespaces, alone in its process.
    pub(super) fn watch_of(scopes: usize) -> Watch {
        watches(scopes).watch("CourseShard")
    }

    fn watches(scopes: usize) -> Watches {
        let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        let namespaces = (0..scopes).map(|n| format!("ns{n}")).collect();
        Watches::new(Client::try_from(config).unwrap(), namespaces, Metrics::new().unwrap())
    }

    #[tokio::test]
    async fn nothing_is_synced_until_every_kind_is_listed_in_every_namespace() {
        let watches = watches(2);
        assert!(!watches.are_synced());
        let mut kinds = [watches.watch("Pod"), watches.watch("Job")];
        for (kind, scope) in [(0, 0), (0, 1), (1, 1), (1, 1)] {
            kinds[kind].listed(scope);
            assert!(!watches.are_synced());
        }
        kinds[1].listed(0);
        watches.synced().await;
        kinds[1].listed(0);
        assert!(watches.are_synced());
    }

    #[test]
    fn a_pod_keeps_its_node_and_loses_the_rest_of_its_spec() {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "a" },
            "spec": { "nodeName": "a-n1", "hostNetwork": true, "containers": [] },
        }))
        .unwrap();
        trim_pod(&mut pod);
        let spec = pod.spec.unwrap();
        assert_eq!((spec.node_name.as_deref(), spec.host_network), (Some("a-n1"), None));
    }
}
