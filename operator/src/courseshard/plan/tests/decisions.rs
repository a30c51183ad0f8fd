//! One decision a test.

use lyceum_crds::course_shard::{
    DeletionPolicy, Durability, LagBucket, NodeRole,
    conditions::{DEGRADED, PROGRESSING, READY, SCHEMA_CURRENT},
    names::TAKE_OVER_ANNOTATION,
    reasons,
};
use serde_json::json;

use super::scene::{FORMATION, POSITION, Scene, new_school, school, single, starts_migration};
use crate::{
    courseshard::{
        observed::{JobState, Named, SchemaSeen, SecretSeen},
        plan::{Action, finalize},
    },
    runtime::Next,
};

fn reason(scene: &Scene, type_: &str) -> (String, String) {
    let (status, reason, _) = scene.condition(type_);
    (status, reason)
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

// Beginnings

#[test]
fn nothing_is_made_before_the_finalizer_is_there() {
    let plan = new_school().plan();
    assert_eq!(plan.actions, [Action::AddFinalizer]);
    assert_eq!(plan.desired, None);
}

#[test]
fn the_formations_name_is_written_down_before_anything_is_made_under_it() {
    let mut scene = school();
    scene.observed.secrets.clear();
    scene.shard.status = None;
    let plan = scene.plan();
    let id = plan.status.formation_id.clone().unwrap();
    assert!(plan.desired.is_none() && plan.actions.is_empty());
    assert!(id.starts_with("school-") && id.len() == "school-".len() + 6, "{id}");
    assert_eq!(
        id,
        scene.plan().status.formation_id.unwrap(),
        "a process that dies here makes the same name again"
    );
}

#[test]
fn a_retained_formation_of_the_name_is_adopted() {
    let mut scene = school();
    scene.shard.status = None;
    let plan = scene.plan();
    assert_eq!(plan.status.formation_id.as_deref(), Some(FORMATION));
    assert_eq!(plan.events[0].reason, reasons::ADOPTED);
}

#[test]
fn a_schema_version_left_out_is_set_once_to_the_newest() {
    let mut scene = school();
    scene.shard.spec.schema_version = None;
    assert_eq!(scene.plan().actions, [Action::SetSchemaVersion(lyceum_schema::LATEST)]);
}

#[test]
fn a_spec_over_its_budget_is_refused_in_a_sentence_and_nothing_is_made() {
    let mut scene = school();
    scene.shard.spec.workers.parameters.max_connections = 30;
    let (status, reason, message) = scene.condition(READY);
    assert_eq!((status.as_str(), reason.as_str()), ("False", reasons::INVALID_SPEC));
    assert!(message.contains("maxConnections"), "{message}");
    assert_eq!(scene.plan().desired, None);
}

#[test]
fn passwords_of_a_formation_with_data_are_not_made_anew() {
    let scene = school().with_all_pods().without_secret("school-auth");
    let (status, reason, message) = scene.condition(DEGRADED);
    assert_eq!((status.as_str(), reason.as_str()), ("True", reasons::SECRETS_LOST));
    assert!(message.contains("school-auth"), "{message}");
    assert_eq!(scene.plan().desired, None);
}

#[test]
fn a_missing_certificate_is_made_again_without_a_word() {
    let scene = school().in_steady_state().without_secret("school-tls");
    assert!(scene.plan().desired.is_some());
    assert_eq!(reason(&scene, DEGRADED), is("False", reasons::AVAILABLE));
}

// Readiness

#[test]
fn ready_means_primaries_durability_schema_and_a_write_a_moment_ago() {
    let scene = school().in_steady_state();
    assert_eq!(reason(&scene, READY), is("True", reasons::AVAILABLE));
    assert_eq!(reason(&scene, PROGRESSING), is("False", reasons::AVAILABLE));
    assert_eq!(reason(&scene, DEGRADED), is("False", reasons::AVAILABLE));
    assert_eq!(reason(&scene, SCHEMA_CURRENT), is("True", reasons::SCHEMA_CURRENT));
}

#[test]
fn in_steady_state_the_status_stays_byte_for_byte_and_no_action_is_planned() {
    let scene = school().in_steady_state();
    let plan = scene.clone().after(5).plan();
    assert_eq!(Some(&plan.status), scene.shard.status.as_ref());
    assert_eq!((plan.actions.len(), plan.events.len()), (0, 0), "{:?}", plan.actions);
}

#[test]
fn a_canary_of_eleven_seconds_ago_proves_nothing() {
    let mut scene = school().in_steady_state().after(11);
    scene.observed.database.canary_error = Some("connection refused".into());
    let (status, reason, message) = scene.condition(READY);
    assert_eq!((status.as_str(), reason.as_str()), ("False", reasons::CANARY_STALE));
    assert!(message.contains("connection refused"), "{message}");
}

#[test]
fn a_group_without_primary_is_named_with_the_pod_that_holds_it_up() {
    let mut scene = school().in_steady_state();
    scene.pod("school-g1-0").member = None;
    scene.pod("school-g1-0").waiting = Some("has no node since 2026-11-25T10:00:00Z: 0/2 nodes".into());
    let (_, reason, message) = scene.condition(READY);
    assert_eq!(reason, reasons::GROUP_WITHOUT_PRIMARY);
    assert_eq!(
        message,
        "group 1 has no primary: school-g1-0 has no node since 2026-11-25T10:00:00Z: 0/2 nodes"
    );
    assert_eq!(scene.plan().status.workers.as_deref(), Some("1/2"));
}

#[test]
fn required_durability_needs_a_synchronous_replica_in_each_group_and_preferred_does_not() {
    let mut scene = school();
    scene.shard.spec.durability = Durability::Required;
    let mut scene = scene.in_steady_state();
    assert_eq!(reason(&scene, READY), is("True", reasons::AVAILABLE));
    scene.observed.patroni.get_mut(&2).unwrap().sync_standbys.clear();
    assert_eq!(reason(&scene, READY), is("False", reasons::DURABILITY_NOT_MET));

    let mut scene = school().in_steady_state();
    scene.observed.patroni.get_mut(&2).unwrap().sync_standbys.clear();
    assert_eq!(reason(&scene, READY), is("True", reasons::AVAILABLE));
}

#[test]
fn without_a_pooler_nobody_can_connect() {
    let mut scene = school().in_steady_state();
    for pod in ["school-pooler-a", "school-pooler-b"] {
        scene.pod(pod).ready = false;
        scene.pod(pod).waiting = Some("container pgbouncer is waiting: ImagePullBackOff".into());
    }
    let (_, reason, message) = scene.condition(READY);
    assert_eq!(reason, reasons::POOLER_UNAVAILABLE);
    assert!(message.contains("ImagePullBackOff"), "{message}");
}

#[test]
fn a_missing_replica_degrades_a_formation_and_leaves_it_ready() {
    let scene = school().in_steady_state().without_pod("school-g1-1");
    assert_eq!(reason(&scene, READY), is("True", reasons::AVAILABLE));
    assert_eq!(reason(&scene, DEGRADED), is("True", reasons::REPLICA_MISSING));
    assert_eq!(reason(&scene, PROGRESSING), is("True", reasons::WAITING_FOR_PODS));
}

#[test]
fn while_a_formation_is_made_its_replicas_are_on_their_way_and_not_missing() {
    let scene = school().with_all_pods().without_pod("school-g1-1");
    assert_eq!(reason(&scene, DEGRADED), is("False", reasons::AVAILABLE));
}

#[test]
fn a_replica_a_gigabyte_behind_is_reported_in_words_and_bucket() {
    let mut scene = school().in_steady_state();
    scene.member("school-g2-1").position = Some(POSITION - (1 << 30));
    assert_eq!(reason(&scene, DEGRADED), is("True", reasons::REPLICA_LAGGING));
    assert_eq!(scene.plan().status.lag, Some(LagBucket::FarBehind));
}

#[test]
fn roles_come_from_patroni_and_synchronous_replicas_are_told_apart() {
    let plan = school().in_steady_state().plan();
    let role = |name: &str| plan.status.nodes.iter().find(|node| node.name == name).unwrap().role;
    assert_eq!(role("school-g0-0"), NodeRole::Primary);
    assert_eq!(role("school-g0-1"), NodeRole::SyncReplica);
    assert_eq!(plan.status.primary.as_deref(), Some("school-g0-0"));
}

// Failover

#[test]
fn a_promotion_in_group_0_makes_the_poolers_reconnect_once() {
    let mut scene = school().in_steady_state();
    scene.pod("school-g0-0").member = None;
    let mut scene = scene.reported();
    *scene.member("school-g0-1") = crate::courseshard::observed::MemberSeen {
        leader: true,
        state: "running".into(),
        timeline: Some(2),
        position: Some(POSITION),
        pending_restart: false,
    };
    let plan = scene.plan();
    assert!(plan.actions.contains(&Action::ReconnectPoolers));
    assert_eq!(plan.events[0].reason, reasons::PRIMARY_CHANGED);
    assert!(plan.events[0].note.contains("school-g0-1"));
    assert!(!scene.reported().plan().actions.contains(&Action::ReconnectPoolers));
}

#[test]
fn a_promotion_in_a_worker_group_is_told_and_leaves_the_poolers_alone() {
    let mut scene = school().in_steady_state();
    scene.pod("school-g1-0").member = None;
    *scene.member("school-g1-1") = crate::courseshard::observed::MemberSeen {
        leader: true,
        state: "running".into(),
        timeline: Some(2),
        position: Some(POSITION),
        pending_restart: false,
    };
    let plan = scene.plan();
    assert!(!plan.actions.contains(&Action::ReconnectPoolers));
    assert_eq!(plan.events[0].note, "group 1 has a new primary: school-g1-1");
}

#[test]
fn a_primary_that_restarts_on_its_timeline_is_no_promotion() {
    let mut scene = school().in_steady_state();
    let member = scene.pod("school-g0-0").member.take();
    let mut scene = scene.reported();
    scene.pod("school-g0-0").member = member;
    assert!(scene.plan().actions.is_empty());
}

// Settings

#[test]
fn a_changed_setting_goes_to_patroni_and_restarts_nothing() {
    let mut scene = school().in_steady_state();
    scene.shard.spec.workers.parameters.settings.insert("work_mem".into(), "16MB".into());
    let plan = scene.plan();
    let groups: Vec<_> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::Configure { group, config, resource_version, .. } => {
                assert_eq!(config["postgresql"]["parameters"]["work_mem"], json!("16MB"));
                assert_eq!(resource_version, "41");
                *group
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(groups, [1, 2]);
    assert_eq!(reason(&scene, PROGRESSING), is("True", reasons::APPLYING));
    assert_eq!(reason(&scene, DEGRADED), is("False", reasons::AVAILABLE), "no template changed");
}

#[test]
fn what_others_put_beside_our_settings_stays() {
    let mut scene = school().in_steady_state();
    let config = scene.observed.patroni.get_mut(&0).unwrap().config.as_mut().unwrap();
    config["pause"] = json!(true);
    assert!(scene.plan().actions.is_empty());
    let config = scene.observed.patroni.get_mut(&0).unwrap().config.as_mut().unwrap();
    config["ttl"] = json!(300);
    match &scene.plan().actions[..] {
        [Action::Configure { config, .. }] => {
            assert_eq!((&config["pause"], &config["ttl"]), (&json!(true), &json!(20)))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_setting_that_needs_a_restart_waits_for_a_person() {
    let mut scene = school().in_steady_state();
    scene.member("school-g1-0").pending_restart = true;
    let (status, reason, message) = scene.condition(DEGRADED);
    assert_eq!((status.as_str(), reason.as_str()), ("True", reasons::RESTART_PENDING));
    assert!(message.contains("school-g1-0") && !message.contains("school-g1-1"), "{message}");
}

// Pinning

#[test]
fn a_new_operator_leaves_databases_on_the_images_they_have() {
    let mut scene = school().in_steady_state();
    scene.platform.images.postgres = "lyceum/postgres:2".into();
    let plan = scene.plan();
    let render = plan.status.render.as_ref().unwrap();
    assert_eq!((render.postgres_image.as_str(), render.update_available), ("lyceum/postgres:1", true));
    let desired = plan.desired.unwrap();
    let container =
        &desired.statefulsets[0].spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0];
    assert_eq!(container.image.as_deref(), Some("lyceum/postgres:1"));
    assert_eq!(reason(&scene, PROGRESSING), is("False", reasons::RENDER_OUTDATED));
}

#[test]
fn the_annotation_takes_the_new_images_over_once() {
    let mut scene = school().in_steady_state();
    scene.platform.images.postgres = "lyceum/postgres:2".into();
    scene.shard.metadata.annotations = Some([(TAKE_OVER_ANNOTATION.to_owned(), "1".to_owned())].into());
    let scene = scene.reported();
    let render = scene.shard.status.as_ref().unwrap().render.clone().unwrap();
    assert_eq!((render.postgres_image.as_str(), render.update_available), ("lyceum/postgres:2", false));
    assert!(scene.plan().actions.contains(&Action::ClearTakeOver));
    let (_, reason, message) = scene.condition(DEGRADED);
    assert_eq!(reason, reasons::RESTART_PENDING, "pods of the old image wait for a person");
    assert!(message.contains("school-g2-1"), "{message}");
}

#[test]
fn an_annotation_for_another_revision_takes_nothing_over() {
    let mut scene = school().in_steady_state();
    scene.platform.images.postgres = "lyceum/postgres:2".into();
    scene.shard.metadata.annotations = Some([(TAKE_OVER_ANNOTATION.to_owned(), "99".to_owned())].into());
    assert_eq!(scene.plan().status.render.unwrap().postgres_image, "lyceum/postgres:1");
}

#[test]
fn a_paused_formation_is_looked_at_and_left_alone() {
    let mut scene = school().in_steady_state();
    scene.shard.spec.paused = true;
    scene.shard.spec.workers.parameters.settings.insert("work_mem".into(), "16MB".into());
    let plan = scene.plan();
    assert_eq!((plan.desired, plan.actions.len()), (None, 0));
    assert_eq!(reason(&scene, PROGRESSING), is("False", reasons::PAUSED));
    assert_eq!(reason(&scene, READY), is("True", reasons::AVAILABLE));
}

// Schema

#[test]
fn a_migration_is_written_down_before_it_is_started() {
    let scene = school().with_all_pods();
    let plan = scene.plan();
    assert!(plan.status.intent.is_some() && !starts_migration(&plan));
    assert_eq!(plan.next, Next::After(std::time::Duration::ZERO));
    let scene = scene.reported();
    assert!(starts_migration(&scene.plan()));
    assert_eq!(scene.plan().status.intent, scene.shard.status.unwrap().intent);
}

#[test]
fn no_migration_starts_while_a_group_has_no_primary() {
    let mut scene = school().with_all_pods();
    scene.member("school-g2-0").leader = false;
    let plan = scene.plan();
    assert_eq!(plan.status.intent, None);
    assert_eq!(reason(&scene, SCHEMA_CURRENT), is("False", reasons::SCHEMA_NOT_CURRENT));
}

#[test]
fn a_running_job_is_only_looked_at() {
    let scene = school().with_all_pods().reported().with_job(JobState::Running);
    let plan = scene.plan();
    assert!(!starts_migration(&plan));
    assert_eq!(reason(&scene, SCHEMA_CURRENT), is("False", reasons::MIGRATING));
}

#[test]
fn a_finished_job_settles_the_version_and_ends_the_intent() {
    let scene = school().with_all_pods().reported().with_job(JobState::Succeeded);
    let plan = scene.plan();
    assert_eq!(plan.status.intent, None);
    assert_eq!(plan.status.schema.unwrap().version, lyceum_schema::LATEST);
    assert_eq!(reason(&scene, SCHEMA_CURRENT), is("True", reasons::SCHEMA_CURRENT));
    let scene = scene.reported();
    assert_eq!(scene.plan().status.intent, None, "not started again");
}

#[test]
fn a_failed_job_is_told_in_its_own_words_and_tried_again_later() {
    let scene = school().with_all_pods().reported();
    let failed = JobState::Failed { at: scene.now, message: "0003: lock time-out".into() };
    let scene = scene.with_job(failed).reported();
    let (_, reason, message) = scene.condition(SCHEMA_CURRENT);
    assert_eq!(reason, reasons::MIGRATION_FAILED);
    assert_eq!(message, "0003: lock time-out (tried again at 2026-11-25T10:00:10Z)");
    assert_eq!(scene.plan().status.intent, None);
    let later = scene.after(11).plan();
    assert_eq!(later.status.intent.unwrap().epoch, 2);
}

#[test]
fn waits_between_failed_migrations_grow_and_old_jobs_go() {
    let mut scene = school().with_all_pods();
    for _ in 0..7 {
        scene = scene.after(700).reported();
        let failed = JobState::Failed { at: scene.now, message: "no".into() };
        scene = scene.with_job(failed).reported();
    }
    let (_, _, message) = scene.condition(SCHEMA_CURRENT);
    assert!(message.starts_with("no (tried again at"), "{message}");
    assert_eq!(scene.clone().after(599).plan().status.intent, None);
    let pruned = scene.plan().actions.iter().filter(|action| matches!(action, Action::DeleteJob(_))).count();
    assert_eq!(pruned, 2);
}

#[test]
fn an_intent_whose_deadline_passed_unstarted_is_dropped_with_a_warning() {
    let scene = school().with_all_pods().reported().after(2 * 3600);
    let plan = scene.plan();
    assert!(!starts_migration(&plan));
    assert!(plan.events.iter().any(|event| event.reason == reasons::INTENT_EXPIRED && event.warning));
    assert_eq!(plan.status.intent.unwrap().epoch, 2, "another, later one");
}

#[test]
fn a_raised_schema_version_starts_one_migration() {
    let mut scene = school().in_steady_state();
    scene.observed.database.schema =
        Some(SchemaSeen { version: lyceum_schema::LATEST - 1, dirty: false, detail: String::new() });
    let scene = scene.reported();
    assert_eq!(
        scene.shard.status.as_ref().unwrap().intent.as_ref().unwrap().action.to_version,
        Some(lyceum_schema::LATEST)
    );
    assert!(starts_migration(&scene.plan()));
}

#[test]
fn a_schema_never_goes_back_and_an_unknown_one_is_not_tried() {
    let mut scene = school().in_steady_state();
    scene.shard.spec.schema_version = Some(lyceum_schema::LATEST - 1);
    assert_eq!(reason(&scene, SCHEMA_CURRENT), is("False", reasons::SCHEMA_NOT_CURRENT));
    assert_eq!(scene.plan().status.intent, None);
    scene.shard.spec.schema_version = Some(lyceum_schema::LATEST + 1);
    assert_eq!(reason(&scene, SCHEMA_CURRENT), is("False", reasons::SCHEMA_VERSION_UNKNOWN));
    assert_eq!(scene.plan().status.intent, None);
}

#[test]
fn a_half_done_migration_is_taken_up_again() {
    let mut scene = school().in_steady_state();
    scene.observed.database.schema =
        Some(SchemaSeen { version: lyceum_schema::LATEST, dirty: true, detail: "step 2".into() });
    assert!(scene.plan().status.intent.is_some());
}

#[test]
fn a_database_that_does_not_answer_has_not_lost_its_schema() {
    let mut scene = school().in_steady_state();
    scene.observed.database.schema = None;
    let plan = scene.plan();
    assert_eq!(plan.status.intent, None);
    assert_eq!(plan.status.schema.unwrap().version, lyceum_schema::LATEST);
}

// The plain formation

#[test]
fn one_plain_postgresql_becomes_ready_too() {
    let scene = single().in_steady_state();
    assert_eq!(reason(&scene, READY), is("True", reasons::AVAILABLE));
    let status = scene.plan().status;
    assert_eq!((status.workers.as_deref(), status.shards, status.lag), (Some("0/0"), None, None));
}

// Ends

fn deleting(mut scene: Scene, policy: DeletionPolicy) -> Scene {
    scene.shard.spec.deletion_policy = policy;
    scene.shard.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(scene.now));
    scene
}

#[test]
fn retain_lets_go_at_once_and_names_what_it_keeps() {
    let mut scene = deleting(school().in_steady_state(), DeletionPolicy::Retain);
    scene.observed.claims = vec![Named { name: "data-school-g0-0".into(), uid: "1".into() }];
    let plan = scene.plan();
    assert_eq!(plan.actions, [Action::RemoveFinalizer]);
    let note = &plan.events[0].note;
    for kept in [FORMATION, "data-school-g0-0", "school-auth"] {
        assert!(note.contains(kept), "{kept} is not named in: {note}");
    }
}

#[test]
fn delete_ends_the_pods_first_and_then_all_that_is_left() {
    let mut scene = deleting(school().in_steady_state(), DeletionPolicy::Delete);
    scene.observed.statefulsets = vec![Named { name: "school-g0".into(), uid: "1".into() }];
    let plan = scene.plan();
    assert_eq!(
        plan.actions,
        [Action::DeleteStatefulSet(Named { name: "school-g0".into(), uid: "1".into() })]
    );
    assert_eq!(reason(&scene, READY), is("False", reasons::TERMINATING));
    scene.observed.statefulsets.clear();
    assert!(scene.plan().actions.is_empty(), "pods are still there");
    scene.observed.pods.clear();
    assert_eq!(
        scene.plan().actions,
        [Action::DeleteRemains { formation: FORMATION.into() }, Action::RemoveFinalizer]
    );
}

#[test]
fn a_deletion_that_hangs_ends_with_a_warning_and_not_never() {
    let scene =
        deleting(school().in_steady_state(), DeletionPolicy::Delete).after(finalize::DEADLINE_SECONDS + 1);
    let plan = scene.plan();
    assert!(plan.actions.contains(&Action::RemoveFinalizer));
    assert!(plan.events[0].warning && plan.events[0].note.contains(FORMATION));
}

#[test]
fn an_object_deleted_before_it_had_a_name_goes_at_once_even_with_a_bad_spec() {
    let mut scene = deleting(new_school(), DeletionPolicy::Delete);
    scene.shard.spec.workers.parameters.max_connections = 1;
    assert_eq!(scene.plan().actions, [Action::RemoveFinalizer]);
}

#[test]
fn a_secret_without_our_label_is_no_retained_formation() {
    let mut scene = school();
    scene.shard.status = None;
    scene.observed.secrets.insert("school-auth".into(), SecretSeen { formation: None, not_after: None });
    assert_ne!(scene.plan().status.formation_id.as_deref(), Some(FORMATION));
}
