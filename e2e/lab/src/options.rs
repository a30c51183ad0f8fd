//! Where the lab keeps its things, and how a caller may say otherwise.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Sockets and the lock live here: short paths, because a socket's path ends at 107 bytes, and a file system
/// that a reboot empties, because nothing in it outlives the processes.
const RUN: &str = "/run/lyceum-lab";

/// Places and switches that every command of the lab shares.
#[derive(Debug, Clone)]
pub struct Options {
    /// What one lab is: `lab.json`, certificates, etcd's data, logs, volumes. `down` removes it.
    pub state: PathBuf,
    /// What outlives labs: binaries, images, keyed by what they were made from. `down` keeps it.
    pub cache: PathBuf,
    /// Sockets and the lock.
    pub run: PathBuf,
    /// The root of the repository, where Containerfiles, charts and `e2e/box` are.
    pub repository: PathBuf,
    /// Directory with `lib/` and `extension/` that goes into the PostgreSQL image. `Some` means that somebody
    /// asked for it, so that its absence is an error; [`Options::default_overlay`] is taken when present.
    pub extension_overlay: Option<PathBuf>,
    /// Whether missing Debian packages may be installed.
    pub install_tools: bool,
}

impl Options {
    /// Reads the environment: `LYCEUM_LAB_STATE`, `LYCEUM_CACHE`, `LYCEUM_EXTENSION_OVERLAY`,
    /// `LYCEUM_REPOSITORY`, `LYCEUM_LAB_APT`, with the XDG directories behind the first two.
    ///
    /// # Errors
    /// When neither an XDG variable nor `HOME` says where the user's files go, or no repository is found.
    pub fn from_environment() -> Result<Self> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home_or = |name: &str, below_home: &str| {
            variable(name)
                .or_else(|| variable("HOME").map(|home| home.join(below_home)))
                .with_context(|| format!("neither {name} nor HOME is set: set one of them"))
        };
        let state = match variable("LYCEUM_LAB_STATE") {
            Some(state) => state,
            None => home_or("XDG_STATE_HOME", ".local/state")?.join("lyceum/lab"),
        };
        let cache = match variable("LYCEUM_CACHE") {
            Some(cache) => cache,
            None => home_or("XDG_CACHE_HOME", ".cache")?.join("lyceum"),
        };
        Ok(Self {
            state: absolute(&state)?,
            cache: absolute(&cache)?,
            run: PathBuf::from(RUN),
            repository: repository(variable("LYCEUM_REPOSITORY"))?,
            extension_overlay: variable("LYCEUM_EXTENSION_OVERLAY")
                .map(|path| absolute(&path))
                .transpose()?,
            install_tools: std::env::var("LYCEUM_LAB_APT").is_ok_and(|value| value == "1"),
        })
    }

    /// Everything below one directory.
    #[cfg(test)]
    pub(crate) fn below(root: &Path) -> Self {
        Self {
            state: root.join("state"),
            cache: root.join("cache"),
            run: root.join("run"),
            repository: root.to_path_buf(),
            extension_overlay: None,
            install_tools: false,
        }
    }

    /// The place in the cache where an extension overlay is looked for when none is named.
    #[must_use]
    pub fn default_overlay(&self, postgres_major: u16) -> PathBuf {
        self.cache.join(format!("extensions/postgresql-{postgres_major}"))
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot make {} absolute", path.display()))
}

/// The repository is the named one, else the nearest above the working directory, else the one that this
/// binary was built from.
fn repository(named: Option<PathBuf>) -> Result<PathBuf> {
    const MARK: &str = "e2e/box/go.mod";
    if let Some(named) = named {
        if named.join(MARK).is_file() {
            return absolute(&named);
        }
        bail!(
            "LYCEUM_REPOSITORY is {}, which has no {MARK}: name the root of the repository",
            named.display()
        );
    }
    let here = std::env::current_dir().context("the working directory is gone: change to another")?;
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .chain(built_from.ancestors())
        .find(|directory| directory.join(MARK).is_file())
        .map(Path::to_path_buf)
        .context(
            "no repository found: run the lab inside the repository or set LYCEUM_REPOSITORY to its root",
        )
}
