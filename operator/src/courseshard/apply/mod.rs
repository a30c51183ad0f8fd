//! Brings a plan about: objects in a fixed order, then its further steps.

mod memory;
mod remains;
mod secrets;

use k8s_openapi::{
    api::{apps::v1::StatefulSet, batch::v1::Job, core::v1::ConfigMap},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Resource, ResourceExt,
    api::{ApiResource, DynamicObject},
    core::PartialObjectMeta,
};
use lyceum_crds::course_shard::{
    CourseShard,
    names::{FINALIZER, Names, TAKE_OVER_ANNOTATION},
};
use serde::Serialize;
use serde_json::json;

pub(super) use memory::Memory;

use super::{
    error::Error,
    plan::{Action, Plan},
    pooler,
    render::Desired,
};
use crate::runtime::{Cache, Caches, Effects, Key, Propagation, effects::Kind};

/// The API server's answer to a change that it does not allow.
const UNPROCESSABLE: u16 = 422;

/// What applying needs beside the plan.
pub(super) struct Applier<'a> {
    /// The object planned for.
    pub(super) shard: &'a CourseShard,
    /// What the watches saw.
    pub(super) caches: &'a Caches,
    /// Where changes go.
    pub(super) fx: &'a Effects,
    /// What was applied before, so that nothing is sent twice.
    pub(super) memory: &'a mut Memory,
}

