//! Runs a [`Reconcile`] over every object of its kind.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::controller::{Action, Config, Error as ControllerError};
use kube::runtime::events::EventType;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Client, Resource, ResourceExt};
use rand::Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument;

use super::backoff::{self, Backoff};
use super::metrics::{ControllerMetrics, Metrics};
use super::queue::Triggered;
use super::{Caches, Categorised, Category, EffectError, Effects, Key, Leadership, Trigger};
use crate::config::Config as OperatorConfig;

/// Triggers within this time of each other are one reconciliation.
pub const DEBOUNCE: Duration = Duration::from_millis(200);
/// How soon to look again for our own last write in the cache.
const FRESHNESS_PAUSE: Duration = Duration::from_millis(50);
/// How soon to look again at an object that cannot be decoded; a change of it comes first.
const UNDECODABLE_PAUSE: Duration = Duration::from_secs(600);

/// A controller: brings the world of one object to what its spec says.
///
/// Calls for different objects run side by side, calls for one object never do. Any call
/// may be cut short at any await, when the lease is lost or the process ends.
pub trait Reconcile: Send + Sync + 'static {
    /// Kind reconciled.
    type Kind: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
        + 'static;
    /// What can go wrong.
    type Error: std::error::Error + Categorised + Send + Sync + 'static;
    /// Value of the metric label `controller`, and of the label `app.kubernetes.io/name`
    /// on what the controller makes.
    const NAME: &'static str;
    /// Field manager of what it applies; its status goes by the same with `-status`.
    const FIELD_MANAGER: &'static str;
    /// Finalizer it puts on its objects. The runtime takes it off an object that cannot be
    /// decoded and is being deleted, so that nothing is stuck; what only
    /// [`Reconcile::reconcile`] would have removed then stays.
    const FINALIZER: Option<&'static str>;

    /// One attempt: observe, plan, apply, report. The object is from the cache, at least as
    /// new as the last status this process wrote.
    ///
    /// An error is logged, counted under its category and tried again after
    /// [`Effects::retry_in`]. Reporting it in the status is the controller's part.
    fn reconcile(
        &self,
        object: Arc<Self::Kind>,
        fx: &Effects,
    ) -> impl Future<Output = Result<Next, Self::Error>> + Send;

    /// The object is gone for good: drop what is kept in memory for it.
    fn forget(&self, key: &Key) -> impl Future<Output = ()> + Send;
}

/// When to reconcile again if nothing changes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// After this time.
    After(Duration),
    /// Not at all. Only for an object that nothing outside Kubernetes can change.
    OnChange,
}

/// What a controller is made from.
#[derive(Clone)]
pub struct Setup {
    /// Options of the process.
    pub config: Arc<OperatorConfig>,
    /// For reads; writes go through [`Effects`].
    pub client: Client,
    /// What the watches have seen.
    pub caches: Caches,
    /// Reconciles one of the controller's own objects soon.
    pub trigger: Trigger,
    /// For effects outside a reconciliation (a probe that writes its canary row).
    pub effects: Effects,
    /// The lease.
    pub leadership: Leadership,
    /// Where the controller registers metrics of its own, named `lyceum_…`.
    pub registry: prometheus::Registry,
}

/// The reconciler with what its attempts share.
pub(crate) struct Runner<R: Reconcile> {
    reconciler: R,
    effects: Effects,
    trigger: Trigger,
    backoff: Backoff,
    metrics: ControllerMetrics,
}

/// How an attempt ended, if not well.
enum Failure<E> {
    Reconciler(E),
    Effect(EffectError),
    Panicked(String),
}

impl<R: Reconcile> Runner<R> {
    pub(crate) fn new(reconciler: R, effects: Effects, trigger: Trigger, metrics: &Metrics) -> Self {
        let metrics = metrics.controller(R::NAME);
        Self { reconciler, effects, trigger, backoff: Backoff::default(), metrics }
    }

    /// Runs until `triggered` ends, which it does not while a [`Trigger`] lives.
    ///
    /// `store` is filled by [`super::watch`]; nothing is reconciled before it is complete.
    pub(crate) async fn run(
        self,
        store: Store<DeserializeGuard<R::Kind>>,
        triggered: Triggered,
        concurrency: u16,
    ) {
        let runner = Arc::new(self);
        // Every trigger, those of the root watch too, comes through the one queue that is
        // measured; so the controller gets no stream of its own.
        let root = futures::stream::pending::<Result<DeserializeGuard<R::Kind>, watcher::Error>>();
        let triggers = futures::stream::unfold(triggered, |mut triggered| async {
            let key: Key = triggered.recv().await?;
            Some((ObjectRef::new(&key.name).within(&key.namespace), triggered))
        });
        Controller::for_stream(root, store)
            .with_config(Config::default().debounce(DEBOUNCE).concurrency(concurrency))
            .reconcile_on(triggers)
            .run(
                |object, runner: Arc<Self>| async move { Ok::<_, Infallible>(runner.attempt(object).await) },
                |_, error, _| match *error {},
                Arc::clone(&runner),
            )
            .for_each(|ended| {
                let runner = Arc::clone(&runner);
                async move {
                    match ended {
                        Ok(_) => {}
                        Err(ControllerError::ObjectNotFound(object)) => {
                            let namespace = object.namespace.clone().unwrap_or_default();
                            runner.forget(&Key::new(namespace, &object.name)).await;
                        }
                        Err(error) => tracing::error!(%error, controller = R::NAME, "controller"),
                    }
                }
            })
            .await;
    }

