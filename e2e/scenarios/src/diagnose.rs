//! What is printed when a scenario fails: enough to see why without a second run.

use anyhow::Result;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams, LogParams};
use kube::{Client, ResourceExt};
use lyceum_crds::course_shard::CourseShard;

use crate::formation::pod_is_ready;
use crate::operator;

/// Log lines shown of a pod that is not ready, and of each operator pod.
const LINES: i64 = 40;

/// Events shown of a namespace, the newest.
const EVENTS: usize = 40;

/// Prints the state of `namespaces` and the operator's last words.
///
/// Whatever can't be read is said and passed over: the failure itself is what matters.
pub async fn dump(client: &Client, namespaces: &[String]) {
    for namespace in namespaces {
        eprintln!("---- namespace {namespace}");
        for (what, result) in [
            ("CourseShards", shards(client, namespace).await),
            ("pods", pods(client, namespace).await),
            ("events", events(client, namespace).await),
        ] {
            if let Err(error) = result {
                eprintln!("could not read the {what}: {error:#}");
            }
        }
    }
    if let Err(error) = operator_logs(client).await {
        eprintln!("could not read the operator's logs: {error:#}");
    }
}

async fn shards(client: &Client, namespace: &str) -> Result<()> {
    let api: Api<CourseShard> = Api::namespaced(client.clone(), namespace);
    for shard in api.list(&ListParams::default()).await? {
        eprintln!(
            "CourseShard {} (generation {}, deletion {:?}, finalizers {:?}):\n{}",
            shard.name_any(),
            shard.metadata.generation.unwrap_or_default(),
            shard.metadata.deletion_timestamp.as_ref().map(|time| time.0.to_string()),
            shard.finalizers(),
            serde_yaml::to_string(&shard.status)?
        );
    }
    Ok(())
}

async fn pods(client: &Client, namespace: &str) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    for pod in api.list(&ListParams::default()).await? {
        let status = pod.status.clone().unwrap_or_default();
        eprintln!(
            "pod {} {} on {} {:?}",
            pod.name_any(),
            status.phase.unwrap_or_default(),
            pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("no node"),
            pod.labels(),
        );
        for container in status.init_container_statuses.iter().chain(&status.container_statuses).flatten() {
            eprintln!(
                "    {} ready {} restarts {} {}",
                container.name,
                container.ready,
                container.restart_count,
                serde_json::to_string(&container.state)?
            );
        }
        if !pod_is_ready(&pod) {
            logs(&api, &pod).await;
        }
    }
    Ok(())
}

async fn events(client: &Client, namespace: &str) -> Result<()> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let mut events = api.list(&ListParams::default()).await?.items;
    events.sort_by_key(|event| {
        (event.metadata.creation_timestamp.clone().map(|time| time.0), event.name_any())
    });
    for event in events.iter().skip(events.len().saturating_sub(EVENTS)) {
        eprintln!(
            "event {}/{} {} x{}: {}",
            event.involved_object.kind.as_deref().unwrap_or_default(),
            event.involved_object.name.as_deref().unwrap_or_default(),
            event.reason.as_deref().unwrap_or_default(),
            event.count.unwrap_or(1),
            event.message.as_deref().unwrap_or_default()
        );
    }
    Ok(())
}

async fn operator_logs(client: &Client) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), operator::NAMESPACE);
    eprintln!("---- operator");
    for pod in operator::pods(client).await? {
        logs(&api, &pod).await;
    }
    Ok(())
}

/// The last lines of each container, and of its life before when it was restarted.
async fn logs(api: &Api<Pod>, pod: &Pod) {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    for container in statuses {
        for previous in [true, false] {
            if previous && container.restart_count == 0 {
                continue;
            }
            let params = LogParams {
                container: Some(container.name.clone()),
                tail_lines: Some(LINES),
                previous,
                ..LogParams::default()
            };
            let life = if previous { " (before its restart)" } else { "" };
            match api.logs(&pod.name_any(), &params).await {
                Ok(text) => eprintln!("log of {}/{}{life}:\n{text}", pod.name_any(), container.name),
                Err(error) => eprintln!("no log of {}/{}{life}: {error}", pod.name_any(), container.name),
            }
        }
    }
}
