//! The cluster that a kubeconfig names, and errors a person can act on.

use std::time::Duration;

use anyhow::{Context, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use lyceum_crds::CourseShard;

use crate::Connection;

/// A client and the namespace to look in.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Cluster {
    pub(crate) async fn connect(connection: &Connection) -> anyhow::Result<Self> {
        let kubeconfig = match &connection.kubeconfig {
            Some(path) => Kubeconfig::read_from(path)
                .with_context(|| format!("can't read the kubeconfig {}", path.display()))?,
            None => Kubeconfig::read().context(
                "can't read a kubeconfig: name one with --kubeconfig or $KUBECONFIG, or write ~/.kube/config",
            )?,
        };
        let options =
            KubeConfigOptions { context: connection.context.clone(), ..KubeConfigOptions::default() };
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .context("the kubeconfig is not usable")?;
        // A person waits: say that the cluster is away instead of retrying for minutes.
        config.connect_timeout = Some(Duration::from_secs(10));
        config.read_timeout = Some(Duration::from_secs(20));
        config.default_retry = false;
        let namespace = connection.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("the kubeconfig is not usable")?;
        Ok(Self { client, namespace })
    }

    pub(crate) fn shards(&self) -> Api<CourseShard> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The CourseShard of that name.
    pub(crate) async fn shard(&self, name: &str) -> anyhow::Result<CourseShard> {
        match self.shards().get_opt(name).await.map_err(explain)? {
            Some(shard) => Ok(shard),
            None => bail!(
                "no CourseShard {name} in namespace {}: see `kubectl lyceum status -A`, or name another with -n",
                self.namespace
            ),
        }
    }
}

/// Says what to do about the errors that a person is likely to meet.
pub(crate) fn explain(error: kube::Error) -> anyhow::Error {
    let hint = hint(&error);
    match error {
        // The API server's own words, without the rest of its answer.
        kube::Error::Api(status) => anyhow::Error::msg(status.message).context(hint),
        error => anyhow::Error::new(error).context(hint),
    }
}

fn hint(error: &kube::Error) -> &'static str {
    let kube::Error::Api(status) = error else {
        return "can't reach the cluster: check the context and whether the API server is up";
    };
    match status.code {
        401 => "the cluster doesn't know you: renew your credentials",
        403 => "you may not do this: ask the cluster's administrator for the right to",
        // Of the whole kind, not of one object.
        404 if status.message.contains("page not found") => {
            "the cluster knows no CourseShards: install the chart (charts/lyceum), or choose another context"
        }
        404 => "something the operator makes is missing: `kubectl lyceum explain` says what it is doing",
        409 => "somebody changed the object meanwhile: look again and repeat",
        _ => "the API server refused",
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_missing_kind_is_told_from_a_missing_object() {
        let api = |code: u16, message: &str| {
            kube::Error::Api(Status::failure(message, "NotFound").with_code(code).boxed())
        };
        assert!(hint(&api(404, "404 page not found")).contains("install the chart"));
        assert!(hint(&api(404, "secrets \"school-role-loader\" not found")).contains("operator makes"));
        assert!(hint(&api(403, "forbidden")).contains("may not"));
    }
}
