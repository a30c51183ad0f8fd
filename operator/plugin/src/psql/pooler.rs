//! psql on this machine, through a port forwarded to a pooler pod, with a service's own
//! login and the certificate verified.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use lyceum_crds::CourseShard;
use lyceum_crds::course_shard::names::{
    Component, LABEL_COMPONENT, LABEL_INSTANCE, Names, POSTGRES_PORT, SERVICE_ROLES,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::cluster::{Cluster, explain};

pub(super) async fn run(
    cluster: &Cluster,
    shard: &CourseShard,
    role: &str,
    arguments: &[String],
) -> anyhow::Result<ExitCode> {
    if !SERVICE_ROLES.contains(&role) {
        bail!("--role {role} is no service's: through the pooler choose one of {}", SERVICE_ROLES.join(", "));
    }
    let names = Names::from(shard);
    let login = Login::read(cluster, &names, role).await?;
    let pod = ready_pod(cluster, &names).await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("can't open a local port")?;
    let port = listener.local_addr()?.port();
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let forward = tokio::spawn(forward(listener, pods, pod));

    let mut ca =
        tempfile::NamedTempFile::new().context("can't write the CA certificate to a temporary file")?;
    ca.write_all(login.ca.as_bytes())?;
    let conninfo = login.conninfo(port, &ca.path().display().to_string());
    let child = Command::new("psql")
        .arg("--dbname")
        .arg(conninfo)
        .args(arguments)
        // Not an argument: those show in the process list.
        .env("PGPASSWORD", &login.password)
        .spawn();
    let mut child = child.context("can't run psql: install the PostgreSQL client, or leave out --pooler")?;
    // Ctrl-C cancels psql's statement; this process has to live on to carry the connection.
    let interrupts = tokio::spawn(async { while tokio::signal::ctrl_c().await.is_ok() {} });
    let status = child.wait().await?;
    interrupts.abort();
    forward.abort();
    Ok(u8::try_from(status.code().unwrap_or(1)).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// How a service connects.
struct Login {
    username: String,
    password: String,
    host: String,
    dbname: String,
    ca: String,
}

impl Login {
    async fn read(cluster: &Cluster, names: &Names, role: &str) -> anyhow::Result<Self> {
        let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let role = secrets.get(&names.role_secret(role)).await.map_err(explain)?;
        let ca = secrets.get(&names.ca_cert_secret()).await.map_err(explain)?;
        Ok(Self {
            username: field(&role, "username")?,
            password: field(&role, "password")?,
            host: field(&role, "host")?,
            dbname: field(&role, "dbname")?,
            ca: field(&ca, "ca.crt")?,
        })
    }

    /// `host` is what the certificate is verified against, `hostaddr` where the port is.
    fn conninfo(&self, port: u16, ca: &str) -> String {
        format!(
            "host={} hostaddr=127.0.0.1 port={port} dbname={} user={} sslmode=verify-full sslrootcert='{ca}'",
            self.host, self.dbname, self.username
        )
    }
}

fn field(secret: &Secret, key: &str) -> anyhow::Result<String> {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    value.and_then(|value| String::from_utf8(value.0.clone()).ok()).with_context(|| {
        format!("Secret {} has no key {key}: restore it, or let the operator make it", secret.name_any())
    })
}

async fn ready_pod(cluster: &Cluster, names: &Names) -> anyhow::Result<String> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let labels =
        format!("{LABEL_INSTANCE}={},{LABEL_COMPONENT}={}", names.name(), Component::Pooler.as_str());
    let pods = pods.list(&ListParams::default().labels(&labels)).await.map_err(explain)?;
    let ready = pods.items.iter().find(|pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        pod.metadata.deletion_timestamp.is_none()
            && conditions
                .into_iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    });
    ready.map(ResourceExt::name_any).context("no pooler pod is ready: `kubectl lyceum explain` says why")
}

/// Carries every connection to the local port over to the pod, until it is aborted.
async fn forward(listener: TcpListener, pods: Api<Pod>, pod: String) {
    while let Ok((local, _)) = listener.accept().await {
        let (pods, pod) = (pods.clone(), pod.clone());
        tokio::spawn(async move {
            if let Err(error) = carry(local, &pods, &pod).await {
                eprintln!("the connection to pod {pod} broke: {error:#}");
            }
        });
    }
}

async fn carry(mut local: TcpStream, pods: &Api<Pod>, pod: &str) -> anyhow::Result<()> {
    let mut forwarder = pods.portforward(pod, &[POSTGRES_PORT]).await?;
    let mut remote = forwarder.take_stream(POSTGRES_PORT).context("the API server forwards no such port")?;
    tokio::io::copy_bidirectional(&mut local, &mut remote).await?;
    drop(remote);
    Ok(forwarder.join().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_verified_against_the_service_although_the_port_is_local() {
        let login = Login {
            username: "learning".into(),
            password: "secret".into(),
            host: "school-pooler.lyceum.svc.cluster.local".into(),
            dbname: "lyceum".into(),
            ca: String::new(),
        };
        assert_eq!(
            login.conninfo(40_001, "/tmp/ca"),
            "host=school-pooler.lyceum.svc.cluster.local hostaddr=127.0.0.1 port=40001 dbname=lyceum user=learning \
             sslmode=verify-full sslrootcert='/tmp/ca'"
        );
    }
}
