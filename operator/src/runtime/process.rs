//! The process from start to end: stand by, lead, leave.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::BoxFuture;
use kube::core::DeserializeGuard;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector;
use rand::Rng;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clients::Clients;
use super::controller::Runner;
use super::leadership::{ElectionError, Elector, Ended, LeaseName};
use super::metrics::Metrics;
use super::server::{self, Probes};
use super::significance::Rule;
use super::supervisor::Supervisor;
use super::watch::Watches;
use super::{Caches, Effects, Leadership, Reconcile, Setup, Trigger};
use crate::config::Config;

/// Name of the operator in events and labels.
pub const OPERATOR: &str = "lyceum-operator";
/// Label of the group and name of a formation; every pod of ours has it.
const FORMATION_LABEL: &str = "lyceum.dev/formation";
/// How long effects under way may take to finish when the process is asked to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// How long the release of the lease may take after that.
const RELEASE_LIMIT: Duration = Duration::from_millis(800);

/// A task that a controller needs beside its reconciliations. It runs while this process
/// leads; its end ends the process.
pub type BackgroundTask = (&'static str, BoxFuture<'static, anyhow::Result<()>>);

/// A controller and its background tasks, made of a [`Setup`] once this process leads.
pub type Build<R> = fn(Setup) -> anyhow::Result<(R, Vec<BackgroundTask>)>;

/// One operator process.
pub struct Process {
    config: Arc<Config>,
    clients: Clients,
    metrics: Metrics,
    leadership: Leadership,
    watches: Watches,
    recorder: Recorder,
    under_way: TaskTracker,
    tasks: Supervisor,
    elector: JoinHandle<Result<Ended, ElectionError>>,
    stop: CancellationToken,
}

