//! The operator's leader dies or sleeps in the middle of things.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::Api;
use lyceum_scenarios::config::Proof;
use lyceum_scenarios::formation::{Formation, READY_WITHIN};
use lyceum_scenarios::leftovers::{at_rest, changed, versions_of};
use lyceum_scenarios::operator::{self, Processes, Signal};
use lyceum_scenarios::progress::say;
use lyceum_scenarios::stage::Stage;
use lyceum_scenarios::wait::{Look, not_yet, wait_until};
use lyceum_scenarios::{audit, leftovers, shards};

/// Longest from the end of a leader to the next: the lease's 15 s and room for a busy machine.
const NEW_LEADER_WITHIN: Duration = Duration::from_secs(40);

/// How long the leader is stopped: twice the lease.
const STOPPED_FOR: Duration = Duration::from_secs(30);

/// A point in the making of a formation.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The CourseShard was just created; the operator may have written anything or nothing.
    Accepted,
    /// The StatefulSet is there.
    Rendered,
    /// The migrator's intent is in status: the one action that must not run twice.
    Migrating,
}

/// The leader is ended without warning at several moments; the formation gets ready all the same,
/// with one set of passwords and one migration.
pub(crate) async fn killed_in_the_middle(stage: &Stage<'_>) -> Result<()> {
    let moments: &[Moment] = match stage.cluster.proof {
        Proof::Representative => &[Moment::Rendered, Moment::Migrating],
        Proof::Full => &[
            Moment::Accepted,
            Moment::Rendered,
            Moment::Migrating,
            Moment::Accepted,
            Moment::Rendered,
            Moment::Migrating,
        ],
    };
    let namespace = stage.namespace("killed").await?;
    for (round, moment) in moments.iter().enumerate() {
        let shard = shards::single(&format!("round-{round}"), 1)?;
        let formation = Formation::create(stage.client(), &namespace, &shard).await?;
        reached(&formation, *moment).await?;
        let leader = operator::leader(stage.client()).await?;
        let term = operator::term(stage.client()).await?.ok_or_else(|| anyhow!("nobody leads"))?;
        let secrets = secrets_of(&formation).await?;
        // In turns: the process dies and the pod stays, the pod is taken away.
        match Processes::of_pod(&leader) {
            Ok(process) if round % 2 == 0 => process.signal(Signal::Kill)?,
            _ => operator::delete_now(stage.client(), &leader.name_any()).await?,
        }
        say(format!("ended the leader {} when {moment:?}", leader.name_any()));
        formation.wait_ready(READY_WITHIN).await?;
        let settled = operator::wait_settled(stage.client(), NEW_LEADER_WITHIN).await?;
        say(format!("lease hand-overs: {} before, {} after", term.transitions, settled.transitions));
        once_only(&formation, &secrets).await?;
        formation.delete(shard.spec.deletion_policy, Duration::from_secs(120)).await?;
    }
    Ok(())
}

async fn reached(formation: &Formation, moment: Moment) -> Result<()> {
    let sets: Api<StatefulSet> = Api::namespaced(formation.client.clone(), formation.namespace());
    wait_until(&format!("{} is {moment:?}", formation.name()), READY_WITHIN, async || {
        let there = match moment {
            Moment::Accepted => true,
            Moment::Rendered => sets.get_opt(&formation.names.statefulset(0)).await?.is_some(),
            Moment::Migrating => formation.status().await?.intent.is_some(),
        };
        if there { Ok(Look::Done(())) } else { not_yet("not there") }
    })
    .await
}

/// UIDs and versions of the Secrets made so far: made once, never again.
async fn secrets_of(formation: &Formation) -> Result<BTreeMap<String, (Option<String>, Option<String>)>> {
    let all = leftovers::everything(&formation.client, formation.namespace()).await?;
    Ok(all
        .into_iter()
        .filter(|(kind, object)| kind == "Secret" && object.name_any().starts_with(formation.name()))
        .map(|(_, secret)| (secret.name_any(), (secret.uid(), secret.resource_version())))
        .collect())
}

