//! Starting a component so that it outlives the lab's own process, and finding it again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use tokio::process::{Child, Command};

use crate::cgroup::{Hierarchies, kill};
use crate::command::tail;

/// How long a component that runs already may take to answer before it is taken for hung and started anew.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// A program that runs until somebody ends it.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// Its place in the lab's cgroup subtree, which is also its name: `a/cp/etcd`, `a/n1/kubelet`.
    pub cgroup: String,
    /// The program; also how it is recognised among what it starts itself.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The named network namespace to enter.
    pub network: Option<String>,
    /// A process whose mount and host-name namespaces to enter.
    pub machine: Option<i32>,
    /// A command that prepares the ground and then becomes the program, put before it.
    pub prelude: Vec<String>,
    /// Where its output goes; appended.
    pub log: PathBuf,
    /// Contents of the files it reads at its start: when they change, it is started anew.
    pub configuration: String,
    /// Where its fingerprint lies.
    pub fingerprint: PathBuf,
}

/// What had to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It ran, was started as it would be now, and answered.
    Kept,
    /// It was started.
    Started,
}

impl Daemon {
    /// Sees to it that the component runs as described and answers.
    ///
    /// # Errors
    /// When it ends or does not answer in `limit`; the message carries the end of its log.
    pub async fn ensure<F>(&self, hierarchies: &Hierarchies, limit: Duration, ready: F) -> Result<Outcome>
    where
        F: AsyncFn() -> Result<()>,
    {
        let fingerprint = self.fingerprint();
        let running = self.main_processes(hierarchies);
        if !running.is_empty() && fs::read_to_string(&self.fingerprint).is_ok_and(|old| old == fingerprint) {
            let answered = tokio::time::timeout(ANSWER_LIMIT, async {
                while ready().await.is_err() {
                    tokio::time::sleep(POLL).await;
                }
            });
            if answered.await.is_ok() {
                return Ok(Outcome::Kept);
            }
        }
        self.stop(hierarchies).await?;
        let mut child = self.start(hierarchies)?;
        self.wait(&mut child, limit, ready).await?;
        crate::state::write_file(&self.fingerprint, &fingerprint, 0o644)?;
        Ok(Outcome::Started)
    }

    /// Ends the component itself, not what it started: a containerd that goes leaves its containers running.
    ///
    /// # Errors
    /// When it does not end though killed.
    pub async fn stop(&self, hierarchies: &Hierarchies) -> Result<()> {
        let began = Instant::now();
        loop {
            let running = self.main_processes(hierarchies);
            if running.is_empty() {
                return Ok(());
            }
            if began.elapsed() > Duration::from_secs(20) {
                bail!("{} (process {running:?}) does not end though killed", self.cgroup);
            }
            running.into_iter().for_each(kill);
            tokio::time::sleep(POLL).await;
        }
    }

    /// The processes in the component's cgroup that run its program.
    #[must_use]
    pub fn main_processes(&self, hierarchies: &Hierarchies) -> Vec<i32> {
        let program = self.program.canonicalize().unwrap_or_else(|_| self.program.clone());
        let runs = |pid: &i32| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| same_program(&exe, &program))
        };
        hierarchies.processes(&self.cgroup).into_iter().filter(runs).collect()
    }

    fn start(&self, hierarchies: &Hierarchies) -> Result<Child> {
        let cgroup = hierarchies.component(&self.cgroup)?;
        let log = open_log(&self.log)?;
        let mut command = Command::new("/bin/sh");
        // The shell enters the cgroup before it becomes anything else, so that there is no moment at which the
        // component runs outside. The process id stays the same through every exec.
        command
            .args([
                "-c",
                r#"echo $$ >"$0/cgroup.procs" && ulimit -S -n "$(ulimit -H -n)" && exec setsid "$@""#,
            ])
            .arg(cgroup);
        if self.network.is_some() || self.machine.is_some() {
            command.arg("nsenter");
            if let Some(network) = &self.network {
                // Not `ip netns exec`: that mounts a new /sys, which hides the cgroups from a kubelet.
                command.arg(format!("--net=/run/netns/{network}"));
            }
            if let Some(machine) = self.machine {
                command
                    .arg(format!("--mount=/proc/{machine}/ns/mnt"))
                    .arg(format!("--uts=/proc/{machine}/ns/uts"));
            }
            command.arg("--");
        }
        command
            .args(&self.prelude)
            .arg(&self.program)
            .args(&self.arguments)
            // Nothing of the caller's environment: a proxy or a KUBECONFIG would lead components astray.
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().with_context(|| format!("cannot write {}", self.log.display()))?)
            .stderr(log);
        command.spawn().with_context(|| format!("cannot start {}", self.cgroup))
    }

    async fn wait<F>(&self, child: &mut Child, limit: Duration, ready: F) -> Result<()>
    where
        F: AsyncFn() -> Result<()>,
    {
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().with_context(|| format!("cannot watch {}", self.cgroup))? {
                bail!(
                    "{} ended with {status}; the end of {}:\n{}",
                    self.cgroup,
                    self.log.display(),
                    self.last_words()
                );
            }
            match ready().await {
                Ok(()) => return Ok(()),
                Err(error) if began.elapsed() > limit => bail!(
                    "{} does not answer after {} s ({error:#}); the end of {}:\n{}",
                    self.cgroup,
                    limit.as_secs(),
                    self.log.display(),
                    self.last_words()
                ),
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    fn last_words(&self) -> String {
        tail(&fs::read_to_string(&self.log).unwrap_or_default(), 8)
    }

    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let machine = self.machine.map(|pid| pid.to_string());
        for part in
            [self.network.as_deref(), machine.as_deref(), Some(&self.configuration)].into_iter().flatten()
        {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        hash.update(self.program.as_os_str().as_encoded_bytes());
        for argument in self.prelude.iter().chain(&self.arguments) {
            hash.update([0]);
            hash.update(argument.as_bytes());
        }
        format!("{:x}", hash.finalize())
    }
}

/// A program replaced on disk shows up with a suffix; it is still the same component.
fn same_program(exe: &Path, program: &Path) -> bool {
    exe == program
        || exe.to_string_lossy().strip_suffix(" (deleted)").is_some_and(|exe| Path::new(exe) == program)
}

fn open_log(path: &Path) -> Result<fs::File> {
    let open = || {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        fs::OpenOptions::new().create(true).append(true).open(path)
    };
    open().with_context(|| format!("cannot write {}", path.display()))
}
