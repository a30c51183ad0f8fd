//! The benches of the first formation: made, loaded, hurt, deleted; and the operator's own times.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use jiff::Timestamp;
use lyceum_crds::course_shard::{DeletionPolicy, names};
use serde_json::json;

use super::sample::Measures;
use super::steps;
use crate::cluster::Cluster;
use crate::formation::Formation;
use crate::gap::{Blow, writes_through};
use crate::operator;
use crate::progress::say;
use crate::wait::{Look, not_yet, wait_until};
use crate::{loader, shards, stage};

/// What is done to a pod of group 0, of which role, under which name it is measured.
const BLOWS: [(&str, &str, Blow); 3] = [
    ("write-gap.replica-deleted", names::ROLE_REPLICA, Blow::PodDeleted),
    ("write-gap.primary-deleted", names::ROLE_PRIMARY, Blow::PodDeleted),
    ("write-gap.primary-killed", names::ROLE_PRIMARY, Blow::ProcessesKilled),
];

/// Longest until the operator or a formation is as it should be again.
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
        measures.record(&format!("create-to-ready.{step}"), "s", seconds);
    }

    let loaded = loader::load(cluster, &formation, "bench", 1).await?;
    let rows = formation.count(0, "SELECT sum(row_count)::bigint FROM platform.load_batches").await?;
    let seconds = loaded.took.as_secs_f64();
    measures.record("loader.job", "s", seconds);
    // No conversion from i64: these are tens of thousands.
    measures.record("loader.rows-per-second", "rows/s", f64::from(i32::try_from(rows)?) / seconds);

    for (name, role, blow) in BLOWS {
        let pod = if role == names::ROLE_REPLICA {
            formation.replica(0).await?
        } else {
            formation.primary(0).await?
        };
        let gap = writes_through(&formation, &pod, blow).await?.longest_gap();
        measures.record(name, "s", gap.as_secs_f64());
    }

    measures.record("operator.change-to-observed", "s", change(&formation).await?.as_secs_f64());
    let first = start_to_first_reconcile(cluster, &formation).await?;
    measures.record("operator.start-to-first-reconcile", "s", first.as_secs_f64());

    let started = Instant::now();
    formation.delete(DeletionPolicy::Delete, BACK_WITHIN).await?;
    measures.record("delete", "s", started.elapsed().as_secs_f64());
    Ok(())
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

/// From the operator's first word to the first status it writes, with a change waiting for it.
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
    // The new pod is not ready at once, nor has it a log before it runs.
    let started = wait_until("the operator has started", BACK_WITHIN, async || {
        match operator::pods(&cluster.client).await?.first() {
            Some(pod) => Ok(Look::Done(operator::started_at(&cluster.client, pod).await?)),
            None => not_yet("no pod yet"),
        }
    });
    let (started, seen) = tokio::join!(started, async {
        observed(formation, shard.metadata.generation).await.map(|()| Timestamp::now())
    });
    Ok(Duration::try_from(seen?.duration_since(started?))?)
}
