//! The only way to change something.
//!
//! Each effect asks the lease first, has a deadline, is counted, and is waited for
//! before the lease is given up.

mod events;
mod fence;
mod metadata;
mod status;
#[cfg(test)]
pub(in crate::runtime) mod tests;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{
    ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, PropagationPolicy,
};
use kube::core::NamespaceResourceScope;
use kube::runtime::events::Recorder;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::task::TaskTracker;

use super::metrics::Metrics;
use super::queue::Freshness;
use super::{EffectError, Key, Leadership};

/// Longest wait for one effect.
pub const EFFECT_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for one read.
pub const READ_DEADLINE: Duration = Duration::from_secs(10);

/// Namespaced kinds known at compile time.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}
impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Writes to the cluster, and whatever else changes the world, on behalf of one controller.
///
/// Cheap to clone; all clones share the lease, the event recorder and the count of
/// effects under way.
#[derive(Clone)]
pub struct Effects {
    shared: Arc<Shared>,
    retry_in: Duration,
}

struct Shared {
    client: Client,
    leadership: Leadership,
    field_manager: &'static str,
    recorder: Recorder,
    metrics: Metrics,
    freshness: Freshness,
    under_way: TaskTracker,
}

/// Result of [`Effects::create_only`].
#[derive(Clone, Debug)]
pub enum Created<K> {
    /// It was not there.
    Created(K),
    /// It was there already, as this; nothing was changed.
    Existed(K),
}

impl<K> Created<K> {
    /// The object as it is in the cluster.
    pub fn into_inner(self) -> K {
        match self {
            Self::Created(object) | Self::Existed(object) => object,
        }
    }
}

/// Result of [`Effects::delete`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// Deletion is under way (or done).
    Requested,
    /// There was nothing of that name and uid.
    Absent,
}

/// What happens to what a deleted object owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// Deleted afterwards.
    #[default]
    Background,
    /// Deleted before it.
    Foreground,
    /// Left alone.
    Orphan,
}

impl Effects {
    /// Effects of the controller whose server-side apply goes by `field_manager`.
    pub(crate) fn new(
        client: Client,
        leadership: Leadership,
        field_manager: &'static str,
        recorder: Recorder,
        metrics: Metrics,
        under_way: TaskTracker,
    ) -> Self {
        let freshness = Freshness::default();
        let shared = Shared { client, leadership, field_manager, recorder, metrics, freshness, under_way };
        Self { shared: Arc::new(shared), retry_in: Duration::ZERO }
    }

    /// The same effects within an attempt that is repeated after `retry_in` if it fails.
    pub(crate) fn attempt(&self, retry_in: Duration) -> Self {
        Self { shared: Arc::clone(&self.shared), retry_in }
    }

    /// How long after this attempt the next one comes if this one fails: for telling
    /// people. (A conflict, or a change of the object, brings it forward.)
    pub fn retry_in(&self) -> Duration {
        self.retry_in
    }

    /// For reads. A write past [`Effects`] is fenced by nothing.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// The lease that every effect is checked against.
    pub fn leadership(&self) -> &Leadership {
        &self.shared.leadership
    }

    pub(crate) fn freshness(&self) -> &Freshness {
        &self.shared.freshness
    }

    /// Server-side apply, forced, under the controller's field manager.
    ///
    /// A `resourceVersion` (or `uid`) in the object's metadata is a precondition:
    /// another one in the cluster makes it a [`EffectError::Conflict`].
    pub async fn apply<K: Kind + Serialize>(&self, object: &K) -> Result<K, EffectError> {
        let (api, name, target) = self.api_of("apply", object)?;
        let params = PatchParams::apply(self.shared.field_manager).force();
        self.api_call("apply", &K::kind(&()), target, api.patch(&name, &params, &Patch::Apply(object))).await
    }

