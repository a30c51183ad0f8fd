//! Who may talk to whom: everything is refused but what stands here.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use lyceum_crds::course_shard::names::{Component, LABEL_FORMATION, PATRONI_PORT, POSTGRES_PORT};

use super::{Formation, labels};

/// Pods of anybody who may connect to the formation carry this label, its value the CourseShard's name.
pub const CLIENT_LABEL: &str = "lyceum.dev/client-of";
/// What every distribution labels its DNS pods with, CoreDNS too.
const DNS_LABEL: (&str, &str) = ("k8s-app", "kube-dns");
/// Set by Kubernetes itself on every namespace.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(super) fn all(formation: Formation<'_>) -> Vec<NetworkPolicy> {
    vec![deny_all(formation), database(formation), pooler(formation), migrator(formation)]
}

fn deny_all(formation: Formation<'_>) -> NetworkPolicy {
    policy(
        formation,
        format!("{}-deny-all", formation.names.name()),
        Component::Database,
        labels([(LABEL_FORMATION, formation.id)]),
        vec![],
        vec![],
    )
}

fn database(formation: Formation<'_>) -> NetworkPolicy {
    let peers = pods(formation.selector(Component::Database));
    let ingress = vec![
        from(
            vec![
                peers.clone(),
                pods(formation.selector(Component::Pooler)),
                pods(formation.selector(Component::Migrator)),
                clients(formation),
                operator(formation),
            ],
            POSTGRES_PORT,
        ),
        // The kubelet's probes come from the pod's own node, which is always let in.
        from(vec![peers.clone(), operator(formation)], PATRONI_PORT),
    ];
    let mut egress = Vec::from(dns());
    egress.extend([to(vec![peers.clone()], POSTGRES_PORT), to(vec![peers], PATRONI_PORT)]);
    egress.extend(formation.platform.api_servers.iter().map(|(address, port)| {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        let block = IPBlock { cidr: format!("{address}/{prefix}"), except: None };
        to(vec![NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() }], *port)
    }));
    policy(
        formation,
        format!("{}-database", formation.names.name()),
        Component::Database,
        formation.selector(Component::Database),
        ingress,
        egress,
    )
}

fn pooler(formation: Formation<'_>) -> NetworkPolicy {
    policy(
        formation,
        formation.names.pooler(),
        Component::Pooler,
        formation.selector(Component::Pooler),
        vec![from(
            vec![clients(formation), pods(formation.selector(Component::Migrator)), operator(formation)],
            POSTGRES_PORT,
        )],
        dns()
            .into_iter()
            .chain([to(vec![pods(formation.selector(Component::Database))], POSTGRES_PORT)])
            .collect(),
    )
}

fn migrator(formation: Formation<'_>) -> NetworkPolicy {
    let targets =
        vec![pods(formation.selector(Component::Database)), pods(formation.selector(Component::Pooler))];
    policy(
        formation,
        format!("{}-migrator", formation.names.name()),
        Component::Migrator,
        formation.selector(Component::Migrator),
        vec![],
        dns().into_iter().chain([to(targets, POSTGRES_PORT)]).collect(),
    )
}

fn policy(
    formation: Formation<'_>,
    name: String,
    component: Component,
    selector: BTreeMap<String, String>,
    ingress: Vec<NetworkPolicyIngressRule>,
    egress: Vec<NetworkPolicyEgressRule>,
) -> NetworkPolicy {
    NetworkPolicy {
        metadata: formation.meta(name, component),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(select(selector)),
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
            ingress: (!ingress.is_empty()).then_some(ingress),
            egress: (!egress.is_empty()).then_some(egress),
        }),
    }
}

/// In the formation's own namespace: who may set labels there may read its Secrets as well.
fn clients(formation: Formation<'_>) -> NetworkPolicyPeer {
    pods(labels([(CLIENT_LABEL, formation.names.name())]))
}

fn operator(formation: Formation<'_>) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(select(labels([(
            NAMESPACE_NAME_LABEL,
            formation.platform.operator_namespace.as_str(),
        )]))),
        ..NetworkPolicyPeer::default()
    }
}

fn pods(selector: BTreeMap<String, String>) -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(select(selector)), ..NetworkPolicyPeer::default() }
}

fn select(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

fn from(peers: Vec<NetworkPolicyPeer>, port: u16) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule { from: Some(peers), ports: Some(vec![tcp(port)]) }
}

fn to(peers: Vec<NetworkPolicyPeer>, port: u16) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule { to: Some(peers), ports: Some(vec![tcp(port)]) }
}

/// Port 53 of anything: a cluster's DNS may be a cache on the node. And any port of the
/// cluster's DNS pods: policies act after the Service's port was translated, and a DNS
/// server without privileges listens on a high one.
fn dns() -> [NetworkPolicyEgressRule; 2] {
    let udp = NetworkPolicyPort { protocol: Some("UDP".into()), ..tcp(53) };
    let pods = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        pod_selector: Some(select(labels([DNS_LABEL]))),
        ip_block: None,
    };
    [
        NetworkPolicyEgressRule { to: None, ports: Some(vec![udp, tcp(53)]) },
        NetworkPolicyEgressRule { to: Some(vec![pods]), ports: None },
    ]
}

fn tcp(port: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some("TCP".into()),
        port: Some(IntOrString::Int(port.into())),
        end_port: None,
    }
}
