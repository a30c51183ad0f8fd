//! lyceum on a cluster: the lab's, or any other by its kubeconfig.

mod helm;
mod wait;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::images::{self, Images};
use crate::manifest::{apply, parse};
use crate::options::Options;
use crate::progress::Progress;
use crate::state::State;
use crate::{health, tools, up};
use helm::{Helm, Source, demo_values, platform_values};

/// Where the operator is installed.
const SYSTEM: &str = "lyceum-system";
/// Where the example is.
const NAMESPACE: &str = "lyceum";
/// The example's name.
const EXAMPLE: &str = "school";

/// Where to install, and what.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// A cluster that is not the lab's. Its images must be where it can pull them.
    pub kubeconfig: Option<PathBuf>,
    /// The region of the lab.
    pub region: String,
    /// A registry with the images under the chart's version, for a cluster that is not the lab's.
    pub registry: Option<String>,
    /// Whether to leave out the example with its data.
    pub bare: bool,
}

/// Installs or upgrades lyceum, and the example with its data.
///
/// # Errors
/// When an image does not build, helm refuses, or the example is not Ready in time; the message says why.
pub async fn install(options: &Options, request: &Request, progress: &Progress) -> Result<()> {
    let (kubeconfig, source) = match &request.kubeconfig {
        Some(kubeconfig) => (kubeconfig.clone(), Source::Registry(request.registry.clone())),
        None => {
            let state = State::load(options)?;
            state.region(&request.region)?;
            let images = deliver(options, &images::Request::default(), progress).await?;
            (state.paths(&request.region).admin_kubeconfig(), Source::Nodes(images))
        }
    };
    let helm = Helm { program: tools::ensure_helm(options, progress).await?, kubeconfig: kubeconfig.clone() };
    let client = health::client(&kubeconfig).await?;
    let charts = options.repository.join("charts");
    let namespaces = options.repository.join("policies/namespaces.yaml");
    let namespaces = std::fs::read_to_string(&namespaces)
        .with_context(|| format!("cannot read {}", namespaces.display()))?;
    apply(&client, &parse(&namespaces)?, Duration::from_secs(30)).await?;
    progress
        .step("helm: lyceum", async {
            let values = platform_values(&source)?;
            let wait = ["--wait", "--timeout", "5m"];
            helm.upgrade("lyceum", &charts.join("lyceum"), SYSTEM, &values, &wait).await
        })
        .await?;
    if request.bare {
        return Ok(());
    }
    let plain = match &source {
        Source::Nodes(images) if images.citus.is_none() => {
            Some(charts.join("lyceum-demo/values-single.yaml").to_string_lossy().into_owned())
        }
        _ => None,
    };
    if plain.is_some() {
        progress.note("the PostgreSQL image has no Citus: the example is a single group");
    }
    progress
        .step("helm: the example", async {
            let values = demo_values(&source)?;
            // Helm itself could wait for it too, but says nothing meanwhile.
            let plain: Vec<&str> = plain.iter().flat_map(|file| ["--values", file.as_str()]).collect();
            helm.upgrade(EXAMPLE, &charts.join("lyceum-demo"), NAMESPACE, &values, &plain).await
        })
        .await?;
    progress.step("CourseShard school is Ready", wait::ready(&client, progress)).await?;
    progress.step("the registrations are loaded", wait::loaded(&client)).await
}

/// Builds images and, where a lab is up, puts them on all its nodes.
///
/// # Errors
/// When an image does not build or a node does not take it.
pub async fn deliver(options: &Options, request: &images::Request, progress: &Progress) -> Result<Images> {
    let images = images::ensure(options, request, progress).await?;
    if let Some(state) = State::find(options)? {
        state.save_images(&images)?;
        for region in &state.regions {
            for number in 1..=region.nodes {
                up::import(&state, &region.name, number, &images, progress).await?;
            }
        }
    }
    Ok(images)
}
