//! A formation that is up, and the rows in it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use lyceum_crds::course_shard::names::{Component, LABEL_GROUP};
use lyceum_scenarios::formation::{READY_WITHIN, node_of};
use lyceum_scenarios::leftovers::{at_rest, changed, versions_of};
use lyceum_scenarios::loader;
use lyceum_scenarios::progress::say;
use lyceum_scenarios::sql::Session;
use lyceum_scenarios::stage::Stage;

/// What the Open University's registrations come to: rows by table.
const ROWS: [(&str, i64); 4] = [
    ("teaching.teaching_accounts", 7),
    ("teaching.courses", 22),
    ("studying.students", 28_785),
    ("studying.enrollments", 32_593),
];

/// The example that users start from becomes Ready; the rows its loader wrote are read through the
/// pooler by a service that may read them, over verified TLS.
pub(crate) async fn becomes_ready_and_is_read(stage: &Stage<'_>) -> Result<()> {
    let formation = stage.standing().await?;
    let shard = formation.wait_ready(READY_WITHIN).await?;
    let status = shard.status.unwrap_or_default();
    say(format!("primary {:?}, workers {:?}, schema {:?}", status.primary, status.workers, status.schema));
    counted(&formation).await
}

/// The loader run a second time adds nothing.
pub(crate) async fn loading_twice_adds_nothing(stage: &Stage<'_>) -> Result<()> {
    let formation = stage.standing().await?;
    loader::load(stage.cluster, &formation, "second", 1).await?;
    counted(&formation).await
}

async fn counted(formation: &lyceum_scenarios::formation::Formation) -> Result<()> {
    for (table, expected) in ROWS {
        let role = if table.starts_with("teaching") { "catalog" } else { "learning" };
        let mut session = Session::open(formation, role).await?;
        let found = session.number(&format!("SELECT count(*) FROM {table}")).await?;
        session.close().await?;
        ensure!(found == expected, "{table} has {found} rows through the pooler, not {expected}");
        say(format!("{found} rows of {table} through the pooler as {role}"));
    }
    Ok(())
}

/// No two members of a group share a node.
pub(crate) async fn members_are_on_different_nodes(stage: &Stage<'_>) -> Result<()> {
    let formation = stage.standing().await?;
    let nodes = stage.cluster.nodes().await?.len();
    ensure!(nodes >= 2, "the cluster has {nodes} node: bring the lab up with two");
    let mut seen = BTreeSet::new();
    let pods = formation.pods_of(Component::Database).await?;
    for pod in &pods {
        let group = pod.labels().get(LABEL_GROUP).context("a database pod without its group's label")?;
        let node = node_of(pod)?;
        ensure!(seen.insert((group.clone(), node.to_owned())), "two members of group {group} are on {node}");
    }
    say(format!("{} pods over {nodes} nodes", pods.len()));
    Ok(())
}

/// With Citus, one student's rows are on one shard, a question without the key goes to all, and the two
/// workers hold half of the shards each; status says so.
pub(crate) async fn one_student_is_one_shard(stage: &Stage<'_>) -> Result<()> {
    let formation = stage.standing().await?;
    let mut session = Session::open(&formation, "learning").await?;
    let student = session.number("SELECT min(student_id) FROM studying.enrollments").await?;
    let by_key = format!("EXPLAIN SELECT * FROM studying.enrollments WHERE student_id = {student}");
    ensure!(tasks(&mut session, &by_key).await? == 1, "one student's enrollments are on several shards");
    let both = format!(
        "EXPLAIN SELECT * FROM studying.students JOIN studying.enrollments USING (student_id) \
         WHERE student_id = {student}"
    );
    ensure!(tasks(&mut session, &both).await? == 1, "a student and its enrollments are on different shards");
    // The control: the count of tasks can be something else than 1.
    let all = tasks(&mut session, "EXPLAIN SELECT count(*) FROM studying.enrollments").await?;
    let shards = formation.get().await?.spec.shard_count;
    ensure!(all == i64::from(shards), "a question to all shards has {all} tasks, not {shards}");
    session.close().await?;

    // Replicas are in pg_dist_node too; the shards of a group are its primary's.
    let by_worker = formation
        .psql(
            0,
            "SELECT count(*) FROM citus_shards JOIN pg_dist_node USING (nodename, nodeport) \
             WHERE table_name = 'studying.enrollments'::regclass AND noderole = 'primary' \
             GROUP BY groupid ORDER BY groupid",
        )
        .await?;
    let half = (shards / 2).to_string();
    ensure!(
        by_worker.lines().collect::<Vec<_>>() == [&half, &half],
        "shards by worker: {by_worker:?}, not {half} each"
    );
    let status = formation.status().await?.shards.context("no shards in status")?;
    ensure!(
        status.by_worker.iter().map(|worker| worker.shards).collect::<Vec<_>>() == [48, 48],
        "status says {status:?}"
    );
    Ok(())
}

async fn tasks(session: &mut Session, explain: &str) -> Result<i64> {
    let plan = session.lines(explain).await?;
    let count = plan.iter().find_map(|line| line.trim().strip_prefix("Task Count: "));
    let count = count.with_context(|| format!("no Task Count in the plan of {explain:?}: {plan:#?}"))?;
    Ok(count.parse()?)
}

/// With nothing to do the operator writes nothing: not to the CourseShard, not to what it owns.
pub(crate) async fn at_rest_nothing_is_written(stage: &Stage<'_>) -> Result<()> {
    let formation = stage.standing().await?;
    formation.wait_ready(READY_WITHIN).await?;
    let watched_for = Duration::from_secs(stage.cluster.proof.of(45, 600));
    let before = at_rest(&formation).await?;
    ensure!(before.len() > 10, "only {} objects are watched: not the whole formation", before.len());
    tokio::time::sleep(watched_for).await;
    let after = versions_of(&formation).await?;
    let written = changed(&before, &after);
    ensure!(written.is_empty(), "written at rest: {written:?}");
    say(format!("{} objects unwritten for {} s", before.len(), watched_for.as_secs()));
    Ok(())
}
