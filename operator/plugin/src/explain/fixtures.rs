//! CourseShards as an operator reports them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use jiff::Timestamp;
use lyceum_crds::CourseShard;
use serde_json::{Value, json};

pub(crate) fn now() -> Timestamp {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

fn shard(name: &str, status: Value) -> CourseShard {
    let mut shard = json!({
        "apiVersion": "lyceum.dev/v1alpha1",
        "kind": "CourseShard",
        "metadata": {
            "name": name, "namespace": "lyceum", "generation": 7, "creationTimestamp": "2026-11-25T09:00:00Z",
        },
        "spec": {
            "postgres": {"major": 17, "citus": "13.2"},
            "coordinator": {"storage": {"size": "1Gi"}},
            "workers": {"count": 1, "storage": {"size": "1Gi"}},
        },
    });
    if !status.is_null() {
        shard["status"] = status;
    }
    serde_json::from_value(shard).unwrap()
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": reason, "message": message, "observedGeneration": 7,
        "lastTransitionTime": "2026-11-25T11:30:00Z",
    })
}

fn node(name: &str, group: i32, role: &str) -> Value {
    json!({
        "name": name, "group": group, "role": role, "timeline": 3, "lag": "Current",
        "address": format!("{name}.school-nodes.lyceum.svc.cluster.local"),
    })
}

pub(crate) fn ready() -> CourseShard {
    shard(
        "school",
        json!({
            "formationId": "school-a1b2c3",
            "observedGeneration": 7,
            "conditions": [
                condition("Ready", "True", "Available", "every group has a primary and the canary writes"),
                condition("Progressing", "False", "Available", "all is as asked for"),
                condition("Degraded", "False", "Available", "all is as asked for"),
                condition("SchemaCurrent", "True", "SchemaCurrent", "the database is at version 4"),
            ],
            "primary": "school-g0-0",
            "workers": "1/1",
            "nodes": [
                node("school-g1-1", 1, "SyncReplica"), node("school-g0-0", 0, "Primary"),
                node("school-g0-1", 0, "SyncReplica"), node("school-g1-0", 1, "Primary"),
            ],
            "lag": "Current",
            "shards": {"total": 96, "byWorker": [{"group": 1, "shards": 96}]},
            "schema": {"version": 4, "dirty": false},
            "endpoints": {
                "pooler": "school-pooler.lyceum.svc.cluster.local:5432",
                "primary": "school-g0-primary.lyceum.svc.cluster.local:5432",
                "readOnly": "school-g0-readonly.lyceum.svc.cluster.local:5432",
                "database": "lyceum",
                "caSecret": "school-ca-cert",
            },
            "render": {
                "revision": 1, "postgresImage": "lyceum/postgres:1", "poolerImage": "lyceum/pgbouncer:1",
                "updateAvailable": true, "availableRevision": 2,
            },
        }),
    )
}

pub(crate) fn migrating() -> CourseShard {
    let failed = "step 3 failed: relation \"teaching.courses\" exists (tried again at 2026-11-25T12:00:40Z)";
    let mut waiting = node("school-g1-1", 1, "Unknown");
    waiting["lag"] = Value::Null;
    waiting["timeline"] = Value::Null;
    waiting["waiting"] = "has no node since 2026-11-25T11:58:00Z: 0/2 nodes are available".into();
    shard(
        "academy",
        json!({
            "formationId": "academy-d4e5f6",
            "observedGeneration": 7,
            "conditions": [
                condition("Ready", "False", "SchemaNotCurrent", "the database is at version 3, not 4"),
                condition("Progressing", "True", "WaitingForPods", "1 of 4 pods is not ready"),
                condition("Degraded", "True", "MigrationFailed", failed),
                condition("SchemaCurrent", "False", "MigrationFailed", failed),
            ],
            "primary": "school-g0-0",
            "workers": "1/1",
            "nodes": [node("school-g0-0", 0, "Primary"), node("school-g1-0", 1, "Primary"), waiting],
            "lag": "Unknown",
            "schema": {"version": 3, "dirty": true},
            "intent": {
                "id": "m-9", "action": {"kind": "Migrate", "toVersion": 4}, "epoch": 2,
                "deadline": "2026-11-25T12:10:00Z",
            },
        }),
    )
}

pub(crate) fn new() -> CourseShard {
    shard("institute", Value::Null)
}
