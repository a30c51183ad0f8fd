//! Whether this machine can carry a lab, told before anything is made.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::Command;

use crate::address::{BRIDGE, WHOLE};
use crate::cgroup::Hierarchies;
use crate::command::{find, output, run};
use crate::net;
use crate::options::Options;

const GIB: u64 = 1 << 30;
/// Images twice (archive and unpacked, per node), a database with its log.
const DISK: u64 = 10 * GIB;
/// A region with one node takes 1 GiB, a CourseShard of six pods as much again.
const MEMORY: u64 = 4 * GIB;
/// `statfs` type of overlayfs, which cannot carry another overlay's writable layer (linux/magic.h).
const OVERLAYFS: i64 = 0x794c_7630;

/// A program or file, and the Debian package that has it.
const NEEDED: [(&str, &str); 20] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
    ("/usr/lib/cni/host-local", "containernetworking-plugins"),
    ("/usr/lib/cni/portmap", "containernetworking-plugins"),
    ("iptables", "iptables"),
    ("ipset", "ipset"),
    ("ip", "iproute2"),
    ("conntrack", "conntrack"),
    ("etcd", "etcd-server"),
    ("buildah", "buildah"),
    ("debootstrap", "debootstrap"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setsid", "util-linux"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("hostname", "hostname"),
    ("sleep", "coreutils"),
];

/// Checks everything and reports all that is wrong at once.
///
/// # Errors
/// One sentence for each thing that is wrong, with what to do.
pub async fn check(options: &Options, hierarchies: &Hierarchies) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the lab makes network namespaces, mounts and cgroups: run it as root");
    }
    tools(options).await?;
    let mut wrong = Vec::new();
    let mut note = |verdict: Result<()>| {
        if let Err(error) = verdict {
            wrong.push(format!("{error:#}"));
        }
    };
    note(kernel().await);
    note(disk(&options.state));
    // A running lab has what it needs, and what it uses is no reason to refuse to heal it.
    if hierarchies.processes("").is_empty() {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        note(memory(&meminfo));
        note(addresses().await);
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("\n")) }
}

async fn tools(options: &Options) -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.keys().copied().collect();
    if !options.install_tools {
        let programs: Vec<&str> = missing.values().flatten().copied().collect();
        bail!(
            "{} missing: run `apt-get install {}`, or give --install-tools",
            programs.join(", "),
            packages.join(" ")
        );
    }
    let apt = |arguments: Vec<&str>| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        // Packages start their services unless told that the machine is in single-user mode; the lab runs its own.
        command.env("RUNLEVEL", "1");
        command
    };
    output(apt(vec!["update", "--quiet"]), None).await?;
    let mut install = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    install.extend(&packages);
    output(apt(install), None).await.with_context(|| format!("packages {}", packages.join(" ")))?;
    let still = self::missing();
    if !still.is_empty() {
        bail!("still missing after the installation of their packages: {still:?}");
    }
    Ok(())
}

/// Package to the programs that are not there.
fn missing() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut missing: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (program, package) in NEEDED {
        let there =
            if program.starts_with('/') { Path::new(program).exists() } else { find(program).is_some() };
        if !there {
            missing.entry(package).or_default().push(program);
        }
    }
    missing
}

async fn kernel() -> Result<()> {
    for kind in ["net", "mnt", "uts", "ipc", "pid"] {
        if !Path::new("/proc/self/ns").join(kind).exists() {
            bail!("this kernel has no {kind} namespaces: boot one with CONFIG_NAMESPACES and all its kinds");
        }
    }
    let has = |filesystem: &str| {
        std::fs::read_to_string("/proc/filesystems")
            .is_ok_and(|all| all.split_whitespace().any(|word| word == filesystem))
    };
    if !has("overlay") {
        let _ = run("modprobe", &["overlay"]).await;
        if !has("overlay") {
            bail!("this kernel has no overlay file system: boot one with CONFIG_OVERLAY_FS");
        }
    }
    run("iptables", &["-w", "-S", "FORWARD"]).await.context("iptables does not work on this kernel")?;
    Ok(())
}

