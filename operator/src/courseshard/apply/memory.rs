//! What was applied last, so that in steady state nothing is sent.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde::Serialize;

/// Kept by the process, one a CourseShard: a new process applies everything once.
#[derive(Debug, Default)]
pub(in crate::courseshard) struct Memory {
    /// By kind and name: hash of what we asked for, and of what came of it.
    applied: HashMap<(String, String), (u64, u64)>,
}

impl Memory {
    /// Whether the object is wanted as it was applied last, and is as it was then.
    pub(super) fn is_unchanged<K: Resource<DynamicType = ()> + Serialize>(
        &self,
        wanted: &K,
        seen: &ObjectMeta,
    ) -> bool {
        self.applied.get(&key(wanted)) == Some(&(digest(wanted), fingerprint(seen)))
    }

    /// The object was applied and became this.
    pub(super) fn applied<K: Resource<DynamicType = ()> + Serialize>(
        &mut self,
        wanted: &K,
        became: &ObjectMeta,
    ) {
        self.applied.insert(key(wanted), (digest(wanted), fingerprint(became)));
    }
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> (String, String) {
    (K::kind(&()).into_owned(), object.name_any())
}

fn digest<T: Serialize>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    // Maps are sorted in these types, so equal objects make equal texts.
    serde_json::to_string(value).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

/// What changes when somebody edits the object, and not when its controller reports on it.
fn fingerprint(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    // A kind without a generation has no status either: its version changes by edits alone.
    match meta.generation {
        Some(generation) => generation.hash(&mut hasher),
        None => meta.resource_version.hash(&mut hasher),
    }
    (&meta.labels, &meta.annotations, meta.deletion_timestamp.is_some()).hash(&mut hasher);
    for owner in meta.owner_references.iter().flatten() {
        owner.uid.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn map(text: &str, version: &str) -> ConfigMap {
        let mut map =
            ConfigMap { data: Some([("a".to_owned(), text.to_owned())].into()), ..ConfigMap::default() };
        map.metadata.name = Some("school-pooler".into());
        map.metadata.resource_version = Some(version.into());
        map
    }

    #[test]
    fn nothing_is_sent_again_until_the_wish_or_the_object_changes() {
        let mut memory = Memory::default();
        let (wish, became) = (map("one", ""), map("one", "7"));
        assert!(!memory.is_unchanged(&wish, &became.metadata));
        memory.applied(&wish, &became.metadata);
        assert!(memory.is_unchanged(&wish, &became.metadata));
        assert!(!memory.is_unchanged(&map("two", ""), &became.metadata), "another wish");
        assert!(!memory.is_unchanged(&wish, &map("one", "8").metadata), "an edited object");
    }

    #[test]
    fn a_status_of_its_controller_is_no_edit() {
        let mut memory = Memory::default();
        let mut became = map("one", "7");
        became.metadata.generation = Some(1);
        memory.applied(&map("one", ""), &became.metadata);
        became.metadata.resource_version = Some("8".into());
        assert!(memory.is_unchanged(&map("one", ""), &became.metadata));
        became.metadata.generation = Some(2);
        assert!(!memory.is_unchanged(&map("one", ""), &became.metadata));
    }
}
