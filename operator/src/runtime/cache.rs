//! What the cluster looked like when its watches last spoke, indexed by owner.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, RwLock};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};

/// Label that names the owner of an object within its namespace.
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";

/// Namespace and name of a namespaced object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key of its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }

    /// The key of the object that [`INSTANCE_LABEL`] says this one belongs to.
    pub fn of_owner<K: Resource>(object: &K) -> Option<Self> {
        let owner = object.meta().labels.as_ref()?.get(INSTANCE_LABEL)?;
        Some(Self::new(object.meta().namespace.clone()?, owner))
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Everything a controller may look up without asking the API server.
///
/// Objects lag behind the API server; a write based on one carries its
/// resourceVersion or uid as precondition where that matters.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Caches {
    /// Metadata and status; spec reduced to the node name. managedFields dropped.
    pub pods: Cache<Pod>,
    pub stateful_sets: Cache<PartialObjectMeta<StatefulSet>>,
    pub deployments: Cache<PartialObjectMeta<Deployment>>,
    pub services: Cache<PartialObjectMeta<Service>>,
    /// Patroni's own ConfigMaps are among these when they carry our labels.
    pub config_maps: Cache<PartialObjectMeta<ConfigMap>>,
    pub secrets: Cache<PartialObjectMeta<Secret>>,
    pub disruption_budgets: Cache<PartialObjectMeta<PodDisruptionBudget>>,
    pub network_policies: Cache<PartialObjectMeta<NetworkPolicy>>,
    pub service_accounts: Cache<PartialObjectMeta<ServiceAccount>>,
    pub roles: Cache<PartialObjectMeta<Role>>,
    pub role_bindings: Cache<PartialObjectMeta<RoleBinding>>,
    /// A Job's every change triggers, but its status is not in here: get it.
    pub jobs: Cache<PartialObjectMeta<Job>>,
}

/// Objects of one kind. Cheap to clone; all clones are the same cache.
#[derive(Debug)]
pub struct Cache<K> {
    state: Arc<RwLock<State<K>>>,
}

#[derive(Debug)]
struct State<K> {
    objects: HashMap<Key, Arc<K>>,
    by_owner: HashMap<Key, HashSet<Key>>,
    scopes: Scopes,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state) }
    }
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        let state = State { objects: HashMap::new(), by_owner: HashMap::new(), scopes: Scopes::default() };
        Self { state: Arc::new(RwLock::new(state)) }
    }
}

/// What an event did to a cache.
#[derive(Debug, PartialEq, Eq)]
pub enum Change<K, D = K> {
    /// New, or no longer what it was.
    Applied(K),
    /// Gone; what is known of it still.
    Deleted(D),
}

