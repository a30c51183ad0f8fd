//! The benches of the first formation: made, loaded, hurt, deleted; and the operator's own times.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kube::ResourceExt;
use kube::api::DeleteParams;
use lyceum_crds::course_shard::DeletionPolicy;
use serde_json::json;

use super::sample::Measures;
use super::steps;
use crate::cluster::Cluster;
use crate::formation::{Formation, pod_is_ready};
use crate::gap::Writer;
use crate::operator;
use crate::progress::say;
use crate::wait::{Look, not_yet, wait_until};
use crate::{loader, shards, stage};

/// Rows the loader writes at scale 1: enrollments, students, courses and teaching accounts.
const ROWS_LOADED: f64 = 32_593.0 + 28_785.0 + 22.0 + 7.0;

/// Longest until a killed pod is back in its group.
const BACK_WITHIN: Duration = Duration::from_secs(180);

/// Measures `rounds` formations from beginning to end.
pub async fn measure(cluster: &Cluster, rounds: usize) -> Result<Measures> {
    let mut measures = Measures::default();
    stage::sweep(&cluster.client).await?;
    stage::wait_all_gone(&cluster.client).await?;
    for round in 1..=rounds {
        say(format!("round {round} of {rounds}"));
        let namespace = stage::make_namespace(&cluster.client, "bench").await?;
        let outcome = one_round(cluster, &namespace, &mut measures).await;
        if outcome.is_err() {
            crate::diagnose::dump(&cluster.client, std::slice::from_ref(&namespace)).await;
        }
        stage::delete_namespace(&cluster.client, &namespace).await?;
        outcome?;
        // The next round must not share the machine with what is left of this one.
        stage::wait_all_gone(&cluster.client).await?;
    }
    Ok(measures)
}

async fn one_round(cluster: &Cluster, namespace: &str, measures: &mut Measures) -> Result<()> {
    let shard = shards::example(if cluster.citus { "school.yaml" } else { "school-single.yaml" })?;
    let created = Instant::now();
    let formation = Formation::create(&cluster.client, namespace, &shard).await?;
    for (step, seconds) in steps::watch(&formation, created).await? {
        say(format!("{step} after {seconds:.1} s"));
        measures.record(&format!("create-to-ready.{step}"), "s", seconds);
    }

    let loaded = loader::load(cluster, &formation, "bench", 1).await?;
    measures.record("loader.job", "s", loaded.took.as_secs_f64());
    measures.record("loader.rows-per-second", "rows/s", ROWS_LOADED / loaded.took.as_secs_f64());

    let gap = gap_when_killed(&formation, true).await?;
    measures.record("write-gap.replica-killed", "s", gap.as_secs_f64());
    let gap = gap_when_killed(&formation, false).await?;
    measures.record("write-gap.primary-killed", "s", gap.as_secs_f64());

    measures.record("operator.change-to-observed", "s", change(&formation).await?.as_secs_f64());
    let first = start_to_first_reconcile(cluster, &formation).await?;
    measures.record("operator.start-to-first-reconcile", "s", first.as_secs_f64());

    let started = Instant::now();
    formation.delete(DeletionPolicy::Delete, BACK_WITHIN).await?;
    measures.record("delete", "s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Longest time between two acknowledged writes while a pod of group 0 is killed and comes back.
async fn gap_when_killed(formation: &Formation, replica: bool) -> Result<Duration> {
    let pod = if replica { formation.replica(0).await? } else { formation.primary(0).await? };
    let (name, uid) = (pod.name_any(), pod.uid());
    let writer = Writer::start(formation);
    writer.wait_for(100, Duration::from_secs(30)).await?;
    formation.pods().delete(&name, &DeleteParams::default().grace_period(0)).await?;
    wait_until(&format!("pod {name} is back"), BACK_WITHIN, async || {
        match formation.pods().get_opt(&name).await? {
            Some(now) if now.uid() != uid && pod_is_ready(&now) => Ok(Look::Done(())),
            _ => not_yet("it is not ready"),
        }
    })
    .await?;
    formation.wait_ready(BACK_WITHIN).await?;
    writer.wait_for(100, Duration::from_secs(60)).await?;
    Ok(writer.finish().await?.longest_gap())
}

/// From a change of the spec to the status that speaks of it.
async fn change(formation: &Formation) -> Result<Duration> {
    let clients = formation.get().await?.spec.pooler.client_connections + 1;
    let changed = Instant::now();
    let shard = formation.patch(json!({"spec": {"pooler": {"clientConnections": clients}}})).await?;
    observed(formation, shard.metadata.generation).await?;
    let took = changed.elapsed();
    formation.wait_ready(BACK_WITHIN).await?;
    Ok(took)
}

async fn observed(formation: &Formation, generation: Option<i64>) -> Result<()> {
    loop {
        if formation.status().await?.observed_generation == generation {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// From a running operator container to the first status it writes, with a change waiting for it.
async fn start_to_first_reconcile(cluster: &Cluster, formation: &Formation) -> Result<Duration> {
    let replicas = operator::suspend(&cluster.client).await?;
    let outcome = first_reconcile(cluster, formation).await;
    operator::resume(&cluster.client, replicas).await?;
    operator::wait_settled(&cluster.client, BACK_WITHIN).await?;
    formation.wait_ready(BACK_WITHIN).await?;
    outcome
}

async fn first_reconcile(cluster: &Cluster, formation: &Formation) -> Result<Duration> {
    let clients = formation.get().await?.spec.pooler.client_connections + 1;
    let shard = formation.patch(json!({"spec": {"pooler": {"clientConnections": clients}}})).await?;
    ensure!(
        formation.status().await?.observed_generation != shard.metadata.generation,
        "a change was reconciled while no operator ran"
    );
    operator::resume(&cluster.client, 1).await?;
    let running = loop {
        let pods = operator::pods(&cluster.client).await?;
        let statuses = pods.iter().flat_map(|pod| pod.status.iter());
        let mut containers = statuses.flat_map(|status| status.container_statuses.iter().flatten());
        if containers.any(|container| container.state.iter().any(|state| state.running.is_some())) {
            break Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    observed(formation, shard.metadata.generation).await?;
    Ok(running.elapsed())
}