async fn once_only(
    formation: &Formation,
    secrets: &BTreeMap<String, (Option<String>, Option<String>)>,
) -> Result<()> {
    let now = secrets_of(formation).await?;
    for (name, identity) in secrets {
        ensure!(now.get(name) == Some(identity), "Secret {name} was written again: passwords would be lost");
    }
    let jobs = formation.migrator_jobs().await?;
    let names = jobs.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
    ensure!(jobs.len() <= 1, "the migration ran as several Jobs: {names:?}");
    let rows = formation.count(0, "SELECT count(*) FROM platform.schema_version WHERE NOT dirty").await?;
    ensure!(rows == 1, "platform.schema_version has {rows} clean rows, not 1");
    Ok(())
}

/// The leader sleeps for two lease times and wakes up: another has taken over and finished the work,
/// and the sleeper ends without having written anything.
pub(crate) async fn stopped_and_continued(stage: &Stage<'_>) -> Result<()> {
    let client = stage.client();
    operator::wait_settled(client, NEW_LEADER_WITHIN).await?;
    let namespace = stage.namespace("stopped").await?;
    let formation = Formation::create(client, &namespace, &shards::single("school", 1)?).await?;
    reached(&formation, Moment::Rendered).await?;

    let old = operator::term(client).await?.ok_or_else(|| anyhow!("nobody leads"))?;
    let sleeper = operator::leader(client).await?;
    let process = Processes::of_pod(&sleeper)?;
    process.signal(Signal::Stop)?;
    let stopped = Instant::now();
    say(format!("stopped the leader {}", old.holder));
    let outcome = while_stopped(&formation, &old, stopped).await;
    process.signal(Signal::Continue)?;
    say(format!("continued {} after {:.0} s", old.holder, stopped.elapsed().as_secs_f64()));
    let (new, at_rest) = outcome?;

    // Long enough for whatever the sleeper had in hand to be sent, were it not for the fence.
    let pods: Api<Pod> = Api::namespaced(client.clone(), operator::NAMESPACE);
    wait_until("the sleeper has ended by itself", Duration::from_secs(15), async || {
        match pods.get_opt(&sleeper.name_any()).await? {
            Some(pod) if operator::restarts(&pod) > operator::restarts(&sleeper) => Ok(Look::Done(())),
            None => Ok(Look::Done(())),
            Some(_) => not_yet("it still runs"),
        }
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    wrote_nothing_after(stage, &sleeper, &new)?;
    let now = versions_of(&formation).await?;
    let written = changed(&at_rest, &now);
    ensure!(written.is_empty(), "written after the sleeper woke, though everything was at rest: {written:?}");
    let after = operator::term(client).await?;
    ensure!(after.as_ref() == Some(&new), "the lease moved: {new:?} held it, now {after:?}");
    operator::wait_settled(client, NEW_LEADER_WITHIN).await?;
    Ok(())
}

/// By the API server's own record, no write of the sleeper's pod took effect after the next term began.
fn wrote_nothing_after(stage: &Stage<'_>, sleeper: &Pod, new: &operator::Term) -> Result<()> {
    let Some(log) = &stage.cluster.audit else {
        say("this cluster has no audit log to read: only versions of objects are compared");
        return Ok(());
    };
    let began = new.acquired.context("the lease does not say when the term began")?;
    let writes = audit::writes_since(log, began)?;
    let by_sleeper = |write: &&audit::Write| write.pod == sleeper.name_any() && write.code < 400;
    let stale = writes.iter().filter(by_sleeper).map(|write| &write.what).collect::<Vec<_>>();
    ensure!(stale.is_empty(), "the sleeper wrote after the next term began: {stale:?}");
    let by_new = writes.iter().filter(|write| new.holder.starts_with(&write.pod)).count();
    ensure!(by_new > 0, "the audit log shows no write of the new leader either: it would show none ever");
    say(format!("since the new term began: 0 writes of the sleeper, {by_new} of the new leader"));
    Ok(())
}

/// Another leader takes over and finishes; hands back its term and the formation at rest.
async fn while_stopped(
    formation: &Formation,
    old: &operator::Term,
    stopped: Instant,
) -> Result<(operator::Term, BTreeMap<String, String>)> {
    let new = operator::wait_new_leader(&formation.client, old, NEW_LEADER_WITHIN).await?;
    formation.wait_ready(READY_WITHIN).await?;
    tokio::time::sleep(STOPPED_FOR.saturating_sub(stopped.elapsed())).await;
    let at_rest = at_rest(formation).await?;
    Ok((new, at_rest))
}