    /// [`Self::apply`] for an object whose kind is known at run time only.
    pub async fn apply_dynamic(
        &self,
        object: &DynamicObject,
        resource: &ApiResource,
    ) -> Result<DynamicObject, EffectError> {
        let key = key_of("apply", object, &resource.kind)?;
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.shared.client.clone(), &key.namespace, resource);
        let params = PatchParams::apply(self.shared.field_manager).force();
        let target = format!("{} {key}", resource.kind);
        let patch = Patch::Apply(object);
        let call = api.patch(&key.name, &params, &patch);
        self.api_call("apply", &resource.kind, target, call).await
    }

    /// Creates the object unless one of its name is there; that one is returned untouched.
    ///
    /// Safe to repeat after a time-out: the second call returns what the first made.
    pub async fn create_only<K: Kind + Serialize>(
        &self,
        namespace: &str,
        object: &K,
    ) -> Result<Created<K>, EffectError> {
        let kind = K::kind(&());
        let name = named("create", &kind, object.meta().name.clone(), "name")?;
        let target = format!("{kind} {namespace}/{name}");
        let api: Api<K> = Api::namespaced(self.shared.client.clone(), namespace);
        let params =
            PostParams { field_manager: Some(self.shared.field_manager.into()), ..Default::default() };
        match self.api_call("create", &kind, target.clone(), api.create(&params, object)).await {
            Ok(created) => Ok(Created::Created(created)),
            Err(error) if error.code() == Some(409) => {
                Ok(Created::Existed(self.read("get", target, api.get(&name)).await?))
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes the object of that name and uid. Another object that took the name since
    /// is left alone and reported as [`Deleted::Absent`].
    pub async fn delete<K: Kind>(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        propagation: Propagation,
    ) -> Result<Deleted, EffectError> {
        let api: Api<K> = Api::namespaced(self.shared.client.clone(), namespace);
        let kind = K::kind(&());
        let target = format!("{kind} {namespace}/{name}");
        let params = delete_params(uid, propagation);
        deleted(self.api_call("delete", &kind, target, api.delete(name, &params)).await)
    }

    /// [`Self::delete`] for an object whose kind is known at run time only.
    pub async fn delete_dynamic(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        uid: &str,
        propagation: Propagation,
    ) -> Result<Deleted, EffectError> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.shared.client.clone(), namespace, resource);
        let target = format!("{} {namespace}/{name}", resource.kind);
        let params = delete_params(uid, propagation);
        deleted(self.api_call("delete", &resource.kind, target, api.delete(name, &params)).await)
    }

    /// An effect outside Kubernetes (SQL that changes something, a call of Patroni's REST
    /// interface): the same check, deadline and count. `system` is a metric label.
    ///
    /// # Errors
    /// The outer error is ours (not sent, or no answer in time); the inner one is the
    /// other side's.
    pub async fn external<T, E>(
        &self,
        verb: &'static str,
        system: &'static str,
        target: impl Into<String>,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<Result<T, E>, EffectError> {
        self.fenced(verb, system, &target.into(), call).await
    }

    /// Reads an object past the cache; `None` if it is not there.
    pub async fn get<K: Kind>(&self, namespace: &str, name: &str) -> Result<Option<K>, EffectError> {
        let api: Api<K> = Api::namespaced(self.shared.client.clone(), namespace);
        let target = format!("{} {namespace}/{name}", K::kind(&()));
        self.read("get", target, api.get_opt(name)).await
    }

    /// A read with a deadline.
    pub async fn read<T>(
        &self,
        verb: &'static str,
        target: impl Into<String>,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, EffectError> {
        let target = target.into();
        match tokio::time::timeout(READ_DEADLINE, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(EffectError::from_api(verb, target, source)),
            Err(_) => Err(EffectError::Timeout { verb, target, after: READ_DEADLINE }),
        }
    }

    async fn api_call<T>(
        &self,
        verb: &'static str,
        kind: &str,
        target: String,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, EffectError> {
        match self.fenced(verb, kind, &target, call).await? {
            Ok(value) => Ok(value),
            Err(source) => Err(EffectError::from_api(verb, target, source)),
        }
    }

    fn api_of<K: Kind>(
        &self,
        verb: &'static str,
        object: &K,
    ) -> Result<(Api<K>, String, String), EffectError> {
        let key = key_of(verb, object, &K::kind(&()))?;
        let target = format!("{} {key}", K::kind(&()));
        Ok((Api::namespaced(self.shared.client.clone(), &key.namespace), key.name, target))
    }
}

fn key_of<K: Resource>(verb: &'static str, object: &K, kind: &str) -> Result<Key, EffectError> {
    let meta = object.meta();
    Ok(Key::new(
        named(verb, kind, meta.namespace.clone(), "namespace")?,
        named(verb, kind, meta.name.clone(), "name")?,
    ))
}

fn named(
    verb: &'static str,
    kind: &str,
    value: Option<String>,
    missing: &'static str,
) -> Result<String, EffectError> {
    value.ok_or_else(|| EffectError::Unnamed { verb, kind: kind.to_owned(), missing })
}

fn delete_params(uid: &str, propagation: Propagation) -> DeleteParams {
    let policy = match propagation {
        Propagation::Background => PropagationPolicy::Background,
        Propagation::Foreground => PropagationPolicy::Foreground,
        Propagation::Orphan => PropagationPolicy::Orphan,
    };
    let preconditions = kube::api::Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    DeleteParams {
        propagation_policy: Some(policy),
        preconditions: Some(preconditions),
        ..DeleteParams::default()
    }
}

/// Gone already, and replaced by another object of that name, both mean: nothing to delete.
fn deleted<T>(result: Result<T, EffectError>) -> Result<Deleted, EffectError> {
    match result {
        Ok(_) => Ok(Deleted::Requested),
        Err(error) if matches!(error.code(), Some(404 | 409)) => Ok(Deleted::Absent),
        Err(error) => Err(error),
    }
}
