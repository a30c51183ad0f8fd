//! The Job that carries out one migration intent.

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{
            Container, KeyToPath, PodSpec, PodTemplateSpec, ProjectedVolumeSource, SecretProjection, Volume,
            VolumeProjection,
        },
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use lyceum_crds::course_shard::{
    Intent,
    names::{Component, DATABASE, POSTGRES_PORT, SUPERUSER},
};

use super::{
    AUTH_DIR, Formation, LYCEUM_ID, TLS_DIR, auth_keys, container_security, pod_security,
    secrets::login_roles,
    statefulset::{mount, scratch},
};
use crate::courseshard::plan::migration::DEADLINE;

/// Label on a migrator's Job: the intent it carries out.
pub const INTENT_LABEL: &str = "lyceum.dev/intent";
/// Label on a migrator's Job: the intent's epoch.
pub const EPOCH_LABEL: &str = "lyceum.dev/intent-epoch";

const ROLES_DIR: &str = "/etc/lyceum/roles";
/// A node that fails under the pod is no failure of the migration; one that fails by itself
/// twice is for the next intent, which waits longer each time.
const BACKOFF_LIMIT: i32 = 1;

/// Job of `intent`. Its name is the intent's, so that it can't be made twice.
pub fn migration_job(formation: Formation<'_>, intent: &Intent) -> Job {
    let mut metadata = formation.meta(formation.names.migrator_job(&intent.id), Component::Migrator);
    let own = metadata.labels.get_or_insert_default();
    own.insert(INTENT_LABEL.into(), intent.id.clone());
    own.insert(EPOCH_LABEL.into(), intent.epoch.to_string());
    let labels = metadata.labels.clone();
    Job {
        metadata,
        spec: Some(JobSpec {
            backoff_limit: Some(BACKOFF_LIMIT),
            active_deadline_seconds: i64::try_from(DEADLINE.as_secs()).ok(),
            // Never two at a time: the second starts when the first is gone.
            pod_replacement_policy: Some("Failed".into()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels, ..ObjectMeta::default() }),
                spec: Some(pod(formation, intent)),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn pod(formation: Formation<'_>, intent: &Intent) -> PodSpec {
    PodSpec {
        restart_policy: Some("Never".into()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(pod_security(LYCEUM_ID)),
        image_pull_secrets: formation.pull_secrets(),
        containers: vec![Container {
            name: "migrator".into(),
            image: Some(formation.images.migrator.clone()),
            args: Some(arguments(formation, intent)),
            security_context: Some(container_security()),
            termination_message_policy: Some("FallbackToLogsOnError".into()),
            volume_mounts: Some(vec![
                mount("tls", TLS_DIR, true),
                mount("auth", AUTH_DIR, true),
                mount("roles", ROLES_DIR, true),
                mount("tmp", "/tmp", false),
            ]),
            ..Container::default()
        }],
        volumes: Some(vec![
            project(
                "tls",
                vec![(formation.names.ca_cert_secret(), vec![("ca.crt".into(), "ca.crt".into())])],
            ),
            project(
                "auth",
                vec![(
                    formation.names.auth_secret(),
                    [auth_keys::SUPERUSER, auth_keys::POOLER_ADMIN]
                        .map(|key| (key.to_owned(), key.to_owned()))
                        .into(),
                )],
            ),
            project(
                "roles",
                login_roles()
                    .map(|(service, role)| {
                        let file = ("password".to_owned(), format!("{role}/password"));
                        (formation.names.role_secret(service), vec![file])
                    })
                    .collect(),
            ),
            scratch("tmp", None),
        ]),
        ..PodSpec::default()
    }
}

fn arguments(formation: Formation<'_>, intent: &Intent) -> Vec<String> {
    let names = formation.names;
    let mut arguments = vec!["up".to_owned()];
    let mut option = |name: &str, value: String| arguments.push(format!("--{name}={value}"));
    // Straight to the primary: session locks and DDL don't go through a transaction pooler.
    option("host", names.service_fqdn(&names.primary_service(0)));
    option("port", POSTGRES_PORT.to_string());
    option("database", DATABASE.into());
    option("user", SUPERUSER.into());
    option("password-file", format!("{AUTH_DIR}/{}", auth_keys::SUPERUSER));
    option("ca-file", format!("{TLS_DIR}/ca.crt"));
    option("to", intent.action.to_version.unwrap_or_default().to_string());
    option("roles-dir", ROLES_DIR.into());
    option("poolers-headless", names.service_fqdn(&names.pooler_pods_service()));
    option("pooler-user", auth_keys::POOLER_ADMIN_USER.into());
    option("pooler-password-file", format!("{AUTH_DIR}/{}", auth_keys::POOLER_ADMIN));
    if formation.citus() {
        option("workers", formation.spec.workers.count.to_string());
        option("shard-count", formation.spec.shard_count.to_string());
        arguments.push("--citus".into());
    }
    arguments
}

/// A volume of chosen keys of Secrets, each under a path: `(secret, [(key, path)])`.
fn project(name: &str, secrets: Vec<(String, Vec<(String, String)>)>) -> Volume {
    let sources = secrets
        .into_iter()
        .map(|(secret, files)| VolumeProjection {
            secret: Some(SecretProjection {
                name: secret,
                items: Some(
                    files.into_iter().map(|(key, path)| KeyToPath { key, path, mode: None }).collect(),
                ),
                optional: None,
            }),
            ..VolumeProjection::default()
        })
        .collect();
    Volume {
        name: name.into(),
        projected: Some(ProjectedVolumeSource { sources: Some(sources), default_mode: Some(0o440) }),
        ..Volume::default()
    }
}
