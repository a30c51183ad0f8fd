//! Who wrote what and when, as the lab's API server recorded it (e2e/lab/manifests/audit.yaml).
//!
//! Field managers can't tell two replicas of the operator apart, the audit log can: a pod's token
//! carries the pod's name.

use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// When the API server had answered it.
    pub at: Timestamp,
    /// Pod that asked for it.
    pub pod: String,
    /// Verb and what it was about, `patch statefulsets lyceum/school-g0`.
    pub what: String,
    /// HTTP status it was answered with.
    pub code: u16,
}

/// An event of the audit log, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    stage_timestamp: Timestamp,
    verb: String,
    user: User,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    extra: std::collections::BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct ObjectRef {
    resource: Option<String>,
    subresource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct ResponseStatus {
    code: Option<u16>,
}

/// Where the API server puts the name of the pod that a token is bound to.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";

/// Writes of pods since `since`, as the log at `path` has them.
pub fn writes_since(path: &Path, since: Timestamp) -> Result<Vec<Write>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("no audit log at {}", path.display()))?;
    Ok(text.lines().filter_map(write_of).filter(|write| write.at >= since).collect())
}

/// The write on a line; nothing for a line of another kind, or one that is not written to its end yet.
fn write_of(line: &str) -> Option<Write> {
    let event: Event = serde_json::from_str(line).ok()?;
    if event.stage != "ResponseComplete" || ["get", "list", "watch"].contains(&event.verb.as_str()) {
        return None;
    }
    let pod = event.user.extra.get(POD_NAME)?.first()?.clone();
    let object = event.object_ref?;
    let resource = [object.resource, object.subresource].into_iter().flatten().collect::<Vec<_>>().join("/");
    let name = [object.namespace, object.name].into_iter().flatten().collect::<Vec<_>>().join("/");
    let code = event.response_status.and_then(|status| status.code).unwrap_or_default();
    Some(Write { at: event.stage_timestamp, pod, what: format!("{} {resource} {name}", event.verb), code })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    const PATCH: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata",
        "stage":"ResponseComplete","verb":"patch","user":{"username":"system:serviceaccount:s:o",
        "extra":{"authentication.kubernetes.io/pod-name":["operator-1"]}},
        "objectRef":{"resource":"courseshards","subresource":"status","namespace":"n","name":"school"},
        "responseStatus":{"code":200},"stageTimestamp":"2026-11-25T10:00:00.500000Z"}"#;

    #[test]
    fn a_write_is_known_by_its_pod() {
        let write = write_of(&PATCH.replace('\n', "")).unwrap();
        assert_eq!((write.pod.as_str(), write.code), ("operator-1", 200));
        assert_eq!(write.what, "patch courseshards/status n/school");
    }

    #[test]
    fn reads_and_torn_lines_are_no_writes() {
        assert_eq!(write_of(&PATCH.replace("patch", "watch")), None);
        assert_eq!(write_of(&PATCH[..100]), None);
    }
}
