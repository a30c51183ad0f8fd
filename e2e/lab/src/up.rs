//! Bringing a lab up: every step looks first, so that running it again completes, heals or does nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use kube::Client;
use tokio::sync::SetOnce;

use crate::address::{MAX_NODES, NodePlan, RegionPlan};
use crate::cgroup::Hierarchies;
use crate::images::{self, Images, Name};
use crate::node::{self, MOUNT_POINTS};
use crate::options::Options;
use crate::progress::Progress;
use crate::state::{Host, Region, RegionPaths, State};
use crate::tools::Toolbox;
use crate::{addons, control_plane, health, lock, net, pki, preflight, sysctl};

/// What a lab is to be. What is left open stays as it is, or is the smallest.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Names of regions, one letter each.
    pub regions: Vec<String>,
    /// Nodes in each of them.
    pub nodes: Option<u8>,
}

/// Images that a cluster of the lab cannot be without.
const LAB_IMAGES: [Name; 4] = [Name::Pause, Name::Coredns, Name::LocalPathProvisioner, Name::LocalPathHelper];

/// Brings the lab up as requested.
///
/// # Errors
/// When the machine is not fit, or a component does not come up; the message says which and what it said last.
pub async fn up(options: &Options, request: &Request, progress: &Progress) -> Result<State> {
    let _lock = lock::take(options, progress)?;
    let hierarchies = Hierarchies::detect()?;
    progress.step("check the machine", preflight::check(options, &hierarchies)).await?;
    let state = record(options, request)?;
    make_mount_points(&state.host)?;
    let tools = Toolbox::ensure(options, progress).await?;
    // Building an image can take every core, and takes minutes when nothing is cached; what starts meanwhile
    // would only be slow to answer.
    let images = images::ensure(options, &images::Request::only(LAB_IMAGES), progress).await?;
    state.save_images(&images)?;
    let images = recorded(&state)?;
    progress.step("network", net::ensure(&state)).await?;
    try_join_all(state.regions.iter().map(|region| {
        let stage =
            Stage { state: &state, tools: &tools, hierarchies: &hierarchies, images: &images, progress };
        async move { stage.region(region).await }
    }))
    .await?;
    Ok(state)
}

/// The images in use whose archives are there: a node that joins gets those of what is installed, too.
fn recorded(state: &State) -> Result<Images> {
    let mut images = state.images()?;
    images.images.retain(|_, image| image.archive.is_file());
    Ok(images)
}

/// What all regions share while they come up.
struct Stage<'a> {
    state: &'a State,
    tools: &'a Toolbox,
    hierarchies: &'a Hierarchies,
    images: &'a Images,
    progress: &'a Progress,
}

impl Stage<'_> {
    async fn region(&self, region: &Region) -> Result<()> {
        let name = &region.name;
        let (plan, paths) = (region.plan()?, self.state.paths(name));
        pki::ensure(&paths, &plan, region.nodes).with_context(|| format!("{name}: certificates"))?;
        let nodes: Vec<node::Context<'_>> = region
            .node_plans()?
            .into_iter()
            .map(|(number, node)| self.node(&plan, number, node, &paths))
            .collect();
        // Set when the API server answers: a kubelet is of no use before, images and containerd are.
        let api = SetOnce::new();
        let control_plane = self.control_plane(region, &plan, &paths, &api);
        let (client, _) =
            tokio::try_join!(control_plane, try_join_all(nodes.iter().map(|node| self.join(node, &api))))?;
        self.progress
            .step(format!("{name}: DNS and volumes"), async {
                addons::install(&client, &plan, region.nodes, self.images).await?;
                addons::wait(&client).await
            })
            .await
    }

    fn node<'b>(
        &'b self,
        region: &'b RegionPlan,
        number: u8,
        plan: NodePlan,
        paths: &'b RegionPaths,
    ) -> node::Context<'b> {
        node::Context { region, number, plan, paths, tools: self.tools, hierarchies: self.hierarchies }
    }

    async fn control_plane(
        &self,
        region: &Region,
        plan: &RegionPlan,
        paths: &RegionPaths,
        api: &SetOnce<()>,
    ) -> Result<Client> {
        let name = &region.name;
        let context =
            control_plane::Context { plan, paths, tools: self.tools, hierarchies: self.hierarchies };
        self.progress.step(format!("{name}: control plane"), control_plane::ensure(&context)).await?;
        let client = health::client(&paths.admin_kubeconfig()).await?;
        addons::grant_access(&client).await.with_context(|| format!("{name}: rights"))?;
        api.set(()).context("the control plane came up twice")?;
        Ok(client)
    }

    async fn join(&self, node: &node::Context<'_>, api: &SetOnce<()>) -> Result<()> {
        let name = &node.plan.name;
        let pause = self.images.reference(Name::Pause)?;
        let machine =
            self.progress.step(format!("{name}: containerd"), node::ensure_machine(node, pause)).await?;
        let member = async {
            api.wait().await;
            self.progress.step(format!("{name}: Ready"), node::ensure_member(node, &machine)).await
        };
        let images = import(self.state, node.region.name(), node.number, self.images, self.progress);
        tokio::try_join!(member, images)?;
        Ok(())
    }
}