impl Applier<'_> {
    /// Applies all of a plan but its status.
    pub(super) async fn apply(&mut self, plan: &Plan) -> Result<(), Error> {
        if let Some(desired) = &plan.desired {
            self.objects(desired).await?;
        }
        for action in &plan.actions {
            self.act(action).await?;
        }
        Ok(())
    }

    /// Identity and secrets before whoever needs them, pods last.
    async fn objects(&mut self, desired: &Desired) -> Result<(), Error> {
        let Desired {
            secrets,
            service_account,
            role,
            role_binding,
            policies,
            services,
            disruption_budgets,
            config_maps,
            statefulsets,
            pooler,
        } = desired;
        let caches = self.caches;
        secrets::make(self, secrets).await?;
        self.ensure(&caches.service_accounts, service_account).await?;
        self.ensure(&caches.roles, role).await?;
        self.ensure(&caches.role_bindings, role_binding).await?;
        self.ensure_all(&caches.network_policies, policies).await?;
        self.ensure_all(&caches.services, services).await?;
        self.ensure_all(&caches.disruption_budgets, disruption_budgets).await?;
        self.ensure_all(&caches.config_maps, config_maps).await?;
        for set in statefulsets {
            self.ensure_set(set).await?;
        }
        self.ensure(&caches.deployments, pooler).await?;
        // StatefulSets are not among these: their end is the end of data, and asked for by name.
        self.prune(&caches.network_policies, policies).await?;
        self.prune(&caches.services, services).await?;
        self.prune(&caches.disruption_budgets, disruption_budgets).await?;
        self.prune(&caches.config_maps, config_maps).await?;
        Ok(())
    }

    async fn ensure_all<K: Kind + Serialize>(
        &mut self,
        cache: &Cache<PartialObjectMeta<K>>,
        objects: &[K],
    ) -> Result<(), Error> {
        for object in objects {
            self.ensure(cache, object).await?;
        }
        Ok(())
    }

    /// Applies an object unless it is known to be as it was last applied. One that
    /// somebody else owns is left alone.
    async fn ensure<K: Kind + Serialize>(
        &mut self,
        cache: &Cache<PartialObjectMeta<K>>,
        object: &K,
    ) -> Result<(), Error> {
        let name = object.name_any();
        let namespace = object.namespace().unwrap_or_default();
        match cache.get(&namespace, &name) {
            Some(seen) => {
                self.owned(seen.as_ref(), &K::kind(&()))?;
                if self.memory.is_unchanged(object, seen.meta()) {
                    return Ok(());
                }
            }
            // It may be there without our labels, which the watches don't see.
            None => {
                if let Some(there) = self.fx.get::<K>(&namespace, &name).await? {
                    self.owned(&there, &K::kind(&()))?;
                }
            }
        }
        let applied = self.fx.apply(object).await?;
        self.memory.applied(object, applied.meta());
        Ok(())
    }

    /// [`Self::ensure`] for a StatefulSet, whose volume claim templates can't be changed: one
    /// that differs in them is replaced without its pods, which the new one takes over.
    async fn ensure_set(&mut self, set: &StatefulSet) -> Result<(), Error> {
        let caches = self.caches;
        match self.ensure(&caches.stateful_sets, set).await {
            Err(Error::Effect(error)) if error.code() == Some(UNPROCESSABLE) => {
                let (namespace, name) = (set.namespace().unwrap_or_default(), set.name_any());
                let Some(there) = self.fx.get::<StatefulSet>(&namespace, &name).await? else {
                    return Err(error.into());
                };
                if claims(&there) == claims(set) {
                    return Err(error.into());
                }
                tracing::info!(name, "StatefulSet replaced, its pods kept: its volume claims changed");
                let uid = there.uid().unwrap_or_default();
                self.fx.delete::<StatefulSet>(&namespace, &name, &uid, Propagation::Orphan).await?;
                // It goes once its pods are orphaned; the next attempt makes the new one.
                Err(Error::Leftover { kind: "StatefulSet".into(), name })
            }
            result => result,
        }
    }

    /// Whether an existing object is ours to change.
    fn owned<K: Resource>(&self, there: &K, kind: &str) -> Result<(), Error> {
        let ours = self.shard.uid();
        let owners = there.owner_references();
        if owners.iter().any(|owner| Some(&owner.uid) == ours.as_ref()) {
            return Ok(());
        }
        let name = there.name_any();
        let namesake = |owner: &OwnerReference| {
            owner.kind == CourseShard::kind(&()) && owner.name == self.shard.name_any()
        };
        if owners.iter().any(namesake) {
            return Err(Error::Leftover { kind: kind.into(), name });
        }
        Err(Error::Foreign { kind: kind.into(), name })
    }

    /// Deletes what we own of a kind and no longer want. Patroni's objects bear our labels
    /// and not our owner reference.
    async fn prune<K: Kind>(&self, cache: &Cache<PartialObjectMeta<K>>, wanted: &[K]) -> Result<(), Error> {
        let ours = self.shard.uid();
        for seen in cache.owned_by(&Key::of(self.shard)) {
            let name = seen.name_any();
            let owned = seen.owner_references().iter().any(|owner| Some(&owner.uid) == ours.as_ref());
            if owned && !wanted.iter().any(|object| object.name_any() == name) {
                let namespace = seen.namespace().unwrap_or_default();
                self.fx
                    .delete::<K>(&namespace, &name, &seen.uid().unwrap_or_default(), Propagation::Background)
                    .await?;
            }
        }
        Ok(())
    }

    async fn act(&mut self, action: &Action) -> Result<(), Error> {
        let names = Names::from(self.shard);
        let namespace = names.namespace();
        match action {
            Action::AddFinalizer => {
                self.fx.add_finalizer(self.shard, FINALIZER).await?;
            }
            Action::RemoveFinalizer => self.fx.remove_finalizer(self.shard, FINALIZER).await?,
            Action::SetSchemaVersion(version) => self.set_schema_version(*version).await?,
            Action::ClearTakeOver => {
                let metadata = json!({"annotations": {TAKE_OVER_ANNOTATION: null}});
                self.fx.patch_metadata(self.shard, metadata).await?;
            }
            Action::Configure { object, resource_version, config, .. } => {
                let map = ConfigMap {
                    metadata: kube::core::ObjectMeta {
                        name: Some(object.clone()),
                        namespace: Some(namespace.to_owned()),
                        // Planned on this version: somebody else's change in between is looked at first.
                        resource_version: Some(resource_version.clone()),
                        annotations: Some([("config".to_owned(), config.to_string())].into()),
                        ..Default::default()
                    },
                    ..ConfigMap::default()
                };
                self.fx.apply(&map).await?;
            }
            Action::ReconnectPoolers => pooler::reconnect_all(self.shard, self.caches, self.fx).await?,
            Action::StartMigration(job) => {
                let there = self.fx.create_only::<Job>(namespace, job).await?.into_inner();
                self.owned(&there, "Job")?;
            }
            Action::DeleteJob(job) => {
                self.fx.delete::<Job>(namespace, &job.name, &job.uid, Propagation::Background).await?;
            }
            Action::DeleteStatefulSet(set) => {
                self.fx
                    .delete::<StatefulSet>(namespace, &set.name, &set.uid, Propagation::Background)
                    .await?;
            }
            Action::DeleteRemains { formation } => remains::delete(self.fx, namespace, formation).await?,
        }
        Ok(())
    }

    /// The one field of a spec that the operator ever writes, once, when it was left out.
    async fn set_schema_version(&self, version: i32) -> Result<(), Error> {
        let resource = ApiResource::erase::<CourseShard>(&());
        let mut object = DynamicObject::new(&self.shard.name_any(), &resource).data(json!({
            "spec": {"schemaVersion": version}
        }));
        object.metadata.namespace = self.shard.namespace();
        object.metadata.resource_version = self.shard.resource_version();
        self.fx.apply_dynamic(&object, &resource).await?;
        Ok(())
    }
}

/// What a StatefulSet asks of its volumes, by claim: size and class.
fn claims(set: &StatefulSet) -> Vec<(Option<String>, Option<String>, Option<String>)> {
    let templates = set.spec.iter().flat_map(|spec| spec.volume_claim_templates.iter().flatten());
    templates
        .map(|claim| {
            let spec = claim.spec.as_ref();
            let requests = spec.and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
            let size = requests.and_then(|requests| requests.get("storage")).map(|size| size.0.clone());
            (claim.metadata.name.clone(), size, spec.and_then(|spec| spec.storage_class_name.clone()))
        })
        .collect()
}
