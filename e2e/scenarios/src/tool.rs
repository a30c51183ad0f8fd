//! Commands run on this machine: helm, kubectl, and the binaries of this workspace.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use lyceum_lab::tools::{ensure_helm, ensure_kubernetes};
use lyceum_lab::{Options, Progress};
use tokio::process::Command;

use crate::cluster::Cluster;
use crate::config::in_repository;

/// What a command printed.
#[derive(Debug)]
pub struct Printed {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Status it ended with; `None` when a signal ended it.
    pub status: Option<i32>,
}

/// Runs a command on the cluster to its end, whatever the end is. `path` is searched before the PATH.
pub async fn run(
    cluster: &Cluster,
    program: &Path,
    arguments: &[&str],
    path: Option<&Path>,
) -> Result<Printed> {
    let mut search = OsString::new();
    if let Some(path) = path {
        search.push(path);
        search.push(":");
    }
    search.push(std::env::var_os("PATH").unwrap_or_default());
    let output = Command::new(program)
        .args(arguments)
        .env("KUBECONFIG", &cluster.kubeconfig)
        .env("PATH", search)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("could not run {}", program.display()))?;
    Ok(Printed {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        status: output.status.code(),
    })
}

/// Runs helm on the cluster; a failure is an error with what helm said.
///
/// `LYCEUM_HELM` names one, else it is the PATH's or the lab's.
pub async fn helm(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let helm = match std::env::var_os("LYCEUM_HELM").filter(|path| !path.is_empty()) {
        Some(named) => named.into(),
        None => ensure_helm(&Options::from_environment()?, &Progress::new()).await?,
    };
    let printed = run(cluster, &helm, arguments, None).await?;
    if printed.status != Some(0) {
        bail!("helm {} failed: {}{}", arguments.join(" "), printed.stdout, printed.stderr);
    }
    Ok(printed.stdout)
}

/// A directory to search for `kubectl`, for a machine that has none: the lab's Kubernetes holds one.
pub struct KubectlDirectory(tempfile::TempDir);

impl KubectlDirectory {
    /// Makes it.
    pub async fn make() -> Result<Self> {
        let kubernetes = ensure_kubernetes(&Options::from_environment()?, &Progress::new()).await?;
        let directory = tempfile::tempdir().context("could not make a temporary directory")?;
        std::os::unix::fs::symlink(kubernetes, directory.path().join("kubectl"))?;
        Ok(Self(directory))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Builds a binary of the workspace and says where it is.
pub fn built(package: &str, binary: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let status = std::process::Command::new(cargo)
        .current_dir(in_repository("")?)
        // Of the whole workspace, as `make` builds: alone, a package's dependencies get other features.
        .args(["build", "--quiet", "--workspace", "--bin", binary])
        .status()
        .context("could not run cargo")?;
    if !status.success() {
        bail!("could not build {binary} of package {package}");
    }
    // This process is target/<profile>/deps/<name> or target/<profile>/<name>; binaries are in target/<profile>.
    let here = std::env::current_exe()?;
    let path = here.ancestors().skip(1).map(|folder| folder.join(binary)).find(|path| path.is_file());
    path.with_context(|| format!("{binary} was built, but not beside {}", here.display()))
}
