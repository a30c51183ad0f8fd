//! `kubectl lyceum`: what it prints and how it ends.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use lyceum_scenarios::config::in_repository;
use lyceum_scenarios::formation::{Formation, READY_WITHIN};
use lyceum_scenarios::progress::say;
use lyceum_scenarios::stage::Stage;
use lyceum_scenarios::tool::{KubectlDirectory, Printed, built, run};

/// Status and explain tell of a formation, psql reaches it, check judges manifests without a cluster.
pub(crate) async fn tells_and_reaches(stage: &Stage<'_>) -> Result<()> {
    let formation = stage.standing().await?;
    formation.wait_ready(READY_WITHIN).await?;
    let plugin = Plugin {
        path: built("kubectl-lyceum", "kubectl-lyceum")?,
        kubectl: KubectlDirectory::make().await?,
        formation: &formation,
        stage,
    };
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

struct Plugin<'a> {
    path: PathBuf,
    kubectl: KubectlDirectory,
    formation: &'a Formation,
    stage: &'a Stage<'a>,
}

impl Plugin<'_> {
    async fn run(&self, arguments: &[&str]) -> Result<Printed> {
        let printed = self.try_run(arguments).await?;
        ensure!(
            printed.status == Some(0),
            "`kubectl lyceum {}` ended with {:?}: {}{}",
            arguments.join(" "),
            printed.status,
            printed.stdout,
            printed.stderr
        );
        Ok(printed)
    }

    async fn try_run(&self, arguments: &[&str]) -> Result<Printed> {
        // Options of the plugin before its command, as what follows `--` is psql's.
        let namespace = ["--namespace", self.formation.namespace()];
        let arguments = [&namespace, arguments].concat();
        run(self.stage.cluster, &self.path, &arguments, Some(self.kubectl.path())).await
    }
}
