//! The node's kube-proxy.

use anyhow::Result;
use serde_json::json;

use super::{Context, START_LIMIT};
use crate::health::Probe;
use crate::process::Outcome;

pub(super) async fn ensure(context: &Context<'_>, machine: i32) -> Result<Outcome> {
    let kubeconfig = context.paths.kubeconfig("kube-proxy").to_string_lossy().into_owned();
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": { "kubeconfig": kubeconfig },
        "hostnameOverride": context.plan.name,
        "bindAddress": context.plan.address.to_string(),
        "healthzBindAddress": format!("{}:10256", context.plan.address),
        "metricsBindAddress": "127.0.0.1:10249",
        // Who comes from elsewhere (the host, the control plane, another region) is masqueraded, so that the
        // answer comes back through the node that translated the Service's address.
        "clusterCIDR": context.region.pods().to_string(),
        "detectLocalMode": "ClusterCIDR",
        // Connection tracking's size belongs to the whole machine, its time-outs need a right that the lab may
        // lack: 0 leaves both as they are.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
            "udpTimeout": "0s",
            "udpStreamTimeout": "0s",
        },
        "iptables": { "minSyncPeriod": "0s", "syncPeriod": "30s", "localhostNodePorts": false },
    });
    let config = format!("{config:#}\n");
    let arguments =
        vec!["kube-proxy".to_owned(), format!("--config={}", context.config("kube-proxy.yaml", &config)?)];
    let mut daemon = context.daemon("kube-proxy", &context.tools.kubernetes, arguments, machine);
    daemon.configuration = config;
    let url = format!("http://{}:10256", context.plan.address);
    let probe = Probe::new(&context.paths.admin_kubeconfig(), &url, "/healthz").await?;
    daemon.ensure(context.hierarchies, START_LIMIT, async || probe.ask().await).await
}
