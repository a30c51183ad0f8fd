//! `kubectl lyceum status`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use lyceum_crds::course_shard::{NodeStatus, ShardsStatus, conditions};
use lyceum_crds::{CourseShard, CourseShardStatus};

use crate::Connection;
use crate::cluster::{Cluster, explain};
use crate::format::{ago, indent, or_dash, table};

pub(crate) async fn run(
    connection: &Connection,
    name: Option<String>,
    everywhere: bool,
) -> anyhow::Result<()> {
    let cluster = Cluster::connect(connection).await?;
    let now = Timestamp::now();
    if let Some(name) = name {
        print!("{}", one(&cluster.shard(&name).await?, now));
        return Ok(());
    }
    let api: Api<CourseShard> = if everywhere { Api::all(cluster.client.clone()) } else { cluster.shards() };
    let shards = api.list(&ListParams::default()).await.map_err(explain)?.items;
    match shards.as_slice() {
        [] if everywhere => println!("no CourseShards"),
        [] => println!("no CourseShards in namespace {}", cluster.namespace),
        [shard] => print!("{}", one(shard, now)),
        shards => print!("{}", many(shards, everywhere, now)),
    }
    Ok(())
}

/// A line for each.
fn many(shards: &[CourseShard], everywhere: bool, now: Timestamp) -> String {
    let mut header = vec!["NAME", "READY", "REASON", "PRIMARY", "WORKERS", "SHARDS", "SCHEMA", "LAG", "AGE"];
    if everywhere {
        header.insert(0, "NAMESPACE");
    }
    let rows: Vec<Vec<String>> = shards
        .iter()
        .map(|shard| {
            let status = shard.status.clone().unwrap_or_default();
            let ready = conditions::find(&status.conditions, conditions::READY);
            let mut row = vec![
                shard.name_any(),
                or_dash(ready.map(|ready| stated(shard, ready))),
                or_dash(ready.map(|ready| &ready.reason)),
                or_dash(status.primary),
                or_dash(status.workers),
                or_dash(status.shards.map(|shards| shards.total)),
                or_dash(status.schema.map(|schema| schema.version)),
                or_dash(status.lag.map(|lag| format!("{lag:?}"))),
                or_dash(shard.metadata.creation_timestamp.as_ref().map(|created| ago(created.0, now))),
            ];
            if everywhere {
                row.insert(0, shard.namespace().unwrap_or_default());
            }
            row
        })
        .collect();
    table(&header, &rows)
}

/// Everything about one.
fn one(shard: &CourseShard, now: Timestamp) -> String {
    let mut text = format!("CourseShard {}/{}\n", shard.namespace().unwrap_or_default(), shard.name_any());
    let postgres = &shard.spec.postgres;
    let engine = match &postgres.citus {
        Some(citus) => format!("PostgreSQL {} with Citus {citus}", postgres.major),
        None => format!("PostgreSQL {}", postgres.major),
    };
    let spec = &shard.spec;
    text += &format!("  {engine}, durability {:?}, deletion {:?}", spec.durability, spec.deletion_policy);
    text += if spec.paused { ", paused\n" } else { "\n" };
    let Some(status) = &shard.status else {
        return text + "\nNo status yet: is the operator running, and does it watch this namespace?\n";
    };
    text += &format!("  formation {}\n", or_dash(status.formation_id.as_ref()));
    text += "\nConditions\n";
    text += &indent(&condition_table(shard, status, now));
    if !status.nodes.is_empty() {
        text += "\nMembers\n";
        text += &indent(&members(&status.nodes, status.shards.as_ref()));
        for node in &status.nodes {
            if let Some(waiting) = &node.waiting {
                text += &format!("  {} {waiting}\n", node.name);
            }
        }
    }
    text + &facts(status)
}

fn condition_table(shard: &CourseShard, status: &CourseShardStatus, now: Timestamp) -> String {
    let rows: Vec<Vec<String>> = status
        .conditions
        .iter()
        .map(|condition| {
            vec![
                condition.type_.clone(),
                stated(shard, condition),
                condition.reason.clone(),
                ago(condition.last_transition_time.0, now),
                condition.message.clone(),
            ]
        })
        .collect();
    table(&["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"], &rows)
}

/// The status, and a mark if it speaks of an older spec.
fn stated(shard: &CourseShard, condition: &Condition) -> String {
    if condition.observed_generation == shard.metadata.generation {
        condition.status.clone()
    } else {
        format!("{} (of an older spec)", condition.status)
    }
}

fn members(nodes: &[NodeStatus], shards: Option<&ShardsStatus>) -> String {
    let mut nodes: Vec<&NodeStatus> = nodes.iter().collect();
    nodes.sort_by(|a, b| (a.group, &a.name).cmp(&(b.group, &b.name)));
    let mut last = None;
    let rows: Vec<Vec<String>> = nodes
        .into_iter()
        .map(|node| {
            // Group and shards are the group's, so they stand beside its first member only.
            let first = last.replace(node.group) != Some(node.group);
            let of_group = shards
                .filter(|_| first)
                .and_then(|shards| shards.by_worker.iter().find(|worker| worker.group == node.group));
            vec![
                if first { node.group.to_string() } else { String::new() },
                node.name.clone(),
                format!("{:?}", node.role),
                or_dash(node.lag.map(|lag| format!("{lag:?}"))),
                or_dash(node.timeline),
                of_group.map_or_else(String::new, |worker| worker.shards.to_string()),
            ]
        })
        .collect();
    table(&["GROUP", "MEMBER", "ROLE", "LAG", "TIMELINE", "SHARDS"], &rows)
}

fn facts(status: &CourseShardStatus) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut fact = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    if let Some(schema) = &status.schema {
        let dirty = if schema.dirty { ", stopped half-way" } else { "" };
        fact("schema", format!("version {}{dirty}", schema.version));
    }
    if let Some(shards) = &status.shards {
        fact("shards", format!("{} in each co-location group", shards.total));
    }
    if let Some(endpoints) = &status.endpoints {
        fact("pooler", endpoints.pooler.clone());
        fact("primary", endpoints.primary.clone());
        fact("read-only", endpoints.read_only.clone());
        fact(
            "database",
            format!("{} (CA certificate in Secret {})", endpoints.database, endpoints.ca_secret),
        );
    }
    if let Some(render) = &status.render {
        let update = match render.available_revision {
            Some(revision) if render.update_available => {
                format!(", newer templates or images at revision {revision}: kubectl lyceum take-over")
            }
            _ => String::new(),
        };
        fact("render", format!("revision {}{update}", render.revision));
        fact("images", format!("{}, {}", render.postgres_image, render.pooler_image));
    }
    if let Some(intent) = &status.intent {
        fact("under way", format!("{:?} {} until {}", intent.action.kind, intent.id, intent.deadline));
    }
    if rows.is_empty() {
        return String::new();
    }
    let lines = table(&["", ""], &rows);
    format!("\nDetails\n{}", indent(lines.trim_start_matches('\n')))
}

#[cfg(test)]
mod tests;
