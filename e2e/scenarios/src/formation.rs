//! One CourseShard as a scenario sees it: make it, watch it, look into its pods.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use lyceum_crds::course_shard::conditions::{self, READY};
use lyceum_crds::course_shard::names::{self, Component, Names};
use lyceum_crds::course_shard::{CourseShard, CourseShardStatus, DeletionPolicy};
use serde_json::json;

use crate::exec::exec_ok;
use crate::progress::say;
use crate::wait::{Look, not_yet, wait_until};

/// Longest a small formation may take from creation to Ready on a busy two-core machine.
/// What it should take is in benches/ranges; this bound only ends a hopeless wait.
pub const READY_WITHIN: Duration = Duration::from_secs(240);

/// One CourseShard.
#[derive(Clone)]
pub struct Formation {
    /// Client of the cluster it is in.
    pub client: Client,
    /// Names of everything that belongs to it.
    pub names: Names,
}

impl Formation {
    /// The CourseShard `name` in `namespace`, whether it exists or not.
    pub fn new(client: &Client, namespace: &str, name: &str) -> Self {
        Self { client: client.clone(), names: Names::new(name, namespace) }
    }

    /// Creates `shard` in `namespace`.
    pub async fn create(client: &Client, namespace: &str, shard: &CourseShard) -> Result<Self> {
        let formation = Self::new(client, namespace, &shard.name_any());
        let mut shard = shard.clone();
        shard.metadata.namespace = Some(namespace.to_owned());
        formation
            .shards()
            .create(&PostParams::default(), &shard)
            .await
            .with_context(|| format!("the API server refused CourseShard {}", shard.name_any()))?;
        say(format!("created CourseShard {namespace}/{}", shard.name_any()));
        Ok(formation)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.names.name()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.names.namespace()
    }

    /// The API of CourseShards in its namespace.
    pub fn shards(&self) -> Api<CourseShard> {
        Api::namespaced(self.client.clone(), self.namespace())
    }

