//! Names under which pods, primaries, replicas and the pooler are found.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use lyceum_crds::course_shard::names::{
    Component, LABEL_ROLE, PATRONI_PORT, POSTGRES_PORT, ROLE_PRIMARY, ROLE_REPLICA,
};

use super::{Formation, Store};

pub(super) fn all(formation: Formation<'_>) -> Vec<Service> {
    let mut services = vec![nodes(formation), pooler(formation), headless_pooler(formation)];
    for group in 0..=formation.spec.workers.count {
        services.push(by_role(formation, group, formation.names.primary_service(group), ROLE_PRIMARY));
        services.push(by_role(formation, group, formation.names.readonly_service(group), ROLE_REPLICA));
        if formation.platform.store == Store::Endpoints {
            services.push(leader_endpoint(formation, group));
        }
    }
    services
}

/// Gives each database pod its host name. Published before the pod is ready: a member that
/// is still a copy in the making must already reach the others, and they it.
fn nodes(formation: Formation<'_>) -> Service {
    let mut service = service(
        formation,
        formation.names.nodes_service(),
        Component::Database,
        formation.selector(Component::Database),
        vec![port("postgres", POSTGRES_PORT), port("patroni", PATRONI_PORT)],
    );
    if let Some(spec) = &mut service.spec {
        spec.cluster_ip = Some("None".into());
        spec.publish_not_ready_addresses = Some(true);
    }
    service
}

fn by_role(formation: Formation<'_>, group: i32, name: String, role: &str) -> Service {
    let mut selector = formation.names.group_selector(formation.id, group);
    selector.insert(LABEL_ROLE.into(), role.into());
    service(formation, name, Component::Database, selector, vec![port("postgres", POSTGRES_PORT)])
}

/// Without a Service of their name the leader's Endpoints would be collected as orphans.
fn leader_endpoint(formation: Formation<'_>, group: i32) -> Service {
    let name = if formation.citus() { format!("{}-{group}", formation.id) } else { formation.id.to_owned() };
    service(formation, name, Component::Database, BTreeMap::new(), vec![port("postgres", POSTGRES_PORT)])
}

fn pooler(formation: Formation<'_>) -> Service {
    service(
        formation,
        formation.names.pooler(),
        Component::Pooler,
        formation.selector(Component::Pooler),
        vec![port("postgres", POSTGRES_PORT)],
    )
}

/// One name a pooler process, so that each can be told to reconnect.
fn headless_pooler(formation: Formation<'_>) -> Service {
    let mut service = service(
        formation,
        formation.names.pooler_pods_service(),
        Component::Pooler,
        formation.selector(Component::Pooler),
        vec![port("postgres", POSTGRES_PORT)],
    );
    if let Some(spec) = &mut service.spec {
        spec.cluster_ip = Some("None".into());
    }
    service
}

fn service(
    formation: Formation<'_>,
    name: String,
    component: Component,
    selector: BTreeMap<String, String>,
    ports: Vec<ServicePort>,
) -> Service {
    Service {
        metadata: formation.meta(name, component),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".into()),
            selector: (!selector.is_empty()).then_some(selector),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.into()),
        port: number.into(),
        target_port: Some(IntOrString::String(name.into())),
        protocol: Some("TCP".into()),
        ..ServicePort::default()
    }
}
