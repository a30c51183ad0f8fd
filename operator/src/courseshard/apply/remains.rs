//! What no owner reference covers, so that Retain can keep it: volume claims, Secrets and
//! Patroni's own objects. Deleted by the formation's label, which no other formation bears.

use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, PersistentVolumeClaim, Secret};
use kube::{Api, ResourceExt, api::ListParams};
use lyceum_crds::course_shard::names::LABEL_FORMATION;

use crate::runtime::{EffectError, Effects, Propagation, effects::Kind};

/// Deletes all that is left of a formation.
pub(super) async fn delete(fx: &Effects, namespace: &str, formation: &str) -> Result<(), EffectError> {
    // Secrets last: as long as they are there, a process that dies here is followed by one
    // that still knows whose volumes these are.
    delete_labelled::<PersistentVolumeClaim>(fx, namespace, formation).await?;
    delete_labelled::<ConfigMap>(fx, namespace, formation).await?;
    delete_labelled::<Endpoints>(fx, namespace, formation).await?;
    delete_labelled::<Secret>(fx, namespace, formation).await
}

async fn delete_labelled<K: Kind>(fx: &Effects, namespace: &str, formation: &str) -> Result<(), EffectError> {
    let api: Api<K> = Api::namespaced(fx.client().clone(), namespace);
    let params = ListParams::default().labels(&format!("{LABEL_FORMATION}={formation}"));
    let target = format!("{} of formation {formation}", K::kind(&()));
    let list = fx.read("list", target, api.list_metadata(&params)).await?;
    for object in list.items {
        let (name, uid) = (object.name_any(), object.uid().unwrap_or_default());
        fx.delete::<K>(namespace, &name, &uid, Propagation::Background).await?;
    }
    Ok(())
}
