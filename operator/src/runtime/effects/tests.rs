#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};

use kube::runtime::events::Reporter;

use super::*;
use crate::runtime::LostLeadership;
use crate::runtime::clock::BootInstant;
use crate::runtime::lease::Held;

/// Effects of a process that stands by, with no API server anywhere near.
pub(in crate::runtime) fn standby() -> (Effects, Leadership) {
    // A port that nobody listens on; nothing here gets as far as connecting.
    let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    let client = Client::try_from(config).unwrap();
    let leadership = Leadership::new();
    let recorder = Recorder::new(client.clone(), Reporter { controller: "test".into(), instance: None });
    let (metrics, under_way) = (Metrics::new().unwrap(), TaskTracker::new());
    let effects = Effects::new(client, leadership.clone(), "test", recorder, metrics, under_way);
    (effects, leadership)
}

fn lead_for(leadership: &Leadership, time: Duration) {
    leadership.hold(Held { term: 1, until: BootInstant::now() + time });
}

async fn step(steps: &AtomicU32) -> Result<u32, Infallible> {
    Ok(steps.fetch_add(1, Ordering::Relaxed))
}

#[tokio::test]
async fn nothing_is_sent_without_the_lease() {
    let (effects, leadership) = standby();
    let steps = AtomicU32::new(0);
    let refused = effects.external("reload", "pgbouncer", "school", step(&steps)).await;
    assert!(matches!(refused, Err(EffectError::LostLeadership(LostLeadership::NotHeld))), "{refused:?}");
    lead_for(&leadership, Duration::from_secs(60));
    assert_eq!(effects.external("reload", "pgbouncer", "school", step(&steps)).await.unwrap().unwrap(), 0);
    leadership.resign();
    let refused = effects.external("reload", "pgbouncer", "school", step(&steps)).await;
    assert!(matches!(refused, Err(EffectError::LostLeadership(LostLeadership::Resigned))), "{refused:?}");
    assert_eq!(steps.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_effect_whose_term_ends_half_way_is_not_carried_on_with() {
    let (effects, leadership) = standby();
    let steps = AtomicU32::new(0);
    lead_for(&leadership, Duration::from_millis(50));
    let call = async {
        step(&steps).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        step(&steps).await
    };
    let cut = effects.external("reload", "pgbouncer", "school", call).await;
    assert!(matches!(cut, Err(EffectError::LostLeadership(LostLeadership::Expired))), "{cut:?}");
    assert_eq!(steps.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_effect_under_way_may_finish_after_the_resignation_and_is_waited_for() {
    let (effects, leadership) = standby();
    lead_for(&leadership, Duration::from_secs(60));
    let steps = Arc::new(AtomicU32::new(0));
    let (their, shared) = (Arc::clone(&steps), Arc::clone(&effects.shared));
    let (started, begun) = tokio::sync::oneshot::channel();
    let effect = tokio::spawn(async move {
        let call = async {
            started.send(()).unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            step(&their).await
        };
        effects.external("reload", "pgbouncer", "school", call).await
    });
    begun.await.unwrap();
    leadership.resign();
    shared.under_way.close();
    shared.under_way.wait().await;
    assert_eq!(steps.load(Ordering::Relaxed), 1);
    effect.await.unwrap().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_is_not_answered_is_given_up() {
    let (effects, leadership) = standby();
    lead_for(&leadership, Duration::from_secs(60));
    let call = std::future::pending::<Result<(), Infallible>>();
    let given_up = effects.external("reload", "pgbouncer", "school", call).await;
    assert!(matches!(given_up, Err(EffectError::Timeout { after: EFFECT_DEADLINE, .. })), "{given_up:?}");
}

#[test]
fn only_this_very_object_is_deleted() {
    let params = delete_params("u1", Propagation::Foreground);
    assert_eq!(params.preconditions.unwrap().uid.as_deref(), Some("u1"));
    let refused = |code: u16, reason: &str| {
        let status =
            serde_json::json!({ "status": "Failure", "code": code, "reason": reason, "message": "no" });
        let error = kube::Error::Api(serde_json::from_value(status).unwrap());
        deleted(Err::<(), _>(EffectError::from_api("delete", "Job ns/a".into(), error)))
    };
    assert_eq!(refused(404, "NotFound").unwrap(), Deleted::Absent);
    assert_eq!(refused(409, "Conflict").unwrap(), Deleted::Absent);
    assert!(refused(403, "Forbidden").is_err());
}
