//! The one rule that the host's firewall needs.
//!
//! Where `bridge-nf-call-iptables` is on, frames between two ports of a bridge go through the host's FORWARD
//! chain; container engines set that chain to drop.

use anyhow::Result;

use crate::address::BRIDGE;
use crate::command::run;

/// Comment by which the rule is known as the lab's.
pub const TAG: &str = "lyceum-lab";

const SWITCH: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

fn rule() -> [&'static str; 11] {
    ["FORWARD", "-i", BRIDGE, "-o", BRIDGE, "-m", "comment", "--comment", TAG, "-j", "ACCEPT"]
}

pub(super) async fn ensure() -> Result<()> {
    if std::fs::read_to_string(SWITCH).is_ok_and(|value| value.trim() == "1") && rules().await.is_empty() {
        let arguments: Vec<&str> = ["-w", "-I"].into_iter().chain(rule()).collect();
        run("iptables", &arguments).await?;
    }
    Ok(())
}

/// The lab's rules in the host's firewall, as `iptables -S` writes them; none where there is no iptables.
pub async fn rules() -> Vec<String> {
    let all = run("iptables", &["-w", "-S", "FORWARD"]).await.unwrap_or_default();
    all.lines().filter(|line| line.contains(TAG)).map(str::to_owned).collect()
}

/// Removes the lab's rules.
///
/// # Errors
/// When a rule is there and iptables does not remove it.
pub async fn remove() -> Result<()> {
    for _ in rules().await {
        let arguments: Vec<&str> = ["-w", "-D"].into_iter().chain(rule()).collect();
        run("iptables", &arguments).await?;
    }
    Ok(())
}
