//! How long a lab takes to come up and to go, with everything cached.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use lyceum_lab::{Options, State};
use tokio::process::Command;

use super::sample::Measures;
use crate::progress::say;
use crate::tool::built;

/// Makes and removes `rounds` labs of each size.
///
/// # Errors
/// When a lab is up already: a machine holds one.
pub async fn measure(rounds: usize) -> Result<Measures> {
    if State::find(&Options::from_environment()?)?.is_some() {
        bail!("a lab is up here, and this bench makes labs of its own: run `lab down` first");
    }
    let lab = built("lyceum-lab", "lab")?;
    let mut measures = Measures::default();
    // The first of all may have to build what the cache lacks: not measured.
    lab_runs(&lab, &["up"]).await?;
    lab_runs(&lab, &["down"]).await?;
    for round in 1..=rounds {
        for nodes in ["1", "2"] {
            say(format!("round {round} of {rounds}, {nodes} node(s)"));
            for (verb, arguments) in
                [("up", &["up", "--nodes", nodes][..]), ("up-again", &["up"]), ("down", &["down"])]
            {
                let started = Instant::now();
                lab_runs(&lab, arguments).await?;
                measures.record(&format!("{verb}.{nodes}-nodes"), "s", started.elapsed().as_secs_f64());
            }
        }
    }
    Ok(measures)
}

async fn lab_runs(lab: &Path, arguments: &[&str]) -> Result<()> {
    let status = Command::new(lab).args(arguments).status().await.context("could not run the lab")?;
    if !status.success() {
        bail!("`lab {}` failed, see above", arguments.join(" "));
    }
    Ok(())
}
