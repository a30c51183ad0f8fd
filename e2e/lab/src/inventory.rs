//! What is on the machine of the kinds of things that a lab makes.
//!
//! Taken before `up` and after `down`, two inventories must be equal; taken any time, [`Inventory::ours`] is what
//! `down` still has to remove.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::address::{HOST, NAME_PREFIX, WHOLE};
use crate::cgroup::{Hierarchies, ROOT};
use crate::command::{find, run};
use crate::{net, sysctl};

/// Programs that a lab starts. One of them outside the lab's cgroups is told by a namespace that is not the host's:
/// it may be a process that got away.
const PROGRAMS: [&str; 10] = [
    "box",
    "containerd",
    "containerd-shim",
    "containerd-shim-runc-v2",
    "coredns",
    "etcd",
    "kube-router",
    "local-path-provisioner",
    "pause",
    "runc",
];

/// Things of the machine by kind. A kind's entries are texts that are the same as long as the thing is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory(pub BTreeMap<Kind, BTreeSet<String>>);

/// A kind of thing that a lab makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Outermost cgroups of every hierarchy, and all of the lab's.
    Cgroups,
    /// Rules and own chains of the host's firewall.
    FirewallRules,
    /// Named sets of addresses.
    Ipsets,
    /// Network links of the host.
    Links,
    /// Mount points.
    Mounts,
    /// Named network namespaces.
    NetworkNamespaces,
    /// Processes in the lab's cgroups, and those of the lab's programs in namespaces other than the host's.
    Processes,
    /// Routes of the host.
    Routes,
    /// Routing rules of the host.
    RoutingRules,
    /// Kernel settings that a kubelet changes.
    Sysctls,
}

impl Inventory {
    /// Looks at the machine.
    ///
    /// # Errors
    /// When `ip` or `/proc` does not answer.
    pub async fn take(hierarchies: &Hierarchies) -> Result<Self> {
        let lines =
            |text: String| -> BTreeSet<String> { text.lines().map(|line| line.trim().to_owned()).collect() };
        let links = net::links().await?.into_iter().map(|link| link.ifname).collect();
        let cgroups = hierarchies.outermost().into_iter().chain(hierarchies.directories(""));
        let sysctls = sysctl::snapshot().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let firewall = run("iptables-save", &[] as &[&str]).await.unwrap_or_default();
        let ipsets =
            if find("ipset").is_some() { run("ipset", &["list", "-name"]).await? } else { String::new() };
        Ok(Self(BTreeMap::from([
            (Kind::Cgroups, cgroups.map(|path| path.to_string_lossy().into_owned()).collect()),
            (Kind::FirewallRules, firewall_entries(&firewall)),
            (Kind::Ipsets, lines(ipsets)),
            (Kind::Links, links),
            (Kind::Mounts, mounts()?),
            (Kind::NetworkNamespaces, net::namespaces().into_iter().collect()),
            (Kind::Processes, processes(hierarchies)),
            (Kind::Routes, lines(run("ip", &["route", "show", "table", "all"]).await?)),
            (Kind::RoutingRules, lines(run("ip", &["rule", "show"]).await?)),
            (Kind::Sysctls, sysctls),
        ])))
    }

    /// The part that is the lab's by its name, address, tag or cgroup.
    #[must_use]
    pub fn ours(&self) -> Self {
        let kept = self.0.iter().map(|(kind, entries)| {
            (*kind, entries.iter().filter(|entry| is_ours(*kind, entry)).cloned().collect::<BTreeSet<_>>())
        });
        Self(kept.filter(|(_, entries)| !entries.is_empty()).collect())
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.values().all(BTreeSet::is_empty)
    }

    /// What `later` has that this has not.
    #[must_use]
    pub fn added_in(&self, later: &Self) -> Self {
        let nothing = BTreeSet::new();
        let added = later.0.iter().map(|(kind, entries)| {
            let before = self.0.get(kind).unwrap_or(&nothing);
            (*kind, entries.difference(before).cloned().collect::<BTreeSet<_>>())
        });
        Self(added.filter(|(_, entries)| !entries.is_empty()).collect())
    }
}

impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, entries) in &self.0 {
            for entry in entries {
                writeln!(f, "{kind:?}: {entry}")?;
            }
        }
        Ok(())
    }
}

fn is_ours(kind: Kind, entry: &str) -> bool {
    match kind {
        Kind::Cgroups => entry.split('/').any(|part| part == ROOT),
        Kind::FirewallRules => entry.contains(net::TAG),
        Kind::Links | Kind::NetworkNamespaces => net::is_ours(entry),
        // Named namespaces are mounts too.
        Kind::Mounts => entry.contains("/lyceum-lab") || entry.contains(&format!("/{NAME_PREFIX}")),
        Kind::Processes => entry.starts_with(ROOT),
        Kind::Routes => routes_into_range(entry),
        // The lab makes none of these on the host; whatever is there is somebody else's.
        Kind::Ipsets | Kind::RoutingRules | Kind::Sysctls => false,
    }
}

