//! The database pods of one group.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
            StatefulSetUpdateStrategy,
        },
        core::v1::{
            Affinity, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
            EnvVarSource, HTTPGetAction, KeyToPath, ObjectFieldSelector, PersistentVolumeClaim,
            PersistentVolumeClaimSpec, PodAffinityTerm, PodAntiAffinity, PodSpec, PodTemplateSpec, Probe,
            ResourceRequirements, SecretKeySelector, SecretVolumeSource, Volume, VolumeMount,
            VolumeResourceRequirements, WeightedPodAffinityTerm,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use lyceum_crds::course_shard::{
    Scheduling, StorageSpec,
    names::{
        Component, LABEL_CITUS_GROUP, LABEL_GROUP, PATRONI_PORT, POSTGRES_CONTAINER, POSTGRES_PORT,
        SOCKET_DIR,
    },
};

use super::{
    AUTH_DIR, Formation, POSTGRES_ID, TLS_DIR, auth_keys, container_security, pod_security, short_hash,
};

/// Volume claim of the data directory.
pub(super) const DATA_CLAIM: &str = "data";
/// Volume claim of the write-ahead log.
pub(super) const WAL_CLAIM: &str = "wal";
/// Annotation on database pods: hash of the template they were made from.
pub const TEMPLATE_ANNOTATION: &str = "lyceum.dev/template";
/// How long PostgreSQL may take over its last checkpoint. Patroni gives up the leader's
/// object right after, so this bounds the writes' gap when a primary's pod is deleted.
const TERMINATION_GRACE_SECONDS: i64 = 60;

/// StatefulSet of a group.
pub(super) fn statefulset(formation: Formation<'_>, group: i32) -> StatefulSet {
    let spec = formation.group(group);
    let selector = formation.names.group_selector(formation.id, group);
    let mut claims: Vec<_> =
        spec.storage.map(|storage| claim(formation, group, DATA_CLAIM, storage)).into_iter().collect();
    claims.extend(spec.wal_storage.map(|storage| claim(formation, group, WAL_CLAIM, storage)));
    let mut metadata = formation.meta(formation.names.statefulset(group), Component::Database);
    metadata.labels.get_or_insert_default().insert(LABEL_GROUP.into(), group.to_string());
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            replicas: Some(spec.instances),
            service_name: Some(formation.names.nodes_service()),
            // All at once: Patroni decides who leads, the order of the pods doesn't.
            pod_management_policy: Some("Parallel".into()),
            // A changed template restarts no database by itself.
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".into()),
                rolling_update: None,
            }),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some("Retain".into()),
                when_scaled: Some("Retain".into()),
            }),
            selector: LabelSelector { match_labels: Some(selector), match_expressions: None },
            template: template(formation, group),
            volume_claim_templates: Some(claims),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

fn template(formation: Formation<'_>, group: i32) -> PodTemplateSpec {
    let spec = formation.group(group);
    let mut labels = formation.names.labels(formation.id, Component::Database);
    labels.insert(LABEL_GROUP.into(), group.to_string());
    if formation.citus() {
        labels.insert(LABEL_CITUS_GROUP.into(), group.to_string());
    }
    let mut pod = PodSpec {
        service_account_name: Some(formation.names.database_service_account()),
        security_context: Some(pod_security(POSTGRES_ID)),
        image_pull_secrets: formation.pull_secrets(),
        termination_grace_period_seconds: Some(TERMINATION_GRACE_SECONDS),
        // Service environment variables of the whole namespace are noise here.
        enable_service_links: Some(false),
        containers: vec![container(formation, group)],
        volumes: Some(volumes(formation, group)),
        ..PodSpec::default()
    };
    schedule(&mut pod, spec.scheduling, formation.names.group_selector(formation.id, group));
    let annotations = [(TEMPLATE_ANNOTATION.to_owned(), template_hash(&pod))].into();
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(pod),
    }
}

/// Tells a pod made from an older template from one of the current.
fn template_hash(pod: &PodSpec) -> String {
    short_hash(&serde_json::to_string(pod).unwrap_or_default())
}

/// [`TEMPLATE_ANNOTATION`]'s value on the pods that a StatefulSet makes now.
pub fn template_of(set: &StatefulSet) -> Option<&str> {
    let template = set.spec.as_ref()?.template.metadata.as_ref()?;
    template.annotations.as_ref()?.get(TEMPLATE_ANNOTATION).map(String::as_str)
}

/// Puts the person's wishes into a pod, and by default keeps pods of one selector apart.
pub(super) fn schedule(pod: &mut PodSpec, wishes: Option<&Scheduling>, selector: BTreeMap<String, String>) {
    let none = Scheduling::default();
    let wishes = wishes.unwrap_or(&none);
    pod.node_selector = (!wishes.node_selector.is_empty()).then(|| wishes.node_selector.clone());
    pod.tolerations = (!wishes.tolerations.is_empty()).then(|| wishes.tolerations.clone());
    pod.priority_class_name = wishes.priority_class_name.clone();
    pod.topology_spread_constraints =
        (!wishes.topology_spread_constraints.is_empty()).then(|| wishes.topology_spread_constraints.clone());
    pod.affinity = wishes.affinity.clone().or_else(|| {
        // Preferred, not required: a cluster of one node still gets its replicas.
        wishes.topology_spread_constraints.is_empty().then(|| apart(selector))
    });
}

