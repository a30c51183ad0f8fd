//! What of a formation is in a namespace, of whatever kind: the list is asked of the API server,
//! so that a kind nobody thought of is seen too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::gvk::GroupVersionKind;
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Client, ResourceExt};
use lyceum_crds::course_shard::names::LABEL_FORMATION;

use crate::formation::Formation;
use crate::wait::{Look, not_yet, wait_until};

/// Kinds that are no object of anybody's: reports about objects, which expire by themselves,
/// or a second view of the same one.
const NOT_OBJECTS: [&str; 3] = ["Event", "PodMetrics", "EndpointSlice"];

/// Kinds whose status another controller writes.
const CONTROLLED: [&str; 4] = ["StatefulSet", "Deployment", "PodDisruptionBudget", "Job"];

/// An object by kind and name, printed as `Secret/school-auth`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// Every object in `namespace` that carries the formation's label or a name that starts with its id
/// (Patroni's own objects are named after its scope).
pub async fn of_formation(client: &Client, namespace: &str, formation_id: &str) -> Result<BTreeSet<Found>> {
    let mut found = BTreeSet::new();
    for (kind, object) in everything(client, namespace).await? {
        let labelled = object.labels().get(LABEL_FORMATION).is_some_and(|id| id == formation_id);
        if labelled || object.name_any().starts_with(formation_id) {
            found.insert(Found { kind, name: object.name_any() });
        }
    }
    Ok(found)
}

/// Every object in `namespace` with its kind, of all kinds that can be listed.
pub async fn everything(client: &Client, namespace: &str) -> Result<Vec<(String, DynamicObject)>> {
    let discovery = Discovery::new(client.clone()).run().await?;
    let mut objects = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if capabilities.scope != Scope::Namespaced
                || !capabilities.supports_operation(verbs::LIST)
                || NOT_OBJECTS.contains(&resource.kind.as_str())
            {
                continue;
            }
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
            for object in api.list(&ListParams::default()).await? {
                objects.push((resource.kind.clone(), object));
            }
        }
    }
    Ok(objects)
}

/// The API of one kind in one namespace, for scenarios that break objects of many kinds alike.
pub fn api_of(client: &Client, namespace: &str, group: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(group, if group == "lyceum.dev" { "v1alpha1" } else { "v1" }, kind);
    let resource = kube::core::ApiResource::from_gvk_with_plural(&kind, plural);
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Versions of everything the operator writes for a formation: the CourseShard, what it owns and its
/// Secrets, keyed `Kind/name`.
///
/// Not pods, which are the StatefulSets', nor Patroni's own ConfigMaps, which it writes every few
/// seconds. A StatefulSet, a Deployment or a PodDisruptionBudget is also written to by its own
/// controller, in status: for those it is the generation that counts, which grows with the spec.
pub async fn versions_of(formation: &Formation) -> Result<BTreeMap<String, String>> {
    let uid = formation.get().await?.uid();
    let objects = everything(&formation.client, formation.namespace()).await?;
    Ok(objects
        .into_iter()
        .filter(|(kind, object)| {
            let owned = object.owner_references().iter().any(|owner| Some(&owner.uid) == uid.as_ref());
            owned || kind == "CourseShard" || kind == "Secret"
        })
        .map(|(kind, object)| {
            let version = if CONTROLLED.contains(&kind.as_str()) {
                object.metadata.generation.map(|generation| format!("generation {generation}"))
            } else {
                object.resource_version()
            };
            (format!("{kind}/{}", object.name_any()), version.unwrap_or_default())
        })
        .collect())
}

/// Waits until two looks in a row, 20 s apart, see the same versions, and hands them back: a formation that
/// has just become Ready still finds out which replica is synchronous and how far behind each is.
pub async fn at_rest(formation: &Formation) -> Result<BTreeMap<String, String>> {
    wait_until(&format!("{} is at rest", formation.name()), Duration::from_secs(120), async || {
        let before = versions_of(formation).await?;
        tokio::time::sleep(Duration::from_secs(20)).await;
        let after = versions_of(formation).await?;
        let changed = changed(&before, &after);
        if changed.is_empty() { Ok(Look::Done(after)) } else { not_yet(format!("changed: {changed:?}")) }
    })
    .await
}

/// What came, went or was written between two looks.
pub fn changed<'a>(
    before: &'a BTreeMap<String, String>,
    after: &'a BTreeMap<String, String>,
) -> BTreeSet<&'a str> {
    let differ = |what: &&String| before.get(*what) != after.get(*what);
    before.keys().chain(after.keys()).filter(differ).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_change_is_what_came_went_or_was_written() {
        let versions = |all: &[(&str, &str)]| {
            all.iter()
                .map(|(what, version)| ((*what).to_owned(), (*version).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let before = versions(&[("same", "1"), ("written", "1"), ("gone", "1")]);
        let after = versions(&[("same", "1"), ("written", "2"), ("new", "1")]);
        assert_eq!(changed(&before, &after), ["gone", "new", "written"].into());
        assert!(changed(&before, &before).is_empty());
    }
}
