//! Status: written only when it changed, and only over the version that was read.

use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Effects, Kind, named};
use crate::runtime::{EffectError, Key};

/// Suffix of the field manager that owns the status.
const STATUS_MANAGER_SUFFIX: &str = "-status";

impl Effects {
    /// Writes `new` as the status of `object` unless `old`, the status it was read with, is
    /// the same. Returns the object as written, or `None` if nothing was sent.
    ///
    /// A compare-and-swap: the object's resourceVersion is a precondition, so whoever
    /// planned on a stale object gets [`EffectError::Conflict`] and plans again. This is
    /// also what makes an intent written here happen once.
    pub async fn patch_status_if_changed<K, S>(
        &self,
        object: &K,
        old: Option<&S>,
        new: &S,
    ) -> Result<Option<K>, EffectError>
    where
        K: Kind + Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned,
        S: Serialize + PartialEq,
    {
        if old == Some(new) {
            return Ok(None);
        }
        let kind = K::kind(&());
        let (api, name, target) = self.api_of("patch_status", object)?;
        let version = named("patch_status", &kind, object.resource_version(), "resourceVersion")?;
        let uid = named("patch_status", &kind, object.uid(), "uid")?;
        let body = status_patch::<K, S>(&name, &uid, &version, new);
        let manager = format!("{}{STATUS_MANAGER_SUFFIX}", self.shared.field_manager);
        let params = PatchParams::apply(&manager).force();
        let call = async { api.patch_status(&name, &params, &Patch::Apply(&body)).await };
        let written: K = self.api_call("patch_status", &kind, target, call).await?;
        self.shared.freshness.wrote(Key::of(&written), written.resource_version());
        Ok(Some(written))
    }
}

fn status_patch<K, S>(name: &str, uid: &str, resource_version: &str, status: &S) -> Value
where
    K: Resource<DynamicType = ()>,
    S: Serialize,
{
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": name, "uid": uid, "resourceVersion": resource_version },
        "status": status,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use lyceum_crds::{CourseShard, CourseShardStatus};

    use super::*;

    #[test]
    fn a_status_patch_holds_the_version_it_was_planned_on_and_no_spec() {
        let status = CourseShardStatus { workers: Some("2/2".into()), ..Default::default() };
        let patch = status_patch::<CourseShard, _>("school", "u1", "42", &status);
        let expected = json!({
            "apiVersion": "lyceum.dev/v1alpha1",
            "kind": "CourseShard",
            "metadata": { "name": "school", "uid": "u1", "resourceVersion": "42" },
            "status": { "workers": "2/2" },
        });
        assert_eq!(patch, expected);
    }
}
