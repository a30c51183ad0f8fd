//! Crash points: a process that dies after any one step of any plan is followed by one
//! that comes to the same end, with nothing made twice.

use std::collections::BTreeSet;

use lyceum_crds::course_shard::{
    CourseShardStatus, DeletionPolicy,
    conditions::{self, READY},
    names::{FINALIZER, Names},
};
use proptest::prelude::*;

use super::scene::{Scene, new_school, new_single};
use crate::courseshard::{
    observed::{JobSeen, JobState, Named},
    plan::{Action, Plan},
    render::{INTENT_LABEL, login_roles},
};

/// A cluster as far as a plan can tell: every step changes it the way the real one does.
struct World {
    scene: Scene,
    /// Every migrator Job ever made, by name.
    jobs_made: Vec<String>,
    reconnects: usize,
    removed: bool,
}

/// How far a process gets in carrying out one plan.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// After this many steps, the status not written.
    After(usize),
    /// Not at all.
    Never,
}

impl World {
    fn new(scene: Scene) -> Self {
        Self { scene, jobs_made: Vec::new(), reconnects: 0, removed: false }
    }

    /// One look, plan and the steps of it that the process lives to take. Whether it came to its end.
    fn step(&mut self, death: Death) {
        let plan = self.scene.plan();
        let starts = plan.actions.iter().filter(|action| matches!(action, Action::StartMigration(_))).count();
        assert!(starts <= 1, "more than one step that can't be repeated");
        if starts == 1 {
            let status = self.scene.shard.status.as_ref().unwrap();
            assert!(status.intent.is_some(), "a migration was started that status did not hold");
        }
        let lives = |done: usize| match death {
            Death::After(steps) => done < steps,
            Death::Never => true,
        };
        let mut done = 0;
        if plan.desired.is_some() {
            if !lives(done) {
                return;
            }
            self.make_objects();
            done += 1;
        }
        for action in &plan.actions {
            if !lives(done) {
                return;
            }
            self.act(action);
            done += 1;
        }
        if lives(done) && !self.removed {
            self.report(plan);
        }
    }

    fn report(&mut self, plan: Plan) {
        let before = self.scene.shard.status.clone().unwrap_or_default();
        let formation = |status: &CourseShardStatus| status.formation_id.clone();
        if formation(&before).is_some() {
            assert_eq!(formation(&before), formation(&plan.status), "the formation's name changed");
        }
        self.scene.shard.status = Some(plan.status);
    }

    /// Kubernetes and Patroni bring up what was applied.
    fn make_objects(&mut self) {
        let formation = self.scene.shard.status.as_ref().unwrap().formation_id.clone().unwrap();
        let names = Names::from(&self.scene.shard);
        let mut secrets =
            vec![names.ca_secret(), names.auth_secret(), names.ca_cert_secret(), names.tls_secret()];
        secrets.extend(login_roles().map(|(service, _)| names.role_secret(service)));
        for name in secrets {
            let seen = crate::courseshard::observed::SecretSeen {
                formation: Some(formation.clone()),
                not_after: None,
            };
            self.scene.observed.secrets.entry(name).or_insert(seen);
        }
        if self.scene.observed.pods.is_empty() {
            self.scene = self.scene.clone().with_all_pods();
            self.scene.observed.statefulsets = (0..=self.scene.shard.spec.workers.count)
                .map(|group| Named { name: names.statefulset(group), uid: format!("set-{group}") })
                .collect();
        }
    }

    fn act(&mut self, action: &Action) {
        let shard = &mut self.scene.shard;
        let observed = &mut self.scene.observed;
        match action {
            Action::AddFinalizer => shard.metadata.finalizers = Some(vec![FINALIZER.into()]),
            Action::RemoveFinalizer => self.removed = true,
            Action::SetSchemaVersion(version) => {
                assert_eq!(shard.spec.schema_version, None, "set twice");
                shard.spec.schema_version = Some(*version);
                *shard.metadata.generation.as_mut().unwrap() += 1;
            }
            Action::ClearTakeOver => shard.metadata.annotations = None,
            Action::Configure { group, config, .. } => {
                observed.patroni.get_mut(group).unwrap().config = Some(config.clone());
            }
            Action::ReconnectPoolers => self.reconnects += 1,
            Action::StartMigration(job) => {
                let name = job.metadata.name.clone().unwrap();
                // The API server knows one object of a name: a second creation finds the first.
                if !observed.jobs.iter().any(|seen| seen.named.name == name) {
                    self.jobs_made.push(name.clone());
                    let intent_id = job.metadata.labels.as_ref().unwrap()[INTENT_LABEL].clone();
                    let epoch = 1 + observed.jobs.iter().map(|job| job.epoch).max().unwrap_or(0);
                    let named = Named { name, uid: format!("job-{epoch}") };
                    observed.jobs.push(JobSeen { named, intent_id, epoch, state: JobState::Running });
                }
            }
            Action::DeleteJob(named) => observed.jobs.retain(|job| job.named != *named),
            Action::DeleteStatefulSet(named) => {
                observed.statefulsets.retain(|set| set != named);
                let prefix = format!("{}-", named.name);
                observed.pods.retain(|pod| !pod.name.starts_with(&prefix));
            }
            Action::DeleteRemains { .. } => {
                observed.secrets.clear();
                observed.claims.clear();
                observed.patroni.clear();
            }
        }
    }

