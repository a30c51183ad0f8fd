//! From creation to Ready, step by step, as a client sees it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use lyceum_crds::course_shard::CourseShard;
use lyceum_crds::course_shard::conditions::{self, READY};
use lyceum_crds::course_shard::names::{Component, LABEL_GROUP, LABEL_ROLE, ROLE_PRIMARY};

use crate::formation::{Formation, READY_WITHIN, pod_is_ready};
use crate::progress::say;

/// Between two looks: the resolution of every step.
const RESOLUTION: Duration = Duration::from_millis(200);

/// What there is at one moment.
struct Sight {
    shard: CourseShard,
    database: Vec<Pod>,
    pooler: Vec<Pod>,
    migrators: Vec<Job>,
}

/// A step and how to tell that it is done. Each is measured from the creation on its own: some run
/// side by side, so a step may be done before the one listed above it.
type Step = (&'static str, fn(&Sight) -> bool);

/// The steps.
const STEPS: [Step; 8] = [
    // The operator has given the formation its name.
    ("accepted", |s| s.shard.status.as_ref().is_some_and(|status| status.formation_id.is_some())),
    // Every database pod has a node.
    ("scheduled", |s| s.all_database(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()))),
    // Patroni runs in every database pod.
    ("running", |s| s.all_database(runs)),
    // Every group has a primary.
    ("elected", |s| (0..=s.shard.spec.workers.count).all(|group| s.has_primary(group))),
    // Workers are registered with the coordinator, for only then is there a migrator.
    ("registered", |s| !s.migrators.is_empty()),
    // The schema is at its version.
    ("migrated", |s| {
        let reached = s.shard.status.as_ref().and_then(|status| status.schema.as_ref());
        reached.is_some_and(|schema| Some(schema.version) == s.shard.spec.schema_version && !schema.dirty)
    }),
    // Replicas have copied their primary, poolers answer.
    ("all-pods-ready", |s| {
        s.all_database(pod_is_ready)
            && s.pooler.len() as i64 >= i64::from(s.shard.spec.pooler.instances)
            && s.pooler.iter().all(pod_is_ready)
    }),
    // A canary write through the Service committed.
    ("ready", |s| {
        let status = s.shard.status.clone().unwrap_or_default();
        conditions::is_true(&status.conditions, READY, s.shard.metadata.generation)
    }),
];

impl Sight {
    async fn of(formation: &Formation) -> Result<Self> {
        Ok(Self {
            shard: formation.get().await?,
            database: formation.pods_of(Component::Database).await?,
            pooler: formation.pods_of(Component::Pooler).await?,
            migrators: formation.migrator_jobs().await?,
        })
    }

    fn all_database(&self, is: impl Fn(&Pod) -> bool) -> bool {
        let spec = &self.shard.spec;
        let wanted = spec.coordinator.instances + spec.workers.count * spec.workers.instances;
        self.database.len() as i64 >= i64::from(wanted) && self.database.iter().all(is)
    }

    fn has_primary(&self, group: i32) -> bool {
        let group = group.to_string();
        self.database.iter().any(|pod| {
            pod.labels().get(LABEL_GROUP) == Some(&group)
                && pod.labels().get(LABEL_ROLE).is_some_and(|role| role == ROLE_PRIMARY)
        })
    }
}

fn runs(pod: &Pod) -> bool {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    containers.clone().count() > 0
        && containers.into_iter().all(|c| c.state.iter().any(|s| s.running.is_some()))
}

/// Watches a formation that was created at `created` until it is Ready: seconds from creation by step.
pub async fn watch(formation: &Formation, created: Instant) -> Result<Vec<(&'static str, f64)>> {
    let mut done: Vec<(&'static str, f64)> = Vec::new();
    while done.len() < STEPS.len() {
        let sight = Sight::of(formation).await?;
        let now = created.elapsed();
        for (step, is_done) in STEPS {
            if !done.iter().any(|(name, _)| *name == step) && is_done(&sight) {
                say(format!("{step} after {:.1} s", now.as_secs_f64()));
                done.push((step, now.as_secs_f64()));
            }
        }
        if now > READY_WITHIN {
            let missing =
                STEPS.iter().map(|(step, _)| *step).filter(|step| !done.iter().any(|d| d.0 == *step));
            bail!("not Ready after {} s; missing: {:?}", now.as_secs(), missing.collect::<Vec<_>>());
        }
        tokio::time::sleep(RESOLUTION).await;
    }
    Ok(done)
}
