//! The node's container runtime, and putting images into it.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Context, START_LIMIT};
use crate::command::{find, run};
use crate::process::Outcome;

const SOCKET: &str = "/run/containerd/containerd.sock";

pub(super) async fn ensure(context: &Context<'_>, machine: i32, pause_image: &str) -> Result<Outcome> {
    let program = find("containerd").context("containerd is missing: install the package containerd")?;
    let conflist = format!("{:#}\n", network(&context.plan.pods.to_string()));
    let directory = context.paths.node_state(context.number).join("etc/cni/net.d");
    crate::state::write_file(&directory.join("10-lyceum.conflist"), &conflist, 0o644)?;
    let config = configuration(pause_image);
    let arguments = vec!["--config".to_owned(), context.config("containerd.toml", &config)?];
    let mut daemon = context.daemon("containerd", &program, arguments, machine);
    daemon.configuration = config + &conflist;
    let socket = context.paths.containerd_socket(context.number);
    daemon.ensure(context.hierarchies, START_LIMIT, async || ctr(&socket, &["version"]).await.map(drop)).await
}

/// Whether the node has an image of this name.
///
/// # Errors
/// When containerd does not answer.
pub async fn has(socket: &Path, reference: &str) -> Result<bool> {
    let names = ctr(socket, &["images", "list", "--quiet", &format!("name=={reference}")]).await?;
    Ok(names.lines().any(|name| name == reference))
}

/// Puts an image from an archive into the node.
///
/// # Errors
/// When the archive is none.
pub async fn import(socket: &Path, archive: &Path) -> Result<()> {
    ctr(socket, &["images", "import", &archive.to_string_lossy()]).await.map(drop)
}

async fn ctr(socket: &Path, arguments: &[&str]) -> Result<String> {
    let address = socket.to_string_lossy();
    // The namespace of containerd that Kubernetes' runtime interface uses.
    let mut all = vec!["--address", address.as_ref(), "--namespace", "k8s.io"];
    all.extend(arguments);
    Ok(run("ctr", &all).await?)
}

/// Pods get a point-to-point link each, so that every packet between two pods is routed and passes the firewall
/// that enforces NetworkPolicies; on a bridge, pods of one node would reach each other below it.
fn network(pods: &str) -> serde_json::Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "lyceum",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "ipam": { "type": "host-local", "ranges": [[{ "subnet": pods }]], "routes": [{ "dst": "0.0.0.0/0" }] },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

/// containerd 1.6. `restrict_oom_score_adj`: without CAP_SYS_RESOURCE no sandbox could lower its score, and would
/// die of the attempt. `netns_mounts_under_state_dir`: pods' network namespaces stay out of the host's /run/netns.
fn configuration(pause_image: &str) -> String {
    format!(
        r#"version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]

[grpc]
  address = "{SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
"#
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn pods_are_routed_and_draw_from_the_nodes_range() {
        let network = network("198.19.1.0/24");
        assert_eq!(network["plugins"][0]["type"], "ptp");
        assert_eq!(network["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "198.19.1.0/24");
    }

    #[test]
    fn the_pause_image_is_the_one_that_was_built() {
        let text = configuration("localhost/lyceum/pause:1234");
        assert!(text.contains("sandbox_image = \"localhost/lyceum/pause:1234\""));
        assert!(text.contains("SystemdCgroup = false"));
    }
}
