//! The node's kube-router: only its firewall, which enforces NetworkPolicies.

use anyhow::Result;

use super::{Context, START_LIMIT};
use crate::command::run;
use crate::health::Probe;
use crate::net::NAMESPACE_DIRECTORY;
use crate::process::Outcome;

pub(super) async fn ensure(context: &Context<'_>, machine: i32) -> Result<Outcome> {
    let arguments = [
        ("kubeconfig", context.paths.kubeconfig("kube-router").to_string_lossy().into_owned()),
        ("hostname-override", context.plan.name.clone()),
        ("run-firewall", "true".to_owned()),
        ("run-router", "false".to_owned()),
        ("run-service-proxy", "false".to_owned()),
        ("run-loadbalancer", "false".to_owned()),
        ("service-cluster-ip-range", context.region.services().to_string()),
        ("health-port", "20244".to_owned()),
        ("metrics-port", "0".to_owned()),
        ("v", "1".to_owned()),
    ];
    let arguments = arguments.into_iter().map(|(name, value)| format!("--{name}={value}")).collect();
    let daemon = context.daemon("kube-router", &context.tools.kube_router, arguments, machine);
    let url = format!("http://{}:20244", context.plan.address);
    let probe = Probe::new(&context.paths.admin_kubeconfig(), &url, "/healthz").await?;
    let net = format!("--net={NAMESPACE_DIRECTORY}/{}", context.plan.namespace);
    let chain = ["iptables", "-w", "-S", "KUBE-ROUTER-FORWARD"];
    let arguments: Vec<&str> = std::iter::once(net.as_str()).chain(chain).collect();
    daemon
        .ensure(context.hierarchies, START_LIMIT, async || {
            // It says that it is well before it has made the first rule; from then on policies hold.
            run("nsenter", &arguments).await?;
            probe.ask().await
        })
        .await
}
