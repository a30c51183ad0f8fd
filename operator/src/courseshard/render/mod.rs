//! Everything a formation is made of, as Kubernetes objects: pure functions of the
//! spec and of what the operator was started with.

mod jobs;
mod memory;
mod patroni;
mod pdb;
mod policies;
mod pooler;
mod rbac;
mod secrets;
mod services;
mod statefulset;
#[cfg(test)]
pub(in crate::courseshard) mod tests;

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        core::v1::{
            Capabilities, ConfigMap, LocalObjectReference, PodSecurityContext, SeccompProfile,
            SecurityContext, Service, ServiceAccount,
        },
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
        rbac::v1::{Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use lyceum_crds::{
    budget::Budget,
    course_shard::{
        CourseShardSpec, StorageSpec,
        names::{Component, Names},
    },
};
use sha2::{Digest, Sha256};

pub use jobs::{EPOCH_LABEL, INTENT_LABEL, migration_job};
pub use patroni::dynamic_config;
pub use policies::CLIENT_LABEL;
pub use secrets::{DesiredSecrets, SecretKind, auth_keys, login_roles};
pub use statefulset::{TEMPLATE_ANNOTATION, template_of};

/// Revision of the templates in this folder that make database pods. Raised by one with
/// any change that would restart them; formations keep the one they were made with until
/// a person takes the new one over.
pub const REVISION: i32 = 1;

/// User and group of the database image.
const POSTGRES_ID: i64 = 10001;
/// User and group of the pooler image.
const POOLER_ID: i64 = 10002;
/// User and group of lyceum's own images.
const LYCEUM_ID: i64 = 10003;

/// Where the CA certificate, the server certificate and its key are mounted.
const TLS_DIR: &str = "/etc/lyceum/tls";
/// Where passwords are mounted.
const AUTH_DIR: &str = "/etc/lyceum/auth";

/// What the operator was started with and what the cluster is like.
#[derive(Clone, Debug, PartialEq)]
pub struct Platform {
    /// Images of this operator.
    pub images: Images,
    /// Secrets to pull images with.
    pub pull_secrets: Vec<String>,
    /// Namespace the operator runs in: let in by the network policies.
    pub operator_namespace: String,
    /// Addresses and port behind the Service `kubernetes`: policies act after its address was translated.
    pub api_servers: Vec<(IpAddr, u16)>,
    /// Where Patroni keeps its state.
    pub store: Store,
}

/// Images by what they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// PostgreSQL, Patroni and extensions.
    pub postgres: String,
    /// PgBouncer.
    pub pooler: String,
    /// The migrator.
    pub migrator: String,
}

/// Kinds of objects that Patroni keeps its state in.
///
/// Measured on the lab (2026-11-25, a group of two, its primary's pod killed five times under
/// a writer each way, gaps between commits): ConfigMaps 2.4 to 6.5 s, median 3.1 s; Endpoints
/// 1.9 to 4.3 s, median 3.3 s. Not different enough to choose the other: the Endpoints API is
/// deprecated since Kubernetes 1.33, and whoever may write Endpoints may send any Service of
/// the namespace elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Store {
    /// ConfigMaps; the Service finds the primary by its label.
    #[default]
    ConfigMaps,
    /// Endpoints; the leader's object is the route as well.
    Endpoints,
}

/// One formation to render.
#[derive(Clone, Copy)]
pub struct Formation<'a> {
    /// Names of all its objects.
    pub names: &'a Names,
    /// `status.formationId`.
    pub id: &'a str,
    /// What is asked for.
    pub spec: &'a CourseShardSpec,
    /// The CourseShard, as owner.
    pub owner: &'a OwnerReference,
    /// The surroundings.
    pub platform: &'a Platform,
    /// Images in use, which may be older than the platform's.
    pub images: &'a Images,
    /// Sizes that follow from the spec.
    pub budget: &'a Budget,
}

