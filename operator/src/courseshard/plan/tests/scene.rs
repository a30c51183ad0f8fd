//! A CourseShard and its surroundings, set up in sentences.

use jiff::{SignedDuration, Timestamp};
use lyceum_crds::course_shard::{
    CourseShard, conditions,
    names::{Component, FINALIZER, Names},
};
use serde_json::{Value, json};

use crate::courseshard::{
    observed::{
        JobSeen, JobState, MemberSeen, Named, Observed, PatroniSeen, PodSeen, SchemaSeen, SecretSeen,
    },
    plan::{Action, Plan, plan},
    render::{Images, Platform, Store, dynamic_config, login_roles},
};

pub(in crate::courseshard) const FORMATION: &str = "school-abc123";
/// A position in the log, in bytes.
pub(in crate::courseshard) const POSITION: i64 = 3 << 30;

/// What `plan` is given.
#[derive(Clone)]
pub(in crate::courseshard) struct Scene {
    pub(in crate::courseshard) shard: CourseShard,
    pub(in crate::courseshard) platform: Platform,
    pub(in crate::courseshard) observed: Observed,
    pub(in crate::courseshard) now: Timestamp,
}

/// Two workers of two, just created: no finalizer, no status.
pub(in crate::courseshard) fn new_school() -> Scene {
    school_with(json!({
        "postgres": {"major": 17, "citus": "13.2"},
        "coordinator": {"instances": 2, "storage": {"size": "2Gi"}, "parameters": {"maxConnections": 200}},
        "workers": {
            "count": 2, "instances": 2, "storage": {"size": "4Gi", "class": "fast"},
            "walStorage": {"size": "1Gi"},
            "resources": {"limits": {"memory": "2Gi"}},
            "parameters": {"maxConnections": 200, "settings": {"work_mem": "8MB"}}
        }
    }))
}

/// One plain PostgreSQL, just created.
pub(in crate::courseshard) fn new_single() -> Scene {
    school_with(json!({
        "postgres": {"major": 17},
        "coordinator": {"instances": 1, "storage": {"size": "2Gi"}, "parameters": {"maxConnections": 200}},
        "workers": {"count": 0},
        "durability": "Async"
    }))
}

fn school_with(spec: Value) -> Scene {
    let shard: CourseShard = serde_json::from_value(json!({
        "apiVersion": "lyceum.dev/v1alpha1",
        "kind": "CourseShard",
        "metadata": {
            "name": "school", "namespace": "lyceum", "uid": "6a1c0f0e-0000-4000-8000-000000000001",
            "generation": 1, "resourceVersion": "1"
        },
        "spec": spec
    }))
    .unwrap();
    let images = Images {
        postgres: "lyceum/postgres:1".into(),
        pooler: "lyceum/pgbouncer:1".into(),
        migrator: "lyceum/migrator:1".into(),
    };
    Scene {
        shard,
        platform: Platform {
            images,
            pull_secrets: vec!["registry".into()],
            operator_namespace: "lyceum-system".into(),
            api_servers: vec![("198.18.1.2".parse().unwrap(), 6443)],
            store: Store::ConfigMaps,
        },
        observed: Observed::default(),
        now: "2026-11-25T10:00:00Z".parse().unwrap(),
    }
}

/// Two workers of two, with its finalizer, its name and its schema version.
pub(in crate::courseshard) fn school() -> Scene {
    named(new_school())
}

/// One plain PostgreSQL with its finalizer, its name and its schema version.
pub(in crate::courseshard) fn single() -> Scene {
    named(new_single())
}

fn named(mut scene: Scene) -> Scene {
    scene.shard.metadata.finalizers = Some(vec![FINALIZER.into()]);
    scene.shard.spec.schema_version = Some(lyceum_schema::LATEST);
    scene.shard.status.get_or_insert_default().formation_id = Some(FORMATION.into());
    scene.with_secrets()
}

impl Scene {
    pub(in crate::courseshard) fn plan(&self) -> Plan {
        plan(&self.shard, &self.platform, &self.observed, self.now)
    }

    /// The status planned becomes the status read, and the generation is applied.
    pub(in crate::courseshard) fn reported(mut self) -> Self {
        self.shard.status = Some(self.plan().status);
        self
    }

    pub(in crate::courseshard) fn after(mut self, seconds: i64) -> Self {
        self.now += SignedDuration::from_secs(seconds);
        self
    }

    fn names(&self) -> Names {
        Names::from(&self.shard)
    }

    fn groups(&self) -> std::ops::RangeInclusive<i32> {
        0..=self.shard.spec.workers.count
    }

    fn instances(&self, group: i32) -> i32 {
        if group == 0 { self.shard.spec.coordinator.instances } else { self.shard.spec.workers.instances }
    }