    async fn attempt(&self, object: Arc<DeserializeGuard<R::Kind>>) -> Action {
        let key = Key::of(object.as_ref());
        if !self.effects.freshness().is_fresh(&key, object.resource_version().as_deref()) {
            return Action::requeue(FRESHNESS_PAUSE);
        }
        self.trigger.take(&key);
        let span = tracing::info_span!("reconcile", controller = R::NAME, object = %key);
        async {
            let failures = self.backoff.failures(&key);
            let planned = backoff::delay(failures, rand::rng().random());
            let started = Instant::now();
            let result = self.caught(object, &self.effects.attempt(planned)).await;
            self.metrics.attempt(started.elapsed());
            match result {
                Ok(next) => {
                    self.backoff.reset(&key);
                    action(next)
                }
                Err(failure) => self.failed(&key, failures, planned, &failure),
            }
        }
        .instrument(span)
        .await
    }

    /// A panic over one object is an error of that object, not the end of all others.
    async fn caught(
        &self,
        object: Arc<DeserializeGuard<R::Kind>>,
        fx: &Effects,
    ) -> Result<Next, Failure<R::Error>> {
        let attempt = async {
            match DeserializeGuard::clone(&object).0 {
                Ok(decoded) => {
                    self.metrics.decodable(&Key::of(object.as_ref()));
                    self.reconciler.reconcile(Arc::new(decoded), fx).await.map_err(Failure::Reconciler)
                }
                Err(invalid) => self.undecodable(&invalid.metadata, &invalid.error, fx).await,
            }
        };
        match AssertUnwindSafe(attempt).catch_unwind().await {
            Ok(result) => result,
            Err(panic) => Err(Failure::Panicked(panic_text(panic.as_ref()))),
        }
    }

    fn failed(&self, key: &Key, failures: u32, planned: Duration, failure: &Failure<R::Error>) -> Action {
        let category = failure.category();
        self.backoff.failed(key);
        self.metrics.error(category);
        let retry_in = backoff::delay_after(category, failures, planned);
        let (failures, retry_s) = (failures.saturating_add(1), retry_in.as_secs_f64());
        let category = category.as_str();
        match failure {
            // The cache was behind, or this process is ending: nothing that anyone could act on.
            Failure::Reconciler(error)
                if matches!(error.category(), Category::Conflict | Category::LostLeadership) =>
            {
                tracing::debug!(%error, category, failures, retry_s, "reconciliation failed");
            }
            Failure::Reconciler(error) => {
                tracing::warn!(%error, category, failures, retry_s, "reconciliation failed");
            }
            Failure::Effect(error) => {
                tracing::warn!(%error, category, failures, retry_s, "reconciliation failed");
            }
            Failure::Panicked(error) => {
                tracing::error!(error, category, failures, retry_s, "reconciliation panicked");
            }
        }
        Action::requeue(retry_in)
    }

    /// An object stored before its schema was tightened, or by a newer version: reported,
    /// and let go if it is being deleted.
    async fn undecodable(
        &self,
        metadata: &ObjectMeta,
        error: &str,
        fx: &Effects,
    ) -> Result<Next, Failure<R::Error>> {
        let key = Key::new(
            metadata.namespace.clone().unwrap_or_default(),
            metadata.name.clone().unwrap_or_default(),
        );
        self.metrics.undecodable(&key);
        tracing::warn!(error, "object cannot be decoded");
        let reference = k8s_openapi::api::core::v1::ObjectReference {
            api_version: Some(R::Kind::api_version(&()).into_owned()),
            kind: Some(R::Kind::kind(&()).into_owned()),
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            ..Default::default()
        };
        let note =
            format!("This object cannot be read: {error}. Correct it; nothing is done for it until then.");
        fx.event(&reference, EventType::Warning, "Undecodable", note).await;
        if let (Some(finalizer), Some(_)) = (R::FINALIZER, &metadata.deletion_timestamp) {
            let removed = fx.release_undecodable::<R::Kind>(metadata, finalizer).await;
            removed.map_err(Failure::Effect)?;
        }
        Ok(Next::After(UNDECODABLE_PAUSE))
    }

    async fn forget(&self, key: &Key) {
        self.trigger.take(key);
        self.backoff.reset(key);
        self.effects.freshness().forget(key);
        self.metrics.decodable(key);
        self.reconciler.forget(key).await;
    }
}

impl<E: Categorised> Failure<E> {
    fn category(&self) -> Category {
        match self {
            Self::Reconciler(error) => error.category(),
            Self::Effect(error) => error.category(),
            Self::Panicked(_) => Category::Internal,
        }
    }
}

fn action(next: Next) -> Action {
    match next {
        Next::After(pause) => Action::requeue(pause),
        Next::OnChange => Action::await_change(),
    }
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
