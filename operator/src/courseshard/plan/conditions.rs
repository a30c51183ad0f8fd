//! What the four conditions say: pure words over what is known.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use lyceum_crds::course_shard::{
    Durability, LagBucket, NodeRole, NodeStatus, SchemaStatus,
    conditions::{ConditionStatus, DEGRADED, PROGRESSING, READY, SCHEMA_CURRENT, set_condition},
    reasons,
};

use super::migration::Schema;

/// A canary write older than this no longer proves that the formation takes writes.
pub const CANARY_FRESH_SECONDS: i64 = 10;

/// All that the conditions are made from.
pub(super) struct View<'a> {
    pub generation: Option<i64>,
    pub paused: bool,
    /// The spec's generation has been applied before.
    pub applied_before: bool,
    pub durability: Durability,
    pub groups: i32,
    pub nodes: &'a [NodeStatus],
    /// Groups that have a synchronous replica.
    pub synchronous: &'a [i32],
    /// Schema asked for.
    pub target: i32,
    pub schema: &'a Schema,
    pub schema_status: Option<&'a SchemaStatus>,
    pub canary_at: Option<Timestamp>,
    pub canary_error: Option<&'a str>,
    /// Pooler pods that are ready, and why others are not.
    pub poolers_ready: usize,
    pub poolers_waiting: Vec<String>,
    /// Pods whose settings or template wait for a restart.
    pub restart_pending: Vec<String>,
    /// Groups whose settings are being changed.
    pub configuring: bool,
    pub render_outdated: bool,
    pub now: Timestamp,
}

struct Verdict {
    status: ConditionStatus,
    reason: &'static str,
    message: String,
}

fn verdict(status: bool, reason: &'static str, message: impl Into<String>) -> Verdict {
    Verdict { status: status.into(), reason, message: message.into() }
}

/// The conditions after `before`.
pub(super) fn conditions(view: &View<'_>, before: &[Condition]) -> Vec<Condition> {
    let mut conditions = before.to_vec();
    let now = Time(view.now);
    for (type_, verdict) in [
        (READY, ready(view)),
        (PROGRESSING, progressing(view)),
        (DEGRADED, degraded(view)),
        (SCHEMA_CURRENT, schema_current(view)),
    ] {
        let Verdict { status, reason, message } = verdict;
        set_condition(&mut conditions, type_, status, reason, message, view.generation, &now);
    }
    conditions
}

/// Each condition with the same words: for an object that is not looked into any further.
pub(super) fn stopped(
    before: &[Condition],
    generation: Option<i64>,
    reason: &'static str,
    message: &str,
    degraded: bool,
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = before.to_vec();
    let now = Time(now);
    let mut set = |type_: &str, holds: bool| {
        set_condition(&mut conditions, type_, holds.into(), reason, message, generation, &now);
    };
    set(READY, false);
    set(PROGRESSING, !degraded);
    set(DEGRADED, degraded);
    conditions
}

fn ready(view: &View<'_>) -> Verdict {
    let leaderless: Vec<i32> = (0..view.groups).filter(|group| !has_primary(view, *group)).collect();
    if !leaderless.is_empty() {
        let why = waiting(view, |node| leaderless.contains(&node.group));
        return verdict(
            false,
            reasons::GROUP_WITHOUT_PRIMARY,
            with(format!("{} no primary", groups(&leaderless)), &why),
        );
    }
    if view.durability == Durability::Required {
        let unmet: Vec<i32> = (0..view.groups).filter(|group| !view.synchronous.contains(group)).collect();
        if !unmet.is_empty() {
            let why = waiting(view, |node| unmet.contains(&node.group) && node.role != NodeRole::Primary);
            let text =
                format!("{} no synchronous replica, which durability Required asks for", groups(&unmet));
            return verdict(false, reasons::DURABILITY_NOT_MET, with(text, &why));
        }
    }
    if *view.schema != Schema::Current {
        let schema = schema_current(view);
        return verdict(false, reasons::SCHEMA_NOT_CURRENT, format!("{}: {}", schema.reason, schema.message));
    }
    if view.poolers_ready == 0 {
        return verdict(
            false,
            reasons::POOLER_UNAVAILABLE,
            with("no pooler pod is ready".into(), &view.poolers_waiting),
        );
    }
    let fresh = view
        .canary_at
        .is_some_and(|at| view.now.as_second().saturating_sub(at.as_second()) <= CANARY_FRESH_SECONDS);
    if !fresh {
        let said = view.canary_error.map(|error| format!(": {error}")).unwrap_or_default();
        let text =
            format!("no write through the pooler committed in the last {CANARY_FRESH_SECONDS} s{said}");
        return verdict(false, reasons::CANARY_STALE, text);
    }
    verdict(true, reasons::AVAILABLE, "every group has a primary and writes commit")
}

