//! From what the watches saw to plain facts.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::{Api, Resource, ResourceExt, api::ListParams};
use lyceum_crds::course_shard::{
    CourseShard,
    names::{
        Component, LABEL_COMPONENT, LABEL_FORMATION, LABEL_GROUP, LABEL_INSTANCE, LABEL_ROLE, Names,
        ROLE_PRIMARY,
    },
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    observed::{
        DatabaseSeen, JobSeen, JobState, MemberSeen, Named, Observed, PatroniSeen, PodSeen, SecretSeen,
    },
    render::{EPOCH_LABEL, INTENT_LABEL, TEMPLATE_ANNOTATION, login_roles},
    secrets::NOT_AFTER_ANNOTATION,
    waiting,
};
use crate::runtime::{Caches, EffectError, Effects, Key};

/// Label that the Job controller puts on a Job's pods.
const JOB_NAME_LABEL: &str = "batch.kubernetes.io/job-name";

/// Characters of a Job's last words that are repeated.
const LAST_WORDS: usize = 1000;

/// Ends of Jobs seen before: a finished Job stays as it is, so it is read once.
pub type FinishedJobs = HashMap<String, JobState>;

/// Looks at everything that belongs to `shard`. In steady state this asks the API server nothing.
pub async fn observe(
    shard: &CourseShard,
    caches: &Caches,
    fx: &Effects,
    finished: &mut FinishedJobs,
    database: DatabaseSeen,
) -> Result<Observed, EffectError> {
    let names = Names::from(shard);
    let key = Key::of(shard);
    let formation = shard.status.as_ref().and_then(|status| status.formation_id.clone());
    let pods = caches.pods.owned_by(&key);
    let jobs = jobs(&names, caches, fx, &pods, finished).await?;
    let deleting = shard.metadata.deletion_timestamp.is_some();
    Ok(Observed {
        pods: pods.iter().filter_map(|pod| seen(pod)).collect(),
        patroni: formation.map(|id| patroni(&id, &key, caches)).unwrap_or_default(),
        secrets: secrets(&names, caches),
        jobs,
        database,
        claims: if deleting { claims(&names, fx).await? } else { Vec::new() },
        statefulsets: caches.stateful_sets.owned_by(&key).iter().map(|set| named(set.as_ref())).collect(),
    })
}

fn named<K: Resource>(object: &K) -> Named {
    let meta = object.meta();
    Named { name: meta.name.clone().unwrap_or_default(), uid: meta.uid.clone().unwrap_or_default() }
}

/// One pod as facts; `None` for one that isn't of any component.
pub fn seen(pod: &Pod) -> Option<PodSeen> {
    let labels = pod.labels();
    let component = match labels.get(LABEL_COMPONENT).map(String::as_str) {
        Some("database") => Component::Database,
        Some("pooler") => Component::Pooler,
        Some("migrator") => Component::Migrator,
        _ => return None,
    };
    let member = member(pod);
    let status = pod.status.as_ref();
    let ready = status
        .and_then(|status| status.conditions.as_ref())
        .is_some_and(|conditions| conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    Some(PodSeen {
        name: pod.name_any(),
        component,
        group: labels.get(LABEL_GROUP).and_then(|group| group.parse().ok()),
        ready,
        terminating: pod.metadata.deletion_timestamp.is_some(),
        template: pod.annotations().get(TEMPLATE_ANNOTATION).cloned(),
        waiting: waiting::why(pod, member.as_ref().map(|member| member.state.as_str())),
        member,
    })
}

/// What Patroni writes into the annotation `status` of its pod.
#[derive(Deserialize)]
struct PatroniStatus {
    #[serde(default)]
    state: String,
    timeline: Option<i64>,
    xlog_location: Option<i64>,
    replay_lsn: Option<i64>,
    #[serde(default)]
    pending_restart: bool,
}

fn member(pod: &Pod) -> Option<MemberSeen> {
    // Left by Patroni in a pod that has ended: it says nothing any more.
    let running = pod
        .status
        .as_ref()?
        .container_statuses
        .iter()
        .flatten()
        .any(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()));
    if !running {
        return None;
    }
    let status: PatroniStatus = serde_json::from_str(pod.annotations().get("status")?).ok()?;
    Some(MemberSeen {
        leader: pod.labels().get(LABEL_ROLE).is_some_and(|role| role == ROLE_PRIMARY),
        state: status.state,
        timeline: status.timeline,
        position: status.replay_lsn.or(status.xlog_location),
        pending_restart: status.pending_restart,
    })
}

