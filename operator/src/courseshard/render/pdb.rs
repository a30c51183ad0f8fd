//! How many pods an eviction may take at once.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use lyceum_crds::course_shard::names::Component;

use super::Formation;

pub(super) fn all(formation: Formation<'_>) -> Vec<PodDisruptionBudget> {
    let mut budgets: Vec<_> = (0..=formation.spec.workers.count)
        .map(|group| {
            let name = formation.names.disruption_budget(group);
            budget(
                formation.meta(name, Component::Database),
                formation.names.group_selector(formation.id, group),
            )
        })
        .collect();
    budgets.push(budget(
        formation.meta(formation.names.pooler(), Component::Pooler),
        formation.selector(Component::Pooler),
    ));
    budgets
}

/// One at a time. A member that is not ready counts as the one, so while a replica is away
/// its primary can't be evicted; and a group of one can still be drained.
fn budget(metadata: ObjectMeta, selector: std::collections::BTreeMap<String, String>) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata,
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector { match_labels: Some(selector), match_expressions: None }),
            // A pod that is broken must not hold up the draining of its node for ever.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