impl<K: Resource> Cache<K> {
    /// The object of that name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.read(|state| state.objects.get(&Key::new(namespace, name)).cloned())
    }

    /// All objects that [`INSTANCE_LABEL`] assigns to `owner`, by name.
    pub fn owned_by(&self, owner: &Key) -> Vec<Arc<K>> {
        let mut objects: Vec<_> = self.read(|state| {
            let keys = state.by_owner.get(owner).into_iter().flatten();
            keys.filter_map(|key| state.objects.get(key).cloned()).collect()
        });
        objects.sort_by_key(|object| object.name_any());
        objects
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.read(|state| state.objects.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in what the watch of `scope` said; returns what changed by it.
    ///
    /// A deletion missed while a watch was down is found by the list that follows.
    pub(crate) fn take_in(&self, scope: usize, event: Event<K>) -> Vec<Change<Arc<K>>> {
        self.write(|state| match event {
            Event::Init => {
                state.scopes.begin(scope);
                Vec::new()
            }
            Event::Apply(object) | Event::InitApply(object) => {
                let key = Key::of(&object);
                state.scopes.saw(scope, &key);
                vec![Change::Applied(state.insert(key, Arc::new(object)))]
            }
            Event::Delete(object) => {
                let key = Key::of(&object);
                state.scopes.lost(scope, &key);
                state.remove(&key);
                vec![Change::Deleted(Arc::new(object))]
            }
            Event::InitDone => {
                let gone = state.scopes.finish(scope);
                gone.iter().filter_map(|key| state.remove(key)).map(Change::Deleted).collect()
            }
        })
    }

    // A panic in another holder leaves the maps whole (each step is one call), so a
    // poisoned lock is still good to use.
    fn read<T>(&self, f: impl FnOnce(&State<K>) -> T) -> T {
        f(&self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut State<K>) -> T) -> T {
        f(&mut self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl<K: Resource> State<K> {
    fn insert(&mut self, key: Key, object: Arc<K>) -> Arc<K> {
        self.remove(&key);
        if let Some(owner) = Key::of_owner(object.as_ref()) {
            self.by_owner.entry(owner).or_default().insert(key.clone());
        }
        self.objects.insert(key, Arc::clone(&object));
        object
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<K>> {
        let object = self.objects.remove(key)?;
        if let Some(owner) = Key::of_owner(object.as_ref())
            && let Some(keys) = self.by_owner.get_mut(&owner)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.by_owner.remove(&owner);
            }
        }
        Some(object)
    }
}

/// Which keys each watched namespace holds, so that a new list tells what went.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    known: HashMap<usize, HashSet<Key>>,
    listing: HashMap<usize, HashSet<Key>>,
    listed: HashSet<usize>,
}

impl Scopes {
    /// A list begins.
    pub(crate) fn begin(&mut self, scope: usize) {
        self.listing.insert(scope, HashSet::new());
    }

    /// The list or the watch showed `key`.
    pub(crate) fn saw(&mut self, scope: usize, key: &Key) {
        if let Some(seen) = self.listing.get_mut(&scope) {
            seen.insert(key.clone());
        }
        self.known.entry(scope).or_default().insert(key.clone());
    }

    /// The watch said that `key` is gone.
    pub(crate) fn lost(&mut self, scope: usize, key: &Key) {
        if let Some(keys) = self.known.get_mut(&scope) {
            keys.remove(key);
        }
    }

    /// The list is complete: returns what was known and is no more.
    pub(crate) fn finish(&mut self, scope: usize) -> Vec<Key> {
        self.listed.insert(scope);
        let Some(seen) = self.listing.remove(&scope) else { return Vec::new() };
        let known = self.known.insert(scope, seen.clone()).unwrap_or_default();
        known.into_iter().filter(|key| !seen.contains(key)).collect()
    }

    /// Scopes listed at least once.
    pub(crate) fn listed(&self) -> usize {
        self.listed.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn pod(namespace: &str, name: &str, owner: Option<&str>) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.namespace = Some(namespace.into());
        pod.metadata.name = Some(name.into());
        pod.metadata.labels = owner.map(|owner| [(INSTANCE_LABEL.to_owned(), owner.to_owned())].into());
        pod
    }

    fn names(cache: &Cache<Pod>, owner: &str) -> Vec<String> {
        cache.owned_by(&Key::new("ns", owner)).iter().map(|p| p.name_any()).collect()
    }

    #[test]
    fn a_new_list_reports_what_went_while_the_watch_was_down() {
        let cache = Cache::default();
        cache.take_in(0, Event::Init);
        cache.take_in(0, Event::InitApply(pod("ns", "a", Some("x"))));
        cache.take_in(0, Event::InitApply(pod("ns", "b", Some("x"))));
        assert!(cache.take_in(0, Event::InitDone).is_empty());
        cache.take_in(0, Event::Init);
        cache.take_in(0, Event::InitApply(pod("ns", "b", Some("x"))));
        let changes = cache.take_in(0, Event::InitDone);
        assert!(matches!(changes.as_slice(), [Change::Deleted(gone)] if gone.name_any() == "a"));
        assert_eq!(names(&cache, "x"), ["b"]);
    }

    #[test]
    fn a_list_of_one_namespace_leaves_the_others_alone() {
        let cache = Cache::default();
        for (scope, namespace) in [(0, "ns"), (1, "other")] {
            cache.take_in(scope, Event::Init);
            cache.take_in(scope, Event::InitApply(pod(namespace, "a", Some("x"))));
            cache.take_in(scope, Event::InitDone);
        }
        cache.take_in(1, Event::Init);
        assert_eq!(cache.take_in(1, Event::InitDone).len(), 1);
        assert_eq!(names(&cache, "x"), ["a"]);
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn an_object_that_changes_owner_is_found_under_the_new_one_only() {
        let cache = Cache::default();
        cache.take_in(0, Event::Apply(pod("ns", "a", Some("x"))));
        cache.take_in(0, Event::Apply(pod("ns", "a", Some("y"))));
        assert_eq!((names(&cache, "x").len(), names(&cache, "y").len()), (0, 1));
        cache.take_in(0, Event::Apply(pod("ns", "a", None)));
        assert!(names(&cache, "y").is_empty());
        assert!(cache.get("ns", "a").is_some());
    }

    #[test]
    fn an_object_deleted_during_a_list_stays_deleted() {
        let cache = Cache::default();
        cache.take_in(0, Event::Apply(pod("ns", "a", Some("x"))));
        cache.take_in(0, Event::Delete(pod("ns", "a", Some("x"))));
        cache.take_in(0, Event::Init);
        assert!(cache.take_in(0, Event::InitDone).is_empty());
        assert!(cache.is_empty());
    }
}
