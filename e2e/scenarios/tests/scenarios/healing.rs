//! What is taken away comes back: owned objects and pods.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use lyceum_scenarios::formation::Formation;
use lyceum_scenarios::gap::{Blow, writes_through};
use lyceum_scenarios::leftovers::api_of;
use lyceum_scenarios::progress::say;
use lyceum_scenarios::stage::Stage;
use lyceum_scenarios::wait::{Look, not_yet, wait_until};
use serde_json::{Value, json};

/// Longest until an object is as it was. It is watched, so this is a bound on backoff, not on polling.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// Longest a write may fail when a database pod dies. What it should be is in benches/ranges; this is
/// where something is broken rather than slow.
const WRITES_FAIL_AT_MOST: Duration = Duration::from_secs(30);

/// An owned object and an edit that would do harm.
struct Owned {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    name: String,
    edit: Value,
}

fn owned_by(formation: &Formation) -> Vec<Owned> {
    let names = &formation.names;
    vec![
        Owned {
            group: "",
            kind: "Service",
            plural: "services",
            name: names.primary_service(0),
            // Writes would go to a replica.
            edit: json!({"spec": {"selector": {"lyceum.dev/role": "replica"}}}),
        },
        Owned {
            group: "",
            kind: "ConfigMap",
            plural: "configmaps",
            name: names.patroni_config(0),
            edit: json!({"data": {"patroni.yml": "scope: elsewhere\n"}}),
        },
        Owned {
            group: "policy",
            kind: "PodDisruptionBudget",
            plural: "poddisruptionbudgets",
            name: names.pooler(),
            edit: json!({"spec": {"maxUnavailable": "100%", "minAvailable": null}}),
        },
        Owned {
            group: "networking.k8s.io",
            kind: "NetworkPolicy",
            plural: "networkpolicies",
            name: names.pooler(),
            // Everybody would get in.
            edit: json!({"spec": {"ingress": [{}]}}),
        },
        Owned {
            group: "apps",
            kind: "Deployment",
            plural: "deployments",
            name: names.pooler(),
            edit: json!({"spec": {"replicas": 0}}),
        },
    ]
}

/// Each owned object is edited, then deleted, and both times is soon as it was before;
/// no database pod notices.
pub(crate) async fn owned_objects_come_back(stage: &Stage<'_>) -> Result<()> {
    let formation = stage.standing().await?;
    let pods = formation.database_pod_uids().await?;
    for owned in owned_by(&formation) {
        let api = api_of(stage.client(), formation.namespace(), owned.group, owned.kind, owned.plural);
        let what = format!("{}/{}", owned.kind, owned.name);
        let before =
            api.get(&owned.name).await.with_context(|| format!("{what} is not there to be broken"))?;

        let edited = api.patch(&owned.name, &PatchParams::default(), &Patch::Merge(&owned.edit)).await?;
        ensure!(essence(&edited) != essence(&before), "the edit of {what} changed nothing: no test");
        back(&api, &owned.name, &format!("{what} is unedited again"), &before, |now| {
            now.uid() == before.uid()
        })
        .await?;

        api.delete(&owned.name, &DeleteParams::default()).await?;
        back(&api, &owned.name, &format!("{what} is there again"), &before, |now| now.uid() != before.uid())
            .await?;
    }
    formation.wait_ready(Duration::from_secs(60)).await?;
    ensure!(formation.database_pod_uids().await? == pods, "a database pod was replaced on the way");
    Ok(())
}

async fn back(
    api: &Api<DynamicObject>,
    name: &str,
    what: &str,
    before: &DynamicObject,
    same: impl Fn(&DynamicObject) -> bool,
) -> Result<()> {
    wait_until(what, BACK_WITHIN, async || match api.get_opt(name).await? {
        Some(now) if same(&now) && essence(&now) == essence(before) => Ok(Look::Done(())),
        Some(now) => not_yet(format!("it is {}", essence(&now))),
        None => not_yet("it is gone"),
    })
    .await
}

/// What an object says, without what the API server allots anew to each.
fn essence(object: &DynamicObject) -> Value {
    let mut essence = json!({"spec": object.data.get("spec"), "data": object.data.get("data")});
    if let Some(spec) = essence.get_mut("spec").and_then(Value::as_object_mut) {
        for allotted in ["clusterIP", "clusterIPs", "healthCheckNodePort"] {
            spec.remove(allotted);
        }
    }
    if let Some(template) = essence.pointer_mut("/spec/template/metadata").and_then(Value::as_object_mut) {
        template.remove("creationTimestamp");
    }
    essence
}

/// A replica dies under a writer: it comes back, and no acknowledged row is lost.
pub(crate) async fn replica_comes_back(stage: &Stage<'_>) -> Result<()> {
    let formation = stage.standing().await?;
    for group in groups(stage) {
        for blow in blows(stage) {
            let replica = formation.replica(group).await?;
            dies_and_comes_back(&formation, &replica, blow).await?;
        }
    }
    Ok(())
}

/// A primary dies under a writer: writes go on within bounds, no acknowledged row is lost, and the
/// pod comes back into its group.
pub(crate) async fn primary_comes_back(stage: &Stage<'_>) -> Result<()> {
    let formation = stage.standing().await?;
    for group in groups(stage) {
        for blow in blows(stage) {
            let primary = formation.primary(group).await?;
            dies_and_comes_back(&formation, &primary, blow).await?;
            let now = formation.primary(group).await?;
            say(format!("primary of group {group}: {} before, {} after", primary.name_any(), now.name_any()));
        }
    }
    Ok(())
}

/// Groups in which a pod is killed: the coordinator's in a representative run, all in a full one.
fn groups(stage: &Stage<'_>) -> std::ops::Range<i32> {
    let all = if stage.cluster.citus { 3 } else { 1 };
    0..stage.cluster.proof.of(1, all)
}

fn blows(stage: &Stage<'_>) -> Vec<Blow> {
    stage.cluster.proof.of(vec![Blow::PodDeleted], vec![Blow::PodDeleted, Blow::ProcessesKilled])
}

async fn dies_and_comes_back(formation: &Formation, pod: &Pod, blow: Blow) -> Result<()> {
    let gap = writes_through(formation, pod, blow).await?.longest_gap();
    ensure!(
        gap <= WRITES_FAIL_AT_MOST,
        "writes failed for {:.1} s after {blow:?} on {}",
        gap.as_secs_f64(),
        pod.name_any()
    );
    Ok(())
}
