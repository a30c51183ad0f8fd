//! A local port that leads to a pod's, as `kubectl port-forward` makes.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Forwards connections for as long as it lives.
#[derive(Debug)]
pub struct Forward {
    /// Port on 127.0.0.1.
    pub port: u16,
    accepting: JoinHandle<()>,
}

impl Forward {
    /// Opens a local port that leads to `port` of the pod.
    pub async fn to_pod(pods: Api<Pod>, pod: &str, port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no free local port")?;
        let local = listener.local_addr()?.port();
        let pod = pod.to_owned();
        let accepting = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (pods, pod) = (pods.clone(), pod.clone());
                tokio::spawn(async move {
                    // The client sees its connection closed, which says what it needs to know:
                    // a pod that is gone is an everyday thing in these scenarios.
                    let _ = carry(connection, &pods, &pod, port).await;
                });
            }
        });
        Ok(Self { port: local, accepting })
    }
}

async fn carry(mut connection: TcpStream, pods: &Api<Pod>, pod: &str, port: u16) -> Result<()> {
    connection.set_nodelay(true)?;
    let mut forwarder = pods.portforward(pod, &[port]).await?;
    let mut stream = forwarder.take_stream(port).context("the port was not forwarded")?;
    tokio::io::copy_bidirectional(&mut connection, &mut stream).await?;
    drop(stream);
    forwarder.join().await?;
    Ok(())
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