fn routes_into_range(route: &str) -> bool {
    route
        .split_whitespace()
        .filter_map(|word| word.split('/').next()?.parse().ok())
        .any(|address| address == HOST || WHOLE.contains(address))
}

/// Rules and own chains, without counters and without the built-in chains: those appear with the first look at a
/// table and mean nothing.
fn firewall_entries(save: &str) -> BTreeSet<String> {
    let mut table = "";
    let mut entries = BTreeSet::new();
    for line in save.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if line.starts_with("-A ") {
            entries.insert(format!("{table}: {line}"));
        } else if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split(' ');
            // A chain of one's own has no policy.
            if let (Some(name), Some("-")) = (words.next(), words.next()) {
                entries.insert(format!("{table}: chain {name}"));
            }
        }
    }
    entries
}

fn mounts() -> Result<BTreeSet<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("/proc is not mounted")?;
    Ok(table
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            Some(format!("{} {}", left.split(' ').nth(4)?, right.split(' ').next()?))
        })
        .collect())
}

fn processes(hierarchies: &Hierarchies) -> BTreeSet<String> {
    let ours = hierarchies.processes("");
    let mut found = BTreeSet::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        let program = fs::read_link(format!("/proc/{pid}/exe"))
            .ok()
            .and_then(|exe| exe.file_name().map(|name| name.to_string_lossy().into_owned()))
            .unwrap_or_default();
        if ours.contains(&pid) {
            found.insert(format!("{ROOT} {pid} {program}"));
        } else if PROGRAMS.contains(&program.trim_end_matches(" (deleted)")) && is_apart(pid) {
            found.insert(format!("other {pid} {program}"));
        }
    }
    found
}

/// Whether a process has another network or mount namespace than this one.
fn is_apart(pid: i32) -> bool {
    ["net", "mnt"].iter().any(|kind| {
        let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{kind}")).ok();
        of(&pid.to_string()).is_some_and(|theirs| Some(theirs) != of("self"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn inventory(kind: Kind, entries: &[&str]) -> Inventory {
        Inventory(BTreeMap::from([(kind, entries.iter().map(|entry| (*entry).to_owned()).collect())]))
    }

    #[test]
    fn what_is_ours_is_told_from_what_is_not() {
        let cases = [
            (Kind::Links, "lyceum0", "eth0"),
            (Kind::NetworkNamespaces, "lyceum-a-n1", "cni-1234"),
            (Kind::Mounts, "/run/netns/lyceum-a-cp nsfs", "/run/netns tmpfs"),
            (Kind::Cgroups, "/sys/fs/cgroup/pids/lyceum-lab/a", "/sys/fs/cgroup/pids/user.slice"),
            (Kind::Routes, "198.19.1.0/24 via 198.18.1.11 dev lyceum0", "default via 10.0.0.1 dev eth0"),
            (Kind::Processes, "lyceum-lab 12 etcd", "other 13 containerd"),
            (
                Kind::FirewallRules,
                "filter: -A FORWARD -i lyceum0 -m comment --comment lyceum-lab -j ACCEPT",
                "filter: -A FORWARD -j DROP",
            ),
        ];
        for (kind, mine, other) in cases {
            assert_eq!(inventory(kind, &[mine, other]).ours(), inventory(kind, &[mine]), "{kind:?}");
        }
    }

    #[test]
    fn a_difference_names_what_came_and_is_empty_when_nothing_did() {
        let before = inventory(Kind::Links, &["lo", "eth0"]);
        assert!(before.added_in(&before).is_empty());
        assert!(before.added_in(&inventory(Kind::Links, &["lo"])).is_empty());
        let after = inventory(Kind::Links, &["lo", "eth0", "lyceum0"]);
        assert_eq!(before.added_in(&after), inventory(Kind::Links, &["lyceum0"]));
        assert_eq!(before.added_in(&inventory(Kind::Ipsets, &["x"])), inventory(Kind::Ipsets, &["x"]));
    }

    #[test]
    fn empty_tables_of_the_firewall_are_nothing_and_counters_do_not_count() {
        let empty = "*filter\n:INPUT ACCEPT [5:300]\n:FORWARD ACCEPT [0:0]\nCOMMIT\n";
        assert!(firewall_entries(empty).is_empty());
        let save = "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-MARK - [0:0]\n-A PREROUTING -j KUBE-MARK\nCOMMIT\n";
        let expected = ["nat: chain KUBE-MARK", "nat: -A PREROUTING -j KUBE-MARK"].map(str::to_owned);
        assert_eq!(firewall_entries(save), BTreeSet::from(expected));
    }
}
