//! `kubectl lyceum` as built from this workspace.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::cluster::Cluster;
use crate::tool::{KubectlDirectory, Printed, built, run};

/// The plugin, looking into one namespace.
pub struct Plugin<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    path: PathBuf,
    kubectl: KubectlDirectory,
}

impl<'a> Plugin<'a> {
    /// Builds it.
    pub async fn build(cluster: &'a Cluster, namespace: &'a str) -> Result<Self> {
        let path = built("kubectl-lyceum", "kubectl-lyceum")?;
        Ok(Self { cluster, namespace, path, kubectl: KubectlDirectory::make().await? })
    }

    /// Runs it; a failure is an error with what it said.
    pub async fn run(&self, arguments: &[&str]) -> Result<Printed> {
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

    /// Runs it to whatever end.
    pub async fn try_run(&self, arguments: &[&str]) -> Result<Printed> {
        // Options of the plugin before its command, as what follows `--` is psql's.
        let arguments = [&["--namespace", self.namespace], arguments].concat();
        run(self.cluster, &self.path, &arguments, Some(self.kubectl.path())).await
    }
}
