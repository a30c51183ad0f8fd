//! What makes a node a machine of its own: a process that holds a mount namespace and a host name.
//!
//! In that namespace the directories that Kubernetes and containerd have fixed names for are the node's own, so
//! that nodes do not meet in them, configuration is what it is anywhere, and paths of sockets stay short. Mounts
//! of pods exist only there: they end with the node's last process, however it ends.

use std::fs;

use anyhow::{Context as _, Result, bail};

use super::{Context, START_LIMIT};
use crate::command::find;
use crate::process::{Daemon, Outcome};

/// Where a node sees its own directories. Those that the host lacks are made by `up` and removed by `down`.
pub const MOUNT_POINTS: [&str; 8] = [
    "/etc/cni/net.d",
    "/run/containerd",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/lyceum-volumes",
    "/var/log/containers",
    "/var/log/pods",
];

/// Returns the process that holds the namespaces.
pub(super) async fn ensure(context: &Context<'_>) -> Result<i32> {
    let sleep = find("sleep").context("the program `sleep` is missing: install coreutils")?;
    let mut script = format!("set -eu\nhostname {}\n", context.plan.name);
    for point in MOUNT_POINTS {
        let own = own_directory(context, point);
        fs::create_dir_all(&own).with_context(|| format!("cannot make {}", own.display()))?;
        script.push_str(&format!("mount --bind '{}' '{point}'\n", own.display()));
    }
    // Shared below, so that a container that asks to see later mounts of its node does; nothing goes back to
    // the host, because the namespace is a slave of it.
    script.push_str("mount --make-rshared /\nexec \"$@\"\n");
    let prelude = ["unshare", "--mount", "--uts", "--propagation", "slave", "--", "sh", "-c", &script, "sh"];
    let daemon = Daemon {
        cgroup: context.cgroup("machine"),
        program: sleep,
        arguments: vec!["infinity".to_owned()],
        network: None,
        machine: None,
        prelude: prelude.map(str::to_owned).to_vec(),
        log: context.paths.log(&format!("{}-machine", context.short())),
        configuration: String::new(),
        fingerprint: context.paths.node_run(context.number).join("machine.fingerprint"),
    };
    if daemon.main_processes(context.hierarchies).is_empty() {
        // What runs in the namespaces of a holder that died cannot be joined: the node starts anew.
        context.hierarchies.kill(&format!("{}/{}", context.region.name(), context.short())).await?;
    }
    let holding = || daemon.main_processes(context.hierarchies);
    let outcome = daemon
        .ensure(context.hierarchies, START_LIMIT, async || {
            if holding().is_empty() {
                bail!("its mounts are not made yet");
            }
            Ok(())
        })
        .await?;
    if outcome == Outcome::Started {
        // Sockets of the former life would be taken for living ones.
        let _ = fs::remove_file(context.paths.containerd_socket(context.number));
    }
    holding().first().copied().with_context(|| format!("the machine of {} ended at once", context.plan.name))
}

/// What lies on disk goes with the state, what is gone after a reboot with the sockets.
fn own_directory(context: &Context<'_>, point: &str) -> std::path::PathBuf {
    match point.strip_prefix("/run/") {
        Some(name) => context.paths.node_run(context.number).join(name),
        None => context.paths.node_state(context.number).join(point.trim_start_matches('/')),
    }
}
