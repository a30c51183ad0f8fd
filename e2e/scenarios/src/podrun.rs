//! A pod that runs one command to its end, as a client of the database would run in the cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DeleteParams, LogParams, PostParams};
use serde_json::json;

use crate::wait::{Look, not_yet, wait_until};

/// What to run.
#[derive(Clone, Debug)]
pub struct PodRun<'a> {
    /// Pod name.
    pub name: &'a str,
    /// Image.
    pub image: &'a str,
    /// Labels: which network policies apply.
    pub labels: BTreeMap<String, String>,
    /// Shell script.
    pub script: &'a str,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// With status 0.
    pub success: bool,
    /// Everything it printed.
    pub log: String,
}

impl PodRun<'_> {
    /// Runs it in `namespace` and hands back what it printed; the pod is deleted again.
    pub async fn run(&self, client: &Client, namespace: &str, timeout: Duration) -> Result<Ended> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        pods.create(&PostParams::default(), &self.pod()?)
            .await
            .with_context(|| format!("could not create pod {}", self.name))?;
        let success = wait_until(&format!("pod {} has ended", self.name), timeout, async || {
            let status = pods.get(self.name).await?.status.unwrap_or_default();
            match status.phase.as_deref() {
                Some("Succeeded") => Ok(Look::Done(true)),
                Some("Failed") => Ok(Look::Done(false)),
                phase => not_yet(format!(
                    "phase {}: {}",
                    phase.unwrap_or("unknown"),
                    serde_json::to_string(&status.container_statuses)?
                )),
            }
        })
        .await?;
        let log = pods.logs(self.name, &LogParams::default()).await?;
        pods.delete(self.name, &DeleteParams::default().grace_period(0)).await?;
        Ok(Ended { success, log })
    }

    /// The pod, as Pod Security `restricted` lets it in.
    fn pod(&self) -> Result<Pod> {
        Ok(serde_json::from_value(json!({
            "metadata": {"name": self.name, "labels": self.labels},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "securityContext": {
                    "runAsNonRoot": true,
                    "runAsUser": 10001,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [{
                    "name": "run",
                    "image": self.image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["bash", "-c", self.script],
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }],
            },
        }))?)
    }
}