    /// The world goes on by itself: Jobs end, the canary beats, time passes.
    fn turn(&mut self, migration: &JobState) {
        self.scene = self.scene.clone().after(5);
        let mut finished = false;
        for job in &mut self.scene.observed.jobs {
            if job.state == JobState::Running {
                job.state = migration.clone();
                if let JobState::Failed { at, .. } = &mut job.state {
                    *at = self.scene.now;
                }
                finished |= job.state == JobState::Succeeded;
            }
        }
        if finished || self.scene.observed.database.schema.is_some() {
            self.scene = self.scene.clone().with_a_beating_canary();
        }
    }

    fn is_ready(&self) -> bool {
        let status = self.scene.shard.status.clone().unwrap_or_default();
        conditions::is_true(&status.conditions, READY, self.scene.shard.metadata.generation)
    }
}

/// Runs a world until it is ready; the process dies as `deaths` say, then no more.
fn bring_up(scene: Scene, deaths: &[Option<usize>]) -> World {
    let mut world = World::new(scene);
    let mut deaths = deaths.iter();
    for _ in 0..100 {
        let death = deaths.next().copied().flatten().map_or(Death::Never, Death::After);
        world.step(death);
        world.turn(&JobState::Succeeded);
        if world.is_ready() {
            return world;
        }
    }
    panic!("not ready after 100 looks: {:?}", world.scene.shard.status);
}

#[test]
fn a_death_at_any_one_point_changes_nothing_of_the_end() {
    for scene in [new_school, new_single] {
        let undisturbed = bring_up(scene(), &[]);
        assert_eq!(undisturbed.jobs_made.len(), 1);
        // No bring-up takes more looks than this, or more steps in one.
        for look in 0..12 {
            for steps in 0..6 {
                let mut deaths = vec![None; look];
                deaths.push(Some(steps));
                let world = bring_up(scene(), &deaths);
                assert_eq!(
                    world.jobs_made.len(),
                    1,
                    "died in look {look} after {steps} steps: {:?}",
                    world.jobs_made
                );
                let (a, b) =
                    (world.scene.shard.status.unwrap(), undisturbed.scene.shard.status.clone().unwrap());
                assert_eq!((a.formation_id, a.nodes, a.schema), (b.formation_id, b.nodes, b.schema));
            }
        }
    }
}

#[test]
fn a_deletion_that_dies_at_any_point_still_ends_with_nothing_left() {
    for look in 0..4 {
        for steps in 0..4 {
            let mut world = bring_up(new_school(), &[]);
            world.scene.shard.spec.deletion_policy = DeletionPolicy::Delete;
            world.scene.shard.metadata.deletion_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.scene.now));
            for now in 0..20 {
                world.step(if now == look { Death::After(steps) } else { Death::Never });
                world.turn(&JobState::Succeeded);
                if world.removed {
                    break;
                }
            }
            assert!(world.removed, "died in look {look} after {steps} steps");
            assert!(world.scene.observed.secrets.is_empty() && world.scene.observed.patroni.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn however_often_it_dies_there_is_one_migration_and_one_name(
        deaths in prop::collection::vec(prop::option::of(0usize..6), 0..40)
    ) {
        let world = bring_up(new_school(), &deaths);
        prop_assert_eq!(world.jobs_made.len(), 1);
        prop_assert_eq!(world.reconnects, 0);
    }

    #[test]
    fn a_migrator_that_keeps_failing_is_never_run_side_by_side(
        deaths in prop::collection::vec(prop::option::of(0usize..6), 0..40)
    ) {
        let mut world = World::new(new_school());
        let mut deaths = deaths.into_iter();
        for _ in 0..60 {
            world.step(deaths.next().flatten().map_or(Death::Never, Death::After));
            let running = world.scene.observed.jobs.iter().filter(|job| job.state == JobState::Running).count();
            prop_assert!(running <= 1);
            world.turn(&JobState::Failed { at: world.scene.now, message: "no".into() });
        }
        let names: BTreeSet<_> = world.jobs_made.iter().collect();
        prop_assert_eq!(names.len(), world.jobs_made.len(), "a name was used twice");
        // 300 s at 10, 20, 40, 80, 160 s apart.
        prop_assert!((2..=6).contains(&world.jobs_made.len()), "{} tries", world.jobs_made.len());
    }
}
