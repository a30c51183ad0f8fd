//! Asking components whether they are well, over the same verified TLS as everybody else.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// A client from a kubeconfig file.
///
/// # Errors
/// When the file is not there or is no kubeconfig.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    Client::try_from(config(kubeconfig).await?).context("no TLS client can be made")
}

async fn config(kubeconfig: &Path) -> Result<Config> {
    let read = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("cannot read the kubeconfig {}: run `lab up`", kubeconfig.display()))?;
    Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("{} is no usable kubeconfig", kubeconfig.display()))
}

/// A component's health page.
#[derive(Clone)]
pub struct Probe {
    client: Client,
    path: String,
}

impl Probe {
    /// A probe of `url` (scheme, host, port) that presents the certificate of `kubeconfig` and trusts its
    /// authority.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read or the address is none.
    pub async fn new(kubeconfig: &Path, url: &str, path: &str) -> Result<Self> {
        let mut config = config(kubeconfig).await?;
        config.cluster_url = url.parse().with_context(|| format!("{url} is no address"))?;
        config.connect_timeout = Some(Duration::from_secs(2));
        config.read_timeout = Some(Duration::from_secs(2));
        // The lab's network has no proxy, whatever the environment says about others.
        config.proxy_url = None;
        config.default_retry = false;
        let client = Client::try_from(config).context("no TLS client can be made")?;
        Ok(Self { client, path: path.to_owned() })
    }

    /// Asks once.
    ///
    /// # Errors
    /// When there is no answer, or one that is not 2xx.
    pub async fn ask(&self) -> Result<()> {
        let request = http_request(&self.path)?;
        match tokio::time::timeout(Duration::from_secs(3), self.client.request_text(request)).await {
            Ok(answer) => answer.map(drop).with_context(|| format!("{} answers badly", self.path)),
            Err(_) => bail!("{} does not answer", self.path),
        }
    }
}

fn http_request(path: &str) -> Result<http::Request<Vec<u8>>> {
    http::Request::get(path).body(Vec::new()).context("the health page's path is wrong")
}
