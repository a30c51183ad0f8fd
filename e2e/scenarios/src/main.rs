//! `bench`: measures on a real cluster, writes a dated report and holds it against a range file.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use lyceum_lab::tools::KUBERNETES_VERSION;
use lyceum_scenarios::bench::machine::Machine;
use lyceum_scenarios::bench::report::{Report, figures};
use lyceum_scenarios::bench::{first_light, lab, range};
use lyceum_scenarios::cluster::Cluster;
use lyceum_scenarios::config::in_repository;
use lyceum_scenarios::progress;

/// Measures on a real cluster and holds the figures against benches/ranges/<AREA>.yaml.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    /// What to measure.
    #[arg(value_enum, default_value_t = Area::FirstLight)]
    area: Area,
    /// Times everything is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Print the report, write no files.
    #[arg(long)]
    dry_run: bool,
}

/// A range file and what fills it.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Area {
    /// One formation from creation to deletion, and the operator's own times.
    FirstLight,
    /// The lab itself: up and down.
    Lab,
}

impl Area {
    fn name(self) -> &'static str {
        match self {
            Self::FirstLight => "first-light",
            Self::Lab => "lab",
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    progress::begin();
    let outcome = tokio::runtime::Runtime::new()
        .context("could not start the asynchronous runtime")
        .and_then(|runtime| runtime.block_on(run(&cli)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the bench could not run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True when every figure is inside its bounds and none is missing.
async fn run(cli: &Cli) -> Result<bool> {
    let ranges = range::read(&in_repository("benches/ranges")?.join(format!("{}.yaml", cli.area.name())))?;
    let (measures, stand) = match cli.area {
        Area::FirstLight => {
            let cluster = Cluster::connect().await?;
            (first_light::measure(&cluster, cli.rounds).await?, stand(&cluster).await?)
        }
        Area::Lab => {
            (lab::measure(cli.rounds).await?, format!("Kubernetes {KUBERNETES_VERSION}, one region"))
        }
    };
    let missing = range::unmeasured(&ranges, measures.all());
    let report = Report {
        area: cli.area.name().to_owned(),
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        commit: commit(),
        machine: Machine::here(),
        stand,
        figures: figures(measures.all(), &ranges),
    };
    println!("{}", report.markdown());
    if !cli.dry_run {
        for path in report.write(&in_repository("benches/results")?)? {
            println!("wrote {}", shown(&path));
        }
    }
    let outside = report.outside();
    for how in &outside {
        println!("OUTSIDE: {how}");
    }
    for name in &missing {
        println!("MISSING: {name} has bounds but was not measured");
    }
    println!(
        "bench result: {}. {} inside or unbounded; {} outside; {} missing",
        if outside.is_empty() && missing.is_empty() { "ok" } else { "FAILED" },
        report.figures.len() - outside.len(),
        outside.len(),
        missing.len()
    );
    Ok(outside.is_empty() && missing.is_empty())
}

/// A path as seen from the root of the repository.
fn shown(path: &Path) -> String {
    let root = in_repository("").unwrap_or_default();
    path.strip_prefix(&root).unwrap_or(path).display().to_string()
}

/// What was measured.
async fn stand(cluster: &Cluster) -> Result<String> {
    let version = cluster.client.apiserver_version().await?.git_version;
    let nodes = cluster.nodes().await?.len();
    let citus = if cluster.citus { "with Citus" } else { "one plain PostgreSQL group, without Citus" };
    Ok(format!("Kubernetes {version}, {nodes} nodes, {citus}"))
}

/// Commit of the work tree, marked when files differ from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").current_dir(in_repository("").ok()?).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    match git(&["status", "--porcelain"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}-dirty"),
    }
}
