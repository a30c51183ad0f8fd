//! What to do next about a CourseShard: a pure function of it, of what is known, and of the time.

mod conditions;
pub mod finalize;
mod identity;
mod lag;
mod members;
pub mod migration;
mod pin;
#[cfg(test)]
pub(in crate::courseshard) mod tests;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource, ResourceExt};
use lyceum_crds::{
    budget::{self, Budget},
    course_shard::{
        CourseShard, CourseShardStatus, Endpoints, LagBucket, NodeRole, NodeStatus, SchemaStatus,
        ShardsStatus, WorkerShards,
        names::{Component, DATABASE, FINALIZER, Names, POSTGRES_PORT, TAKE_OVER_ANNOTATION},
        reasons,
    },
};
use serde_json::Value;

use self::migration::{Migration, Situation};
use super::{
    observed::{Named, Observed, PodSeen},
    render::{self, Desired, Formation, Platform},
};
use crate::runtime::Next;

pub use conditions::CANARY_FRESH_SECONDS;

/// How soon to look again at a formation that is on its way somewhere.
const SOON: Duration = Duration::from_secs(5);
/// How soon to look again at one that is as it should be: lag is read then, and whatever
/// a watch failed to say.
const CALM: Duration = Duration::from_secs(30);

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Objects to bring about, and below them to remove what is no longer among them.
    pub desired: Option<Box<Desired>>,
    /// Further steps, in order, after the objects.
    pub actions: Vec<Action>,
    /// Events to record.
    pub events: Vec<Event>,
    /// Status to report once all of it is done.
    pub status: CourseShardStatus,
    /// When to look again if nothing changes before.
    pub next: Next,
}

/// One step. Each may be repeated without harm but [`Action::StartMigration`], of which a
/// plan holds at most one, and only of an intent that status held already.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Before anything is made: so that nothing is made that no deletion would find.
    AddFinalizer,
    /// Last of a deletion.
    RemoveFinalizer,
    /// Write the schema version into the spec, once.
    SetSchemaVersion(i32),
    /// Remove the annotation that asked for a take-over.
    ClearTakeOver,
    /// Bring a group's dynamic configuration up to date.
    Configure {
        /// Citus group.
        group: i32,
        /// Patroni's object.
        object: String,
        /// Version of it that this was planned on.
        resource_version: String,
        /// The whole configuration.
        config: Value,
    },
    /// Make every pooler drop its server connections: the primary moved.
    ReconnectPoolers,
    /// Create the Job of the intent in status.
    StartMigration(Box<Job>),
    /// Remove a migrator's Job.
    DeleteJob(Named),
    /// End a group's pods.
    DeleteStatefulSet(Named),
    /// Remove what no owner reference covers: volume claims, Secrets, Patroni's objects.
    DeleteRemains {
        /// Formation they belong to.
        formation: String,
    },
}

/// An Event to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Something a person should look at.
    pub warning: bool,
    /// One of [`reasons`].
    pub reason: &'static str,
    /// What, where, what to do.
    pub note: String,
}

impl Event {
    fn normal(reason: &'static str, note: impl Into<String>) -> Self {
        Self { warning: false, reason, note: note.into() }
    }

    fn warning(reason: &'static str, note: impl Into<String>) -> Self {
        Self { warning: true, reason, note: note.into() }
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            desired: None,
            actions: Vec::new(),
            events: Vec::new(),
            status: CourseShardStatus::default(),
            next: Next::After(SOON),
        }
    }
}

impl Plan {
    fn only(action: Action, status: CourseShardStatus) -> Self {
        Self { actions: vec![action], status, ..Self::default() }
    }
}

/// Plans the next step of one CourseShard.
pub fn plan(shard: &CourseShard, platform: &Platform, observed: &Observed, now: Timestamp) -> Plan {
    let before = shard.status.clone().unwrap_or_default();
    if let Some(since) = &shard.metadata.deletion_timestamp {
        return finalize::plan(shard, since.0, observed, now);
    }
    if !shard.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        return Plan::only(Action::AddFinalizer, before);
    }
    let names = Names::from(shard);
    let stop = |reason, message: &str| {
        let generation = shard.metadata.generation;
        let conditions = conditions::stopped(&before.conditions, generation, reason, message, true, now);
        let status = CourseShardStatus { conditions, ..before.clone() };
        Plan { status, next: Next::After(CALM), ..Plan::default() }
    };
    if let Some(sentence) = invalid(shard) {
        return stop(reasons::INVALID_SPEC, &sentence);
    }
    let Some(formation_id) = before.formation_id.clone() else {
        return identity::name_formation(&names, shard, observed, before);
    };
    if let Some(text) = identity::lost_secrets(&names, &formation_id, observed) {
        return stop(reasons::SECRETS_LOST, &text);
    }
    let Some(target) = shard.spec.schema_version else {
        return Plan::only(Action::SetSchemaVersion(lyceum_schema::LATEST), before);
    };
    let budget = match budget::budget(&shard.spec) {
        Ok(budget) => budget,
        Err(error) => return stop(reasons::INVALID_SPEC, &error.to_string()),
    };
    formed(
        &Case {
            shard,
            names: &names,
            formation_id: &formation_id,
            target,
            budget: &budget,
            platform,
            observed,
            now,
        },
        before,
    )
}

