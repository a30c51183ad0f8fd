//! Who is who: the members of each group as status reports them.

use lyceum_crds::course_shard::{CourseShardStatus, LagBucket, NodeRole, NodeStatus, names::Names};

use super::{lag, pods_of_group};
use crate::courseshard::observed::{Observed, PodSeen};

/// Patroni's word for a member whose PostgreSQL serves.
const RUNNING: &[&str] = &["running", "streaming", "in archive recovery"];

/// Every database pod that the spec asks for, seen or not, and any beyond.
pub(super) fn nodes(
    names: &Names,
    instances: impl Fn(i32) -> i32,
    workers: i32,
    before: &CourseShardStatus,
    observed: &Observed,
) -> Vec<NodeStatus> {
    let mut nodes = Vec::new();
    for group in 0..=workers {
        let position = primary_of(observed, group).and_then(|pod| pod.member.as_ref()?.position);
        for ordinal in 0..instances(group) {
            let name = names.pod(group, ordinal);
            let seen = observed.pods.iter().find(|pod| pod.name == name);
            let old = before.nodes.iter().find(|node| node.name == name);
            nodes.push(node(names, group, name, position, old, seen, observed));
        }
    }
    nodes
}

fn node(
    names: &Names,
    group: i32,
    name: String,
    primary_position: Option<i64>,
    old: Option<&NodeStatus>,
    seen: Option<&PodSeen>,
    observed: &Observed,
) -> NodeStatus {
    let address = names.pod_host(&name);
    let member = seen.and_then(|pod| pod.member.as_ref());
    let role = match member {
        Some(member) if member.leader => NodeRole::Primary,
        Some(member) if !running(&member.state) => NodeRole::Unknown,
        Some(_) => {
            let patroni = observed.patroni.get(&group);
            let synchronous = patroni.is_some_and(|patroni| patroni.sync_standbys.contains(&name));
            if synchronous { NodeRole::SyncReplica } else { NodeRole::Replica }
        }
        None => NodeRole::Unknown,
    };
    let lag = match (role, primary_position, member.and_then(|member| member.position)) {
        (NodeRole::Primary, ..) => None,
        (NodeRole::Unknown, ..) | (_, None, _) | (_, _, None) => Some(LagBucket::Unknown),
        (_, Some(primary), Some(replica)) => {
            Some(lag::bucket(lag::bytes(primary, replica), old.and_then(|node| node.lag)))
        }
    };
    NodeStatus {
        name,
        group,
        role,
        address,
        // A pod that is away keeps the timeline it was last seen on: a promotion is told by
        // a timeline above all that were seen before.
        timeline: member.and_then(|member| member.timeline).or_else(|| old.and_then(|node| node.timeline)),
        lag,
        waiting: match seen {
            Some(pod) => pod.waiting.clone(),
            None => Some("is not there yet".into()),
        },
    }
}

/// Pod that leads a group and whose PostgreSQL accepts writes.
pub(super) fn primary_of(observed: &Observed, group: i32) -> Option<&PodSeen> {
    pods_of_group(observed, group)
        .find(|pod| pod.member.as_ref().is_some_and(|member| member.leader && running(&member.state)))
}

/// Groups whose primary runs on a timeline that no member had reached before: promotions.
pub(super) fn promotions(before: &[NodeStatus], after: &[NodeStatus]) -> Vec<(i32, String)> {
    let known =
        |group: i32| before.iter().filter(|node| node.group == group).filter_map(|node| node.timeline).max();
    after
        .iter()
        .filter(|node| node.role == NodeRole::Primary)
        .filter(|node| match (known(node.group), node.timeline) {
            (Some(known), Some(now)) => now > known,
            _ => false,
        })
        .map(|node| (node.group, node.name.clone()))
        .collect()
}

fn running(state: &str) -> bool {
    RUNNING.contains(&state)
}
