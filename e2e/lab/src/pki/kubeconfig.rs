//! Kubeconfigs with everything inside.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::Issued;

/// A kubeconfig (as JSON, which is YAML) for one user of one cluster.
#[must_use]
pub fn kubeconfig(cluster: &str, url: &str, authority: &str, user: &Issued) -> String {
    let encode = |pem: &str| STANDARD.encode(pem);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": cluster,
            "cluster": { "server": url, "certificate-authority-data": encode(authority) },
        }],
        "users": [{
            "name": cluster,
            "user": {
                "client-certificate-data": encode(&user.certificate),
                "client-key-data": encode(&user.key),
            },
        }],
        "contexts": [{ "name": cluster, "context": { "cluster": cluster, "user": cluster } }],
        "current-context": cluster,
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_kubeconfig_is_read_by_kubernetes_clients() {
        let user = Issued { certificate: "certificate".into(), key: "key".into() };
        let text = kubeconfig("lyceum-a", "https://198.18.1.2:6443", "authority", &user);
        let read: kube::config::Kubeconfig = serde_yaml::from_str(&text).unwrap();
        assert_eq!(read.current_context.as_deref(), Some("lyceum-a"));
        let cluster = read.clusters[0].cluster.clone().unwrap();
        assert_eq!(cluster.insecure_skip_tls_verify, None);
        assert_eq!(cluster.certificate_authority_data.as_deref(), Some("YXV0aG9yaXR5"));
    }
}
