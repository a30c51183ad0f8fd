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

/// A second migrator starts beside the operator's, and the operator's is killed as it works: the schema
/// is at its version once, clean, with no invalid index and no lock left behind.
pub(crate) async fn two_at_once_and_one_killed(stage: &Stage<'_>) -> Result<()> {
    // Time given to the migrator before it is killed: it is caught at different steps.
    let delays: &[u64] = match stage.cluster.proof {
        Proof::Representative => &[700],
        Proof::Full => &[0, 200, 500, 800, 1100, 1500, 2000],
    };
    let namespace = stage.namespace("migrate").await?;
    for delay in delays {
        let shard = shards::single(&format!("after-{delay}"), 1)?;
        let formation = Formation::create(stage.client(), &namespace, &shard).await?;
        let job = wait_until("the migrator's Job is there", READY_WITHIN, async || {
            match formation.migrator_jobs().await?.into_iter().next() {
                Some(job) => Ok(Look::Done(job)),
                None => not_yet("no Job"),
            }
        })
        .await?;
        let jobs: Api<Job> = Api::namespaced(stage.client().clone(), &namespace);
        let second = twin(&job, "second")?;
        jobs.create(&PostParams::default(), &second).await?;
        kill(&formation, &job, Duration::from_millis(*delay)).await?;

        formation.wait_ready(READY_WITHIN).await?;
        succeeded(&jobs, "second").await?;
        jobs.delete("second", &DeleteParams::background()).await?;
        clean(&formation).await?;
        formation.delete(shard.spec.deletion_policy, Duration::from_secs(120)).await?;
    }
    Ok(())
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

/// Kills a Job's pod once its container has run for `delay`.
async fn kill(formation: &Formation, job: &Job, delay: Duration) -> Result<()> {
    let selector = ListParams::default().labels(&format!("job-name={}", job.name_any()));
    let pod = wait_until("the migrator runs", Duration::from_secs(60), async || {
        let pod = formation.pods().list(&selector).await?.items.into_iter().next();
        let phase = pod.as_ref().and_then(|pod| pod.status.as_ref()?.phase.clone()).unwrap_or_default();
        match pod {
            Some(pod) if phase != "Pending" => Ok(Look::Done(pod)),
            _ => not_yet(format!("its pod is {phase:?}")),
        }
    })
    .await?;
    tokio::time::sleep(delay).await;
    formation.pods().delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await?;
    let step = formation.psql(0, "SELECT version, dirty, step FROM platform.schema_version").await;
    say(format!("killed the migrator; the version row then said {step:?}"));
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
