//! The lab's network: one bridge, one network namespace a control plane or node, routes between pod ranges.
//!
//! Every step states what must be (`replace`, `add` when absent), so that a half-made network is completed by
//! the next run. Namespaces have no way to the outside: a pod that needs the Internet fails here first.

mod firewall;
mod namespace;
mod sysfs;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::address::{BRIDGE, BRIDGE_PREFIX, HOST, RegionPlan};
use crate::command::{run, run_with_input};
use crate::state::State;

pub use firewall::{TAG, remove as remove_firewall_rules, rules as firewall_rules};
pub use namespace::{
    DIRECTORY as NAMESPACE_DIRECTORY, delete as delete_namespace, list as namespaces,
    mount_exists as namespace_mount_exists,
};

/// A link as `ip -json link` tells it.
#[derive(Debug, Clone, Deserialize)]
pub struct Link {
    /// Its name.
    pub ifname: String,
}

/// All links of the host's own network namespace.
///
/// # Errors
/// When `ip` fails.
pub async fn links() -> Result<Vec<Link>> {
    let text = run("ip", &["-json", "link", "show"]).await?;
    serde_json::from_str(&text).context("`ip -json link` answers no list of links")
}

/// Sees to it that the network of all regions in the record is there.
///
/// # Errors
/// When the kernel refuses a step.
pub async fn ensure(state: &State) -> Result<()> {
    let present: Vec<String> = links().await?.into_iter().map(|link| link.ifname).collect();
    if !present.iter().any(|name| name == BRIDGE) {
        run("ip", &["link", "add", BRIDGE, "type", "bridge"]).await?;
    }
    // IPv6 would only add duplicate-address pauses and neighbours that nobody asked for.
    sysfs::write(&format!("/proc/sys/net/ipv6/conf/{BRIDGE}/disable_ipv6"), "1");
    batch(&format!("link set {BRIDGE} up\naddress replace {HOST}/{BRIDGE_PREFIX} dev {BRIDGE}\n")).await?;

    let regions: Vec<RegionPlan> =
        state.regions.iter().map(crate::state::Region::plan).collect::<Result<_>>()?;
    for (region, plan) in state.regions.iter().zip(&regions) {
        namespace::ensure(&plan.control_plane_namespace(), plan.control_plane(), &present).await?;
        for (_, node) in region.node_plans()? {
            namespace::ensure(&node.namespace, node.address, &present).await?;
        }
    }
    routes(state).await?;
    firewall::ensure().await
}

/// Routes from everywhere to every pod range by its node, and to a region's Services by its first node, which
/// translates them like any node does.
async fn routes(state: &State) -> Result<()> {
    let mut all = Vec::new();
    for region in &state.regions {
        let plan = region.plan()?;
        all.push((plan.services().to_string(), plan.node(1).address));
        for (_, node) in region.node_plans()? {
            all.push((node.pods.to_string(), node.address));
        }
    }
    let lines = |device: &str, own: Option<std::net::Ipv4Addr>| -> String {
        all.iter()
            .filter(|(_, via)| Some(*via) != own)
            .map(|(range, via)| format!("route replace {range} via {via} dev {device}\n"))
            .collect()
    };
    batch(&lines(BRIDGE, None)).await?;
    for region in &state.regions {
        let plan = region.plan()?;
        namespace::batch(&plan.control_plane_namespace(), &lines("eth0", None)).await?;
        for (_, node) in region.node_plans()? {
            // A node translates its own region's Services itself, but its own processes need some route before
            // the kernel asks the translation; the way out does.
            let own = format!("route replace {} dev eth0\n", plan.services());
            namespace::batch(&node.namespace, &(lines("eth0", Some(node.address)) + &own)).await?;
        }
    }
    Ok(())
}

/// Deletes the host's end of every link of the lab, the bridge last.
///
/// # Errors
/// When a link is there and the kernel does not let it go.
pub async fn remove_links() -> Result<()> {
    let mut ours: Vec<String> =
        links().await?.into_iter().map(|link| link.ifname).filter(|name| is_ours(name)).collect();
    ours.sort_by_key(|name| name == BRIDGE);
    for name in ours {
        // The other end's namespace may take a link down in the same moment; then it is gone, which is the aim.
        if let Err(error) = run("ip", &["link", "delete", &name]).await
            && links().await?.iter().any(|link| link.ifname == name)
        {
            return Err(error).with_context(|| format!("link {name} stays"));
        }
    }
    Ok(())
}

/// Whether a link's or namespace's name is one that the lab gives.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    name == BRIDGE || name.starts_with(crate::address::NAME_PREFIX)
}

async fn batch(lines: &str) -> Result<()> {
    if !lines.is_empty() {
        run_with_input("ip", &["-batch", "-"], lines).await.with_context(|| lines.trim_end().to_owned())?;
    }
    Ok(())
}
