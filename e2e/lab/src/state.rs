//! What a lab is, as recorded on disk, and where its files are.
//!
//! The record is a promise to undo, so it is written before anything is made. It never says what runs: that is
//! looked up where it can be seen.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::address::{NodePlan, RegionPlan};
use crate::images::Images;
use crate::options::Options;

/// The record's name in the state directory.
pub(crate) const RECORD: &str = "lab.json";
const IMAGES: &str = "images.json";

/// The record of one lab.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Regions in the order of their names.
    pub regions: Vec<Region>,
    /// How the host was before the lab changed it.
    pub host: Host,
    /// The directory that the record lies in.
    #[serde(skip)]
    pub root: PathBuf,
    /// Where its sockets are.
    #[serde(skip)]
    pub run: PathBuf,
}

/// One cluster of the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// One letter.
    pub name: String,
    /// How many nodes it has, numbered from 1.
    pub nodes: u8,
}

/// What `down` puts back as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Whether anybody had used named network namespaces before: the first use leaves a mount behind.
    pub had_namespace_mount: bool,
    /// Directories that were made as mount points of the nodes, outermost first.
    pub made_directories: Vec<PathBuf>,
    /// Kernel settings that the kubelet changes machine-wide, with their values before.
    pub sysctls: BTreeMap<String, String>,
}

impl State {
    /// The record of the lab that runs, or half runs, or `None`.
    ///
    /// # Errors
    /// When the record is there and cannot be read.
    pub fn find(options: &Options) -> Result<Option<Self>> {
        let path = options.state.join(RECORD);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let state: Self = serde_json::from_str(&text).with_context(|| {
            format!("{} is no record of a lab: run `lab down`, which does not need it", path.display())
        })?;
        Ok(Some(Self { root: options.state.clone(), run: options.run.clone(), ..state }))
    }

    /// The record of the lab.
    ///
    /// # Errors
    /// When there is none.
    pub fn load(options: &Options) -> Result<Self> {
        match Self::find(options)? {
            Some(state) => Ok(state),
            None => bail!("no lab is recorded in {}: run `lab up` first", options.state.display()),
        }
    }

    /// Writes the record so that a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// When the state directory cannot be written.
    pub fn save(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("the record of the lab cannot be encoded")?;
        write_file(&self.root.join(RECORD), &text, 0o644)
    }

    /// The region of this name.
    ///
    /// # Errors
    /// When the lab has no such region; the message names those it has.
    pub fn region(&self, name: &str) -> Result<&Region> {
        self.regions.iter().find(|region| region.name == name).with_context(|| {
            let names: Vec<_> = self.regions.iter().map(|region| region.name.as_str()).collect();
            format!("the lab has no region {name:?}, only {}", names.join(", "))
        })
    }

    /// Where a region's files are.
    #[must_use]
    pub fn paths(&self, region: &str) -> RegionPaths {
        RegionPaths { state: self.root.join(region), run: self.run.join(region) }
    }

    /// A client with all rights on a region's cluster.
    ///
    /// # Errors
    /// When the region or its kubeconfig is not there.
    pub async fn client(&self, region: &str) -> Result<kube::Client> {
        self.region(region)?;
        crate::health::client(&self.paths(region).admin_kubeconfig()).await
    }

    /// The images that the lab was brought up or installed with.
    ///
    /// # Errors
    /// When no images were built yet.
    pub fn images(&self) -> Result<Images> {
        let path = self.root.join(IMAGES);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{} is missing: run `lab up` or `lab install` first", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged: run `lab up`", path.display()))
    }

    /// Records images as in use, beside those that were recorded before.
    ///
    /// # Errors
    /// When the state directory cannot be written.
    pub fn save_images(&self, images: &Images) -> Result<()> {
        let mut all = self.images().unwrap_or_default();
        all.images.extend(images.images.iter().map(|(name, image)| (*name, image.clone())));
        all.citus.clone_from(&images.citus);
        let text = serde_json::to_string_pretty(&all).context("the images cannot be encoded")?;
        write_file(&self.root.join(IMAGES), &text, 0o644)
    }
}

impl Region {
    /// The region's names and addresses.
    ///
    /// # Errors
    /// When the record names an impossible region.
    pub fn plan(&self) -> Result<RegionPlan> {
        RegionPlan::new(&self.name)
    }

    /// The plans of its nodes with their numbers, from 1.
    ///
    /// # Errors
    /// When the record names an impossible region.
    pub fn node_plans(&self) -> Result<Vec<(u8, NodePlan)>> {
        let plan = self.plan()?;
        Ok((1..=self.nodes).map(|n| (n, plan.node(n))).collect())
    }
}

/// Files of one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionPaths {
    /// Below the lab's state directory.
    pub state: PathBuf,
    /// Below the directory of sockets.
    pub run: PathBuf,
}

impl RegionPaths {
    /// A file of the region's certificate authority.
    #[must_use]
    pub fn pki(&self, file: &str) -> PathBuf {
        self.state.join("pki").join(file)
    }

    /// The kubeconfig of a component, with its certificate inside.
    #[must_use]
    pub fn kubeconfig(&self, who: &str) -> PathBuf {
        self.state.join(format!("{who}.kubeconfig"))
    }

    /// The kubeconfig with all rights.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.kubeconfig("admin")
    }

    /// What a component wrote to its output.
    #[must_use]
    pub fn log(&self, component: &str) -> PathBuf {
        self.state.join("logs").join(format!("{component}.log"))
    }

    /// A component's configuration file.
    #[must_use]
    pub fn config(&self, file: &str) -> PathBuf {
        self.state.join("config").join(file)
    }

    /// Where node `n` keeps what lies on its disk.
    #[must_use]
    pub fn node_state(&self, n: u8) -> PathBuf {
        self.state.join(format!("n{n}"))
    }

    /// Where node `n` has its sockets.
    #[must_use]
    pub fn node_run(&self, n: u8) -> PathBuf {
        self.run.join(format!("n{n}"))
    }

    /// The socket of node `n`'s containerd.
    #[must_use]
    pub fn containerd_socket(&self, n: u8) -> PathBuf {
        self.node_run(n).join("containerd/containerd.sock")
    }
}

/// Writes a file with its directory: to the side first, then renamed.
///
/// # Errors
/// When the directory cannot be written; the message names the file.
pub fn write_file(path: &Path, content: &str, mode: u32) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let write = || -> std::io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory)?;
        let mut aside = path.as_os_str().to_owned();
        aside.push(".new");
        let _ = fs::remove_file(&aside);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&aside)?;
        file.write_all(content.as_bytes())?;
        fs::rename(&aside, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_saved_record_is_read_back_with_its_places() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::below(directory.path());
        assert_eq!(State::find(&options).unwrap(), None);
        assert!(State::load(&options).unwrap_err().to_string().contains("lab up"));
        let state = State {
            regions: vec![Region { name: "a".into(), nodes: 2 }],
            host: Host { had_namespace_mount: true, ..Host::default() },
            root: options.state.clone(),
            run: options.run.clone(),
        };
        state.save().unwrap();
        assert_eq!(State::load(&options).unwrap(), state);
        let missing = state.region("b").unwrap_err().to_string();
        assert!(missing.contains("\"b\"") && missing.ends_with("only a"), "{missing}");
    }

    #[test]
    fn a_key_is_written_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pki/ca.key");
        write_file(&path, "secret", 0o600).unwrap();
        write_file(&path, "other", 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "other");
    }
}
