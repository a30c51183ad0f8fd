//! What a cluster needs inside to be one: names, volumes, rights.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};

use crate::address::RegionPlan;
use crate::images::{Images, Name};
use crate::manifest::{apply, parse, render};
use crate::pki::KUBELET_CLIENT;

const ACCESS: &str = include_str!("../manifests/access.yaml");
const COREDNS: &str = include_str!("../manifests/coredns.yaml");
const VOLUMES: &str = include_str!("../manifests/volumes.yaml");

/// A fresh API server makes its own namespaces and kinds within seconds.
const PATIENCE: Duration = Duration::from_secs(30);
const READY_LIMIT: Duration = Duration::from_secs(120);

/// Gives the lab's own components their rights; they cannot work before.
///
/// # Errors
/// When the API server refuses.
pub async fn grant_access(client: &Client) -> Result<()> {
    let text = render(ACCESS, &[("KUBELET_CLIENT", KUBELET_CLIENT)])?;
    apply(client, &parse(&text)?, PATIENCE).await
}

/// Applies the cluster's DNS and its volumes.
///
/// # Errors
/// When the API server refuses.
pub async fn install(client: &Client, plan: &RegionPlan, nodes: u8, images: &Images) -> Result<()> {
    // One DNS server a node as far as two: the death of a node takes no names along.
    let replicas = nodes.min(2).to_string();
    let address = plan.dns_service().to_string();
    let coredns = render(
        COREDNS,
        &[("IMAGE", images.reference(Name::Coredns)?), ("REPLICAS", &replicas), ("DNS_ADDRESS", &address)],
    )?;
    let volumes = render(
        VOLUMES,
        &[
            ("IMAGE", images.reference(Name::LocalPathProvisioner)?),
            ("HELPER_IMAGE", images.reference(Name::LocalPathHelper)?),
        ],
    )?;
    apply(client, &parse(&coredns)?, PATIENCE).await?;
    apply(client, &parse(&volumes)?, PATIENCE).await
}

/// Waits until DNS and volumes are served.
///
/// # Errors
/// When they are not in two minutes; the message names what is not available.
pub async fn wait(client: &Client) -> Result<()> {
    for (namespace, name) in [("kube-system", "coredns"), ("local-path-storage", "local-path-provisioner")] {
        wait_available(client, namespace, name, READY_LIMIT).await?;
    }
    Ok(())
}

/// Waits until every replica of a Deployment's present generation is available.
///
/// # Errors
/// When they are not in `limit`.
pub async fn wait_available(client: &Client, namespace: &str, name: &str, limit: Duration) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let began = Instant::now();
    loop {
        let deployment =
            deployments.get(name).await.with_context(|| format!("Deployment {namespace}/{name}"))?;
        if available(&deployment) {
            return Ok(());
        }
        if began.elapsed() > limit {
            bail!(
                "Deployment {namespace}/{name} is not available after {} s: see `lab kubectl -- describe pods -n {namespace}`",
                limit.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn available(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) >= wanted
            && status.available_replicas.unwrap_or(0) >= wanted
    })
}
