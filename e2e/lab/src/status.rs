//! What of the lab runs.

use std::fmt::Write;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client};

use crate::cgroup::Hierarchies;
use crate::state::{Region, State};

const CONTROL_PLANE: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
const NODE: [&str; 5] = ["machine", "containerd", "kubelet", "kube-proxy", "kube-router"];

/// What of the lab runs, for people.
pub struct Report {
    /// The text, one line a thing.
    pub text: String,
    /// Whether everything that is recorded runs and is Ready.
    pub well: bool,
}

/// Looks at every region.
///
/// # Errors
/// When the record names an impossible region.
pub async fn report(state: &State, hierarchies: &Hierarchies) -> Result<Report> {
    let mut report = Report { text: String::new(), well: true };
    for region in &state.regions {
        report.processes(region, hierarchies);
        match cluster(state, region).await {
            Ok(nodes) => {
                for (line, well) in nodes {
                    report.line(&line, well);
                }
            }
            Err(error) => {
                report.line(&format!("{}: the API server does not answer: {error:#}", region.name), false)
            }
        }
        let kubeconfig = state.paths(&region.name).admin_kubeconfig();
        report.line(&format!("{}: kubeconfig {}", region.name, kubeconfig.display()), true);
    }
    Ok(report)
}

impl Report {
    fn line(&mut self, line: &str, well: bool) {
        self.well &= well;
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn processes(&mut self, region: &Region, hierarchies: &Hierarchies) {
        let groups = std::iter::once(("cp".to_owned(), CONTROL_PLANE.as_slice()))
            .chain((1..=region.nodes).map(|n| (format!("n{n}"), NODE.as_slice())));
        for (group, components) in groups {
            for component in components {
                let cgroup = format!("{}/{group}/{component}", region.name);
                if hierarchies.processes(&cgroup).is_empty() {
                    self.line(&format!("{cgroup}: does not run; `lab up` starts it"), false);
                }
            }
        }
    }
}

/// One line for the control plane and one a node, with whether it is well.
async fn cluster(state: &State, region: &Region) -> Result<Vec<(String, bool)>> {
    let client: Client = state.client(&region.name).await?;
    let version = client.apiserver_version().await.context("its version")?;
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.context("its nodes")?;
    let pods = Api::<Pod>::all(client).list(&ListParams::default()).await.context("its pods")?;
    let mut lines = vec![(
        format!(
            "{}: Kubernetes {} at {}, {} of {} nodes",
            region.name,
            version.git_version,
            crate::pki::server_url(&region.plan()?),
            nodes.items.len(),
            region.nodes
        ),
        nodes.items.len() == usize::from(region.nodes),
    )];
    for node in nodes {
        let name = node.metadata.name.clone().unwrap_or_default();
        let ready = node
            .status
            .and_then(|status| status.conditions)
            .is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"));
        let on_node =
            |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(&name);
        let word = if ready { "Ready" } else { "not Ready" };
        lines.push((format!("{name}: {word}, {} pods", pods.items.iter().filter(on_node).count()), ready));
    }
    Ok(lines)
}
