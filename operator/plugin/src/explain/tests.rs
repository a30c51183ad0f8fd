#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::json;

use super::fixtures::{migrating, new, now, ready};
use super::*;

fn event(kind: &str, name: &str, seen: &str, message: &str) -> Event {
    serde_json::from_value(json!({
        "metadata": {"name": format!("{name}.1")},
        "involvedObject": {"kind": kind, "name": name},
        "type": "Warning",
        "reason": "Failed",
        "message": message,
        "lastTimestamp": seen,
    }))
    .unwrap()
}

#[test]
fn a_ready_formation_is_said_to_be_ready() {
    insta::assert_snapshot!(answer(&ready(), &[], now()));
}

#[test]
fn a_failed_migration_is_explained_with_its_error_and_the_next_try() {
    let events = [
        event("Pod", "academy-g1-1", "2026-11-25T11:58:00Z", "0/2 nodes are\navailable"),
        event("CourseShard", "academy", "2026-11-25T11:59:00Z", "step 3 failed"),
        // Of others, though their names begin alike.
        event("CourseShard", "academy-two", "2026-11-25T11:59:30Z", "not ours"),
        event("Pod", "academy-two-g0-0", "2026-11-25T11:59:30Z", "not ours"),
    ];
    insta::assert_snapshot!(answer(&migrating(), &events, now()));
}

#[test]
fn a_formation_that_nobody_looked_at_asks_for_the_operator() {
    insta::assert_snapshot!(answer(&new(), &[], now()));
}

#[test]
fn a_spec_that_was_not_looked_at_yet_is_said_so() {
    let mut shard = ready();
    shard.metadata.generation = Some(8);
    let answer = answer(&shard, &[], now());
    assert!(answer.contains("was Ready for generation 7 of its spec"), "{answer}");
    assert!(answer.contains("not reported on generation 8"), "{answer}");
}

#[test]
fn a_spec_from_before_a_rule_is_told_the_rule() {
    let mut shard = ready();
    shard.spec.coordinator.instances = 0;
    assert!(
        answer(&shard, &[], now())
            .contains("the spec would be refused today: spec.coordinator.instances must be at least 1")
    );
}
