//! One node: a mount namespace that makes it a machine of its own, with containerd, kubelet, kube-proxy and
//! kube-router in it.

mod containerd;
mod kubelet;
mod machine;
mod object;
mod policy;
mod proxy;

use std::time::Duration;

use anyhow::Result;

use crate::address::{NodePlan, RegionPlan};
use crate::cgroup::Hierarchies;
use crate::process::Daemon;
use crate::state::RegionPaths;
use crate::tools::Toolbox;

pub use containerd::{has as has_image, import as import_image};
pub use machine::MOUNT_POINTS;

const START_LIMIT: Duration = Duration::from_secs(90);

/// What starting a node needs to know.
pub struct Context<'a> {
    /// The region's names and addresses.
    pub region: &'a RegionPlan,
    /// The node's number in the region, from 1.
    pub number: u8,
    /// Its names and addresses.
    pub plan: NodePlan,
    /// The region's files.
    pub paths: &'a RegionPaths,
    /// The programs.
    pub tools: &'a Toolbox,
    /// Where its processes are listed.
    pub hierarchies: &'a Hierarchies,
}

impl Context<'_> {
    /// The node's part in names of cgroups and logs: `n1`.
    fn short(&self) -> String {
        format!("n{}", self.number)
    }

    fn cgroup(&self, component: &str) -> String {
        format!("{}/{}/{component}", self.region.name(), self.short())
    }

    fn daemon(
        &self,
        component: &str,
        program: &std::path::Path,
        arguments: Vec<String>,
        machine: i32,
    ) -> Daemon {
        Daemon {
            cgroup: self.cgroup(component),
            program: program.to_path_buf(),
            arguments,
            network: Some(self.plan.namespace.clone()),
            machine: Some(machine),
            prelude: Vec::new(),
            log: self.paths.log(&format!("{}-{component}", self.short())),
            configuration: String::new(),
            fingerprint: self.paths.node_run(self.number).join(format!("{component}.fingerprint")),
        }
    }

    fn config(&self, file: &str, content: &str) -> Result<String> {
        let path = self.paths.config(&format!("{}-{file}", self.short()));
        crate::state::write_file(&path, content, 0o644)?;
        Ok(path.to_string_lossy().into_owned())
    }

    fn pki(&self, file: &str) -> String {
        self.paths.pki(file).to_string_lossy().into_owned()
    }
}

/// A node whose containerd runs, so that images can be put there.
pub struct Machine {
    holder: i32,
}

/// Sees to it that the node's machine and containerd run. Needs no API server.
///
/// # Errors
/// When one does not start; the message carries the end of its log.
pub async fn ensure_machine(context: &Context<'_>, pause_image: &str) -> Result<Machine> {
    let holder = machine::ensure(context).await?;
    containerd::ensure(context, holder, pause_image).await?;
    Ok(Machine { holder })
}

/// Sees to it that the node is a Ready member of its cluster.
///
/// # Errors
/// When a component does not start, or the node does not become Ready; the message says why.
pub async fn ensure_member(context: &Context<'_>, machine: &Machine) -> Result<()> {
    let client = crate::health::client(&context.paths.admin_kubeconfig()).await?;
    object::ensure(context, &client).await?;
    tokio::try_join!(
        kubelet::ensure(context, machine.holder),
        proxy::ensure(context, machine.holder),
        policy::ensure(context, machine.holder),
    )?;
    object::wait_ready(context, &client).await
}
