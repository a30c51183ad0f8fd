//! `kubectl lyceum explain`: why not Ready, what was last tried, when it is tried again.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use lyceum_crds::CourseShard;
use lyceum_crds::course_shard::conditions::{self, retry_at};
use lyceum_crds::course_shard::names::Names;
use lyceum_crds::validate::check;

use crate::Connection;
use crate::cluster::{Cluster, explain};
use crate::format::{ago, indent, table, until};

/// Warnings shown, newest first.
const WARNINGS: usize = 8;

pub(crate) async fn run(connection: &Connection, name: &str) -> anyhow::Result<()> {
    let cluster = Cluster::connect(connection).await?;
    let shard = cluster.shard(name).await?;
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let warnings = ListParams::default().fields("type=Warning");
    let events = events.list(&warnings).await.map_err(explain)?.items;
    print!("{}", answer(&shard, &events, Timestamp::now()));
    Ok(())
}

/// The answer, most telling first.
fn answer(shard: &CourseShard, events: &[Event], now: Timestamp) -> String {
    let mut text = headline(shard, now) + "\n";
    let status = shard.status.clone().unwrap_or_default();

    let mut because: Vec<String> = telling(&status.conditions)
        .map(|condition| {
            format!(
                "{} ({}, {}): {}",
                condition.type_,
                condition.reason,
                ago(condition.last_transition_time.0, now),
                condition.message
            )
        })
        .collect();
    because.extend(
        check(shard)
            .into_iter()
            .map(|finding| format!("the spec would be refused today: {}", finding.message)),
    );
    section(&mut text, "Conditions", &because);

    let waiting: Vec<String> = status
        .nodes
        .iter()
        .filter_map(|node| node.waiting.as_ref().map(|why| format!("{} {why}", node.name)))
        .collect();
    section(&mut text, "Waiting pods", &waiting);

    let mut plans: Vec<String> = Vec::new();
    if let Some(intent) = &status.intent {
        plans.push(format!(
            "{:?} ({}) is under way and counts as failed at {}",
            intent.action.kind, intent.id, intent.deadline
        ));
    }
    if let Some(at) = status.conditions.iter().filter_map(|condition| retry_at(&condition.message)).min() {
        plans.push(format!("tried again {} (at {at})", until(at, now)));
    }
    section(&mut text, "Next", &plans);

    let warnings = warnings(shard, events, now);
    if warnings.is_empty() {
        text += "\nNo warning events in the last hour (the API server keeps them that long).\n";
    } else {
        text += "\nWarning events, newest first\n";
        text += &indent(&table(&["AGE", "OBJECT", "REASON", "MESSAGE"], &warnings));
    }
    text
}

/// Conditions that bring bad news: Degraded and Progressing do when they hold, the
/// others when they don't. Ready is in the headline; the same news is told once.
fn telling(conditions: &[Condition]) -> impl Iterator<Item = &Condition> {
    let bad = |condition: &Condition| match condition.type_.as_str() {
        conditions::READY => false,
        conditions::DEGRADED | conditions::PROGRESSING => condition.status == "True",
        _ => condition.status != "True",
    };
    conditions.iter().enumerate().filter_map(move |(index, condition)| {
        let told = conditions.iter().take(index).any(|earlier| {
            bad(earlier) && (&earlier.reason, &earlier.message) == (&condition.reason, &condition.message)
        });
        (bad(condition) && !told).then_some(condition)
    })
}

fn headline(shard: &CourseShard, now: Timestamp) -> String {
    let name = format!("CourseShard {}/{}", shard.namespace().unwrap_or_default(), shard.name_any());
    if shard.metadata.deletion_timestamp.is_some() {
        return format!("{name} is being deleted; the operator's finalizer holds it until clean-up is done.");
    }
    let conditions = shard.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let Some(ready) = conditions::find(conditions, conditions::READY) else {
        return format!(
            "{name} has no Ready condition: the operator has not looked at it yet. Is it running, and does it \
             watch this namespace?"
        );
    };
    let since = ago(ready.last_transition_time.0, now);
    if ready.observed_generation != shard.metadata.generation {
        return format!(
            "{name} was {} for generation {} of its spec; the operator has not reported on generation {} yet.",
            if ready.status == "True" { "Ready" } else { "not Ready" },
            ready.observed_generation.unwrap_or_default(),
            shard.metadata.generation.unwrap_or_default()
        );
    }
    match ready.status.as_str() {
        "True" => format!("{name} is Ready (for {since})."),
        _ => format!(
            "{name} is not Ready (for {since}): {}\n{}",
            ready.reason,
            indent(&ready.message).trim_end()
        ),
    }
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        *text += &format!("\n{title}\n{}", indent(&lines.join("\n")));
    }
}

/// Rows of the warnings about the CourseShard and what bears its name.
fn warnings(shard: &CourseShard, events: &[Event], now: Timestamp) -> Vec<Vec<String>> {
    let names = Names::from(shard);
    let mut events: Vec<(Timestamp, &Event)> = events
        .iter()
        .filter(|event| {
            let about = event.involved_object.name.as_deref().unwrap_or_default();
            let kind = event.involved_object.kind.as_deref().unwrap_or_default();
            names.owns(kind, about)
        })
        .filter_map(|event| Some((last_seen(event)?, event)))
        .collect();
    events.sort_by_key(|(seen, _)| std::cmp::Reverse(*seen));
    events
        .into_iter()
        .take(WARNINGS)
        .map(|(seen, event)| {
            let about = &event.involved_object;
            vec![
                ago(seen, now),
                format!(
                    "{}/{}",
                    about.kind.as_deref().unwrap_or_default(),
                    about.name.as_deref().unwrap_or_default()
                ),
                event.reason.clone().unwrap_or_default(),
                // Events of the kubelet may have several lines.
                event.message.clone().unwrap_or_default().replace('\n', " "),
            ]
        })
        .collect()
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    let series =
        event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    series.or(last).or(event.event_time.as_ref().map(|time| time.0))
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
