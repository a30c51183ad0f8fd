//! Where one scenario acts: its namespaces, made for it and taken away after it.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use rand::Rng as _;
use serde_json::json;

use crate::cluster::Cluster;
use crate::diagnose;
use crate::formation::Formation;
use crate::leftovers::{self, Found};
use crate::progress::say;
use crate::wait::{Look, not_yet, wait_until};

/// Label on every namespace that scenarios and benches make; its value says for what.
const MADE_FOR: &str = "lyceum.dev/scenario";

/// Longest the namespaces of a run may take to be gone, volumes and finalizers included.
const GONE_WITHIN: Duration = Duration::from_secs(180);

/// One scenario's stage.
pub struct Stage<'a> {
    /// The cluster it stands on.
    pub cluster: &'a Cluster,
    namespaces: Mutex<Vec<String>>,
    shares: AtomicBool,
}

impl<'a> Stage<'a> {
    /// An empty stage.
    pub fn new(cluster: &'a Cluster) -> Self {
        Self { cluster, namespaces: Mutex::new(Vec::new()), shares: AtomicBool::new(false) }
    }

    /// A client of the cluster.
    pub fn client(&self) -> &Client {
        &self.cluster.client
    }

    /// Makes a namespace that this stage takes away in the end.
    pub async fn namespace(&self, purpose: &str) -> Result<String> {
        let name = make_namespace(self.client(), purpose).await?;
        if let Ok(mut namespaces) = self.namespaces.lock() {
            namespaces.push(name.clone());
        }
        Ok(name)
    }

    /// The formation that scenarios share, see [`Cluster::standing`].
    pub async fn standing(&self) -> Result<Formation> {
        self.shares.store(true, Ordering::Relaxed);
        self.cluster.standing().await
    }

    /// Waits until what is left of a formation is `as_it_should`, and hands it back.
    pub async fn settled_leftovers(
        &self,
        namespace: &str,
        formation_id: &str,
        timeout: Duration,
        as_it_should: impl Fn(&BTreeSet<Found>) -> bool,
    ) -> Result<BTreeSet<Found>> {
        wait_until(&format!("what is left of {formation_id} is what should be"), timeout, async || {
            let found = leftovers::of_formation(self.client(), namespace, formation_id).await?;
            if as_it_should(&found) {
                return Ok(Look::Done(found));
            }
            not_yet(found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        })
        .await
    }

    /// Ends the stage: on failure shows what there is to see and gives up the shared formation if the
    /// scenario used it, as nobody knows what state it is in; then takes the namespaces away.
    ///
    /// Does not wait for them: they go while the next scenario runs, and [`wait_all_gone`]
    /// in the end finds out whether one got stuck.
    pub async fn strike(self, failed: bool) -> Result<()> {
        let namespaces = self.namespaces.into_inner().unwrap_or_default();
        if failed {
            let mut shown = namespaces.clone();
            if self.shares.load(Ordering::Relaxed) {
                shown.extend(self.cluster.standing_namespace().await);
            }
            diagnose::dump(&self.cluster.client, &shown).await;
            if self.shares.load(Ordering::Relaxed) {
                self.cluster.give_up_standing().await?;
            }
        }
        for namespace in &namespaces {
            delete_namespace(&self.cluster.client, namespace).await?;
        }
        Ok(())
    }
}

/// Makes a namespace in which Pod Security `restricted` is enforced, not only warned about.
pub async fn make_namespace(client: &Client, purpose: &str) -> Result<String> {
    let name = format!("lyceum-{purpose}-{:04x}", rand::rng().random::<u16>());
    let namespace: Namespace = serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "labels": {
                "pod-security.kubernetes.io/enforce": "restricted",
                "pod-security.kubernetes.io/enforce-version": "latest",
                MADE_FOR: purpose,
            },
        },
    }))?;
    let api: Api<Namespace> = Api::all(client.clone());
    api.create(&PostParams::default(), &namespace)
        .await
        .with_context(|| format!("could not create namespace {name}"))?;
    Ok(name)
}

/// Starts the deletion of a namespace; one that is gone already is fine.
pub async fn delete_namespace(client: &Client, name: &str) -> Result<()> {
    let api: Api<Namespace> = Api::all(client.clone());
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(error).with_context(|| format!("could not delete namespace {name}")),
    }
}

/// Waits until a namespace is gone.
pub async fn namespace_is_gone(client: &Client, name: &str, timeout: Duration) -> Result<()> {
    let api: Api<Namespace> = Api::all(client.clone());
    wait_until(&format!("namespace {name} is gone"), timeout, async || match api.get_opt(name).await? {
        None => Ok(Look::Done(())),
        Some(namespace) => not_yet(stuck(&namespace)),
    })
    .await
}

/// What a namespace that is being deleted says it still waits for.
fn stuck(namespace: &Namespace) -> String {
    let conditions = namespace.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let why = conditions.filter(|c| c.status == "True").filter_map(|c| c.message.clone());
    format!("{}: {}", namespace.name_any(), why.collect::<Vec<_>>().join("; "))
}

/// Deletes what an interrupted run left.
pub async fn sweep(client: &Client) -> Result<()> {
    let api: Api<Namespace> = Api::all(client.clone());
    for namespace in api.list(&ListParams::default().labels(MADE_FOR)).await? {
        say(format!("deleting namespace {}, left by an earlier run", namespace.name_any()));
        delete_namespace(client, &namespace.name_any()).await?;
    }
    Ok(())
}

/// Waits until no namespace of any scenario is left.
pub async fn wait_all_gone(client: &Client) -> Result<()> {
    let api: Api<Namespace> = Api::all(client.clone());
    wait_until("every namespace of the run is gone", GONE_WITHIN, async || {
        let left = api.list(&ListParams::default().labels(MADE_FOR)).await?;
        if left.items.is_empty() {
            return Ok(Look::Done(()));
        }
        not_yet(left.iter().map(stuck).collect::<Vec<_>>().join(", "))
    })
    .await
}