/// Every object of a formation. Destructured without `..` wherever all must be
/// handled, so that a new kind can't be forgotten.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Passwords and certificates, made where they are missing.
    pub secrets: DesiredSecrets,
    /// Identity of the database pods.
    pub service_account: ServiceAccount,
    /// What Patroni may do.
    pub role: Role,
    /// Grants it.
    pub role_binding: RoleBinding,
    /// Who may talk to whom.
    pub policies: Vec<NetworkPolicy>,
    /// Names for pods, primaries, replicas and the pooler.
    pub services: Vec<Service>,
    /// How many pods an eviction may take.
    pub disruption_budgets: Vec<PodDisruptionBudget>,
    /// `patroni.yml` by group, and the pooler's configuration.
    pub config_maps: Vec<ConfigMap>,
    /// Database pods, one set a group.
    pub statefulsets: Vec<StatefulSet>,
    /// The pooler.
    pub pooler: Deployment,
}

/// Renders a formation.
pub fn render(formation: Formation<'_>) -> Desired {
    let groups = || 0..=formation.spec.workers.count;
    Desired {
        secrets: secrets::desired(formation),
        service_account: rbac::service_account(formation),
        role: rbac::role(formation),
        role_binding: rbac::role_binding(formation),
        policies: policies::all(formation),
        services: services::all(formation),
        disruption_budgets: pdb::all(formation),
        config_maps: groups()
            .map(|group| patroni::config_map(formation, group))
            .chain([pooler::config_map(formation)])
            .collect(),
        statefulsets: groups().map(|group| statefulset::statefulset(formation, group)).collect(),
        pooler: pooler::deployment(formation),
    }
}

impl<'a> Formation<'a> {
    /// Whether Citus runs in this formation.
    pub fn citus(self) -> bool {
        self.spec.workers.count > 0
    }

    /// What the spec says of a group.
    pub fn group(self, group: i32) -> GroupSpec<'a> {
        let (coordinator, workers) = (&self.spec.coordinator, &self.spec.workers);
        if group == 0 {
            GroupSpec {
                instances: coordinator.instances,
                storage: Some(&coordinator.storage),
                wal_storage: coordinator.wal_storage.as_ref(),
                resources: coordinator.resources.as_ref(),
                scheduling: coordinator.scheduling.as_ref(),
                parameters: &coordinator.parameters,
            }
        } else {
            GroupSpec {
                instances: workers.instances,
                storage: workers.storage.as_ref(),
                wal_storage: workers.wal_storage.as_ref(),
                resources: workers.resources.as_ref(),
                scheduling: workers.scheduling.as_ref(),
                parameters: &workers.parameters,
            }
        }
    }

    /// Metadata of an object owned by the CourseShard.
    fn meta(self, name: impl Into<String>, component: Component) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some(self.names.namespace().to_owned()),
            labels: Some(self.names.labels(self.id, component)),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }

    /// Labels that select the pods of a component.
    fn selector(self, component: Component) -> BTreeMap<String, String> {
        use lyceum_crds::course_shard::names::{LABEL_COMPONENT, LABEL_FORMATION};
        labels([(LABEL_FORMATION, self.id), (LABEL_COMPONENT, component.as_str())])
    }

    fn pull_secrets(self) -> Option<Vec<LocalObjectReference>> {
        let secrets = &self.platform.pull_secrets;
        (!secrets.is_empty())
            .then(|| secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect())
    }
}

/// What the spec says of one group.
#[derive(Clone, Copy)]
pub struct GroupSpec<'a> {
    /// Members, the primary counted.
    pub instances: i32,
    /// Data volume; validation has seen to it that it is there.
    pub storage: Option<&'a StorageSpec>,
    /// WAL volume.
    pub wal_storage: Option<&'a StorageSpec>,
    /// CPU and memory.
    pub resources: Option<&'a k8s_openapi::api::core::v1::ResourceRequirements>,
    /// Where members may run.
    pub scheduling: Option<&'a lyceum_crds::course_shard::Scheduling>,
    /// PostgreSQL settings.
    pub parameters: &'a lyceum_crds::course_shard::Parameters,
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// First 12 hexadecimal digits of a SHA-256: enough to tell two configurations apart.
fn short_hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// What Pod Security `restricted` asks of a pod.
fn pod_security(id: i64) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(id),
        run_as_group: Some(id),
        fs_group: Some(id),
        // PostgreSQL refuses a data directory that the kubelet has opened to the group,
        // which it does on each mount unless told to look at the top directory first.
        fs_group_change_policy: Some("OnRootMismatch".into()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

/// What Pod Security `restricted` asks of a container, and a read-only root on top.
fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        ..SecurityContext::default()
    }
}