/// A formation that has its name, its finalizer and a schema version, and fits its budget.
struct Case<'a> {
    shard: &'a CourseShard,
    names: &'a Names,
    formation_id: &'a str,
    target: i32,
    budget: &'a Budget,
    platform: &'a Platform,
    observed: &'a Observed,
    now: Timestamp,
}

fn formed(case: &Case<'_>, before: CourseShardStatus) -> Plan {
    let Case { shard, names, formation_id, target, budget, platform, observed, now } = *case;
    let spec = &shard.spec;
    let uid = shard.uid().unwrap_or_default();
    let annotation = shard.annotations().get(TAKE_OVER_ANNOTATION).map(String::as_str);
    let pin = pin::pin(spec, before.render.as_ref(), annotation, &platform.images);
    let owner = owner_of(shard);
    let formation =
        Formation { names, id: formation_id, spec, owner: &owner, platform, images: &pin.images, budget };
    let desired = render::render(formation);
    let workers = spec.workers.count;
    let nodes = members::nodes(names, |group| formation.group(group).instances, workers, &before, observed);
    let promotions = members::promotions(&before.nodes, &nodes);
    let possible = (0..=workers).all(|group| members::primary_of(observed, group).is_some());
    let migration = migration::migrate(&Situation {
        target,
        latest: lyceum_schema::LATEST,
        possible: possible && !spec.paused,
        uid: &uid,
        status: &before,
        observed,
        now,
    });

    let mut plan = Plan::default();
    let configure = configure(formation, observed);
    let schema = schema(&before, observed, &migration);
    let synchronous: Vec<i32> = (0..=workers)
        .filter(|group| nodes.iter().any(|node| node.group == *group && node.role == NodeRole::SyncReplica))
        .collect();
    let poolers =
        || observed.pods.iter().filter(|pod| pod.component == Component::Pooler && !pod.terminating);
    let conditions = conditions::conditions(
        &conditions::View {
            generation: shard.metadata.generation,
            paused: spec.paused,
            applied_before: before.observed_generation == shard.metadata.generation,
            durability: spec.durability,
            groups: workers.saturating_add(1),
            nodes: &nodes,
            synchronous: &synchronous,
            target,
            schema: &migration.schema,
            schema_status: schema.as_ref(),
            canary_at: observed.database.committed_at,
            canary_error: observed.database.canary_error.as_deref(),
            poolers_ready: poolers().filter(|pod| pod.ready).count(),
            poolers_waiting: poolers()
                .filter_map(|pod| pod.waiting.as_ref().map(|why| format!("{} {why}", pod.name)))
                .collect(),
            restart_pending: restart_pending(&desired, observed),
            configuring: !configure.is_empty(),
            render_outdated: pin.status.update_available,
            now,
        },
        &before.conditions,
    );

    plan.events.extend(promotions.iter().map(|(group, pod)| {
        Event::normal(reasons::PRIMARY_CHANGED, format!("group {group} has a new primary: {pod}"))
    }));
    if promotions.iter().any(|(group, _)| *group == 0) {
        plan.actions.push(Action::ReconnectPoolers);
    }
    if migration.expired {
        let text =
            format!("the migration to {target} was not started before its deadline; a new one is planned");
        plan.events.push(Event::warning(reasons::INTENT_EXPIRED, text));
    }
    if !spec.paused {
        plan.actions.extend(configure);
        plan.actions.extend(migration.prune.iter().map(|job| Action::DeleteJob(job.named.clone())));
        if let Some(intent) = &migration.start {
            plan.actions.push(Action::StartMigration(Box::new(render::migration_job(formation, intent))));
        }
        if pin.taken_over {
            plan.actions.push(Action::ClearTakeOver);
        }
        plan.desired = Some(Box::new(desired));
    }

    let ready = lyceum_crds::course_shard::conditions::is_true(
        &conditions,
        lyceum_crds::course_shard::conditions::READY,
        shard.metadata.generation,
    );
    let before_intent = before.intent.clone();
    let migration_reached = migration.reached.is_some();
    plan.status = CourseShardStatus {
        formation_id: Some(formation_id.to_owned()),
        observed_generation: if spec.paused { before.observed_generation } else { shard.metadata.generation },
        conditions,
        primary: primary(&nodes, 0),
        workers: Some(format!(
            "{}/{workers}",
            (1..=workers).filter(|group| primary(&nodes, *group).is_some()).count()
        )),
        lag: worst_lag(&nodes),
        nodes,
        shards: shards(observed).or(before.shards),
        schema,
        endpoints: Some(endpoints(names)),
        render: Some(pin.status),
        intent: if spec.paused { before.intent } else { migration.intent },
    };
    let begun = plan.status.intent != before_intent || migration_reached;
    plan.next = Next::After(match (begun, ready) {
        // An intent is carried out on the next look, once it is known to be in status; and
        // a schema that has just come to be is looked at by the canary from the next look on.
        (true, _) => Duration::ZERO,
        (false, true) => CALM,
        (false, false) => SOON,
    });
    plan
}

