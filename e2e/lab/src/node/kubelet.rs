//! The node's kubelet.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Context, START_LIMIT};
use crate::health::Probe;
use crate::process::Outcome;

pub(super) async fn ensure(context: &Context<'_>, machine: i32) -> Result<Outcome> {
    let short = context.short();
    let cgroup_root = context.hierarchies.pods(&context.cgroup("pods"))?;
    let resolver = context.config("resolv.conf", "# Names outside the cluster do not resolve in a lab.\n")?;
    let config = format!("{:#}\n", configuration(context, &cgroup_root, &resolver));
    let arguments = vec![
        "kubelet".to_owned(),
        format!("--config={}", context.config("kubelet.yaml", &config)?),
        format!("--kubeconfig={}", context.paths.kubeconfig(&format!("{short}-kubelet")).display()),
        format!("--hostname-override={}", context.plan.name),
        format!("--node-ip={}", context.plan.address),
    ];
    let mut daemon = context.daemon("kubelet", &context.tools.kubernetes, arguments, machine);
    daemon.configuration = config;
    let url = format!("https://{}:10250", context.plan.address);
    let probe = Probe::new(&context.paths.admin_kubeconfig(), &url, "/healthz").await?;
    daemon.ensure(context.hierarchies, START_LIMIT, async || probe.ask().await).await
}

fn configuration(context: &Context<'_>, cgroup_root: &str, resolver: &str) -> Value {
    let short = context.short();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": context.plan.address.to_string(),
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": context.pki("ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": context.pki(&format!("{short}-kubelet.crt")),
        "tlsPrivateKeyFile": context.pki(&format!("{short}-kubelet.key")),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup_root,
        "failCgroupV1": false,
        "failSwapOn": false,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "clusterDNS": [context.region.dns_service().to_string()],
        "clusterDomain": "cluster.local",
        "resolvConf": resolver,
        // All nodes share the host's disk and memory, which are not theirs to judge: a full disk fails the lab's
        // preflight, not its pods.
        "localStorageCapacityIsolation": false,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "registerNode": true,
        // A change of a ConfigMap or Secret is seen in pods within seconds rather than within a minute.
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "syncFrequency": "10s",
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::path::PathBuf;

    use super::*;
    use crate::address::RegionPlan;
    use crate::cgroup::Hierarchies;
    use crate::state::RegionPaths;
    use crate::tools::Toolbox;

    #[test]
    fn a_kubelet_knows_its_own_certificate_and_lets_nobody_in_without_one() {
        let directory = tempfile::tempdir().unwrap();
        let region = RegionPlan::new("b").unwrap();
        let paths = RegionPaths { state: directory.path().join("b"), run: directory.path().join("run") };
        crate::pki::ensure(&paths, &region, 2).unwrap();
        let unused = PathBuf::from("/unused");
        let tools = Toolbox { kubernetes: unused.clone(), etcd: unused.clone(), kube_router: unused };
        let hierarchies = Hierarchies::detect().unwrap();
        let context = Context {
            region: &region,
            number: 2,
            plan: region.node(2),
            paths: &paths,
            tools: &tools,
            hierarchies: &hierarchies,
        };
        let config = configuration(&context, "/lyceum-lab/b/n2/pods", "/resolv.conf");
        for file in ["/tlsCertFile", "/tlsPrivateKeyFile", "/authentication/x509/clientCAFile"] {
            let path = config.pointer(file).and_then(Value::as_str).unwrap();
            assert!(std::path::Path::new(path).exists(), "{file}: {path}");
        }
        assert!(config["tlsCertFile"].as_str().unwrap().ends_with("n2-kubelet.crt"));
        assert_eq!(config["authentication"]["anonymous"]["enabled"], false);
        assert_eq!(config["authorization"]["mode"], "Webhook");
        assert_eq!(config["address"], "198.18.2.12");
        assert_eq!(config["clusterDNS"][0], "198.18.130.10");
    }
}
