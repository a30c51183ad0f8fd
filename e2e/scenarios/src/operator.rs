//! The operator as a scenario handles it: who leads, end it, stop it, let it go on.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, LogParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::formation::pod_is_ready;
use crate::wait::{Look, not_yet, wait_until};

/// Namespace the chart is installed in.
pub const NAMESPACE: &str = "lyceum-system";
/// Lease the operator's replicas compete for.
pub const LEASE: &str = "lyceum-operator";
/// Selects the operator's pods.
const SELECTOR: &str = "app.kubernetes.io/component=operator";

/// A lease as far as a scenario cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Process that holds it: its pod's name, and what tells it from its pod's earlier processes.
    pub holder: String,
    /// Number of hand-overs so far: grows by one with each.
    pub transitions: i32,
    /// When it began, by the holder's clock, which is this machine's too in a lab.
    pub acquired: Option<Timestamp>,
}

impl Term {
    /// Whether a process of this pod holds the lease, or did until it ended.
    pub fn is_held_by(&self, pod: &Pod) -> bool {
        self.holder.starts_with(&pod.name_any())
    }
}

/// Pods of the operator.
pub async fn pods(client: &Client) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    Ok(api.list(&ListParams::default().labels(SELECTOR)).await?.items)
}

/// Who leads, if anybody.
pub async fn term(client: &Client) -> Result<Option<Term>> {
    let api: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let Some(spec) = api.get_opt(LEASE).await?.and_then(|lease| lease.spec) else { return Ok(None) };
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    Ok(holder.map(|holder| Term {
        holder,
        transitions: spec.lease_transitions.unwrap_or_default(),
        acquired: spec.acquire_time.map(|time| time.0),
    }))
}

/// The pod that leads.
pub async fn leader(client: &Client) -> Result<Pod> {
    let term = term(client).await?.ok_or_else(|| anyhow!("nobody holds the lease {NAMESPACE}/{LEASE}"))?;
    pods(client)
        .await?
        .into_iter()
        .find(|pod| term.is_held_by(pod))
        .ok_or_else(|| anyhow!("the lease is held by {}, which is no pod of the operator", term.holder))
}

/// Waits until somebody other than `old` leads.
pub async fn wait_new_leader(client: &Client, old: &Term, timeout: Duration) -> Result<Term> {
    wait_until(&format!("another operator than {} leads", old.holder), timeout, async || {
        match term(client).await? {
            Some(term) if term.holder != old.holder => Ok(Look::Done(term)),
            Some(_) => not_yet("it still holds the lease"),
            None => not_yet("nobody holds the lease"),
        }
    })
    .await
}

/// Waits until all replicas are ready and one leads.
pub async fn wait_settled(client: &Client, timeout: Duration) -> Result<Term> {
    wait_until("the operator is up and one replica leads", timeout, async || {
        let pods = pods(client).await?;
        if pods.is_empty() {
            return not_yet("no operator pod");
        }
        let unready = pods
            .iter()
            .filter(|pod| !pod_is_ready(pod) || pod.metadata.deletion_timestamp.is_some())
            .map(ResourceExt::name_any)
            .collect::<Vec<_>>();
        if !unready.is_empty() {
            return not_yet(format!("not ready: {unready:?}"));
        }
        match term(client).await? {
            Some(term) if pods.iter().any(|pod| term.is_held_by(pod)) => Ok(Look::Done(term)),
            Some(term) => not_yet(format!("the lease is held by {}, which is no pod of it", term.holder)),
            None => not_yet("nobody holds the lease"),
        }
    })
    .await
}

/// Deletes a pod at once: its process gets SIGKILL and no time to say goodbye.
pub async fn delete_now(client: &Client, pod: &str) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    api.delete(pod, &DeleteParams::default().grace_period(0)).await?;
    Ok(())
}

/// When a pod's process wrote its first line, by its own clock: the kubelet reports a start in whole seconds,
/// and a moment later.
pub async fn started_at(client: &Client, pod: &Pod) -> Result<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Line {
        timestamp: Timestamp,
    }
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let log = api.logs(&pod.name_any(), &LogParams::default()).await?;
    let first =
        log.lines().next().with_context(|| format!("{} has not written anything yet", pod.name_any()))?;
    let line: Line = serde_json::from_str(first)
        .with_context(|| format!("{first:?} is no line of the operator's JSON log: is log.format json?"))?;
    Ok(line.timestamp)
}

