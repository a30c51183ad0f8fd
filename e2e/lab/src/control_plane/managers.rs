//! The controller manager and the scheduler.

use anyhow::Result;
use serde_json::json;

use super::{Context, flags};
use crate::process::Daemon;

pub(super) fn controller_manager(context: &Context<'_>) -> Daemon {
    const NAME: &str = "kube-controller-manager";
    let kubeconfig = context.paths.kubeconfig(NAME).to_string_lossy().into_owned();
    let mut arguments = vec![NAME.to_owned()];
    arguments.extend(flags([
        ("bind-address", context.plan.control_plane().to_string()),
        ("secure-port", "10257".to_owned()),
        ("tls-cert-file", context.pki("kube-controller-manager.crt")),
        ("tls-private-key-file", context.pki("kube-controller-manager.key")),
        ("client-ca-file", context.pki("ca.crt")),
        ("kubeconfig", kubeconfig.clone()),
        ("authentication-kubeconfig", kubeconfig.clone()),
        ("authorization-kubeconfig", kubeconfig),
        // There is one, and after a kill it need not wait for its own lease to end.
        ("leader-elect", "false".to_owned()),
        ("use-service-account-credentials", "true".to_owned()),
        ("service-account-private-key-file", context.pki("service-account.key")),
        ("root-ca-file", context.pki("ca.crt")),
        ("cluster-signing-cert-file", context.pki("ca.crt")),
        ("cluster-signing-key-file", context.pki("ca.key")),
        ("profiling", "false".to_owned()),
    ]));
    context.daemon(NAME, &context.tools.kubernetes, arguments)
}

pub(super) fn scheduler(context: &Context<'_>) -> Result<Daemon> {
    const NAME: &str = "kube-scheduler";
    let kubeconfig = context.paths.kubeconfig(NAME).to_string_lossy().into_owned();
    let config = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": { "kubeconfig": kubeconfig },
        "leaderElection": { "leaderElect": false },
        "enableProfiling": false,
    });
    let config = format!("{config:#}\n");
    let mut arguments = vec![NAME.to_owned()];
    arguments.extend(flags([
        ("config", context.config("kube-scheduler.yaml", &config)?),
        ("bind-address", context.plan.control_plane().to_string()),
        ("secure-port", "10259".to_owned()),
        ("tls-cert-file", context.pki("kube-scheduler.crt")),
        ("tls-private-key-file", context.pki("kube-scheduler.key")),
        ("client-ca-file", context.pki("ca.crt")),
        ("authentication-kubeconfig", kubeconfig.clone()),
        ("authorization-kubeconfig", kubeconfig),
    ]));
    let mut daemon = context.daemon(NAME, &context.tools.kubernetes, arguments);
    daemon.configuration = config;
    Ok(daemon)
}
