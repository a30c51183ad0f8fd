//! `lab`: a real Kubernetes on this machine.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use lyceum_lab::cgroup::Hierarchies;
use lyceum_lab::inventory::Inventory;
use lyceum_lab::{Options, Progress, State, down, images, install, status, tools, up};

/// A real Kubernetes on one bare Debian machine: regions, nodes, images, and lyceum on it.
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
struct Arguments {
    /// Directory of what the lab is (default: LYCEUM_LAB_STATE, else the user's state directory).
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Directory of what outlives labs (default: LYCEUM_CACHE, else the user's cache directory).
    #[arg(long, global = true, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Directory with lib/ and extension/ for the PostgreSQL image (default: LYCEUM_EXTENSION_OVERLAY, else
    /// extensions/postgresql-17 in the cache, if it is there).
    #[arg(long, global = true, value_name = "DIR")]
    extension_overlay: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Brings the lab up, completes it, or heals it.
    Up {
        /// Names of the regions, one letter each, with commas between.
        #[arg(long, value_delimiter = ',')]
        regions: Vec<String>,
        /// Nodes a region.
        #[arg(long)]
        nodes: Option<u8>,
        /// Installs missing Debian packages (also: LYCEUM_LAB_APT=1).
        #[arg(long)]
        install_tools: bool,
    },
    /// Builds the images that are not cached and puts them on the nodes of a lab that is up.
    Images {
        /// Makes the Debian bases again, and everything on them.
        #[arg(long)]
        refresh: bool,
        /// Only these, with commas between.
        #[arg(long, value_delimiter = ',')]
        only: Vec<images::Name>,
    },
    /// Installs or upgrades lyceum, and the example with its data, and waits until it is Ready.
    Install {
        /// The region.
        #[arg(long, default_value = "a")]
        region: String,
        /// Another cluster than the lab's.
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
        /// Where another cluster pulls the images from.
        #[arg(long, requires = "kubeconfig")]
        registry: Option<String>,
        /// Leaves out the example.
        #[arg(long)]
        bare: bool,
    },
    /// Says what runs; fails when something does not.
    Status,
    /// Ends and removes everything but the cache.
    Down,
    /// Prints what is on the machine of the kinds of things that a lab makes, as JSON.
    Inventory,
    /// Prints the path of a region's kubeconfig.
    Kubeconfig {
        /// The region.
        #[arg(long, default_value = "a")]
        region: String,
    },
    /// Prints a component's log: etcd, kube-apiserver, …, n1-kubelet, n1-containerd, ….
    Logs {
        /// The component; without one, their names.
        component: Option<String>,
        /// The region.
        #[arg(long, default_value = "a")]
        region: String,
    },
    /// Runs kubectl on a region.
    Kubectl {
        /// The region.
        #[arg(long, default_value = "a")]
        region: String,
        /// What kubectl gets.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("warn,kube_client=off").init();
    match run(Arguments::parse()).await {
        Ok(code) => code,
        // Whoever reads the output, `head` for one, has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut options = Options::from_environment()?;
    if let Some(state) = arguments.state {
        options.state = std::path::absolute(state)?;
    }
    if let Some(cache) = arguments.cache {
        options.cache = std::path::absolute(cache)?;
    }
    if let Some(overlay) = arguments.extension_overlay {
        options.extension_overlay = Some(std::path::absolute(overlay)?);
    }
    let progress = Progress::new();
    match arguments.verb {
        Verb::Up { regions, nodes, install_tools } => {
            options.install_tools |= install_tools;
            let state = up::up(&options, &up::Request { regions, nodes }, &progress).await?;
            for region in &state.regions {
                progress.note(format!(
                    "{}: up; export KUBECONFIG={}",
                    region.name,
                    state.paths(&region.name).admin_kubeconfig().display()
                ));
            }
        }
        Verb::Images { refresh, only } => {
            let request =
                images::Request { refresh, only: (!only.is_empty()).then(|| only.into_iter().collect()) };
            for (name, image) in install::deliver(&options, &request, &progress).await?.images {
                writeln!(std::io::stdout(), "{name} {} {}", image.reference, image.archive.display())?;
            }
        }
        Verb::Install { region, kubeconfig, registry, bare } => {
            let request = install::Request { kubeconfig, region, registry, bare };
            install::install(&options, &request, &progress).await?;
        }
        Verb::Status => {
            let report = status::report(&State::load(&options)?, &Hierarchies::detect()?).await?;
            write!(std::io::stdout(), "{}", report.text)?;
            if !report.well {
                return Ok(ExitCode::FAILURE);
            }
        }
        Verb::Down => down::down(&options, &progress).await?,
        Verb::Inventory => {
            let inventory = Inventory::take(&Hierarchies::detect()?).await?;
            writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&inventory)?)?;
        }
        Verb::Kubeconfig { region } => {
            let state = State::load(&options)?;
            state.region(&region)?;
            writeln!(std::io::stdout(), "{}", state.paths(&region).admin_kubeconfig().display())?;
        }
        Verb::Logs { component, region } => logs(&State::load(&options)?, &region, component.as_deref())?,
        Verb::Kubectl { region, arguments } => {
            let state = State::load(&options)?;
            state.region(&region)?;
            let kubernetes = tools::ensure_kubernetes(&options, &progress).await?;
            let error = std::process::Command::new(&kubernetes)
                .arg("kubectl")
                .args(arguments)
                .env("KUBECONFIG", state.paths(&region).admin_kubeconfig())
                .exec();
            return Err(error).with_context(|| format!("cannot run {}", kubernetes.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn logs(state: &State, region: &str, component: Option<&str>) -> Result<()> {
    state.region(region)?;
    let paths = state.paths(region);
    let Some(component) = component else {
        let entries = std::fs::read_dir(paths.state.join("logs")).context("no logs yet: run `lab up`")?;
        let names =
            entries.filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()));
        for name in names.collect::<std::collections::BTreeSet<_>>() {
            writeln!(std::io::stdout(), "{name}")?;
        }
        return Ok(());
    };
    let path = paths.log(component);
    let Ok(mut file) = std::fs::File::open(&path) else {
        bail!("there is no log {}: `lab logs` lists those there are", path.display());
    };
    std::io::copy(&mut file, &mut std::io::stdout())
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind =
        error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::BrokenPipe)
}