fn disk(state: &Path) -> Result<()> {
    let Some(existing) = state.ancestors().find(|directory| directory.exists()) else { return Ok(()) };
    let at = state.display();
    let room =
        rustix::fs::statvfs(existing).with_context(|| format!("the disk of {at} does not tell its size"))?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    if free < DISK {
        bail!(
            "{} GiB are free for {at} and the lab needs {}: make room, or set LYCEUM_LAB_STATE to another disk",
            free / GIB,
            DISK / GIB
        );
    }
    let kind =
        rustix::fs::statfs(existing).with_context(|| format!("the disk of {at} does not tell its type"))?;
    if kind.f_type == OVERLAYFS {
        bail!("{at} lies on an overlay, which cannot carry containers: set LYCEUM_LAB_STATE to a real disk");
    }
    Ok(())
}

fn memory(meminfo: &str) -> Result<()> {
    let kib = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let available = kib("MemAvailable").unwrap_or(0) * 1024;
    if available < MEMORY {
        bail!(
            "{} MiB of memory are available and the lab needs {}: end something else",
            available >> 20,
            MEMORY >> 20
        );
    }
    Ok(())
}

async fn addresses() -> Result<()> {
    let parse = |text: String| serde_json::from_str::<Value>(&text).context("`ip -json` answers no list");
    let addresses = parse(run("ip", &["-json", "address", "show"]).await?)?;
    let routes = parse(run("ip", &["-json", "route", "show", "table", "all"]).await?)?;
    match taken(&addresses, &routes) {
        Some(what) => bail!("{what}, and the lab uses all of {WHOLE}: take it away, or use another machine"),
        None => Ok(()),
    }
}

/// Who already uses an address of the lab's range.
fn taken(addresses: &Value, routes: &Value) -> Option<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    for link in list(addresses) {
        let name = text(&link, "ifname");
        for address in list(link.get("addr_info").unwrap_or(&Value::Null)) {
            let local = text(&address, "local");
            if !net::is_ours(&name) && in_range(&local) {
                return Some(format!("link {name} has address {local}"));
            }
        }
    }
    for route in list(routes) {
        let (target, device) = (text(&route, "dst"), text(&route, "dev"));
        if device != BRIDGE && in_range(target.split('/').next().unwrap_or_default()) {
            return Some(format!("a route leads to {target} by {device}"));
        }
    }
    None
}

fn in_range(address: &str) -> bool {
    address.parse::<Ipv4Addr>().is_ok_and(|address| WHOLE.contains(address))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_or_route_of_somebody_else_in_the_range_is_named() {
        let link =
            |name: &str, address: &str| json!([{ "ifname": name, "addr_info": [{ "local": address }] }]);
        let nothing = json!([]);
        assert_eq!(taken(&link("eth0", "10.0.0.2"), &nothing), None);
        assert_eq!(taken(&link("lyceum0", "198.18.0.1"), &nothing), None);
        assert!(
            taken(&link("eth0", "198.19.0.7"), &nothing).unwrap().contains("eth0 has address 198.19.0.7")
        );
        let route = json!([{ "dst": "default", "dev": "eth0" }, { "dst": "198.18.0.0/24", "dev": "tun0" }]);
        assert!(taken(&nothing, &route).unwrap().contains("198.18.0.0/24 by tun0"));
    }

    #[test]
    fn too_little_memory_says_how_much() {
        memory("MemTotal: 8388608 kB\nMemAvailable: 6291456 kB\n").unwrap();
        let error = memory("MemAvailable: 1048576 kB\n").unwrap_err().to_string();
        assert!(error.contains("1024 MiB") && error.contains("4096"), "{error}");
    }
}
