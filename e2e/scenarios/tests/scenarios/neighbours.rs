//! Formations beside each other.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams};
use lyceum_crds::course_shard::conditions::READY;
use lyceum_crds::course_shard::names::Component;
use lyceum_crds::course_shard::{DeletionPolicy, Scheduling, reasons};
use lyceum_scenarios::formation::{Formation, READY_WITHIN, node_of};
use lyceum_scenarios::plugin::Plugin;
use lyceum_scenarios::shards;
use lyceum_scenarios::stage::Stage;
use serde_json::json;
use std::time::Duration;

/// Two formations in one namespace and on one node have their own passwords, rows and end; a third
/// that can't be made, because one of its names is taken, stops neither and says what is wrong.
pub(crate) async fn side_by_side(stage: &Stage<'_>) -> Result<()> {
    let client = stage.client();
    let namespace = stage.namespace("neighbours").await?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let foreign = foreign_secret(&Formation::new(client, &namespace, "blocked"))?;
    let foreign = secrets.create(&PostParams::default(), &foreign).await?;

    let node = stage.cluster.nodes().await?.into_iter().next().context("the cluster has no node")?;
    let blocked = Formation::create(client, &namespace, &shards::single("blocked", 1)?).await?;
    let left = Formation::create(client, &namespace, &on_node("left", &node)?).await?;
    let right = Formation::create(client, &namespace, &on_node("right", &node)?).await?;

    let message = blocked.wait_reason(READY, reasons::FOREIGN_OBJECT, Duration::from_secs(30)).await?;
    ensure!(message.contains(&foreign.name_any()), "the message does not name the object: {message}");
    let plugin = Plugin::build(stage.cluster, &namespace).await?;
    let explained = plugin.run(&["explain", blocked.name()]).await?.stdout;
    ensure!(explained.contains(&foreign.name_any()), "`explain` does not name the object:\n{explained}");
    left.wait_ready(READY_WITHIN).await?;
    right.wait_ready(READY_WITHIN).await?;
    let untouched = secrets.get(&foreign.name_any()).await?;
    ensure!(untouched.resource_version() == foreign.resource_version(), "the foreign Secret was written to");
    ensure!(
        blocked.pods_of(Component::Database).await?.is_empty(),
        "pods were made for a formation that can't have its secrets"
    );

    for formation in [&left, &right] {
        for pod in formation.pods_of(Component::Database).await? {
            ensure!(node_of(&pod)? == node, "{} was asked to be on {node}", pod.name_any());
        }
        let mark = format!("CREATE TABLE platform.mark AS SELECT '{}'::text AS owner", formation.name());
        formation.psql(0, &mark).await?;
    }
    ensure!(left.psql(0, "SELECT owner FROM platform.mark").await? == "left", "left reads another's row");
    ensure!(right.psql(0, "SELECT owner FROM platform.mark").await? == "right", "right reads another's row");
    let passwords = (role_password(&left).await?, role_password(&right).await?);
    ensure!(passwords.0 != passwords.1, "two formations share a password");

    // The end of one is nothing to the other; and what blocked the third was only the name.
    let pods = right.database_pod_uids().await?;
    left.delete(DeletionPolicy::Delete, Duration::from_secs(90)).await?;
    secrets.delete(&foreign.name_any(), &DeleteParams::default()).await?;
    blocked.wait_ready(READY_WITHIN).await?;
    right.wait_ready(Duration::from_secs(30)).await?;
    ensure!(right.database_pod_uids().await? == pods, "deleting one formation touched the other's pods");
    Ok(())
}

fn on_node(name: &str, node: &str) -> Result<lyceum_crds::course_shard::CourseShard> {
    let mut shard = shards::single(name, 1)?;
    let selector = [("kubernetes.io/hostname".to_owned(), node.to_owned())].into();
    shard.spec.coordinator.scheduling = Some(Scheduling { node_selector: selector, ..Scheduling::default() });
    Ok(shard)
}

/// A Secret somebody made under a name that the formation needs.
fn foreign_secret(formation: &Formation) -> Result<Secret> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": formation.names.auth_secret()},
        "stringData": {"token": "of something else"},
    }))?)
}

async fn role_password(formation: &Formation) -> Result<String> {
    formation.secret(&formation.names.role_secret("learning"), "password").await
}
