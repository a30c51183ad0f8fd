//! Certificates of one region: an authority, one certificate a component, kubeconfigs that carry theirs.
//!
//! Made once and kept with the state; nothing in the lab skips verification, so nothing needs to be told twice.

mod authority;
mod kubeconfig;

use std::fs;

use anyhow::{Context, Result};
use rcgen::KeyPair;

use crate::address::RegionPlan;
use crate::state::{RegionPaths, write_file};
pub use authority::{Authority, Issued, Request, Usage};
pub use kubeconfig::kubeconfig;

/// A component that talks to the API server: name of its kubeconfig, user name, group.
const CLIENTS: [(&str, &str, Option<&str>); 5] = [
    ("admin", "lyceum-lab-admin", Some("system:masters")),
    ("kube-controller-manager", "system:kube-controller-manager", None),
    ("kube-scheduler", "system:kube-scheduler", None),
    ("kube-proxy", "system:kube-proxy", None),
    ("kube-router", "system:kube-router", None),
];

/// Makes whatever certificate of the region is missing.
///
/// # Errors
/// When a file cannot be written, or an existing authority cannot be read.
pub fn ensure(paths: &RegionPaths, plan: &RegionPlan, nodes: u8) -> Result<()> {
    let authority = Authority::load_or_create(paths, "ca", &format!("lyceum-lab-{}", plan.name()))?;
    // Requests that the API server forwards to extensions are vouched for by an authority of their own, so that
    // an ordinary client certificate cannot pretend to be the API server.
    let front = Authority::load_or_create(
        paths,
        "front-proxy-ca",
        &format!("lyceum-lab-{}-front-proxy", plan.name()),
    )?;
    service_account_key(paths)?;

    let address = plan.control_plane().to_string();
    let server = |file: &str, name: &str, names: &[&str]| {
        authority.ensure_files(paths, file, &Request::server(name, names))
    };
    server(
        "kube-apiserver",
        "kube-apiserver",
        &[
            &address,
            &plan.kubernetes_service().to_string(),
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ],
    )?;
    server("kube-controller-manager", "kube-controller-manager", &[&address])?;
    server("kube-scheduler", "kube-scheduler", &[&address])?;
    // etcd checks its own certificate as a client's too, between its gateway and itself.
    authority.ensure_files(
        paths,
        "etcd",
        &Request { usage: Usage::Both, ..Request::server("etcd", &[&address]) },
    )?;
    authority.ensure_files(
        paths,
        "apiserver-etcd-client",
        &Request::client("kube-apiserver-etcd-client", None),
    )?;
    authority.ensure_files(paths, "apiserver-kubelet-client", &Request::client(KUBELET_CLIENT, None))?;
    front.ensure_files(paths, "front-proxy-client", &Request::client("front-proxy-client", None))?;

    let url = server_url(plan);
    for (who, user, group) in CLIENTS {
        ensure_kubeconfig(paths, &authority, plan, &url, who, &Request::client(user, group))?;
    }
    for n in 1..=nodes {
        let node = plan.node(n);
        let user = format!("system:node:{}", node.name);
        let who = format!("n{n}-kubelet");
        ensure_kubeconfig(
            paths,
            &authority,
            plan,
            &url,
            &who,
            &Request::client(&user, Some("system:nodes")),
        )?;
        server(&who, &user, &[&node.address.to_string(), &node.name])?;
    }
    Ok(())
}

/// The user that the API server is to a kubelet; bound to `system:kubelet-api-admin`.
pub const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

/// Where clients reach the region's API server.
#[must_use]
pub fn server_url(plan: &RegionPlan) -> String {
    format!("https://{}:6443", plan.control_plane())
}

fn ensure_kubeconfig(
    paths: &RegionPaths,
    authority: &Authority,
    plan: &RegionPlan,
    url: &str,
    who: &str,
    request: &Request,
) -> Result<()> {
    let path = paths.kubeconfig(who);
    if path.exists() {
        return Ok(());
    }
    let issued = authority.issue(request)?;
    let text = kubeconfig(&format!("lyceum-{}", plan.name()), url, authority.certificate(), &issued);
    write_file(&path, &text, 0o600)
}

/// The key that service account tokens are signed with, and its public half that verifies them.
fn service_account_key(paths: &RegionPaths) -> Result<()> {
    let (private, public) = (paths.pki("service-account.key"), paths.pki("service-account.pub"));
    let key = if private.exists() {
        let text =
            fs::read_to_string(&private).with_context(|| format!("cannot read {}", private.display()))?;
        KeyPair::from_pem(&text)
            .with_context(|| format!("{} is no key: run `lab down`", private.display()))?
    } else {
        let key = KeyPair::generate().context("no key can be generated")?;
        write_file(&private, &key.serialize_pem(), 0o600)?;
        key
    };
    write_file(&public, &key.public_key_pem(), 0o644)
}
