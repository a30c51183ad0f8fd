//! The scenarios: each a sentence about lyceum on a real cluster, and the proof of it.
//!
//! They run one after the other, because they share a machine and some of them break things. One that
//! needs Citus runs as far as it can without and is counted in the closing line.

mod admission;
mod chart;
mod corpus;
mod deletion;
mod healing;
mod leader;
mod migrations;
mod neighbours;
mod plugin;
mod policies;
mod pooler;
mod serving;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use lyceum_scenarios::cluster::Cluster;
use lyceum_scenarios::progress;
use lyceum_scenarios::stage::{self, Stage};
use tokio::runtime::Runtime;

/// Longest a scenario may take in a representative run; a full one has that much a round.
const LIMIT: Duration = Duration::from_secs(600);

/// How much of a scenario's proof needs Citus.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Citus {
    /// None: it proves the same on a single group.
    Indifferent,
    /// Some: on a single group it proves less.
    Wider,
    /// All: there is nothing to prove without.
    Needed,
}

type Run = for<'a> fn(&'a Stage<'a>) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

#[derive(Clone, Copy)]
struct Scenario {
    kind: &'static str,
    sentence: &'static str,
    citus: Citus,
    run: Run,
}

macro_rules! scenarios {
    ($($kind:literal, $sentence:literal, $citus:ident, $run:path;)*) => {
        vec![$(Scenario {
            kind: $kind,
            sentence: $sentence,
            citus: Citus::$citus,
            run: |stage| Box::pin($run(stage)),
        }),*]
    };
}

/// In the order they run: what looks at the shared formation before what breaks it.
#[rustfmt::skip]
fn scenarios() -> Vec<Scenario> {
    scenarios![
        "create", "a CourseShard becomes Ready and its 32,593 enrollments are read through the pooler", Wider, serving::becomes_ready_and_is_read;
        "create", "the members of a group are on different nodes", Wider, serving::members_are_on_different_nodes;
        "create", "one student's rows touch one shard and both workers hold 48 shards", Needed, serving::one_student_is_one_shard;
        "load", "the loader run twice adds nothing", Wider, serving::loading_twice_adds_nothing;
        "rest", "a formation at rest sees no write of the operator", Wider, serving::at_rest_nothing_is_written;
        "policy", "only pods that say they are clients reach pooler and database, and nobody Patroni", Indifferent, policies::only_clients_get_through;
        "policy", "every pod runs under Pod Security restricted", Indifferent, policies::pods_run_under_restricted;
        "policy", "the admission policies accept and refuse what they should", Indifferent, admission::every_object_gets_its_verdict;
        "plugin", "kubectl lyceum tells of a formation, reaches it, and judges manifests", Indifferent, plugin::tells_and_reaches;
        "pooler", "100,000 executions of interleaved clients through the pooler show no foreign row", Indifferent, pooler::no_foreign_rows;
        "heal", "an owned object that is edited or deleted comes back as it was", Indifferent, healing::owned_objects_come_back;
        "heal", "a replica that dies comes back and no acknowledged row is lost", Wider, healing::replica_comes_back;
        "heal", "a primary that dies comes back, writes go on, and no acknowledged row is lost", Wider, healing::primary_comes_back;
        "chart", "an upgrade of the chart restarts no database pod, and is rolled back", Wider, chart::upgrade_restarts_no_database;
        "create", "CourseShards side by side don't touch each other, and one that can't be made stops none", Indifferent, neighbours::side_by_side;
        "refuse", "the offline check and the API server agree on every object of the corpus", Indifferent, corpus::the_api_server_agrees;
        "leader", "a leader killed in the middle of a creation leaves one of everything", Indifferent, leader::killed_in_the_middle;
        "leader", "a leader stopped for 30 s and continued writes nothing any more", Indifferent, leader::stopped_and_continued;
        "migrate", "two migrators at once and one of them killed leave one clean schema", Indifferent, migrations::two_at_once_and_one_killed;
        "delete", "under Retain a CourseShard of the same name finds its rows again, and its namespace can go", Indifferent, deletion::retain_finds_its_rows_again;
        "delete", "under Delete nothing is left and a CourseShard of the same name starts empty", Indifferent, deletion::delete_leaves_nothing;
        "chart", "uninstalling leaves databases running and nothing stuck, and an install takes them up again", Wider, chart::uninstall_and_install_again;
    ]
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One after the other, whatever cargo was told: see above.
    arguments.test_threads = Some(1);
    if arguments.list {
        return libtest_mimic::run(&arguments, scenarios().iter().map(listed).collect()).exit_code();
    }
    match prove(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("the scenarios could not run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn listed(scenario: &Scenario) -> Trial {
    Trial::test(scenario.sentence, || Ok(())).with_kind(scenario.kind)
}

fn prove(arguments: &Arguments) -> Result<ExitCode> {
    let runtime = Arc::new(Runtime::new().context("could not start the asynchronous runtime")?);
    let cluster = Arc::new(runtime.block_on(Cluster::connect())?);
    runtime.block_on(stage::sweep(&cluster.client))?;
    let all = scenarios();
    let total = all.len();
    let whole = all.iter().filter(|scenario| cluster.citus || scenario.citus == Citus::Indifferent).count();
    let mut trials = all.into_iter().map(|s| trial(s, &runtime, &cluster)).collect::<Vec<_>>();
    trials.push(last(&runtime, &cluster));

    let conclusion = libtest_mimic::run(arguments, trials);
    // Scenarios may have been left out by name, so the last trial with them: clean up in any case.
    runtime.block_on(cluster.give_up_standing())?;
    if !cluster.citus {
        println!("PARTIAL: {whole} of {total} scenarios, Citus extension absent");
    }
    Ok(conclusion.exit_code())
}

fn trial(scenario: Scenario, runtime: &Arc<Runtime>, cluster: &Arc<Cluster>) -> Trial {
    let (runtime, cluster) = (runtime.clone(), cluster.clone());
    Trial::ignorable_test(scenario.sentence, move || {
        if scenario.citus == Citus::Needed && !cluster.citus {
            return Ok(Completion::ignored_with("the Citus extension is absent"));
        }
        runtime.block_on(play(&scenario, &cluster)).map_err(|error| Failed::from(format!("{error:#}")))?;
        Ok(Completion::Completed)
    })
    .with_kind(scenario.kind)
}

async fn play(scenario: &Scenario, cluster: &Cluster) -> Result<()> {
    eprintln!();
    progress::begin();
    let stage = Stage::new(cluster);
    let limit = cluster.proof.of(LIMIT, LIMIT * 12);
    let outcome = match tokio::time::timeout(limit, (scenario.run)(&stage)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(anyhow!("not done after {} s", limit.as_secs())),
    };
    if let Err(error) = &outcome {
        // Here too, not only in the summary: what follows explains it.
        progress::say(format!("FAILED: {error:#}"));
    }
    let struck = stage.strike(outcome.is_err()).await;
    outcome.and(struck)
}

/// After all scenarios: what they made goes away by itself.
fn last(runtime: &Arc<Runtime>, cluster: &Arc<Cluster>) -> Trial {
    let (runtime, cluster) = (runtime.clone(), cluster.clone());
    Trial::test("every namespace of the run goes away", move || {
        eprintln!();
        progress::begin();
        let gone = async {
            cluster.give_up_standing().await?;
            stage::wait_all_gone(&cluster.client).await
        };
        runtime.block_on(gone).map_err(|error| Failed::from(format!("{error:#}")))
    })
    .with_kind("delete")
}