/// Ends all replicas and hands back how many there were; [`resume`] brings them back.
pub async fn suspend(client: &Client) -> Result<i32> {
    let (deployments, name, replicas) = deployment(client).await?;
    scale(&deployments, &name, 0).await?;
    wait_until("the operator is down", Duration::from_secs(60), async || match pods(client).await?.len() {
        0 => Ok(Look::Done(())),
        left => not_yet(format!("{left} pods are left")),
    })
    .await?;
    Ok(replicas)
}

/// Starts `replicas` of it; does not wait for them.
pub async fn resume(client: &Client, replicas: i32) -> Result<()> {
    let (deployments, name, _) = deployment(client).await?;
    scale(&deployments, &name, replicas).await
}

async fn deployment(client: &Client) -> Result<(Api<Deployment>, String, i32)> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let found = api.list(&ListParams::default().labels(SELECTOR)).await?.items.into_iter().next();
    let found = found.ok_or_else(|| anyhow!("no Deployment of the operator in {NAMESPACE}"))?;
    let replicas = found.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    Ok((api, found.name_any(), replicas))
}

async fn scale(deployments: &Api<Deployment>, name: &str, replicas: i32) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments.patch_scale(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Times a pod's containers were restarted.
pub fn restarts(pod: &Pod) -> i32 {
    pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten()).map(|c| c.restart_count).sum()
}

/// Signals of a process on this machine.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// Stop; can't be caught.
    Stop,
    /// Go on.
    Continue,
    /// End; can't be caught.
    Kill,
}

/// The processes of a pod, on this machine: the lab's nodes are network namespaces, not machines.
#[derive(Clone, Debug)]
pub struct Processes(Vec<i32>);

impl Processes {
    /// Finds the processes of a pod's containers by the pod's control group.
    ///
    /// # Errors
    /// When the pod does not run on this machine.
    pub fn of_pod(pod: &Pod) -> Result<Self> {
        let uid = pod.uid().ok_or_else(|| anyhow!("pod {} has no UID", pod.name_any()))?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").context("could not read /proc")? {
            let path = entry?.path();
            let pid = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            // A process that ended meanwhile has no files any more.
            let (Some(pid), Ok(cgroup), Ok(name)) = (
                pid,
                std::fs::read_to_string(path.join("cgroup")),
                std::fs::read_to_string(path.join("comm")),
            ) else {
                continue;
            };
            // Pause holds the pod's namespaces together; without it this would be a new pod.
            if belongs_to(&cgroup, &uid) && name.trim() != "pause" {
                found.push(pid);
            }
        }
        if found.is_empty() {
            bail!("pod {} has no process on this machine: is the cluster a lab here?", pod.name_any());
        }
        Ok(Self(found))
    }

    /// Sends all of them a signal, with one call, so that none sees another go first.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let name = match signal {
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
            Signal::Kill => "-KILL",
        };
        let pids = self.0.iter().map(ToString::to_string);
        let output = std::process::Command::new("kill").arg(name).args(pids).output()?;
        // One may be gone by itself; all of them means that nothing was signalled.
        let complaints = String::from_utf8_lossy(&output.stderr).lines().count();
        if !output.status.success() && complaints >= self.0.len() {
            bail!("could not send {signal:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

/// Whether a process's control groups (`/proc/PID/cgroup`) are those of the pod with this UID.
/// The systemd driver writes the UID with underscores.
fn belongs_to(cgroup: &str, uid: &str) -> bool {
    cgroup.contains(&format!("pod{uid}")) || cgroup.contains(&format!("pod{}", uid.replace('-', "_")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_process_is_known_by_its_pods_control_group_under_both_drivers() {
        let uid = "0d4c1c53-3c1a-4c38-8b0e-1f0c5b8d2a11";
        let cgroupfs = "4:memory:/a/kubepods/burstable/pod0d4c1c53-3c1a-4c38-8b0e-1f0c5b8d2a11/f00\n";
        let systemd = "0::/kubepods.slice/kubepods-pod0d4c1c53_3c1a_4c38_8b0e_1f0c5b8d2a11.slice/cri-f00\n";
        assert!(belongs_to(cgroupfs, uid) && belongs_to(systemd, uid));
        assert!(!belongs_to("4:memory:/user.slice\n", uid));
    }
}
