//! The cgroup subtree that everything of the lab lives in.
//!
//! A process stays in its cgroup through forks, daemonising and the death of its parents, so that the subtree is
//! the one list of what runs that cannot be wrong. Works on version 1 hierarchies (the list is kept in `pids`)
//! and on the unified version 2.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// The subtree's root, in every hierarchy.
pub const ROOT: &str = "lyceum-lab";

/// Killing is repeated until nothing is left, because a process may fork between being listed and being killed.
const KILL_LIMIT: Duration = Duration::from_secs(30);

/// All mounted cgroup hierarchies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchies {
    mounts: Vec<Hierarchy>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    /// Controllers of a version 1 hierarchy; empty for version 2.
    controllers: Vec<String>,
    unified: bool,
}

impl Hierarchies {
    /// Finds what is mounted.
    ///
    /// # Errors
    /// When nothing is.
    pub fn detect() -> Result<Self> {
        let text = fs::read_to_string("/proc/self/mountinfo").context("/proc is not mounted: mount it")?;
        let found = Self::from_mountinfo(&text);
        if found.mounts.is_empty() {
            bail!("no cgroup hierarchy is mounted: mount cgroup2 on /sys/fs/cgroup");
        }
        Ok(found)
    }

    fn from_mountinfo(text: &str) -> Self {
        let mut mounts: Vec<Hierarchy> = Vec::new();
        for line in text.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let (Some(&root), Some(&point), Some(&kind)) = (left.get(3), left.get(4), right.first()) else {
                continue;
            };
            // A hierarchy that is mounted from below its root belongs to some container.
            if root != "/" || !matches!(kind, "cgroup" | "cgroup2") {
                continue;
            }
            let options = right.get(2).copied().unwrap_or_default();
            let controllers = options.split(',').filter(|word| !matches!(*word, "rw" | "ro"));
            let unified = kind == "cgroup2";
            let hierarchy = Hierarchy {
                mount: PathBuf::from(point),
                controllers: if unified { Vec::new() } else { controllers.map(str::to_owned).collect() },
                unified,
            };
            if !mounts.iter().any(|other| other.mount == hierarchy.mount) {
                mounts.push(hierarchy);
            }
        }
        Self { mounts }
    }

    /// The hierarchy that lists the lab's processes.
    fn tracking(&self) -> Result<&Hierarchy> {
        let has = |name: &'static str| {
            move |hierarchy: &&Hierarchy| hierarchy.controllers.iter().any(|controller| controller == name)
        };
        self.mounts
            .iter()
            .find(has("pids"))
            .or_else(|| self.mounts.iter().find(|hierarchy| hierarchy.unified))
            .or_else(|| self.mounts.first())
            .context("no cgroup hierarchy is mounted")
    }

    /// Makes the cgroup of a component (`a/cp/etcd`) and returns its directory.
    ///
    /// # Errors
    /// When the hierarchy is not writable.
    pub fn component(&self, path: &str) -> Result<PathBuf> {
        let directory = self.tracking()?.mount.join(ROOT).join(path);
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make cgroup {}", directory.display()))?;
        Ok(directory)
    }

    /// Makes the cgroup that a kubelet puts its pods below (`a/n1/pods`), in every hierarchy, with what a kubelet
    /// wants to find there; returns its name as the kubelet's `cgroupRoot`.
    ///
    /// # Errors
    /// When a hierarchy is not writable.
    pub fn pods(&self, path: &str) -> Result<String> {
        for hierarchy in &self.mounts {
            let mut above = hierarchy.mount.clone();
            for name in Path::new(ROOT).join(path).iter() {
                let below = above.join(name);
                if hierarchy.unified {
                    delegate(&above);
                }
                fs::create_dir_all(&below)
                    .with_context(|| format!("cannot make cgroup {}", below.display()))?;
                if hierarchy.controllers.iter().any(|controller| controller == "cpuset") {
                    // A version 1 cpuset starts empty, and no process can enter it before it has both.
                    for file in ["cpuset.cpus", "cpuset.mems"] {
                        let value = fs::read_to_string(above.join(file)).unwrap_or_default();
                        fs::write(below.join(file), value.trim())
                            .with_context(|| format!("cannot write {}", below.join(file).display()))?;
                    }
                }
                above = below;
            }
            if hierarchy.unified {
                delegate(&above);
            }
        }
        Ok(format!("/{ROOT}/{path}"))
    }

    /// Every process below a path of the subtree (`""` for all of it).
    #[must_use]
    pub fn processes(&self, path: &str) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        for directory in self.directories(path) {
            let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            // 0 stands for a process of another process namespace, which cannot be named from here.
            found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
        }
        found
    }

    /// Every cgroup directory at or below a path of the subtree, innermost first.
    #[must_use]
    pub fn directories(&self, path: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for hierarchy in &self.mounts {
            collect(&hierarchy.mount.join(ROOT).join(path), &mut found);
        }
        found
    }

    /// The outermost cgroups of every hierarchy, whoever's they are.
    #[must_use]
    pub fn outermost(&self) -> Vec<PathBuf> {
        self.mounts.iter().flat_map(|hierarchy| subdirectories(&hierarchy.mount)).collect()
    }

    /// Ends every process below a path of the subtree and waits until they are gone.
    ///
    /// # Errors
    /// When some process outlives the kill, which means that it hangs in the kernel.
    pub async fn kill(&self, path: &str) -> Result<usize> {
        let began = Instant::now();
        let mut killed: BTreeSet<i32> = BTreeSet::new();
        loop {
            let left = self.processes(path);
            if left.is_empty() {
                return Ok(killed.len());
            }
            for pid in &left {
                kill(*pid);
            }
            killed.extend(&left);
            if began.elapsed() > KILL_LIMIT {
                bail!("processes {left:?} do not end though killed: see /proc/PID/stack for where they hang");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Removes the cgroups at and below a path; what still has processes stays.
    pub fn remove(&self, path: &str) {
        for directory in self.directories(path) {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Kills one process; that it is gone already is as good.
pub fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Hands a version 2 cgroup's controllers to its children. A controller that cannot be handed on (no process may
/// sit in a cgroup that does) is one that the kubelet will name.
fn delegate(directory: &Path) {
    let controllers = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        let _ = fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    if directory.is_dir() {
        for below in subdirectories(directory) {
            collect(&below, found);
        }
        found.push(directory.to_path_buf());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    const V1: &str = "\
24 20 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
25 24 0:23 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
26 24 0:24 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
27 24 0:25 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
28 24 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
29 24 0:24 /docker/x /mnt/pids rw,relatime - cgroup cgroup rw,pids
";

    #[test]
    fn version_1_tracks_in_pids_and_ignores_what_is_mounted_from_below_a_root() {
        let found = Hierarchies::from_mountinfo(V1);
        assert_eq!(found.mounts.len(), 4);
        assert_eq!(found.tracking().unwrap().mount, Path::new("/sys/fs/cgroup/pids"));
    }

    #[test]
    fn version_2_tracks_in_the_one_hierarchy() {
        let text = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Hierarchies::from_mountinfo(text);
        assert_eq!(found.tracking().unwrap().mount, Path::new("/sys/fs/cgroup"));
        assert!(found.tracking().unwrap().controllers.is_empty());
    }

    #[test]
    fn processes_and_directories_are_found_at_any_depth_innermost_first() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join(ROOT).join("a/cp/etcd");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("cgroup.procs"), "12\n0\n7\n").unwrap();
        let found = Hierarchies {
            mounts: vec![Hierarchy {
                mount: directory.path().into(),
                controllers: vec!["pids".into()],
                unified: false,
            }],
        };
        assert_eq!(found.processes("a"), BTreeSet::from([7, 12]));
        assert_eq!(found.processes("b"), BTreeSet::new());
        let directories = found.directories("");
        assert_eq!(directories.len(), 4);
        assert!(directories[0].ends_with("a/cp/etcd") && directories[3].ends_with(ROOT));
    }
}
