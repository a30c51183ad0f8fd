//! Which changes of an object are worth a reconciliation.
//!
//! A formation at rest changes all the time: Patroni writes its position in the log into
//! each pod and its lease into a ConfigMap every few seconds, and our own status writes
//! come back as events. None of that may start work.

use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// How a kind tells that it changed in a way that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// By its generation (spec) and metadata; its status does not matter. A kind without a
    /// generation (Service, Role) counts by its resourceVersion.
    Spec,
    /// By every change.
    Everything,
    /// By every change if someone owns it; else (Patroni's own ConfigMaps) by metadata only.
    Owned,
}

/// Pod annotation in which Patroni reports, and what of it changes while nothing happens.
const PATRONI_STATUS: &str = "status";
const PATRONI_POSITIONS: [&str; 7] = [
    "xlog_location",
    "received_location",
    "replayed_location",
    "receive_lsn",
    "replay_lsn",
    "latest_end_lsn",
    "lsn",
];

/// Digest of what matters in an object of which only metadata is watched.
pub fn of_metadata(meta: &ObjectMeta, rule: Rule) -> u64 {
    let owned = meta.owner_references.as_ref().is_some_and(|owners| !owners.is_empty());
    let by_version = match rule {
        Rule::Everything => true,
        Rule::Owned => owned,
        Rule::Spec => meta.generation.is_none(),
    };
    let mut hasher = DefaultHasher::new();
    identity(meta, &mut hasher);
    if by_version {
        meta.resource_version.hash(&mut hasher);
    } else {
        meta.generation.hash(&mut hasher);
    }
    if rule != Rule::Owned || owned {
        meta.annotations.hash(&mut hasher);
    }
    hasher.finish()
}

/// Digest of what matters in a root object: spec, labels, annotations, finalizers, deletion.
/// Not its status, which we write ourselves.
pub fn of_root(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    identity(meta, &mut hasher);
    (&meta.generation, &meta.annotations).hash(&mut hasher);
    hasher.finish()
}

/// Digest of what matters in a pod: where it is, how its containers are, its role.
pub fn of_pod(pod: &Pod) -> u64 {
    let mut hasher = DefaultHasher::new();
    identity(&pod.metadata, &mut hasher);
    for (key, value) in pod.metadata.annotations.iter().flatten() {
        key.hash(&mut hasher);
        if key == PATRONI_STATUS {
            without_positions(value).hash(&mut hasher)
        } else {
            value.hash(&mut hasher)
        }
    }
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()).hash(&mut hasher);
    if let Some(status) = &pod.status {
        (&status.phase, &status.reason, &status.message, &status.pod_ip).hash(&mut hasher);
        for condition in status.conditions.iter().flatten() {
            (&condition.type_, &condition.status, &condition.reason).hash(&mut hasher);
        }
        let containers = status.init_container_statuses.iter().chain(&status.container_statuses);
        for container in containers.flatten() {
            container_state(container, &mut hasher);
        }
    }
    hasher.finish()
}

fn identity(meta: &ObjectMeta, hasher: &mut DefaultHasher) {
    (&meta.uid, &meta.labels, &meta.finalizers, meta.deletion_timestamp.is_some()).hash(hasher);
    for owner in meta.owner_references.iter().flatten() {
        (&owner.uid, owner.controller).hash(hasher);
    }
}

fn container_state(container: &ContainerStatus, hasher: &mut DefaultHasher) {
    (&container.name, container.ready, container.restart_count, container.started).hash(hasher);
    if let Some(state) = &container.state {
        state.waiting.as_ref().map(|w| (&w.reason, &w.message)).hash(hasher);
        state.running.is_some().hash(hasher);
        state.terminated.as_ref().map(|t| (t.exit_code, &t.reason)).hash(hasher);
    }
}