/// Patroni's objects: `<formation>[-<group>]-{leader,config,sync}`, all of it in annotations.
fn patroni(formation: &str, owner: &Key, caches: &Caches) -> BTreeMap<i32, PatroniSeen> {
    let mut groups: BTreeMap<i32, PatroniSeen> = BTreeMap::new();
    for object in caches.config_maps.owned_by(owner) {
        let name = object.name_any();
        let Some((group, part)) = part_of(formation, &name) else { continue };
        let annotation = |key: &str| object.annotations().get(key).filter(|value| !value.is_empty()).cloned();
        let seen = groups.entry(group).or_default();
        match part {
            "leader" => seen.leader = annotation("leader"),
            "sync" => {
                seen.sync_standbys = annotation("sync_standby")
                    .iter()
                    .flat_map(|list| list.split(','))
                    .map(str::to_owned)
                    .collect();
            }
            "config" => {
                seen.initialised = annotation("initialize").is_some();
                seen.config = annotation("config").and_then(|text| serde_json::from_str::<Value>(&text).ok());
                seen.config_object = object.resource_version().map(|version| (name.clone(), version));
            }
            _ => {}
        }
    }
    groups
}

/// Group and part that a name of Patroni's speaks of. A formation without Citus has one
/// group and no number in its names.
fn part_of<'a>(formation: &str, name: &'a str) -> Option<(i32, &'a str)> {
    let rest = name.strip_prefix(formation)?.strip_prefix('-')?;
    match rest.split_once('-') {
        Some((group, part)) => Some((group.parse().ok()?, part)),
        None => Some((0, rest)),
    }
}

fn secrets(names: &Names, caches: &Caches) -> BTreeMap<String, SecretSeen> {
    let mut wanted = vec![names.ca_secret(), names.auth_secret(), names.ca_cert_secret(), names.tls_secret()];
    wanted.extend(login_roles().map(|(service, _)| names.role_secret(service)));
    let found = wanted.into_iter().filter_map(|name| {
        let secret = caches.secrets.get(names.namespace(), &name)?;
        let ours = secret.labels().get(LABEL_INSTANCE).is_some_and(|instance| instance == names.name());
        let formation = secret.labels().get(LABEL_FORMATION).filter(|_| ours).cloned();
        Some((
            name,
            SecretSeen {
                formation,
                not_after: secret.annotations().get(NOT_AFTER_ANNOTATION).and_then(|at| at.parse().ok()),
            },
        ))
    });
    found.collect()
}

async fn jobs(
    names: &Names,
    caches: &Caches,
    fx: &Effects,
    pods: &[std::sync::Arc<Pod>],
    finished: &mut FinishedJobs,
) -> Result<Vec<JobSeen>, EffectError> {
    let key = Key::new(names.namespace(), names.name());
    let mut jobs = Vec::new();
    for meta in caches.jobs.owned_by(&key) {
        let label = |key: &str| meta.labels().get(key).cloned();
        let (Some(intent_id), Some(epoch)) =
            (label(INTENT_LABEL), label(EPOCH_LABEL).and_then(|e| e.parse().ok()))
        else {
            continue;
        };
        let named = named(meta.as_ref());
        let state = match finished.get(&named.uid) {
            Some(state) => state.clone(),
            None => {
                let Some(job) = fx.get::<Job>(names.namespace(), &named.name).await? else { continue };
                let state = job_state(&job, pods);
                if state != JobState::Running {
                    finished.insert(named.uid.clone(), state.clone());
                }
                state
            }
        };
        jobs.push(JobSeen { named, intent_id, epoch, state });
    }
    jobs.sort_by_key(|job| job.epoch);
    finished.retain(|uid, _| jobs.iter().any(|job| job.named.uid == *uid));
    Ok(jobs)
}

