//! Migrators that meet, and one that is killed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};
use lyceum_scenarios::config::Proof;
use lyceum_scenarios::formation::{Formation, READY_WITHIN};
use lyceum_scenarios::progress::say;
use lyceum_scenarios::shards;
use lyceum_scenarios::stage::Stage;
use lyceum_scenarios::wait::{Look, not_yet, wait_until};

/// How long the migration is held, for its migrator to be killed meanwhile.
const HELD_FOR: Duration = Duration::from_secs(4);

/// A second migrator starts beside the operator's, and the operator's is killed half-way: the schema is at
/// its version once, clean, with no invalid index and no lock left behind.
pub(crate) async fn two_at_once_and_one_killed(stage: &Stage<'_>) -> Result<()> {
    // Versions the migration is killed at: between the first and the last.
    let versions: &[i32] = match stage.cluster.proof {
        Proof::Representative => &[3],
        Proof::Full => &[0, 1, 2, 3, 4, 5, 6],
    };
    let namespace = stage.namespace("migrate").await?;
    for version in versions {
        let shard = shards::single(&format!("killed-at-{version}"), 1)?;
        let formation = Formation::create(stage.client(), &namespace, &shard).await?;
        wait_until("there is a database to migrate", READY_WITHIN, async || {
            formation.psql(0, "SELECT 1").await?;
            Ok(Look::Done(()))
        })
        .await?;
        let held = tokio::spawn({
            let (formation, hold) = (formation.clone(), hold_at(*version));
            async move { formation.psql(0, &hold).await }
        });
        let job = wait_until("the migrator's Job is there", READY_WITHIN, async || {
            match formation.migrator_jobs().await?.into_iter().next() {
                Some(job) => Ok(Look::Done(job)),
                None => not_yet("no Job"),
            }
        })
        .await?;
        let jobs: Api<Job> = Api::namespaced(stage.client().clone(), &namespace);
        jobs.create(&PostParams::default(), &twin(&job, "second")?).await?;
        kill_half_way(&formation, &job).await?;
        held.await?.context("the migration was not held, so it was not killed half-way")?;

        formation.wait_ready(READY_WITHIN).await?;
        succeeded(&jobs, "second").await?;
        jobs.delete("second", &DeleteParams::background()).await?;
        clean(&formation).await?;
        formation.delete(shard.spec.deletion_policy, Duration::from_secs(120)).await?;
    }
    Ok(())
}

/// A statement that waits until the schema is at `version` and then keeps the migrator from noting the next.
///
/// Migrations take milliseconds; nothing from outside could be aimed between two of them otherwise. The
/// row stays readable. (Not `to_regclass`: in a loop without locks it goes on answering from its cache.)
fn hold_at(version: i32) -> String {
    format!(
        "DO $$ DECLARE reached int; BEGIN \
           LOOP \
             IF EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = 'platform' AND tablename = 'schema_version') \
             THEN \
               EXECUTE 'SELECT max(version) FROM platform.schema_version' INTO reached; \
               EXIT WHEN reached >= {version}; \
             END IF; \
             PERFORM pg_sleep(0.001); \
           END LOOP; \
           LOCK TABLE platform.schema_version IN SHARE ROW EXCLUSIVE MODE; \
           PERFORM pg_sleep({}); \
         END $$",
        HELD_FOR.as_secs()
    )
}

/// The same Job under another name. Its pods keep the labels that let a migrator reach the database.
fn twin(job: &Job, name: &str) -> Result<Job> {
    let spec = job.spec.clone().context("a Job without a spec")?;
    let mut template = spec.template;
    if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.retain(|label, _| !label.ends_with("controller-uid") && !label.ends_with("job-name"));
    }
    Ok(Job {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: Some(JobSpec { template, backoff_limit: spec.backoff_limit, ..JobSpec::default() }),
        status: None,
    })
}

/// Kills the pod of a Job while the migration is held.
async fn kill_half_way(formation: &Formation, job: &Job) -> Result<()> {
    let held = "SELECT count(*) FROM pg_locks WHERE relation = to_regclass('platform.schema_version') \
                AND mode = 'ShareRowExclusiveLock' AND granted";
    wait_until("the migration is held", Duration::from_secs(90), async || {
        if formation.count(0, held).await? == 1 { Ok(Look::Done(())) } else { not_yet("it is not") }
    })
    .await?;
    let version = formation.count(0, "SELECT max(version) FROM platform.schema_version").await?;
    let selector = ListParams::default().labels(&format!("job-name={}", job.name_any()));
    let pods = formation.pods().list(&selector).await?;
    let pod = pods.items.first().context("the migrator's Job has no pod")?;
    formation.pods().delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await?;
    say(format!("killed the migrator at version {version}"));
    let target = formation.get().await?.spec.schema_version.context("the operator set no schemaVersion")?;
    ensure!(version < i64::from(target), "the migration was done already: killed too late to prove anything");
    Ok(())
}

async fn succeeded(jobs: &Api<Job>, name: &str) -> Result<()> {
    wait_until(&format!("Job {name} succeeded"), Duration::from_secs(120), async || {
        let status = jobs.get(name).await?.status.unwrap_or_default();
        match status.succeeded {
            Some(1) => Ok(Look::Done(())),
            _ => not_yet(format!("active {:?}, failed {:?}", status.active, status.failed)),
        }
    })
    .await
}

async fn clean(formation: &Formation) -> Result<()> {
    let wanted = formation.get().await?.spec.schema_version.context("the operator set no schemaVersion")?;
    for (what, sql, expected) in [
        (
            "clean version row",
            "SELECT version FROM platform.schema_version WHERE NOT dirty",
            i64::from(wanted),
        ),
        ("number of invalid indexes", "SELECT count(*) FROM pg_index WHERE NOT indisvalid", 0),
        ("number of locks left", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", 0),
    ] {
        let found = formation.count(0, sql).await?;
        ensure!(found == expected, "{what}: {found}, expected {expected}");
    }
    Ok(())
}