    /// The API of pods in its namespace.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), self.namespace())
    }

    /// The object as it is now.
    pub async fn get(&self) -> Result<CourseShard> {
        Ok(self.shards().get(self.name()).await?)
    }

    /// Its status; empty before the operator's first word.
    pub async fn status(&self) -> Result<CourseShardStatus> {
        Ok(self.get().await?.status.unwrap_or_default())
    }

    /// Waits until Ready is True for the current generation.
    pub async fn wait_ready(&self, timeout: Duration) -> Result<CourseShard> {
        let what = format!("CourseShard {}/{} is Ready", self.namespace(), self.name());
        wait_until(&what, timeout, async || {
            let shard = self.get().await?;
            let status = shard.status.clone().unwrap_or_default();
            if conditions::is_true(&status.conditions, READY, shard.metadata.generation) {
                return Ok(Look::Done(shard));
            }
            not_yet(match conditions::find(&status.conditions, READY) {
                Some(ready) => format!("{}: {}", ready.reason, ready.message),
                None => "no condition Ready yet".into(),
            })
        })
        .await
    }

    /// Waits until the condition `type_` carries `reason`, and hands back its message.
    pub async fn wait_reason(&self, type_: &str, reason: &str, timeout: Duration) -> Result<String> {
        let what = format!("condition {type_} of {}/{} says {reason}", self.namespace(), self.name());
        wait_until(&what, timeout, async || {
            let status = self.status().await?;
            match conditions::find(&status.conditions, type_) {
                Some(condition) if condition.reason == reason => Ok(Look::Done(condition.message.clone())),
                Some(condition) => not_yet(format!("it says {}: {}", condition.reason, condition.message)),
                None => not_yet("it is not reported"),
            }
        })
        .await
    }

    /// Its pods of one component.
    pub async fn pods_of(&self, component: Component) -> Result<Vec<Pod>> {
        let selector = format!(
            "{}={},{}={}",
            names::LABEL_INSTANCE,
            self.name(),
            names::LABEL_COMPONENT,
            component.as_str()
        );
        Ok(self.pods().list(&ListParams::default().labels(&selector)).await?.items)
    }

    /// UIDs of its database pods, by name: equal before and after means nothing was restarted.
    pub async fn database_pod_uids(&self) -> Result<BTreeMap<String, String>> {
        let pods = self.pods_of(Component::Database).await?;
        Ok(pods.into_iter().map(|pod| (pod.name_any(), pod.uid().unwrap_or_default())).collect())
    }

    /// Pod that is the primary of a group by Patroni's label.
    pub async fn primary(&self, group: i32) -> Result<Pod> {
        self.member(group, names::ROLE_PRIMARY).await
    }

    /// A pod that is a replica of a group by Patroni's label.
    pub async fn replica(&self, group: i32) -> Result<Pod> {
        self.member(group, names::ROLE_REPLICA).await
    }

    async fn member(&self, group: i32, role: &str) -> Result<Pod> {
        let group = group.to_string();
        self.pods_of(Component::Database)
            .await?
            .into_iter()
            .find(|pod| {
                let labels = pod.labels();
                labels.get(names::LABEL_GROUP) == Some(&group)
                    && labels.get(names::LABEL_ROLE).map(String::as_str) == Some(role)
                    && pod.metadata.deletion_timestamp.is_none()
            })
            .ok_or_else(|| anyhow!("group {group} of {} has no {role}", self.name()))
    }

    /// A pooler pod that is ready.
    pub async fn pooler_pod(&self) -> Result<Pod> {
        self.pods_of(Component::Pooler)
            .await?
            .into_iter()
            .find(|pod| pod_is_ready(pod) && pod.metadata.deletion_timestamp.is_none())
            .ok_or_else(|| anyhow!("{} has no ready pooler pod", self.name()))
    }

    /// Runs SQL as superuser on the primary of `group`, inside its pod; unaligned rows.
    ///
    /// For looking and for breaking things. What a client may do goes through [`crate::sql`].
    pub async fn psql(&self, group: i32, sql: &str) -> Result<String> {
        let pod = self.primary(group).await?.name_any();
        self.psql_in(&pod, sql).await
    }

    /// [`Formation::psql`] on the pod of that name, whatever its role.
    pub async fn psql_in(&self, pod: &str, sql: &str) -> Result<String> {
        let command = [
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--tuples-only",
            "--no-align",
            &format!("--host={}", names::SOCKET_DIR),
            &format!("--username={}", names::SUPERUSER),
            &format!("--dbname={}", names::DATABASE),
            "--command",
            sql,
        ];
        let rows = exec_ok(&self.pods(), pod, names::POSTGRES_CONTAINER, &command).await?;
        Ok(rows.trim_end().to_owned())
    }

    /// A number read by [`Formation::psql`].
    pub async fn count(&self, group: i32, sql: &str) -> Result<i64> {
        let text = self.psql(group, sql).await?;
        text.trim().parse().with_context(|| format!("{sql:?} answered {text:?}, not a number"))
    }

    /// One value of a Secret.
    pub async fn secret(&self, name: &str, key: &str) -> Result<String> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), self.namespace());
        let secret = secrets.get(name).await.with_context(|| format!("no Secret {name}"))?;
        let data = secret.data.unwrap_or_default();
        let ByteString(value) = data.get(key).ok_or_else(|| anyhow!("Secret {name} has no key {key}"))?;
        String::from_utf8(value.clone()).with_context(|| format!("key {key} of Secret {name} is not text"))
    }

    /// Its migrator Jobs.
    pub async fn migrator_jobs(&self) -> Result<Vec<Job>> {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), self.namespace());
        let selector = format!(
            "{}={},{}={}",
            names::LABEL_INSTANCE,
            self.name(),
            names::LABEL_COMPONENT,
            Component::Migrator.as_str()
        );
        Ok(jobs.list(&ListParams::default().labels(&selector)).await?.items)
    }

    /// Changes the spec by a merge patch.
    pub async fn patch(&self, patch: serde_json::Value) -> Result<CourseShard> {
        Ok(self.shards().patch(self.name(), &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    /// Deletes it under `policy` and waits until the object is gone.
    pub async fn delete(&self, policy: DeletionPolicy, timeout: Duration) -> Result<()> {
        self.patch(json!({"spec": {"deletionPolicy": policy}})).await?;
        self.shards().delete(self.name(), &DeleteParams::default()).await?;
        self.wait_gone(timeout).await
    }

    /// Waits until the object is gone.
    pub async fn wait_gone(&self, timeout: Duration) -> Result<()> {
        let what = format!("CourseShard {}/{} is gone", self.namespace(), self.name());
        wait_until(&what, timeout, async || match self.shards().get_opt(self.name()).await? {
            None => Ok(Look::Done(())),
            Some(shard) => not_yet(format!("finalizers {:?}", shard.finalizers())),
        })
        .await
    }
}

/// Whether the kubelet says the pod is ready.
pub fn pod_is_ready(pod: &Pod) -> bool {
    pod.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Node a pod runs on.
pub fn node_of(pod: &Pod) -> Result<&str> {
    match pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) {
        Some(node) => Ok(node),
        None => bail!("pod {} is on no node", pod.name_any()),
    }
}