/// How a Job stands, with the last words of its pod if it failed.
fn job_state(job: &Job, pods: &[std::sync::Arc<Pod>]) -> JobState {
    let conditions = || job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    if conditions().any(|c| c.type_ == "Complete" && c.status == "True") {
        return JobState::Succeeded;
    }
    let Some(failed) = conditions().find(|c| c.type_ == "Failed" && c.status == "True") else {
        return JobState::Running;
    };
    let said = pods
        .iter()
        .filter(|pod| pod.labels().get(JOB_NAME_LABEL).is_some_and(|name| *name == job.name_any()))
        .filter_map(|pod| {
            pod.status.as_ref()?.container_statuses.as_ref()?.first()?.state.as_ref()?.terminated.clone()
        })
        .max_by_key(|ended| ended.finished_at.as_ref().map(|at| at.0))
        .and_then(|ended| ended.message);
    let message = match said {
        Some(said) => sentence(&said),
        None => failed.message.clone().unwrap_or_else(|| "the migrator failed without a word".into()),
    };
    JobState::Failed {
        at: failed.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |at| at.0),
        message,
    }
}

/// The migrator's last words are one line of JSON with a sentence in it; a pod that never
/// got that far left the end of its log.
fn sentence(said: &str) -> String {
    let json: Option<Value> = serde_json::from_str(said.trim()).ok();
    let sentence = json.as_ref().and_then(|json| json.get("sentence")).and_then(Value::as_str);
    sentence.unwrap_or(said).trim().chars().take(LAST_WORDS).collect()
}

async fn claims(names: &Names, fx: &Effects) -> Result<Vec<Named>, EffectError> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(fx.client().clone(), names.namespace());
    let selector =
        format!("{LABEL_INSTANCE}={},{LABEL_COMPONENT}={}", names.name(), Component::Database.as_str());
    let params = ListParams::default().labels(&selector);
    let target = format!("PersistentVolumeClaims of {}", names.name());
    let list = fx.read("list", target, api.list_metadata(&params)).await?;
    Ok(list.items.iter().map(named).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    #[test]
    fn patronis_names_tell_group_and_part() {
        assert_eq!(part_of("school-abc123", "school-abc123-2-leader"), Some((2, "leader")));
        assert_eq!(part_of("school-abc123", "school-abc123-config"), Some((0, "config")));
        assert_eq!(part_of("school-abc123", "school-g0-patroni"), None);
        assert_eq!(part_of("school-abc123", "school-abc1234-leader"), None);
    }

    #[test]
    fn a_member_is_known_by_its_own_words_and_only_while_it_runs() {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "school-g1-0",
                "labels": {
                    "app.kubernetes.io/component": "database", "lyceum.dev/group": "1", "lyceum.dev/role": "primary"
                },
                "annotations": {"status": "{\"state\":\"running\",\"role\":\"primary\",\"timeline\":3,\"xlog_location\":42}"}
            },
            "status": {"containerStatuses": [{
                "name": "postgres", "ready": true, "restartCount": 0, "image": "", "imageID": "",
                "state": {"running": {}}
            }]}
        }))
        .unwrap();
        let member = seen(&pod).unwrap().member.unwrap();
        assert_eq!((member.leader, member.timeline, member.position), (true, Some(3), Some(42)));
        pod.status.as_mut().unwrap().container_statuses = None;
        assert_eq!(seen(&pod).unwrap().member, None);
    }

    #[test]
    fn a_failed_job_repeats_the_last_words_of_its_pod() {
        let job: Job = serde_json::from_value(json!({
            "metadata": {"name": "school-migrate-1"},
            "status": {"conditions": [{"type": "Failed", "status": "True", "lastTransitionTime": "2026-11-25T10:00:00Z",
                "message": "Job has reached the specified backoff limit"}]}
        }))
        .unwrap();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": {"batch.kubernetes.io/job-name": "school-migrate-1"}},
            "status": {"containerStatuses": [{
                "name": "migrator", "ready": false, "restartCount": 0, "image": "", "imageID": "",
                "state": {"terminated": {"exitCode": 1, "finishedAt": "2026-11-25T09:59:59Z", "message": "0003: lock time-out\n"}}
            }]}
        }))
        .unwrap();
        let at: Timestamp = "2026-11-25T10:00:00Z".parse().unwrap();
        let message = "0003: lock time-out".to_owned();
        assert_eq!(job_state(&job, &[pod.into()]), JobState::Failed { at, message });
        let message = "Job has reached the specified backoff limit".to_owned();
        assert_eq!(job_state(&job, &[]), JobState::Failed { at, message });
    }

    #[test]
    fn a_migrators_sentence_is_taken_out_of_its_json() {
        assert_eq!(sentence(r#"{"version":3,"sentence":"version 3: no"}"#), "version 3: no");
        assert_eq!(sentence("panicked at …\n"), "panicked at …");
    }
}
