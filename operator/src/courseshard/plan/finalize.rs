//! The end of a formation: bounded in time, whatever has become of its parts.

use jiff::Timestamp;
use kube::ResourceExt;
use lyceum_crds::course_shard::{CourseShard, DeletionPolicy, names::Component, reasons};

use super::{Action, Event, Plan, conditions};
use crate::{courseshard::observed::Observed, runtime::Next};

/// After this the object goes, and a warning names what it left behind.
pub const DEADLINE_SECONDS: i64 = 300;
/// How soon to look again whether the pods have gone.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// Plans the deletion. `since` is when it was asked for.
pub(super) fn plan(shard: &CourseShard, since: Timestamp, observed: &Observed, now: Timestamp) -> Plan {
    let mut status = shard.status.clone().unwrap_or_default();
    let formation = status.formation_id.clone();
    let Some(formation) = formation else {
        // Nothing was ever made under this object.
        return Plan::only(Action::RemoveFinalizer, status);
    };
    if shard.spec.deletion_policy == DeletionPolicy::Retain {
        let note = format!(
            "kept for a CourseShard of the same name: formation {formation}, its volume claims ({}), Secrets ({}) and \
             Patroni's ConfigMaps ({formation}-…)",
            listed(observed.claims.iter().map(|claim| claim.name.as_str())),
            listed(observed.secrets.keys().map(String::as_str)),
        );
        return Plan {
            events: vec![Event::normal(reasons::CLEANED_UP, note)],
            ..Plan::only(Action::RemoveFinalizer, status)
        };
    }
    let database_pods: Vec<_> = observed
        .pods
        .iter()
        .filter(|pod| pod.component == Component::Database)
        .map(|pod| pod.name.as_str())
        .collect();
    let overdue = now.as_second().saturating_sub(since.as_second()) > DEADLINE_SECONDS;
    // Patroni would write its objects again as long as it runs: so its pods go first.
    if !overdue && (!observed.statefulsets.is_empty() || !database_pods.is_empty()) {
        let message = format!("waits for its pods to end: {}", listed(database_pods.iter().copied()));
        status.conditions = conditions::stopped(
            &status.conditions,
            shard.metadata.generation,
            reasons::TERMINATING,
            &message,
            false,
            now,
        );
        return Plan {
            actions: observed.statefulsets.iter().cloned().map(Action::DeleteStatefulSet).collect(),
            status,
            next: Next::After(LOOK_AGAIN),
            ..Plan::default()
        };
    }
    let mut actions = vec![Action::DeleteRemains { formation: formation.clone() }];
    let event = if overdue {
        Event::warning(
            reasons::CLEANED_UP,
            format!(
                "gave up waiting after {DEADLINE_SECONDS} s for pods to end: {}; delete by hand what label \
                 lyceum.dev/formation={formation} still finds in {}",
                listed(database_pods.iter().copied()),
                shard.namespace().unwrap_or_default(),
            ),
        )
    } else {
        Event::normal(
            reasons::CLEANED_UP,
            format!("formation {formation} is gone with its volumes and secrets"),
        )
    };
    actions.push(Action::RemoveFinalizer);
    Plan { actions, events: vec![event], status, ..Plan::default() }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
