//! `kubectl lyceum`: what it prints and how it ends.

use anyhow::{Context, Result, ensure};
use lyceum_scenarios::config::in_repository;
use lyceum_scenarios::formation::READY_WITHIN;
use lyceum_scenarios::plugin::Plugin;
use lyceum_scenarios::progress::say;
use lyceum_scenarios::stage::Stage;

/// Status and explain tell of a formation, psql reaches it, check judges manifests without a cluster.
pub(crate) async fn tells_and_reaches(stage: &Stage<'_>) -> Result<()> {
    let formation = stage.standing().await?;
    formation.wait_ready(READY_WITHIN).await?;
    let plugin = Plugin::build(stage.cluster, formation.namespace()).await?;
    let name = formation.name();

    let status = plugin.run(&["status", name]).await?;
    let primary = formation.status().await?.primary.context("a Ready formation has no primary")?;
    for expected in [name, primary.as_str(), "Ready", "pooler"] {
        ensure!(status.stdout.contains(expected), "`status` does not show {expected:?}:\n{}", status.stdout);
    }
    let explained = plugin.run(&["explain", name]).await?;
    ensure!(explained.stdout.contains("Ready"), "`explain` says of a Ready formation:\n{}", explained.stdout);
    let rows = plugin.run(&["psql", name, "--", "-Atc", "SELECT count(*) FROM studying.enrollments"]).await?;
    ensure!(rows.stdout.trim() == "32593", "`psql` counted {:?}", rows.stdout);
    let missing = plugin.try_run(&["status", "nobody"]).await?;
    ensure!(
        missing.status == Some(1) && missing.stderr.contains("nobody"),
        "`status` of what is not there ended with {:?}: {}",
        missing.status,
        missing.stderr
    );

    let good = in_repository("charts/examples/school.yaml")?;
    plugin.run(&["check", &good.to_string_lossy()]).await?;
    let bad = in_repository("crds/tests/corpus/citus-known.rejected.yaml")?;
    let refused = plugin.try_run(&["check", &bad.to_string_lossy()]).await?;
    ensure!(
        refused.status == Some(1) && refused.stdout.contains("spec.postgres.citus must be one of"),
        "`check` of a bad manifest ended with {:?}: {}",
        refused.status,
        refused.stdout
    );
    say("status, explain, psql and check answered as they should");
    Ok(())
}
