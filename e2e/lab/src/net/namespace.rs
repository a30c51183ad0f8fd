//! One network namespace with its link into the bridge.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};

use crate::address::{BRIDGE, BRIDGE_PREFIX};
use crate::command::{run, run_with_input};

/// Where named network namespaces are.
pub const DIRECTORY: &str = "/run/netns";

/// Settings of a namespace that forwards for its pods. Reverse-path filtering is off because a node's reply to a
/// Service's client may take another way than the request came.
const SETTINGS: &str = "\
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter
echo 0 >/proc/sys/net/ipv4/conf/default/rp_filter
test ! -e /proc/sys/net/ipv6/conf/all/disable_ipv6 || echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
test ! -e /proc/sys/net/ipv6/conf/default/disable_ipv6 || echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
";

/// Sees to it that a namespace is there, with `eth0` at this address and its other end, named like the
/// namespace, in the bridge. `present` are the host's links.
pub(super) async fn ensure(name: &str, address: Ipv4Addr, present: &[String]) -> Result<()> {
    if !works(name).await {
        // A kill between making the file and mounting the namespace on it leaves a plain file.
        delete(name).await?;
        run("ip", &["netns", "add", name]).await?;
    }
    let has_end = run("ip", &["-netns", name, "link", "show", "eth0"]).await.is_ok();
    if !has_end {
        if present.iter().any(|link| link == name) {
            run("ip", &["link", "delete", name]).await?;
        }
        run("ip", &["link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name]).await?;
    }
    let net = format!("--net={DIRECTORY}/{name}");
    run_with_input("nsenter", &[net.as_str(), "sh", "-eu"], SETTINGS)
        .await
        .with_context(|| format!("the network settings of {name}"))?;
    super::sysfs::write(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    super::batch(&format!("link set {name} master {BRIDGE} up\n")).await?;
    batch(
        name,
        &format!("link set lo up\nlink set eth0 up\naddress replace {address}/{BRIDGE_PREFIX} dev eth0\n"),
    )
    .await
}

/// Runs `ip` lines inside a namespace.
pub(super) async fn batch(name: &str, lines: &str) -> Result<()> {
    run_with_input("ip", &["-netns", name, "-batch", "-"], lines)
        .await
        .with_context(|| format!("in {name}: {}", lines.trim_end()))?;
    Ok(())
}

async fn works(name: &str) -> bool {
    Path::new(DIRECTORY).join(name).exists()
        && run("ip", &["-netns", name, "link", "show", "lo"]).await.is_ok()
}

/// Names of all named network namespaces.
#[must_use]
pub fn list() -> Vec<String> {
    let entries = std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Takes a namespace's name away; the namespace ends with the last process in it.
///
/// # Errors
/// When the name stays.
pub async fn delete(name: &str) -> Result<()> {
    let path = Path::new(DIRECTORY).join(name);
    let path_text = path.to_string_lossy().into_owned();
    // A name may be mounted over more than once if two runs raced; each mount hides the one below.
    for _ in 0..8 {
        if !path.exists() {
            return Ok(());
        }
        let _ = run("umount", &["--lazy", path_text.as_str()]).await;
        if std::fs::remove_file(&path).is_ok() {
            return Ok(());
        }
    }
    std::fs::remove_file(&path).with_context(|| format!("the network namespace {name} stays"))
}

/// Whether [`DIRECTORY`] is a mount of its own, which the first use of named namespaces makes it.
#[must_use]
pub fn mount_exists() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(4) == Some(DIRECTORY))
}
