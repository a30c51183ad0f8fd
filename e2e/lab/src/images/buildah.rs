//! buildah without a container engine: as root, `chroot` isolation, the host's network, a store of its own.
//!
//! Each call runs in mount and process namespaces of its own and dies with the lab. However it ends, the kernel
//! takes its mounts and its children away: nothing of a build can be left on the host.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use tokio::sync::{OnceCell, Semaphore};

use crate::command;

/// Builds at a time: one waits for packages while another unpacks.
const AT_ONCE: usize = 2;

/// What to build.
#[derive(Debug)]
pub(crate) struct Build<'a> {
    /// The name that the image gets in the store.
    pub(crate) reference: &'a str,
    /// The context, with a `Containerfile` at its root.
    pub(crate) context: &'a Path,
    /// The reference of the base, for `ARG BASE`.
    pub(crate) base: Option<&'a str>,
    /// Further arguments.
    pub(crate) arguments: Vec<String>,
    /// Whether to keep layers: for an image whose first steps take long and seldom change.
    pub(crate) layers: bool,
    /// Where the build's output goes.
    pub(crate) log: &'a Path,
}

/// A store of images and the program that works on it.
#[derive(Debug)]
pub(crate) struct Buildah {
    store: PathBuf,
    work: PathBuf,
    driver: OnceCell<&'static str>,
    builds: Semaphore,
}

impl Buildah {
    /// `work` is for what lives no longer than this run.
    pub(crate) fn new(cache: &Path, work: &Path) -> Self {
        Self {
            store: cache.join("buildah"),
            work: work.to_path_buf(),
            driver: OnceCell::new(),
            builds: Semaphore::new(AT_ONCE),
        }
    }

    /// Builds an image into the store.
    pub(crate) async fn build(&self, build: Build<'_>) -> Result<()> {
        let _permit = self.builds.acquire().await.context("the lab is stopping")?;
        let mut arguments = vec![
            "build".to_owned(),
            "--isolation=chroot".to_owned(),
            "--network=host".to_owned(),
            // Every base is in the store already; a registry is never asked.
            "--pull=never".to_owned(),
            format!("--layers={}", build.layers),
            format!("--tag={}", build.reference),
            format!("--file={}", build.context.join("Containerfile").display()),
        ];
        if let Some(base) = build.base {
            arguments.push(format!("--build-arg=BASE={base}"));
        }
        arguments.extend(build.arguments);
        arguments.push(build.context.display().to_string());
        logged(self.command(&arguments).await?, build.log).await
    }

    /// Whether the store has an image of this name.
    pub(crate) async fn has(&self, reference: &str) -> Result<bool> {
        let all = self.run(&["images", "--no-trunc", "--format={{.Name}}:{{.Tag}}"]).await?;
        Ok(all.lines().any(|name| name == reference))
    }

    /// Writes an image of the store to an OCI archive that carries its name.
    pub(crate) async fn save(&self, reference: &str, archive: &Path) -> Result<()> {
        let target = format!("oci-archive:{}:{reference}", archive.display());
        self.run(&["push", "--quiet", reference, &target]).await.map(drop)
    }

    /// Reads an image from such an archive.
    pub(crate) async fn load(&self, reference: &str, archive: &Path) -> Result<()> {
        let source = format!("oci-archive:{}:{reference}", archive.display());
        let id = self.run(&["pull", "--quiet", &source]).await?;
        self.run(&["tag", id.trim(), reference]).await.map(drop)
    }

    /// Removes an image from the store.
    pub(crate) async fn remove(&self, reference: &str) -> Result<()> {
        self.run(&["rmi", "--force", reference]).await.map(drop)
    }

    /// Empties the store.
    pub(crate) async fn wipe(&self) -> Result<()> {
        self.run(&["rmi", "--all", "--force"]).await.map(drop)
    }

    async fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        Ok(command::output(self.command(arguments).await?, None).await?)
    }

    async fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Command> {
        let driver = self.driver.get_or_try_init(|| self.open()).await?;
        Ok(self.command_with(driver, arguments))
    }

    fn command_with<S: AsRef<OsStr>>(&self, driver: &str, arguments: &[S]) -> Command {
        let mut command = contained("buildah");
        command
            .arg("--storage-driver")
            .arg(driver)
            .arg("--root")
            .arg(self.store.join(driver))
            // What is mounted is recorded here; in a fresh directory no record of a killed run misleads.
            .arg("--runroot")
            .arg(self.work.join("buildah"))
            .args(arguments)
            .env("TMPDIR", &self.work)
            // Of a user's configuration, none is meant for this store.
            .env_remove("STORAGE_DRIVER")
            .env_remove("STORAGE_OPTS")
            .env_remove("BUILDAH_LAYERS")
            .env_remove("BUILDAH_FORMAT");
        command
    }

    /// Picks the storage driver and removes the working containers of killed runs. `vfs` copies each layer whole,
    /// but works where the file system below carries no overlay.
    async fn open(&self) -> Result<&'static str> {
        let mut refused = None;
        for driver in ["overlay", "vfs"] {
            match command::output(self.command_with(driver, &["rm", "--all"]), None).await {
                Ok(_) => return Ok(driver),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) => Err(error).with_context(|| format!("buildah cannot use {}", self.store.display())),
            None => bail!("no storage driver was tried"),
        }
    }
}

/// A command in mount and process namespaces of its own, which end with it and with the lab.
pub(crate) fn contained(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid", "--fork", "--kill-child"]);
    command.args(["--mount-proc", "--", program]);
    command
}

/// Runs a command with its output added to a file; a failure shows the file's end.
pub(crate) async fn logged(mut command: Command, log: &Path) -> Result<()> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))?;
    let other = file.try_clone().with_context(|| format!("cannot write {}", log.display()))?;
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let status = command
        .stdin(std::process::Stdio::null())
        .stdout(file)
        .stderr(other)
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| format!("{program} cannot be started"))?;
    if status.success() {
        return Ok(());
    }
    let text = std::fs::read_to_string(log).unwrap_or_default();
    bail!("{status}; the end of {} is\n{}", log.display(), command::tail(&text, 25));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[tokio::test]
    async fn a_failed_build_shows_the_end_of_its_log_and_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("postgres.log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo step 1; echo undefined symbol: pg_course >&2; exit 4"]);
        let error = logged(command, &log).await.unwrap_err().to_string();
        assert!(error.contains("undefined symbol: pg_course") && error.contains("postgres.log"), "{error}");
        assert!(std::fs::read_to_string(&log).unwrap().starts_with("step 1"));
    }
}
