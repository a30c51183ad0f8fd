//! What Patroni may do in the Kubernetes API, and nothing else.

use k8s_openapi::{
    api::{
        core::v1::ServiceAccount,
        rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use lyceum_crds::course_shard::names::Component;

use super::{Formation, Store};

pub(super) fn service_account(formation: Formation<'_>) -> ServiceAccount {
    ServiceAccount { metadata: meta(formation), ..ServiceAccount::default() }
}

pub(super) fn role(formation: Formation<'_>) -> Role {
    // Patroni lists and watches by label, which RBAC can't bound: so the whole namespace's
    // ConfigMaps, but no Secret.
    let mut rules = vec![
        rule(&["pods"], &["get", "list", "watch", "patch"]),
        rule(&["configmaps"], &["get", "list", "watch", "create", "patch", "update", "delete"]),
    ];
    if formation.platform.store == Store::Endpoints {
        rules.push(rule(&["endpoints"], &["get", "list", "watch", "create", "patch", "update", "delete"]));
        rules.push(rule(&["endpoints/restricted"], &["create"]));
        rules.push(rule(&["services"], &["create"]));
    }
    Role { metadata: meta(formation), rules: Some(rules) }
}

pub(super) fn role_binding(formation: Formation<'_>) -> RoleBinding {
    let name = formation.names.database_service_account();
    RoleBinding {
        metadata: meta(formation),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".into(),
            kind: "Role".into(),
            name: name.clone(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".into(),
            name,
            namespace: Some(formation.names.namespace().to_owned()),
            api_group: None,
        }]),
    }
}

fn meta(formation: Formation<'_>) -> ObjectMeta {
    formation.meta(formation.names.database_service_account(), Component::Database)
}

fn rule(resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}