    pub(in crate::courseshard) fn with_secrets(mut self) -> Self {
        let names = self.names();
        let mut all =
            vec![names.ca_secret(), names.auth_secret(), names.ca_cert_secret(), names.tls_secret()];
        all.extend(login_roles().map(|(service, _)| names.role_secret(service)));
        for name in all {
            let seen = SecretSeen { formation: Some(FORMATION.into()), not_after: None };
            self.observed.secrets.insert(name, seen);
        }
        self
    }

    pub(in crate::courseshard) fn without_secret(mut self, name: &str) -> Self {
        self.observed.secrets.remove(name).expect("no such Secret in the scene");
        self
    }

    /// Every pod is there and ready, the first of each group leads, the others follow.
    pub(in crate::courseshard) fn with_all_pods(mut self) -> Self {
        let names = self.names();
        let templates = templates(&self);
        for group in self.groups() {
            for ordinal in 0..self.instances(group) {
                self.observed.pods.push(PodSeen {
                    name: names.pod(group, ordinal),
                    component: Component::Database,
                    group: Some(group),
                    ready: true,
                    terminating: false,
                    template: templates.get(usize::try_from(group).unwrap()).cloned().flatten(),
                    waiting: None,
                    member: Some(MemberSeen {
                        leader: ordinal == 0,
                        state: if ordinal == 0 { "running".into() } else { "streaming".into() },
                        timeline: Some(1),
                        position: Some(POSITION),
                        pending_restart: false,
                    }),
                });
            }
            let config = self.dynamic_config(group);
            self.observed.patroni.insert(
                group,
                PatroniSeen {
                    leader: Some(names.pod(group, 0)),
                    sync_standbys: (1..self.instances(group))
                        .map(|ordinal| names.pod(group, ordinal))
                        .take(1)
                        .collect(),
                    config: Some(config),
                    config_object: Some((format!("{FORMATION}-{group}-config"), "41".into())),
                    initialised: true,
                },
            );
        }
        for suffix in ["a", "b"] {
            self.observed.pods.push(PodSeen {
                name: format!("{}-{suffix}", names.pooler()),
                component: Component::Pooler,
                group: None,
                ready: true,
                terminating: false,
                template: None,
                waiting: None,
                member: None,
            });
        }
        self
    }

    fn dynamic_config(&self, group: i32) -> Value {
        crate::courseshard::render::tests::with_formation(self, |formation| dynamic_config(formation, group))
    }

    /// The schema is at the version asked for, and a canary has just committed.
    pub(in crate::courseshard) fn with_a_beating_canary(mut self) -> Self {
        self.observed.database.committed_at = Some(self.now);
        self.observed.database.schema =
            Some(SchemaSeen { version: lyceum_schema::LATEST, dirty: false, detail: String::new() });
        for group in 1..=self.shard.spec.workers.count {
            self.observed.database.shards.insert(group, 48);
        }
        self
    }

    /// As it should be, and reported so.
    pub(in crate::courseshard) fn in_steady_state(self) -> Self {
        let scene = self.with_all_pods().with_a_beating_canary().reported();
        scene.reported()
    }

    pub(in crate::courseshard) fn pod(&mut self, name: &str) -> &mut PodSeen {
        self.observed.pods.iter_mut().find(|pod| pod.name == name).expect("no such pod in the scene")
    }

    pub(in crate::courseshard) fn member(&mut self, name: &str) -> &mut MemberSeen {
        self.pod(name).member.as_mut().expect("that pod is no member")
    }

    pub(in crate::courseshard) fn without_pod(mut self, name: &str) -> Self {
        self.observed.pods.retain(|pod| pod.name != name);
        self
    }

    /// The Job of the intent in status, in this state.
    pub(in crate::courseshard) fn with_job(mut self, state: JobState) -> Self {
        let intent = self.shard.status.as_ref().unwrap().intent.clone().expect("no intent in status");
        self.observed.jobs.push(JobSeen {
            named: Named { name: self.names().migrator_job(&intent.id), uid: format!("job-{}", intent.id) },
            intent_id: intent.id,
            epoch: intent.epoch,
            state,
        });
        self
    }

    pub(in crate::courseshard) fn condition(&self, type_: &str) -> (String, String, String) {
        let plan = self.plan();
        let condition = conditions::find(&plan.status.conditions, type_).expect("condition not reported");
        (condition.status.clone(), condition.reason.clone(), condition.message.clone())
    }
}

/// Template hashes of the StatefulSets as planned.
fn templates(scene: &Scene) -> Vec<Option<String>> {
    let plan = scene.plan();
    let Some(desired) = plan.desired else { return Vec::new() };
    desired
        .statefulsets
        .iter()
        .map(|set| crate::courseshard::render::template_of(set).map(str::to_owned))
        .collect()
}

/// Whether a plan starts a migration.
pub(in crate::courseshard) fn starts_migration(plan: &Plan) -> bool {
    plan.actions.iter().any(|action| matches!(action, Action::StartMigration(_)))
}