impl Process {
    /// Connects, serves its probes and stands for election.
    ///
    /// # Errors
    /// The API server's address or credentials cannot be used, or the probes' address is taken.
    pub async fn start(mut config: Config) -> anyhow::Result<Self> {
        let kube_config = kube::Config::infer().await.context("no way to the API server is configured")?;
        let namespace =
            config.lease_namespace.get_or_insert_with(|| kube_config.default_namespace.clone()).clone();
        let clients = Clients::new(&kube_config).context("the API server's configuration cannot be used")?;
        let metrics = Metrics::new().context("metrics")?;
        let leadership = Leadership::new();
        let watches = Watches::new(clients.reads.clone(), config.watch_namespaces.clone(), metrics.clone());

        let listener = TcpListener::bind(config.listen).await.with_context(|| {
            format!("cannot listen on {}; choose another address with --listen", config.listen)
        })?;
        let probes =
            Probes { leadership: leadership.clone(), watches: watches.clone(), metrics: metrics.clone() };
        let mut tasks = Supervisor::default();
        tasks.spawn("probes", async move { Ok(server::serve(listener, probes).await?) });

        let name = config.name();
        let reporter = Reporter { controller: OPERATOR.into(), instance: Some(name.clone()) };
        let recorder = Recorder::new(clients.effects.clone(), reporter);
        let lease = LeaseName { namespace, name: config.lease_name.clone(), identity: unique(&name) };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            identity = lease.identity,
            lease = format!("{}/{}", lease.namespace, lease.name),
            watching = if config.watch_namespaces.is_empty() {
                "all namespaces".into()
            } else {
                config.watch_namespaces.join(",")
            },
            "standing by"
        );
        let stop = CancellationToken::new();
        let elector = Elector::new(&clients, lease, leadership.clone(), metrics.clone());
        let elector = tokio::spawn(elector.run(stop.clone()));
        Ok(Self {
            config: Arc::new(config),
            clients,
            metrics,
            leadership,
            watches,
            recorder,
            under_way: TaskTracker::new(),
            tasks,
            elector,
            stop,
        })
    }

    /// Stands by until this process leads, reconciles from then on, and leaves in order
    /// when `shutdown` resolves.
    ///
    /// # Errors
    /// Something ended that was not meant to, or the lease is lost: exit with an error,
    /// so that the process is started anew.
    pub async fn run<R: Reconcile>(
        mut self,
        build: Build<R>,
        shutdown: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let mut shutdown = std::pin::pin!(shutdown);
        let leadership = self.leadership.clone();
        let mut leading = false;
        let result = loop {
            tokio::select! {
                () = &mut shutdown => break Ok(()),
                ended = self.tasks.ended() => break Err(ended.into()),
                ended = &mut self.elector => break Err(election_ended(ended)),
                () = leadership.gained(), if !leading => {
                    leading = true;
                    if let Err(error) = self.lead(build) {
                        break Err(error);
                    }
                }
            }
        };
        if let Err(error) = &result {
            tracing::error!(error = format!("{error:#}"), "this process ends");
        }
        self.leave().await;
        result
    }

    fn lead<R: Reconcile>(&mut self, build: Build<R>) -> anyhow::Result<()> {
        let (depth, latency) = self.metrics.queue(R::NAME);
        let (trigger, triggered) = Trigger::new(depth, latency);
        let effects = Effects::new(
            self.clients.effects.clone(),
            self.leadership.clone(),
            R::FIELD_MANAGER,
            self.recorder.clone(),
            self.metrics.clone(),
            self.under_way.clone(),
        );
        let setup = Setup {
            config: Arc::clone(&self.config),
            client: self.clients.reads.clone(),
            caches: Caches::default(),
            trigger: trigger.clone(),
            effects: effects.clone(),
            leadership: self.leadership.clone(),
            registry: self.metrics.registry().clone(),
        };
        let caches = setup.caches.clone();
        let (reconciler, background) = build(setup).with_context(|| format!("controller {}", R::NAME))?;

        self.watch_children::<R>(&caches, &trigger);
        let (store, writer) = reflector::store::<DeserializeGuard<R::Kind>>();
        self.watch("root", self.watches.root(writer, trigger.clone()));
        let runner = Runner::new(reconciler, effects, trigger, &self.metrics);
        let (watches, concurrency) = (self.watches.clone(), self.config.concurrency);
        self.watch(R::NAME, async move {
            watches.synced().await;
            runner.run(store, triggered, concurrency).await;
        });
        for (name, task) in background {
            self.tasks.spawn(name, task);
        }
        Ok(())
    }

    fn watch_children<R: Reconcile>(&mut self, caches: &Caches, trigger: &Trigger) {
        let selector = format!("app.kubernetes.io/managed-by={OPERATOR},app.kubernetes.io/name={}", R::NAME);
        // Without `..`: a kind that gets a cache cannot be left without a watch.
        let Caches {
            pods,
            stateful_sets,
            deployments,
            services,
            config_maps,
            secrets,
            disruption_budgets,
            network_policies,
            service_accounts,
            roles,
            role_bindings,
            jobs,
        } = caches.clone();
        let watches = self.watches.clone();
        macro_rules! children {
            ($($cache:ident by $rule:ident),* $(,)?) => {$(
                self.watch(
                    stringify!($cache),
                    watches.children($cache, &selector, Rule::$rule, trigger.clone()),
                );
            )*};
        }
        self.watch("pods", watches.pods(pods, FORMATION_LABEL, trigger.clone()));
        children! {
            stateful_sets by Spec,
            deployments by Spec,
            services by Spec,
            config_maps by Owned,
            secrets by Everything,
            disruption_budgets by Spec,
            network_policies by Spec,
            service_accounts by Spec,
            roles by Spec,
            role_bindings by Spec,
            jobs by Everything,
        }
    }

    fn watch(&mut self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, async move {
            task.await;
            Ok(())
        });
    }

    /// Lets what is under way finish, then frees the lease: the next leader must not
    /// meet a write of ours. What does not finish costs the next leader the lease's time.
    async fn leave(mut self) {
        self.leadership.resign();
        self.under_way.close();
        let drained = tokio::time::timeout(DRAIN_LIMIT, self.under_way.wait()).await.is_ok();
        self.tasks.abort_all();
        if self.elector.is_finished() {
            return;
        }
        if !drained {
            tracing::warn!("effects are still under way: the lease is left to end by itself");
            self.elector.abort();
            return;
        }
        self.stop.cancel();
        if tokio::time::timeout(RELEASE_LIMIT, &mut self.elector).await.is_err() {
            tracing::warn!("lease not released in time; it ends by itself");
        }
    }
}

fn election_ended(ended: Result<Result<Ended, ElectionError>, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(ended)) => anyhow::anyhow!("the election ended unasked: {ended:?}"),
        Ok(Err(error)) => error.into(),
        Err(error) => anyhow::anyhow!("the election failed: {error}"),
    }
}

/// A restarted container has its pod's name again but not its predecessor's term.
fn unique(name: &str) -> String {
    format!("{name}_{:08x}", rand::rng().random::<u32>())
}