fn apart(selector: BTreeMap<String, String>) -> Affinity {
    let term = PodAffinityTerm {
        topology_key: "kubernetes.io/hostname".into(),
        label_selector: Some(LabelSelector { match_labels: Some(selector), match_expressions: None }),
        ..PodAffinityTerm::default()
    };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: 100,
                pod_affinity_term: term,
            }]),
            required_during_scheduling_ignored_during_execution: None,
        }),
        ..Affinity::default()
    }
}

fn container(formation: Formation<'_>, group: i32) -> Container {
    let spec = formation.group(group);
    let mut mounts = vec![
        mount(DATA_CLAIM, "/var/lib/postgresql", false),
        mount("run", SOCKET_DIR, false),
        mount("tmp", "/tmp", false),
        mount("patroni", "/etc/lyceum/patroni", true),
        mount("tls", TLS_DIR, true),
        mount("auth", AUTH_DIR, true),
    ];
    if spec.wal_storage.is_some() {
        mounts.push(mount(WAL_CLAIM, "/var/lib/postgresql-wal", false));
    }
    Container {
        name: POSTGRES_CONTAINER.into(),
        image: Some(formation.images.postgres.clone()),
        env: Some(environment(formation)),
        ports: Some(vec![port("postgres", POSTGRES_PORT), port("patroni", PATRONI_PORT)]),
        resources: spec.resources.cloned().or_else(|| Some(ResourceRequirements::default())),
        security_context: Some(container_security()),
        // Patroni answers as soon as it runs, whatever PostgreSQL is doing.
        startup_probe: Some(probe("/liveness", 2, 60)),
        liveness_probe: Some(probe("/liveness", 10, 3)),
        // Says 200 of a leader, and of a replica that streams.
        readiness_probe: Some(probe("/readiness", 3, 2)),
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

fn environment(formation: Formation<'_>) -> Vec<EnvVar> {
    // `$(POD_NAME)` is filled in by the kubelet: one template, one address a pod.
    let host = formation.names.pod_host("$(POD_NAME)");
    let secret = formation.names.auth_secret();
    vec![
        field("POD_NAME", "metadata.name"),
        value("PATRONI_NAME", "$(POD_NAME)".into()),
        value("PATRONI_POSTGRESQL_CONNECT_ADDRESS", format!("{host}:{POSTGRES_PORT}")),
        value("PATRONI_RESTAPI_CONNECT_ADDRESS", format!("{host}:{PATRONI_PORT}")),
        value("PATRONI_RESTAPI_USERNAME", auth_keys::REST_USER.into()),
        password("PATRONI_RESTAPI_PASSWORD", &secret, auth_keys::REST),
        password("PATRONI_SUPERUSER_PASSWORD", &secret, auth_keys::SUPERUSER),
        password("PATRONI_REPLICATION_PASSWORD", &secret, auth_keys::REPLICATION),
        password("PATRONI_REWIND_PASSWORD", &secret, auth_keys::REWIND),
    ]
}

fn volumes(formation: Formation<'_>, group: i32) -> Vec<Volume> {
    vec![
        Volume {
            name: "patroni".into(),
            config_map: Some(ConfigMapVolumeSource {
                name: formation.names.patroni_config(group),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        secret("tls", formation.names.tls_secret(), None),
        // Peers' passwords only: the rest of that Secret comes by environment variables.
        secret("auth", formation.names.auth_secret(), Some(auth_keys::PGPASS)),
        scratch("run", Some("Memory")),
        scratch("tmp", None),
    ]
}

fn claim(formation: Formation<'_>, group: i32, name: &str, storage: &StorageSpec) -> PersistentVolumeClaim {
    let mut labels = formation.names.labels(formation.id, Component::Database);
    labels.insert(LABEL_GROUP.into(), group.to_string());
    PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some(name.into()), labels: Some(labels), ..ObjectMeta::default() },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            storage_class_name: storage.class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(storage.size.clone()))].into()),
                limits: None,
            }),
            // Both have defaults that the API server writes in; said here so that what is applied
            // equals what is read back.
            volume_mode: Some("Filesystem".into()),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

pub(super) fn secret(name: &str, secret: String, only: Option<&str>) -> Volume {
    Volume {
        name: name.into(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret),
            default_mode: Some(0o440),
            items: only.map(|key| vec![KeyToPath { key: key.into(), path: key.into(), mode: None }]),
            optional: None,
        }),
        ..Volume::default()
    }
}

pub(super) fn scratch(name: &str, medium: Option<&str>) -> Volume {
    Volume {
        name: name.into(),
        empty_dir: Some(EmptyDirVolumeSource { medium: medium.map(Into::into), size_limit: None }),
        ..Volume::default()
    }
}

pub(super) fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.into(),
        mount_path: path.into(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

pub(super) fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.into()),
        container_port: number.into(),
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    }
}

pub(super) fn value(name: &str, value: String) -> EnvVar {
    EnvVar { name: name.into(), value: Some(value), value_from: None }
}

fn field(name: &str, path: &str) -> EnvVar {
    let source = ObjectFieldSelector { field_path: path.into(), api_version: Some("v1".into()) };
    EnvVar {
        name: name.into(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(source), ..EnvVarSource::default() }),
    }
}

pub(super) fn password(name: &str, secret: &str, key: &str) -> EnvVar {
    let source = SecretKeySelector { name: secret.into(), key: key.into(), optional: None };
    EnvVar {
        name: name.into(),
        value: None,
        value_from: Some(EnvVarSource { secret_key_ref: Some(source), ..EnvVarSource::default() }),
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::String("patroni".into()),
            scheme: Some("HTTPS".into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}
