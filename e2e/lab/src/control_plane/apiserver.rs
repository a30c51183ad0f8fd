//! The region's API server.

use anyhow::Result;

use super::{Context, flags};
use crate::process::Daemon;

/// Pods of any namespace without labels of its own must pass `restricted`; only the lab's own need more: the
/// volume provisioner makes and removes directories on the node.
const ADMISSION: &str = include_str!("../../manifests/admission.yaml");
/// What the operator writes, by pod: scenarios prove with it that a replaced leader writes nothing.
const AUDIT: &str = include_str!("../../manifests/audit.yaml");

pub(super) fn daemon(context: &Context<'_>) -> Result<Daemon> {
    let admission = context.config("admission.yaml", ADMISSION)?;
    let audit = context.config("audit.yaml", AUDIT)?;
    let mut arguments = vec!["kube-apiserver".to_owned()];
    arguments.extend(arguments_of(context, admission, audit));
    let mut daemon = context.daemon("kube-apiserver", &context.tools.kubernetes, arguments);
    daemon.configuration = format!("{ADMISSION}{AUDIT}");
    Ok(daemon)
}

fn arguments_of(context: &Context<'_>, admission: String, audit: String) -> Vec<String> {
    let plan = context.plan;
    let address = plan.control_plane().to_string();
    let certificates = context.paths.state.join("pki").to_string_lossy().into_owned();
    flags([
        ("advertise-address", address.clone()),
        ("bind-address", address.clone()),
        ("secure-port", "6443".to_owned()),
        ("cert-dir", certificates),
        ("tls-cert-file", context.pki("kube-apiserver.crt")),
        ("tls-private-key-file", context.pki("kube-apiserver.key")),
        ("client-ca-file", context.pki("ca.crt")),
        ("anonymous-auth", "false".to_owned()),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
        ("admission-control-config-file", admission),
        ("audit-policy-file", audit),
        ("audit-log-path", context.paths.log("audit").to_string_lossy().into_owned()),
        ("audit-log-maxsize", "64".to_owned()), // MiB
        ("audit-log-maxbackup", "1".to_owned()),
        // The volume provisioner's namespace and kube-system may ask for privileges; Pod Security decides.
        ("allow-privileged", "true".to_owned()),
        ("etcd-servers", format!("https://{address}:{}", super::etcd::PORT)),
        ("etcd-cafile", context.pki("ca.crt")),
        ("etcd-certfile", context.pki("apiserver-etcd-client.crt")),
        ("etcd-keyfile", context.pki("apiserver-etcd-client.key")),
        ("kubelet-certificate-authority", context.pki("ca.crt")),
        ("kubelet-client-certificate", context.pki("apiserver-kubelet-client.crt")),
        ("kubelet-client-key", context.pki("apiserver-kubelet-client.key")),
        ("kubelet-preferred-address-types", "InternalIP".to_owned()),
        ("service-account-issuer", "https://kubernetes.default.svc.cluster.local".to_owned()),
        ("service-account-key-file", context.pki("service-account.pub")),
        ("service-account-signing-key-file", context.pki("service-account.key")),
        ("service-cluster-ip-range", plan.services().to_string()),
        ("requestheader-client-ca-file", context.pki("front-proxy-ca.crt")),
        ("requestheader-allowed-names", "front-proxy-client".to_owned()),
        ("requestheader-extra-headers-prefix", "X-Remote-Extra-".to_owned()),
        ("requestheader-group-headers", "X-Remote-Group".to_owned()),
        ("requestheader-username-headers", "X-Remote-User".to_owned()),
        ("proxy-client-cert-file", context.pki("front-proxy-client.crt")),
        ("proxy-client-key-file", context.pki("front-proxy-client.key")),
        ("profiling", "false".to_owned()),
    ])
}
