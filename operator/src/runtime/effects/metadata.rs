//! Finalizers, owner references, annotations.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use super::{Effects, Kind, key_of, named};
use crate::runtime::EffectError;

impl Effects {
    /// Adds `finalizer` unless the object has it. Returns the object as it is then.
    pub async fn add_finalizer<K: Kind>(&self, object: &K, finalizer: &str) -> Result<K, EffectError> {
        match with_finalizer(object.finalizers(), finalizer) {
            Some(finalizers) => self.patch_metadata(object, json!({ "finalizers": finalizers })).await,
            None => Ok(object.clone()),
        }
    }

    /// Removes `finalizer` if the object has it; the object may be gone afterwards.
    pub async fn remove_finalizer<K: Kind>(&self, object: &K, finalizer: &str) -> Result<(), EffectError> {
        let Some(finalizers) = without_finalizer(object.finalizers(), finalizer) else { return Ok(()) };
        match self.patch_metadata(object, json!({ "finalizers": finalizers })).await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(404) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// [`Self::remove_finalizer`] for an object of which no more than the metadata could be read.
    pub(crate) async fn release_undecodable<K>(
        &self,
        metadata: &ObjectMeta,
        finalizer: &str,
    ) -> Result<(), EffectError>
    where
        K: Resource<DynamicType = ()>,
    {
        let mut object = DynamicObject::new("", &ApiResource::erase::<K>(&()));
        object.metadata = metadata.clone();
        let Some(finalizers) = without_finalizer(object.finalizers(), finalizer) else { return Ok(()) };
        let resource = ApiResource::erase::<K>(&());
        let key = key_of("patch", &object, &resource.kind)?;
        let uid = named("patch", &resource.kind, object.uid(), "uid")?;
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.shared.client.clone(), &key.namespace, &resource);
        let version = metadata.resource_version.as_deref();
        let patch = with_preconditions(json!({ "finalizers": finalizers }), &uid, version);
        let target = format!("{} {key}", resource.kind);
        let params = PatchParams::default();
        let patch = Patch::Merge(&patch);
        let call = api.patch_metadata(&key.name, &params, &patch);
        match self.api_call("patch", &resource.kind, target, call).await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(404) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Merges `metadata` (as in a JSON merge patch: `null` removes) into the object's own.
    ///
    /// The uid and, if the object has one, the resourceVersion are preconditions: lists such as
    /// ownerReferences are replaced whole, so one that changed since is a conflict.
    pub async fn patch_metadata<K: Kind>(&self, object: &K, metadata: Value) -> Result<K, EffectError> {
        let (api, name, target) = self.api_of("patch", object)?;
        let kind = K::kind(&());
        let uid = named("patch", &kind, object.uid(), "uid")?;
        let patch = with_preconditions(metadata, &uid, object.resource_version().as_deref());
        let params =
            PatchParams { field_manager: Some(self.shared.field_manager.into()), ..Default::default() };
        let patch = Patch::Merge(&patch);
        self.api_call("patch", &kind, target, api.patch(&name, &params, &patch)).await
    }
}

fn with_preconditions(mut metadata: Value, uid: &str, resource_version: Option<&str>) -> Value {
    if let Some(fields) = metadata.as_object_mut() {
        fields.insert("uid".into(), uid.into());
        if let Some(version) = resource_version {
            fields.insert("resourceVersion".into(), version.into());
        }
    }
    json!({ "metadata": metadata })
}

fn with_finalizer(finalizers: &[String], finalizer: &str) -> Option<Vec<String>> {
    let there = finalizers.iter().any(|f| f == finalizer);
    (!there).then(|| finalizers.iter().cloned().chain([finalizer.to_owned()]).collect())
}

fn without_finalizer(finalizers: &[String], finalizer: &str) -> Option<Vec<String>> {
    let rest: Vec<_> = finalizers.iter().filter(|f| *f != finalizer).cloned().collect();
    (rest.len() != finalizers.len()).then_some(rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn finalizers_of_others_are_kept() {
        let theirs = vec!["other/one".to_owned()];
        let both = with_finalizer(&theirs, "lyceum.dev/courseshard").unwrap();
        assert_eq!(both, ["other/one", "lyceum.dev/courseshard"]);
        assert_eq!(with_finalizer(&both, "lyceum.dev/courseshard"), None);
        assert_eq!(without_finalizer(&both, "lyceum.dev/courseshard").unwrap(), theirs);
        assert_eq!(without_finalizer(&theirs, "lyceum.dev/courseshard"), None);
    }

    #[test]
    fn a_metadata_patch_names_the_very_object_and_version_it_was_made_for() {
        let patch = with_preconditions(json!({ "ownerReferences": null }), "u1", Some("42"));
        let expected = json!({
            "metadata": { "ownerReferences": null, "uid": "u1", "resourceVersion": "42" }
        });
        assert_eq!(patch, expected);
    }
}
