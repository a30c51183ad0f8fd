//! What people see: status, and events beside it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Time};
use kube::{Resource, runtime::events::EventType};
use lyceum_crds::course_shard::{
    CourseShard, CourseShardStatus,
    conditions::{DEGRADED, READY, set_condition},
    reasons,
};

use super::{error::Error, plan::Event};
use crate::runtime::Effects;

/// Records events. Best effort.
pub(super) async fn events(shard: &CourseShard, events: &[Event], fx: &Effects) {
    let reference = reference(shard);
    for event in events {
        let type_ = if event.warning { EventType::Warning } else { EventType::Normal };
        fx.event(&reference, type_, event.reason, event.note.clone()).await;
    }
}

/// Says in an event what went wrong.
pub(super) async fn error_event(shard: &CourseShard, error: &Error, fx: &Effects) {
    if let Some(reason) = error.reason() {
        fx.event(&reference(shard), EventType::Warning, reason, error.to_string()).await;
    }
}

fn reference(shard: &CourseShard) -> ObjectReference {
    shard.object_ref(&())
}

/// The planned status after the plan could not be carried out. `None` where the next
/// attempt comes so soon that there is nothing to tell.
pub(super) fn failed(
    shard: &CourseShard,
    planned: &CourseShardStatus,
    error: &Error,
    retry_in: std::time::Duration,
    now: Timestamp,
) -> Option<CourseShardStatus> {
    let reason = error.reason()?;
    let before = shard.status.clone().unwrap_or_default();
    let retry_at = now.checked_add(SignedDuration::try_from(retry_in).unwrap_or_default()).unwrap_or(now);
    let message = format!("{error} (tried again at {})", retry_at.strftime("%Y-%m-%dT%H:%M:%SZ"));
    let mut status = CourseShardStatus {
        // What was decided but not begun must not be reported as if it were.
        intent: before.intent.clone(),
        observed_generation: before.observed_generation,
        render: before.render.clone(),
        ..planned.clone()
    };
    let generation = shard.metadata.generation;
    let now = Time(now);
    let mut set = |type_: &str, holds: bool| {
        set_condition(&mut status.conditions, type_, holds.into(), reason, message.clone(), generation, &now);
    };
    set(DEGRADED, true);
    if matches!(reason, reasons::FOREIGN_OBJECT | reasons::SECRETS_LOST) {
        set(READY, false);
    }
    Some(status)
}
