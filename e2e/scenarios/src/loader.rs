//! The loader's Job, as the demo chart renders it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams, LogParams, PostParams};
use serde::Deserialize as _;

use crate::cluster::Cluster;
use crate::config::in_repository;
use crate::formation::Formation;
use crate::progress::say;
use crate::tool::helm;
use crate::wait::{Look, not_yet, wait_until};

/// Longest the loader may take for the original data.
const LOADED_WITHIN: Duration = Duration::from_secs(180);

/// What a loader printed and how long its pod ran.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its log.
    pub log: String,
    /// From the Job's creation to its completion, as seen from here.
    pub took: Duration,
}

/// Runs the loader on a formation, as a Job of its own called `<formation>-load-<which>`.
pub async fn load(cluster: &Cluster, formation: &Formation, which: &str, scale: u32) -> Result<Loaded> {
    let job = rendered(cluster, formation, which, scale).await?;
    let name = job.name_any();
    let jobs: Api<Job> = Api::namespaced(formation.client.clone(), formation.namespace());
    let started = Instant::now();
    jobs.create(&PostParams::default(), &job)
        .await
        .with_context(|| format!("could not create Job {name}"))?;
    let succeeded = wait_until(&format!("Job {name} has ended"), LOADED_WITHIN * scale, async || {
        let status = jobs.get(&name).await?.status.unwrap_or_default();
        let ended = status.conditions.iter().flatten().find(|condition| condition.status == "True");
        match ended.map(|condition| condition.type_.as_str()) {
            Some("Complete" | "SuccessCriteriaMet") => Ok(Look::Done(true)),
            Some("Failed" | "FailureTarget") => Ok(Look::Done(false)),
            _ => not_yet(format!("active {:?}, failed {:?}", status.active, status.failed)),
        }
    })
    .await?;
    let took = started.elapsed();
    let log = log(formation, &name).await?;
    if !succeeded {
        bail!("the loader failed: {log}");
    }
    say(format!("loaded: {}", log.lines().last().unwrap_or_default()));
    Ok(Loaded { log, took })
}

/// The Job of charts/lyceum-demo, with the image of this run.
async fn rendered(cluster: &Cluster, formation: &Formation, which: &str, scale: u32) -> Result<Job> {
    let chart = in_repository("charts/lyceum-demo")?;
    let (name, scale) = (format!("name={}", formation.name()), format!("loader.scale={scale}"));
    let arguments = [
        "template",
        formation.name(),
        &chart.to_string_lossy(),
        "--namespace",
        formation.namespace(),
        "--set",
        &name,
        "--set",
        &scale,
    ];
    let manifests = helm(cluster, &arguments).await?;
    for document in serde_yaml::Deserializer::from_str(&manifests) {
        let value = serde_json::Value::deserialize(document)?;
        if value.get("kind").and_then(|kind| kind.as_str()) != Some("Job") {
            continue;
        }
        let mut job: Job = serde_json::from_value(value)?;
        job.metadata.name = Some(format!("{}-load-{which}", formation.name()));
        let containers = job.spec.iter_mut().flat_map(|spec| spec.template.spec.iter_mut());
        for container in containers.flat_map(|pod| pod.containers.iter_mut()) {
            container.image = Some(cluster.loader_image.clone());
        }
        return Ok(job);
    }
    bail!("charts/lyceum-demo renders no Job: has the loader moved?")
}

async fn log(formation: &Formation, job: &str) -> Result<String> {
    let pods: Api<Pod> = formation.pods();
    let mut log = String::new();
    for pod in pods.list(&ListParams::default().labels(&format!("job-name={job}"))).await? {
        log += &pods.logs(&pod.name_any(), &LogParams::default()).await?;
    }
    Ok(log)
}
