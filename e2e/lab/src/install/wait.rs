//! Waiting for the example, and saying for what.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DynamicObject, ListParams};
use kube::core::discovery::ApiResource;
use kube::core::gvk::GroupVersionKind;
use kube::{Api, Client};
use serde_json::Value;

use super::{EXAMPLE, NAMESPACE};
use crate::progress::Progress;

/// Includes initdb of every group on a machine with two cores that has just unpacked the images.
const READY_LIMIT: Duration = Duration::from_secs(600);
/// Six pods that start change what is waited for several times a second.
const SAY_EVERY: Duration = Duration::from_secs(3);
const LOADED_LIMIT: Duration = Duration::from_secs(600);

/// Waits until the example is Ready for its present generation, and says what it waits for as that changes.
pub(super) async fn ready(client: &Client, progress: &Progress) -> Result<()> {
    let kind = GroupVersionKind::gvk("lyceum.dev", "v1alpha1", "CourseShard");
    let shards: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), NAMESPACE, &ApiResource::from_gvk(&kind));
    let began = Instant::now();
    let mut said = (String::new(), began);
    loop {
        let shard =
            shards.get(EXAMPLE).await.with_context(|| format!("CourseShard {NAMESPACE}/{EXAMPLE}"))?;
        let (ready, why) = readiness(&shard);
        if ready {
            return Ok(());
        }
        if why != said.0 && (said.0.is_empty() || said.1.elapsed() > SAY_EVERY) {
            progress.note(format!("  {}", shortened(&why)));
            said = (why.clone(), Instant::now());
        }
        if began.elapsed() > READY_LIMIT {
            bail!(
                "CourseShard {NAMESPACE}/{EXAMPLE} is not Ready after {} s: {why}; \
                 see `lab kubectl -- describe courseshard -n {NAMESPACE} {EXAMPLE}`",
                READY_LIMIT.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// A line's worth of a text; the whole of it is in the object's status.
fn shortened(text: &str) -> String {
    const LINE: usize = 160;
    if text.chars().count() <= LINE {
        return text.to_owned();
    }
    text.chars().take(LINE).chain(['…']).collect()
}

/// Whether an object's condition Ready is True for its present generation, and the condition's message.
fn readiness(object: &DynamicObject) -> (bool, String) {
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.and_then(|all| {
        all.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"))
    });
    let Some(ready) = ready else { return (false, "the operator has not seen it yet".to_owned()) };
    let text = |key: &str| ready.get(key).and_then(Value::as_str).unwrap_or_default();
    let current = ready.get("observedGeneration").and_then(Value::as_i64) == object.metadata.generation;
    (text("status") == "True" && current, format!("{}: {}", text("reason"), text("message")))
}

/// Waits until the loader's Job is done.
pub(super) async fn loaded(client: &Client) -> Result<()> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), NAMESPACE);
    let of_loader = ListParams::default().labels("app.kubernetes.io/component=loader");
    let began = Instant::now();
    loop {
        let all = jobs.list(&of_loader).await.context("the loader's Job")?.items;
        let condition = |job: &Job, kind: &str| {
            let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|one| one.type_ == kind && one.status == "True"))
        };
        // Without a Job there is nothing to wait for: the values switched it off, or it went after its success.
        if all.iter().all(|job| condition(job, "Complete")) {
            return Ok(());
        }
        let failed = all.iter().any(|job| condition(job, "Failed"));
        if failed || began.elapsed() > LOADED_LIMIT {
            bail!(
                "the loader did not finish: see `lab kubectl -- logs -n {NAMESPACE} \
                 -l app.kubernetes.io/component=loader`"
            );
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use serde_json::json;

    use super::*;

    fn shard(conditions: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "lyceum.dev/v1alpha1",
            "kind": "CourseShard",
            "metadata": { "name": "school", "generation": 2 },
            "status": { "conditions": conditions },
        }))
        .unwrap()
    }

    #[test]
    fn ready_counts_only_for_the_present_generation() {
        let condition = |status: &str, generation: i64| {
            json!([{
                "type": "Ready", "status": status, "reason": "R", "message": "m", "observedGeneration": generation,
            }])
        };
        assert!(readiness(&shard(condition("True", 2))).0);
        assert!(!readiness(&shard(condition("True", 1))).0);
        assert_eq!(readiness(&shard(condition("False", 2))), (false, "R: m".to_owned()));
        assert!(!readiness(&shard(json!([]))).0);
    }

    #[test]
    fn a_long_reason_is_cut_to_a_line_at_a_letter() {
        assert_eq!(shortened("short"), "short");
        let cut = shortened(&"ü".repeat(500));
        assert_eq!(cut.chars().count(), 161);
        assert!(cut.ends_with('…'));
    }
}
