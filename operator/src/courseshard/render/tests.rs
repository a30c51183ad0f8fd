//! Snapshots of every rendered object, and what must hold of all of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use lyceum_crds::{
    budget,
    course_shard::{
        Intent, IntentAction, IntentKind,
        names::{LABEL_COMPONENT, Names},
    },
};
use serde_json::Value;

use super::*;
use crate::courseshard::plan::tests::scene::{FORMATION, Scene, school, single};

/// Lends the formation of a scene to `f`.
pub(in crate::courseshard) fn with_formation<T>(scene: &Scene, f: impl FnOnce(Formation<'_>) -> T) -> T {
    let names = Names::from(&scene.shard);
    let budget = budget::budget(&scene.shard.spec).unwrap();
    let owner = OwnerReference {
        api_version: "lyceum.dev/v1alpha1".into(),
        kind: "CourseShard".into(),
        name: names.name().into(),
        uid: scene.shard.metadata.uid.clone().unwrap(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    f(Formation {
        names: &names,
        id: FORMATION,
        spec: &scene.shard.spec,
        owner: &owner,
        platform: &scene.platform,
        images: &scene.platform.images,
        budget: &budget,
    })
}

fn job(formation: Formation<'_>) -> k8s_openapi::api::batch::v1::Job {
    let action = IntentAction { kind: IntentKind::Migrate, to_version: Some(7) };
    let intent =
        Intent { id: "0123456789".into(), action, epoch: 3, deadline: "2026-11-25T11:00:00Z".into() };
    migration_job(formation, &intent)
}

fn snapshot(name: &str, scene: &Scene) {
    let (desired, job) = with_formation(scene, |formation| (render(formation), job(formation)));
    let Desired {
        secrets,
        service_account,
        role,
        role_binding,
        policies,
        services,
        disruption_budgets,
        config_maps,
        statefulsets,
        pooler,
    } = desired;
    insta::assert_debug_snapshot!(format!("{name}__secrets"), secrets);
    insta::assert_yaml_snapshot!(format!("{name}__rbac"), (service_account, role, role_binding));
    insta::assert_yaml_snapshot!(format!("{name}__policies"), policies);
    insta::assert_yaml_snapshot!(format!("{name}__services"), services);
    insta::assert_yaml_snapshot!(format!("{name}__disruption_budgets"), disruption_budgets);
    insta::assert_yaml_snapshot!(format!("{name}__config_maps"), config_maps);
    insta::assert_yaml_snapshot!(format!("{name}__statefulsets"), statefulsets);
    insta::assert_yaml_snapshot!(format!("{name}__pooler"), pooler);
    insta::assert_yaml_snapshot!(format!("{name}__migration"), job);
}

#[test]
fn two_workers_of_two() {
    snapshot("school", &school());
}

#[test]
fn one_plain_postgresql() {
    snapshot("single", &single());
}

fn templates(scene: &Scene) -> Vec<PodTemplateSpec> {
    let (desired, job) = with_formation(scene, |formation| (render(formation), job(formation)));
    let sets = desired.statefulsets.into_iter().map(|set| set.spec.unwrap().template);
    sets.chain([desired.pooler.spec.unwrap().template, job.spec.unwrap().template]).collect()
}

fn pods(scene: &Scene) -> Vec<PodSpec> {
    templates(scene).into_iter().map(|template| template.spec.unwrap()).collect()
}

#[test]
fn every_pod_passes_pod_security_restricted_and_has_a_read_only_root() {
    for pod in pods(&school()).into_iter().chain(pods(&single())) {
        let security = pod.security_context.unwrap();
        assert_eq!(security.run_as_non_root, Some(true));
        assert!(security.run_as_user.unwrap() > 10_000);
        assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
        assert!(pod.host_network.is_none() && pod.host_pid.is_none() && pod.init_containers.is_none());
        for container in pod.containers {
            let security = container.security_context.unwrap();
            assert_eq!(security.allow_privilege_escalation, Some(false));
            assert_eq!(security.read_only_root_filesystem, Some(true));
            assert_eq!(security.capabilities.unwrap().drop.unwrap(), ["ALL"]);
            assert!(container.ports.iter().flatten().all(|port| port.host_port.is_none()));
        }
        let allowed = |volume: &k8s_openapi::api::core::v1::Volume| volume.host_path.is_none();
        assert!(pod.volumes.iter().flatten().all(allowed));
    }
}

#[test]
fn no_pod_gets_the_authoritys_key() {
    for pod in pods(&school()) {
        let text = serde_json::to_string(&pod).unwrap();
        assert!(!text.contains("\"school-ca\""), "{text}");
    }
}

#[test]
fn no_password_is_rendered_anywhere() {
    let text = with_formation(&school(), |formation| {
        let Desired { secrets: _, config_maps, statefulsets, pooler, .. } = render(formation);
        serde_json::to_string(&(config_maps, statefulsets, pooler)).unwrap()
    });
    for line in text.split(',') {
        assert!(!line.contains("\"password\":\""), "{line}");
    }
}

#[test]
fn only_the_pods_of_a_component_are_selected_by_it() {
    for template in templates(&school()) {
        let labels = template.metadata.unwrap().labels.unwrap();
        assert!(labels.contains_key(LABEL_COMPONENT));
        let database = labels[LABEL_COMPONENT] == "database";
        assert_eq!(labels.contains_key("lyceum.dev/group"), database);
        assert_eq!(labels.contains_key("citus-group"), database);
    }
}

#[test]
fn patroni_takes_no_pooler_and_no_migrator_for_a_member() {
    let config = with_formation(&school(), |formation| patroni::local_config(formation, 1));
    let selector = config["kubernetes"]["labels"].as_object().unwrap().clone();
    let matches = |template: &PodTemplateSpec| {
        let labels = template.metadata.as_ref().unwrap().labels.as_ref().unwrap();
        selector.iter().all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str())
    };
    let matching: Vec<bool> = templates(&school()).iter().map(matches).collect();
    assert_eq!(matching, [true, true, true, false, false], "three groups, then pooler and migrator");
}

#[test]
fn a_changed_setting_changes_no_pod_template() {
    let mut changed = school();
    changed.shard.spec.workers.parameters.settings.insert("work_mem".into(), "64MB".into());
    let hashes = |scene: &Scene| -> Vec<String> {
        with_formation(scene, |formation| {
            render(formation).statefulsets.iter().map(|set| template_of(set).unwrap().to_owned()).collect()
        })
    };
    assert_eq!(hashes(&school()), hashes(&changed));
    changed.platform.images.postgres = "lyceum/postgres:2".into();
    assert_ne!(hashes(&school()), hashes(&changed));
}

#[test]
fn what_the_operator_owns_wins_over_a_persons_setting() {
    let mut scene = school();
    scene.shard.spec.workers.parameters.settings.insert("ssl".into(), "off".into());
    let config = with_formation(&scene, |formation| dynamic_config(formation, 1));
    assert_eq!(config["postgresql"]["parameters"]["ssl"], Value::from("on"));
}

#[test]
fn a_leader_never_tries_longer_than_its_lease() {
    let config = with_formation(&school(), |formation| dynamic_config(formation, 0));
    let number = |key: &str| config[key].as_u64().unwrap();
    assert!(number("loop_wait") + 2 * number("retry_timeout") <= number("ttl"));
}

#[test]
fn the_endpoints_store_brings_its_services_and_rights() {
    let mut scene = school();
    scene.platform.store = Store::Endpoints;
    let desired = with_formation(&scene, render);
    let names: Vec<_> = desired.services.iter().filter_map(|service| service.metadata.name.clone()).collect();
    assert!(names.contains(&format!("{FORMATION}-2")), "{names:?}");
    let rules = serde_json::to_string(&desired.role.rules).unwrap();
    assert!(rules.contains("endpoints"));
    assert!(
        !serde_json::to_string(&with_formation(&school(), render).role.rules).unwrap().contains("endpoints")
    );
}