/// The CourseShard as owner of what is made for it.
fn owner_of(shard: &CourseShard) -> OwnerReference {
    OwnerReference {
        api_version: CourseShard::api_version(&()).into_owned(),
        kind: CourseShard::kind(&()).into_owned(),
        name: shard.name_any(),
        uid: shard.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// What is wrong with a spec that was not looked at before. The API server refuses most of
/// it already; an object stored before a rule was made is refused here.
fn invalid(shard: &CourseShard) -> Option<String> {
    let seen = shard.status.as_ref().and_then(|status| status.observed_generation);
    if seen.is_some() && seen == shard.metadata.generation {
        return None;
    }
    let findings = lyceum_crds::validate::check(shard);
    let sentences: Vec<_> = findings.into_iter().map(|finding| finding.message).collect();
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

/// Groups whose dynamic configuration differs from the one wanted.
fn configure(formation: Formation<'_>, observed: &Observed) -> Vec<Action> {
    let groups = observed.patroni.iter().filter(|(group, _)| **group <= formation.spec.workers.count);
    groups
        .filter_map(|(group, patroni)| {
            let (object, resource_version) = patroni.config_object.clone()?;
            let current = patroni.config.as_ref()?;
            let config = merged(current, render::dynamic_config(formation, *group));
            (config != *current).then_some(Action::Configure {
                group: *group,
                object,
                resource_version,
                config,
            })
        })
        .collect()
}

/// `wanted` over `current`. What Patroni or a person put beside our keys at the top stays
/// (`pause`, `standby_cluster`); what is under them is ours alone.
fn merged(current: &Value, wanted: Value) -> Value {
    match (current, wanted) {
        (Value::Object(current), Value::Object(wanted)) => {
            let mut result = current.clone();
            result.extend(wanted);
            Value::Object(result)
        }
        (_, wanted) => wanted,
    }
}

/// Pods that wait for a restart: made from an older template, or with a setting that
/// PostgreSQL takes up only when it starts.
fn restart_pending(desired: &Desired, observed: &Observed) -> Vec<String> {
    let templates: Vec<_> = desired.statefulsets.iter().map(render::template_of).collect();
    let current = |pod: &PodSeen| {
        let group = pod.group.and_then(|group| usize::try_from(group).ok())?;
        templates.get(group).copied().flatten()
    };
    let waits = |pod: &&PodSeen| {
        let outdated = match (pod.template.as_deref(), current(pod)) {
            (Some(made_from), Some(wanted)) => made_from != wanted,
            _ => false,
        };
        outdated || pod.member.as_ref().is_some_and(|member| member.pending_restart)
    };
    let database =
        observed.pods.iter().filter(|pod| pod.component == Component::Database && !pod.terminating);
    database.filter(waits).map(|pod| pod.name.clone()).collect()
}

fn pods_of_group(observed: &Observed, group: i32) -> impl Iterator<Item = &PodSeen> {
    observed.pods.iter().filter(move |pod| pod.component == Component::Database && pod.group == Some(group))
}

fn primary(nodes: &[NodeStatus], group: i32) -> Option<String> {
    nodes
        .iter()
        .find(|node| node.group == group && node.role == NodeRole::Primary)
        .map(|node| node.name.clone())
}

fn worst_lag(nodes: &[NodeStatus]) -> Option<LagBucket> {
    nodes.iter().filter_map(|node| node.lag).max()
}

fn schema(before: &CourseShardStatus, observed: &Observed, migration: &Migration) -> Option<SchemaStatus> {
    if let Some(version) = migration.reached {
        return Some(SchemaStatus { version, dirty: false });
    }
    let seen = observed.database.schema.as_ref();
    seen.map(|schema| SchemaStatus { version: schema.version, dirty: schema.dirty })
        .or_else(|| before.schema.clone())
}

fn shards(observed: &Observed) -> Option<ShardsStatus> {
    let shards = &observed.database.shards;
    (!shards.is_empty()).then(|| ShardsStatus {
        total: shards.values().sum(),
        by_worker: shards
            .iter()
            .map(|(group, shards)| WorkerShards { group: *group, shards: *shards })
            .collect(),
    })
}

fn endpoints(names: &Names) -> Endpoints {
    let at = |service: String| format!("{}:{POSTGRES_PORT}", names.service_fqdn(&service));
    Endpoints {
        pooler: at(names.pooler()),
        primary: at(names.primary_service(0)),
        read_only: at(names.readonly_service(0)),
        database: DATABASE.into(),
        ca_secret: names.ca_cert_secret(),
    }
}
