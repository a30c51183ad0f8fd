//! The Node object: made before the kubelet, so that it has its pod range and its place from the start.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeSpec, NodeStatus};
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::Context;

const READY_LIMIT: Duration = Duration::from_secs(90);

/// Sees to it that the object is there with its labels and pod range.
pub(super) async fn ensure(context: &Context<'_>, client: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let name = &context.plan.name;
    let labels = labels(context.region.name(), name);
    if nodes.get_opt(name).await.context("the API server does not tell its nodes")?.is_some() {
        let patch = json!({ "metadata": { "labels": labels } });
        nodes
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .context("the node's labels")?;
        return Ok(());
    }
    let pods = context.plan.pods.to_string();
    let node = Node {
        metadata: ObjectMeta { name: Some(name.clone()), labels: Some(labels), ..ObjectMeta::default() },
        spec: Some(NodeSpec {
            pod_cidr: Some(pods.clone()),
            pod_cidrs: Some(vec![pods]),
            ..NodeSpec::default()
        }),
        // The enforcer of policies ends when its node has no address, and starts beside the kubelet that sets it.
        status: Some(NodeStatus {
            addresses: Some(vec![NodeAddress {
                type_: "InternalIP".to_owned(),
                address: context.plan.address.to_string(),
            }]),
            ..NodeStatus::default()
        }),
    };
    nodes.create(&kube::api::PostParams::default(), &node).await.context("the node cannot be registered")?;
    Ok(())
}

fn labels(region: &str, node: &str) -> BTreeMap<String, String> {
    [
        ("topology.kubernetes.io/region", region),
        // A node is the lab's smallest thing that fails by itself, which is what a zone stands for.
        ("topology.kubernetes.io/zone", node),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// Waits until the node says Ready.
pub(super) async fn wait_ready(context: &Context<'_>, client: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let began = Instant::now();
    loop {
        let node = nodes.get(&context.plan.name).await.context("the API server does not tell its nodes")?;
        let condition = ready_condition(&node);
        if condition.as_ref().is_some_and(|(status, _)| status == "True") {
            return Ok(());
        }
        if began.elapsed() > READY_LIMIT {
            let why = condition.map_or_else(|| "the kubelet reports nothing".to_owned(), |(_, why)| why);
            bail!("{} is not Ready after {} s: {why}", context.plan.name, READY_LIMIT.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Status and message of a node's condition Ready.
fn ready_condition(node: &Node) -> Option<(String, String)> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some((ready.status.clone(), ready.message.clone().unwrap_or_default()))
}
