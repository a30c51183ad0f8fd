#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::explain::fixtures::{migrating, new, now, ready};

#[test]
fn a_ready_formation_is_shown_with_its_members_and_endpoints() {
    insta::assert_snapshot!(one(&ready(), now()));
}

#[test]
fn a_formation_being_made_says_what_it_waits_for() {
    insta::assert_snapshot!(one(&migrating(), now()));
}

#[test]
fn a_formation_without_status_asks_for_the_operator() {
    insta::assert_snapshot!(one(&new(), now()));
}

#[test]
fn several_formations_take_a_line_each() {
    insta::assert_snapshot!(many(&[ready(), migrating(), new()], true, now()));
}

#[test]
fn a_condition_of_an_older_spec_is_marked() {
    let mut shard = ready();
    shard.metadata.generation = Some(8);
    assert!(one(&shard, now()).contains("True (of an older spec)"));
}
