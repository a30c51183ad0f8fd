//! Ties the steps together: observe, plan, apply, report.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, api::ListParams};
use lyceum_crds::course_shard::{
    CourseShard,
    names::{APP_NAME, FIELD_MANAGER, FINALIZER},
};

use super::{
    apply::{Applier, Memory},
    canary::Canaries,
    error::Error,
    metrics::FormationMetrics,
    observe::{FinishedJobs, observe},
    plan::{self, Action},
    render::{Images, Platform, Store},
    report,
};
use crate::runtime::{Effects, Key, Next, Reconcile, Setup, process::BackgroundTask};

/// How long the API servers' addresses are taken as known.
const API_SERVERS_FOR: Duration = Duration::from_secs(60);
/// Namespace and Service under which a cluster publishes its API servers.
const KUBERNETES_NAMESPACE: &str = "default";
const KUBERNETES_SERVICE_LABEL: &str = "kubernetes.io/service-name=kubernetes";

/// Reconciles CourseShards.
pub struct CourseShardController {
    setup: Setup,
    canaries: Canaries,
    metrics: FormationMetrics,
    formations: Mutex<HashMap<Key, SharedHeld>>,
    api_servers: tokio::sync::Mutex<Option<(Instant, ApiServers)>>,
}

/// Where the Kubernetes API listens, past its Service.
type ApiServers = Vec<(IpAddr, u16)>;

/// Locked for the length of a reconciliation.
type SharedHeld = Arc<tokio::sync::Mutex<Held>>;

/// What is kept in memory of one object; all of it can be found out again.
#[derive(Default)]
struct Held {
    memory: Memory,
    finished: FinishedJobs,
}

/// The controller and the task its canaries run in.
///
/// # Errors
/// Two metrics of one name in the registry.
pub fn controller(setup: Setup) -> anyhow::Result<(CourseShardController, Vec<BackgroundTask>)> {
    let metrics = FormationMetrics::new(&setup.registry)?;
    let (canaries, task) = Canaries::new();
    let controller = CourseShardController {
        setup,
        canaries,
        metrics,
        formations: Mutex::default(),
        api_servers: tokio::sync::Mutex::default(),
    };
    Ok((controller, vec![("canaries", Box::pin(task))]))
}

impl CourseShardController {
    async fn platform(&self, fx: &Effects) -> Result<Platform, Error> {
        let config = &self.setup.config;
        Ok(Platform {
            images: Images {
                postgres: config.postgres_image.clone(),
                pooler: config.pooler_image.clone(),
                migrator: config.migrator_image.clone(),
            },
            pull_secrets: config.image_pull_secrets.clone(),
            operator_namespace: config.lease_namespace.clone().unwrap_or_else(|| "default".into()),
            api_servers: self.api_servers(fx).await?,
            store: Store::default(),
        })
    }

    /// Addresses behind the Service `kubernetes`, in a stable order.
    async fn api_servers(&self, fx: &Effects) -> Result<ApiServers, Error> {
        let mut known = self.api_servers.lock().await;
        if let Some((at, servers)) = known.as_ref()
            && at.elapsed() < API_SERVERS_FOR
        {
            return Ok(servers.clone());
        }
        let api: Api<EndpointSlice> = Api::namespaced(fx.client().clone(), KUBERNETES_NAMESPACE);
        let params = ListParams::default().labels(KUBERNETES_SERVICE_LABEL);
        let target = format!("EndpointSlices of Service {KUBERNETES_NAMESPACE}/kubernetes");
        let slices = fx.read("list", target, api.list(&params)).await?;
        let mut servers: Vec<_> = slices.items.iter().flat_map(addresses).collect();
        servers.sort_unstable();
        servers.dedup();
        *known = Some((Instant::now(), servers.clone()));
        Ok(servers)
    }

    fn held(&self, key: &Key) -> SharedHeld {
        let mut formations = self.formations.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(formations.entry(key.clone()).or_default())
    }
}

fn addresses(slice: &EndpointSlice) -> ApiServers {
    let ports = || slice.ports.iter().flatten().filter_map(|port| u16::try_from(port.port?).ok());
    slice
        .endpoints
        .iter()
        .flat_map(|endpoint| endpoint.addresses.iter())
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .flat_map(|address| ports().map(move |port| (address, port)))
        .collect()
}

impl Reconcile for CourseShardController {
    type Kind = CourseShard;
    type Error = Error;
    const NAME: &'static str = APP_NAME;
    const FIELD_MANAGER: &'static str = FIELD_MANAGER;
    const FINALIZER: Option<&'static str> = Some(FINALIZER);

    async fn reconcile(&self, shard: Arc<CourseShard>, fx: &Effects) -> Result<Next, Error> {
        let key = Key::of(shard.as_ref());
        let held = self.held(&key);
        let mut held = held.lock().await;
        let Held { memory, finished } = &mut *held;
        self.canaries.keep(&shard, &self.setup.effects, &self.setup.trigger);

        let caches = &self.setup.caches;
        let observed = observe(&shard, caches, fx, finished, self.canaries.look(&key)).await?;
        let platform = self.platform(fx).await?;
        let now = Timestamp::now();
        let plan = plan::plan(&shard, &platform, &observed, now);
        self.metrics.observe(&key, &observed, &plan.status);

        let applied = Applier { shard: &shard, caches, fx, memory }.apply(&plan).await;
        if plan.actions.contains(&Action::RemoveFinalizer) {
            applied?;
            report::events(&shard, &plan.events, fx).await;
            return Ok(plan.next);
        }
        let old = shard.status.as_ref();
        if let Err(error) = applied {
            if let Some(status) = report::failed(&shard, &plan.status, &error, fx.retry_in(), now) {
                report::error_event(&shard, &error, fx).await;
                fx.patch_status_if_changed(shard.as_ref(), old, &status).await?;
            }
            return Err(error);
        }
        report::events(&shard, &plan.events, fx).await;
        fx.patch_status_if_changed(shard.as_ref(), old, &plan.status).await?;
        Ok(plan.next)
    }

    async fn forget(&self, key: &Key) {
        self.canaries.forget(key);
        self.metrics.forget(key);
        self.formations.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