fn progressing(view: &View<'_>) -> Verdict {
    if view.paused {
        return verdict(false, reasons::PAUSED, "paused is true: nothing is changed");
    }
    if !view.applied_before || view.configuring {
        return verdict(true, reasons::APPLYING, "what the spec asks for is being applied");
    }
    let mut why = waiting(view, |_| true);
    why.extend(view.poolers_waiting.iter().cloned());
    if !why.is_empty() {
        return verdict(true, reasons::WAITING_FOR_PODS, why.join("; "));
    }
    match view.schema {
        Schema::Migrating => {
            verdict(true, reasons::MIGRATING, format!("the schema is being brought to {}", view.target))
        }
        _ if view.render_outdated => verdict(
            false,
            reasons::RENDER_OUTDATED,
            format!(
                "the operator has newer templates or images; annotate with {}={} to take them over",
                lyceum_crds::course_shard::names::TAKE_OVER_ANNOTATION,
                crate::courseshard::render::REVISION
            ),
        ),
        _ => verdict(false, reasons::AVAILABLE, "all is as asked for"),
    }
}

fn degraded(view: &View<'_>) -> Verdict {
    if let Schema::Failed { message, .. } = view.schema {
        return verdict(true, reasons::MIGRATION_FAILED, message.clone());
    }
    // While a formation is being made its replicas are not missing, they are on their way.
    let established = view.schema_status.is_some();
    let missing = waiting(view, |node| established && node.role == NodeRole::Unknown);
    if !missing.is_empty() {
        return verdict(true, reasons::REPLICA_MISSING, missing.join("; "));
    }
    let lagging: Vec<_> = view.nodes.iter().filter(|node| node.lag == Some(LagBucket::FarBehind)).collect();
    if !lagging.is_empty() {
        let names: Vec<_> = lagging.iter().map(|node| node.name.as_str()).collect();
        return verdict(
            true,
            reasons::REPLICA_LAGGING,
            format!("1 GiB or more behind: {}", names.join(", ")),
        );
    }
    if !view.restart_pending.is_empty() {
        let text = format!(
            "changed settings or templates wait for a restart of {}; delete these pods one by one, a primary last",
            view.restart_pending.join(", ")
        );
        return verdict(true, reasons::RESTART_PENDING, text);
    }
    verdict(false, reasons::AVAILABLE, "all is as asked for")
}

fn schema_current(view: &View<'_>) -> Verdict {
    let target = view.target;
    match view.schema {
        Schema::Current => {
            verdict(true, reasons::SCHEMA_CURRENT, format!("the database is at version {target}"))
        }
        Schema::Migrating => {
            verdict(false, reasons::MIGRATING, format!("a migration to version {target} is running"))
        }
        Schema::Failed { message, retry_at } => {
            let at = retry_at.strftime("%Y-%m-%dT%H:%M:%SZ");
            verdict(false, reasons::MIGRATION_FAILED, format!("{message} (tried again at {at})"))
        }
        Schema::Behind(text) => verdict(false, reasons::SCHEMA_NOT_CURRENT, text.clone()),
        Schema::Unknown => Verdict {
            status: ConditionStatus::Unknown,
            reason: reasons::SCHEMA_UNKNOWN,
            message: "the schema's version has not been read yet".into(),
        },
        Schema::TooNew { latest } => verdict(
            false,
            reasons::SCHEMA_VERSION_UNKNOWN,
            format!(
                "schemaVersion is {target}, this operator knows none above {latest}; upgrade the operator or ask for {latest}"
            ),
        ),
    }
}

fn has_primary(view: &View<'_>, group: i32) -> bool {
    view.nodes.iter().any(|node| node.group == group && node.role == NodeRole::Primary)
}

/// `school-g1-0 has no node since …`, of the nodes chosen that wait for something.
fn waiting(view: &View<'_>, choose: impl Fn(&NodeStatus) -> bool) -> Vec<String> {
    let chosen = view.nodes.iter().filter(|node| choose(node));
    chosen.filter_map(|node| node.waiting.as_ref().map(|why| format!("{} {why}", node.name))).collect()
}

fn groups(groups: &[i32]) -> String {
    let list: Vec<_> = groups.iter().map(i32::to_string).collect();
    match groups {
        [_] => format!("group {} has", list.join(", ")),
        _ => format!("groups {} have", list.join(", ")),
    }
}

fn with(text: String, why: &[String]) -> String {
    if why.is_empty() { text } else { format!("{text}: {}", why.join("; ")) }
}
