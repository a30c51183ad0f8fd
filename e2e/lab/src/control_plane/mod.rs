//! etcd, API server, controller manager and scheduler of one region.

mod apiserver;
mod etcd;
mod managers;

use std::time::Duration;

use anyhow::Result;

use crate::address::RegionPlan;
use crate::cgroup::Hierarchies;
use crate::health::Probe;
use crate::process::{Daemon, Outcome};
use crate::state::{RegionPaths, write_file};
use crate::tools::Toolbox;

/// A cold machine with a build running beside it needs its time; one that is well needs 3 s.
const START_LIMIT: Duration = Duration::from_secs(90);

/// What starting a component of the control plane needs to know.
pub struct Context<'a> {
    /// The region's names and addresses.
    pub plan: &'a RegionPlan,
    /// Its files.
    pub paths: &'a RegionPaths,
    /// The programs.
    pub tools: &'a Toolbox,
    /// Where its processes are listed.
    pub hierarchies: &'a Hierarchies,
}

impl Context<'_> {
    fn daemon(&self, component: &str, program: &std::path::Path, arguments: Vec<String>) -> Daemon {
        Daemon {
            cgroup: format!("{}/cp/{component}", self.plan.name()),
            program: program.to_path_buf(),
            arguments,
            network: Some(self.plan.control_plane_namespace()),
            machine: None,
            prelude: Vec::new(),
            log: self.paths.log(component),
            configuration: String::new(),
            fingerprint: self.paths.run.join(format!("cp/{component}.fingerprint")),
        }
    }

    fn config(&self, file: &str, content: &str) -> Result<String> {
        let path = self.paths.config(file);
        write_file(&path, content, 0o644)?;
        Ok(path.to_string_lossy().into_owned())
    }

    fn pki(&self, file: &str) -> String {
        self.paths.pki(file).to_string_lossy().into_owned()
    }

    async fn ensure(&self, daemon: &Daemon, port: u16, path: &str) -> Result<Outcome> {
        let url = format!("https://{}:{port}", self.plan.control_plane());
        let probe = Probe::new(&self.paths.admin_kubeconfig(), &url, path).await?;
        daemon.ensure(self.hierarchies, START_LIMIT, async || probe.ask().await).await
    }
}

/// Sees to it that the region's control plane runs and answers.
///
/// # Errors
/// When a component does not; the message carries the end of its log.
pub async fn ensure(context: &Context<'_>) -> Result<()> {
    // The API server tries etcd again by itself, so that both may start at once. The other two end when there
    // is no API server at their start.
    let (etcd, apiserver) = (etcd::daemon(context), apiserver::daemon(context)?);
    tokio::try_join!(
        context.ensure(&etcd, etcd::PORT, "/health"),
        context.ensure(&apiserver, 6443, "/readyz")
    )?;
    let (manager, scheduler) = (managers::controller_manager(context), managers::scheduler(context)?);
    tokio::try_join!(
        context.ensure(&manager, 10257, "/healthz"),
        context.ensure(&scheduler, 10259, "/healthz")
    )?;
    Ok(())
}

/// `--name=value` for every pair.
fn flags<const N: usize>(pairs: [(&str, String); N]) -> Vec<String> {
    pairs.into_iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::path::PathBuf;

    use super::*;

    /// The components of a region whose certificates lie in `root`.
    fn daemons(root: &std::path::Path) -> Vec<Daemon> {
        let plan = RegionPlan::new("a").unwrap();
        let paths = RegionPaths { state: root.join("a"), run: root.join("run") };
        crate::pki::ensure(&paths, &plan, 1).unwrap();
        let unused = PathBuf::from("/unused");
        let tools = Toolbox { kubernetes: unused.clone(), etcd: unused.clone(), kube_router: unused };
        let hierarchies = Hierarchies::detect().unwrap();
        let context = Context { plan: &plan, paths: &paths, tools: &tools, hierarchies: &hierarchies };
        vec![
            etcd::daemon(&context),
            apiserver::daemon(&context).unwrap(),
            managers::controller_manager(&context),
            managers::scheduler(&context).unwrap(),
        ]
    }

    #[test]
    fn every_certificate_and_configuration_that_a_component_is_given_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = 0;
        for daemon in daemons(directory.path()) {
            for argument in &daemon.arguments {
                let Some((flag, value)) = argument.split_once('=') else { continue };
                let is_file =
                    [".crt", ".key", ".pub", ".kubeconfig", ".yaml"].iter().any(|end| value.ends_with(end));
                if is_file {
                    assert!(std::path::Path::new(value).exists(), "{}: {flag}={value}", daemon.cgroup);
                    files += 1;
                }
            }
        }
        assert!(files > 30, "{files}");
    }

    #[test]
    fn nobody_is_anonymous_and_nothing_skips_verification() {
        let directory = tempfile::tempdir().unwrap();
        let all: Vec<String> =
            daemons(directory.path()).into_iter().flat_map(|daemon| daemon.arguments).collect();
        for wanted in ["--anonymous-auth=false", "--authorization-mode=Node,RBAC", "--client-cert-auth"] {
            assert!(all.iter().any(|argument| argument == wanted), "{wanted}");
        }
        for argument in all {
            let lower = argument.to_lowercase();
            assert!(!lower.contains("insecure") && !lower.contains("skip"), "{argument}");
            assert!(!lower.contains("http://"), "{argument}");
        }
    }
}
