//! What deletion keeps, what it takes, and that it ends.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lyceum_crds::course_shard::DeletionPolicy;
use lyceum_scenarios::formation::{Formation, READY_WITHIN};
use lyceum_scenarios::progress::say;
use lyceum_scenarios::stage::{Stage, delete_namespace, namespace_is_gone};
use lyceum_scenarios::{leftovers, shards};

/// Longest a deletion may take, PostgreSQL's shutdown included.
const DELETED_WITHIN: Duration = Duration::from_secs(90);

/// Longest a namespace with a formation in it may take to go.
const NAMESPACE_GONE_WITHIN: Duration = Duration::from_secs(120);

const KEEP: &str =
    "CREATE TABLE platform.keepsake (word text); INSERT INTO platform.keepsake VALUES ('still here')";

/// Under Retain the volumes, secrets and Patroni's keys stay, nothing else does, and a CourseShard
/// of the same name finds its rows again. The namespace then goes with the formation running in it.
pub(crate) async fn retain_finds_its_rows_again(stage: &Stage<'_>) -> Result<()> {
    let namespace = stage.namespace("retain").await?;
    let mut shard = shards::single("school", 1)?;
    shard.spec.deletion_policy = DeletionPolicy::Retain;
    let formation = Formation::create(stage.client(), &namespace, &shard).await?;
    formation.wait_ready(READY_WITHIN).await?;
    let id = id_of(&formation).await?;
    formation.psql(0, KEEP).await?;

    formation.delete(DeletionPolicy::Retain, DELETED_WITHIN).await?;
    let kept = stage.settled_leftovers(&namespace, &id, DELETED_WITHIN, |found| {
        found
            .iter()
            .all(|object| ["PersistentVolumeClaim", "Secret", "ConfigMap"].contains(&object.kind.as_str()))
    });
    let kept = kept.await?;
    let kinds = |kind: &str| kept.iter().filter(|object| object.kind == kind).count();
    ensure!(kinds("PersistentVolumeClaim") == 1, "Retain must keep the one volume; it kept {kept:?}");
    ensure!(kinds("Secret") > 0, "Retain must keep the secrets; it kept {kept:?}");
    ensure!(
        kept.iter().filter(|object| object.kind == "ConfigMap").all(|object| object.name.starts_with(&id)),
        "of the ConfigMaps only Patroni's may stay; there are {kept:?}"
    );

    let again = Formation::create(stage.client(), &namespace, &shard).await?;
    again.wait_ready(READY_WITHIN).await?;
    ensure!(id_of(&again).await? == id, "the formation came back under another id than {id}");
    let word = again.psql(0, "SELECT word FROM platform.keepsake").await?;
    ensure!(word == "still here", "the row is not the one that was written: {word:?}");

    let started = Instant::now();
    delete_namespace(stage.client(), &namespace).await?;
    namespace_is_gone(stage.client(), &namespace, NAMESPACE_GONE_WITHIN).await?;
    say(format!("the namespace was gone after {:.1} s", started.elapsed().as_secs_f64()));
    Ok(())
}

/// Under Delete nothing stays, of whatever kind, and a CourseShard of the same name starts empty.
pub(crate) async fn delete_leaves_nothing(stage: &Stage<'_>) -> Result<()> {
    let namespace = stage.namespace("delete").await?;
    let shard = shards::single("school", 1)?;
    let formation = Formation::create(stage.client(), &namespace, &shard).await?;
    formation.wait_ready(READY_WITHIN).await?;
    let id = id_of(&formation).await?;
    formation.psql(0, KEEP).await?;
    ensure!(
        !leftovers::of_formation(stage.client(), &namespace, &id).await?.is_empty(),
        "the search for what belongs to {id} finds nothing of a running formation: it would find nothing ever"
    );

    formation.delete(DeletionPolicy::Delete, DELETED_WITHIN).await?;
    stage.settled_leftovers(&namespace, &id, DELETED_WITHIN, |found| found.is_empty()).await?;

    let again = Formation::create(stage.client(), &namespace, &shard).await?;
    again.wait_ready(READY_WITHIN).await?;
    ensure!(id_of(&again).await? != id, "an id was used again: {id}");
    let tables = again.count(0, "SELECT count(*) FROM pg_tables WHERE tablename = 'keepsake'").await?;
    ensure!(tables == 0, "a table of the deleted formation is in the new one");
    Ok(())
}

async fn id_of(formation: &Formation) -> Result<String> {
    formation.status().await?.formation_id.context("a Ready formation has no formationId")
}
