//! Why a pod is not ready, since when, in words.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// `None` for a pod that is ready. Says when it began, not how long it has lasted: the
/// text is part of the status, which must not change while nothing does.
///
/// `patroni` is what the member says of itself, which is known even while the pod is not ready.
pub fn why(pod: &Pod, patroni: Option<&str>) -> Option<String> {
    if let Some(since) = &pod.metadata.deletion_timestamp {
        return Some(format!("is being deleted (until {} at the latest)", clock(since)));
    }
    let status = pod.status.as_ref()?;
    if condition(status, "Ready", "True").is_some() {
        return None;
    }
    Some(unscheduled(status).or_else(|| containers(status)).unwrap_or_else(|| probing(status, patroni)))
}

fn unscheduled(status: &PodStatus) -> Option<String> {
    let (since, message) = condition(status, "PodScheduled", "False")?;
    Some(format!("has no node since {since}: {message}"))
}

/// The first container that is held up says why the pod is.
fn containers(status: &PodStatus) -> Option<String> {
    let init = status.init_container_statuses.iter().flatten();
    init.chain(status.container_statuses.iter().flatten()).find_map(container)
}

fn container(status: &ContainerStatus) -> Option<String> {
    let name = &status.name;
    let state = status.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        let mut text = format!("container {name} is waiting: {reason}");
        if let Some(message) = waiting.message.as_deref().filter(|_| reason != "CrashLoopBackOff") {
            text.push_str(&format!(": {message}"));
        }
        let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
        if let Some(last) = last {
            text.push_str(&format!(
                "; ended with code {} at {}, {} restarts{}",
                last.exit_code,
                last.finished_at.as_ref().map(clock).unwrap_or_default(),
                status.restart_count,
                said(last.message.as_deref()),
            ));
        }
        return Some(text);
    }
    let ended = state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    Some(format!(
        "container {name} ended with code {} at {}{}",
        ended.exit_code,
        ended.finished_at.as_ref().map(clock).unwrap_or_default(),
        said(ended.message.as_deref()),
    ))
}

fn probing(status: &PodStatus, patroni: Option<&str>) -> String {
    let since = condition(status, "Ready", "False").map(|(since, _)| since);
    match (patroni, since) {
        (Some(state), Some(since)) => format!("is not ready since {since}: PostgreSQL is {state}"),
        (None, Some(since)) => format!("is not ready since {since}: its probe fails"),
        (_, None) => "is being started".to_owned(),
    }
}

/// The last line of a container's last words: the one with the error.
fn said(message: Option<&str>) -> String {
    let last = message.and_then(|text| text.lines().rev().map(str::trim).find(|line| !line.is_empty()));
    last.map(|line| format!("; said: {}", line.chars().take(300).collect::<String>())).unwrap_or_default()
}

fn condition(status: &PodStatus, type_: &str, value: &str) -> Option<(String, String)> {
    let found = status.conditions.iter().flatten().find(|c| c.type_ == type_ && c.status == value)?;
    let since = found.last_transition_time.as_ref().map(clock).unwrap_or_default();
    Some((since, found.message.clone().unwrap_or_default()))
}

/// To the second: what is below it helps nobody.
fn clock(time: &Time) -> String {
    let time: Timestamp = time.0;
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "school-g1-0"}, "status": status})).unwrap()
    }

    fn not_ready() -> serde_json::Value {
        json!([{"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-25T10:00:00Z"}])
    }

    #[test]
    fn a_ready_pod_waits_for_nothing() {
        let pod = pod(json!({"conditions": [{"type": "Ready", "status": "True"}]}));
        assert_eq!(why(&pod, None), None);
    }

    #[test]
    fn a_pod_without_a_node_repeats_the_scheduler() {
        let pod = pod(json!({"conditions": [{
            "type": "PodScheduled", "status": "False", "lastTransitionTime": "2026-11-25T10:00:00Z",
            "message": "0/2 nodes are available: 2 Insufficient memory."
        }]}));
        assert_eq!(
            why(&pod, None).unwrap(),
            "has no node since 2026-11-25T10:00:00Z: 0/2 nodes are available: 2 Insufficient memory."
        );
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named() {
        let pod = pod(json!({"conditions": not_ready(), "containerStatuses": [{
            "name": "postgres", "ready": false, "restartCount": 0, "image": "", "imageID": "",
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"x\""}}
        }]}));
        assert_eq!(
            why(&pod, None).unwrap(),
            "container postgres is waiting: ImagePullBackOff: Back-off pulling image \"x\""
        );
    }

    #[test]
    fn a_crash_loop_tells_the_last_words() {
        let pod = pod(json!({"conditions": not_ready(), "containerStatuses": [{
            "name": "postgres", "ready": false, "restartCount": 4, "image": "", "imageID": "",
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-11-25T10:01:02Z",
                "message": "starting\npatroni.yml is missing\n\n"}}
        }]}));
        assert_eq!(
            why(&pod, None).unwrap(),
            "container postgres is waiting: CrashLoopBackOff; ended with code 1 at 2026-11-25T10:01:02Z, \
             4 restarts; said: patroni.yml is missing"
        );
    }

    #[test]
    fn a_running_member_that_is_not_ready_says_what_postgresql_does() {
        let pod = pod(json!({"conditions": not_ready(), "containerStatuses": [{
            "name": "postgres", "ready": false, "restartCount": 0, "image": "", "imageID": "",
            "state": {"running": {}}
        }]}));
        assert_eq!(
            why(&pod, Some("creating replica")).unwrap(),
            "is not ready since 2026-11-25T10:00:00Z: PostgreSQL is creating replica"
        );
        assert_eq!(why(&pod, None).unwrap(), "is not ready since 2026-11-25T10:00:00Z: its probe fails");
    }
}
