//! Programs that the lab runs and that no Debian package has: built or fetched once, kept in the cache.

mod golang;
mod helm;
mod kubernetes;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::find;
use crate::options::Options;
use crate::progress::Progress;

pub use golang::{COREDNS, GoProgram, KUBE_ROUTER, LOCAL_PATH_PROVISIONER, ensure as ensure_go_program};
pub use helm::ensure as ensure_helm;
pub use kubernetes::{VERSION as KUBERNETES_VERSION, ensure as ensure_kubernetes};

/// The programs that `up` starts on the host.
#[derive(Debug, Clone)]
pub struct Toolbox {
    /// All of Kubernetes in one binary; the component is its first argument.
    pub kubernetes: PathBuf,
    /// etcd, from its package.
    pub etcd: PathBuf,
    /// The enforcer of NetworkPolicies.
    pub kube_router: PathBuf,
}

impl Toolbox {
    /// Finds or makes every program.
    ///
    /// # Errors
    /// When one cannot be built; the message carries the end of the compiler's output.
    pub async fn ensure(options: &Options, progress: &Progress) -> Result<Self> {
        // One after the other: each build takes every core it can get.
        let kubernetes = ensure_kubernetes(options, progress).await?;
        let kube_router = ensure_go_program(options, progress, &KUBE_ROUTER).await?;
        let etcd = find("etcd").context("etcd is missing: install the package etcd-server")?;
        Ok(Self { kubernetes, etcd, kube_router })
    }
}

/// A directory that is filled to the side and put in place whole, so that what is there is complete.
struct Workplace {
    aside: PathBuf,
    target: PathBuf,
}

impl Workplace {
    fn new(target: &Path) -> Result<Self> {
        let mut aside = target.as_os_str().to_owned();
        aside.push(format!(".{}", std::process::id()));
        let aside = PathBuf::from(aside);
        let _ = std::fs::remove_dir_all(&aside);
        std::fs::create_dir_all(&aside).with_context(|| format!("cannot make {}", aside.display()))?;
        Ok(Self { aside, target: target.to_path_buf() })
    }

    fn finish(self) -> Result<()> {
        match std::fs::rename(&self.aside, &self.target) {
            // Somebody else was faster; theirs is as good.
            Err(_) if self.target.is_dir() => Ok(()),
            other => other.with_context(|| format!("cannot put {} in place", self.target.display())),
        }
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.aside);
    }
}