/// Puts images into a node that it does not have yet.
///
/// # Errors
/// When containerd does not take one.
pub async fn import(
    state: &State,
    region: &str,
    number: u8,
    images: &Images,
    progress: &Progress,
) -> Result<()> {
    let socket = state.paths(region).containerd_socket(number);
    let mut all: Vec<_> = images.images.iter().collect();
    // What the node itself cannot be without goes first.
    all.sort_by_key(|(name, _)| !LAB_IMAGES.contains(name));
    for (name, image) in all {
        let there = node::has_image(&socket, &image.reference)
            .await
            .with_context(|| format!("the containerd of {region}-n{number} does not answer: run `lab up`"))?;
        if !there {
            progress
                .step(
                    format!("{region}-n{number}: image {name}"),
                    node::import_image(&socket, &image.archive),
                )
                .await?;
        }
    }
    Ok(())
}

/// Writes down what is about to be made, and how the host was before.
fn record(options: &Options, request: &Request) -> Result<State> {
    let before = State::find(options)?;
    let mut regions: BTreeMap<String, u8> = before
        .iter()
        .flat_map(|state| &state.regions)
        .map(|region| (region.name.clone(), region.nodes))
        .collect();
    let mut wanted = request.regions.clone();
    if wanted.is_empty() {
        wanted = if regions.is_empty() { vec!["a".to_owned()] } else { regions.keys().cloned().collect() };
    }
    for name in wanted {
        RegionPlan::new(&name)?;
        let has = regions.get(&name).copied().unwrap_or(0);
        let nodes = request.nodes.unwrap_or(has.max(1));
        if nodes == 0 || nodes > MAX_NODES {
            bail!("a region has 1 to {MAX_NODES} nodes, not {nodes}");
        }
        if nodes < has {
            bail!("region {name} has {has} nodes and the lab takes none away: run `lab down` first");
        }
        regions.insert(name, nodes);
    }
    let state = State {
        regions: regions.into_iter().map(|(name, nodes)| Region { name, nodes }).collect(),
        host: before.map_or_else(Host::observe, |state| state.host),
        root: options.state.clone(),
        run: options.run.clone(),
    };
    state.save()?;
    Ok(state)
}

impl Host {
    fn observe() -> Self {
        let missing = |path: &&Path| !path.exists();
        let mut made_directories = Vec::new();
        for point in MOUNT_POINTS {
            let mut lacking: Vec<_> =
                Path::new(point).ancestors().take_while(missing).map(Path::to_path_buf).collect();
            lacking.reverse();
            for directory in lacking {
                if !made_directories.contains(&directory) {
                    made_directories.push(directory);
                }
            }
        }
        Self {
            had_namespace_mount: net::namespace_mount_exists(),
            made_directories,
            sysctls: sysctl::snapshot(),
        }
    }
}

fn make_mount_points(host: &Host) -> Result<()> {
    for directory in
        host.made_directories.iter().map(std::path::PathBuf::as_path).chain(MOUNT_POINTS.map(Path::new))
    {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn request(regions: &[&str], nodes: Option<u8>) -> Request {
        Request { regions: regions.iter().map(|name| (*name).to_owned()).collect(), nodes }
    }

    fn shape(state: &State) -> Vec<(&str, u8)> {
        state.regions.iter().map(|region| (region.name.as_str(), region.nodes)).collect()
    }

    #[test]
    fn a_lab_is_one_region_with_one_node_unless_said_otherwise_and_then_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::below(directory.path());
        assert_eq!(shape(&record(&options, &request(&[], None)).unwrap()), [("a", 1)]);
        assert_eq!(shape(&record(&options, &request(&[], Some(2))).unwrap()), [("a", 2)]);
        assert_eq!(shape(&record(&options, &request(&[], None)).unwrap()), [("a", 2)]);
        assert_eq!(shape(&record(&options, &request(&["b"], Some(1))).unwrap()), [("a", 2), ("b", 1)]);
    }

    #[test]
    fn fewer_nodes_or_none_or_strange_names_are_refused_and_change_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::below(directory.path());
        record(&options, &request(&["a"], Some(2))).unwrap();
        let fewer = record(&options, &request(&["a"], Some(1))).unwrap_err().to_string();
        assert!(fewer.contains("lab down"), "{fewer}");
        assert!(record(&options, &request(&["a"], Some(0))).is_err());
        assert!(record(&options, &request(&["A"], None)).is_err());
        assert_eq!(shape(&State::load(&options).unwrap()), [("a", 2)]);
    }

    #[test]
    fn how_the_host_was_is_what_the_first_run_saw() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::below(directory.path());
        let mut first = record(&options, &request(&[], None)).unwrap();
        first.host.sysctls = BTreeMap::from([("kernel/panic".to_owned(), "77".to_owned())]);
        first.save().unwrap();
        assert_eq!(record(&options, &request(&[], Some(2))).unwrap().host, first.host);
    }
}