fn without_positions(status: &str) -> String {
    match serde_json::from_str::<Value>(status) {
        Ok(Value::Object(mut fields)) => {
            fields.retain(|name, _| !PATRONI_POSITIONS.contains(&name.as_str()));
            Value::Object(fields).to_string()
        }
        _ => status.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use serde_json::json;

    use super::*;

    fn meta(fields: Value) -> ObjectMeta {
        let mut base = json!({ "name": "a", "uid": "u", "resourceVersion": "1" });
        base.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(base).unwrap()
    }

    fn pod(fields: Value) -> Pod {
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn our_own_status_write_starts_nothing_but_spec_annotation_finalizer_and_deletion_do() {
        let before = of_root(&meta(json!({ "generation": 1 })));
        assert_eq!(before, of_root(&meta(json!({ "generation": 1, "resourceVersion": "2" }))));
        let later = json!({ "generation": 1, "managedFields": [{ "manager": "x", "operation": "Apply" }] });
        assert_eq!(before, of_root(&meta(later)));
        for change in [
            json!({ "generation": 2 }),
            json!({ "generation": 1, "annotations": { "lyceum.dev/take-over-render": "3" } }),
            json!({ "generation": 1, "finalizers": ["lyceum.dev/courseshard"] }),
            json!({ "generation": 1, "deletionTimestamp": "2026-01-01T00:00:00Z" }),
            json!({ "generation": 1, "uid": "another" }),
        ] {
            assert_ne!(before, of_root(&meta(change.clone())), "{change}");
        }
    }

    #[test]
    fn a_stateful_sets_status_starts_nothing_and_an_edit_of_its_spec_does() {
        let of = |fields| of_metadata(&meta(fields), Rule::Spec);
        assert_eq!(of(json!({ "generation": 1 })), of(json!({ "generation": 1, "resourceVersion": "2" })));
        assert_ne!(of(json!({ "generation": 1 })), of(json!({ "generation": 2 })));
    }

    #[test]
    fn a_kind_without_generation_counts_by_its_version() {
        let of = |fields| of_metadata(&meta(fields), Rule::Spec);
        assert_ne!(of(json!({})), of(json!({ "resourceVersion": "2" })));
    }

    #[test]
    fn patronis_lease_starts_nothing_and_an_edit_of_our_config_map_does() {
        let of = |fields| of_metadata(&meta(fields), Rule::Owned);
        let leader = |version: &str, renewed: &str| json!({ "resourceVersion": version, "annotations": { "leader": "school-g0-0", "renewTime": renewed } });
        assert_eq!(of(leader("1", "10:00")), of(leader("2", "10:05")));
        let ours = |version: &str| {
            let owner = json!({ "apiVersion": "lyceum.dev/v1alpha1", "kind": "CourseShard", "name": "s", "uid": "o" });
            json!({ "resourceVersion": version, "ownerReferences": [owner] })
        };
        assert_ne!(of(ours("1")), of(ours("2")));
        assert_ne!(of(ours("1")), of(json!({ "resourceVersion": "2" })), "an owner taken away matters");
    }

    #[test]
    fn a_pods_log_position_starts_nothing_and_its_role_state_or_readiness_does() {
        let member = |role: &str, state: &str, position: u64, ready: bool| {
            let status = json!({ "state": state, "role": role, "xlog_location": position, "timeline": 1 });
            of_pod(&pod(json!({
                "metadata": {
                    "name": "school-g0-0", "labels": { "lyceum.dev/role": role },
                    "annotations": { "status": status.to_string() }, "resourceVersion": position.to_string(),
                },
                "status": { "phase": "Running", "conditions": [
                    { "type": "Ready", "status": if ready { "True" } else { "False" } },
                ] },
            })))
        };
        let before = member("replica", "streaming", 100, true);
        assert_eq!(before, member("replica", "streaming", 200, true));
        assert_ne!(before, member("primary", "streaming", 200, true));
        assert_ne!(before, member("replica", "starting", 200, true));
        assert_ne!(before, member("replica", "streaming", 200, false));
    }

    #[test]
    fn a_containers_trouble_is_seen() {
        let waiting = |reason: &str| {
            of_pod(&pod(json!({ "metadata": {}, "status": { "containerStatuses": [{
                "name": "postgres", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": reason } },
            }] } })))
        };
        assert_ne!(waiting("ContainerCreating"), waiting("ImagePullBackOff"));
    }
}
