//! Taking a lab down: by what can be seen, never by what was recorded, so that it works after any crash.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cgroup::Hierarchies;
use crate::command::run;
use crate::inventory::Inventory;
use crate::options::Options;
use crate::progress::Progress;
use crate::state::{Host, RECORD, State};
use crate::{lock, net, sysctl};

/// The kernel frees a network namespace and its links a moment after the last process left it.
const SETTLE_LIMIT: Duration = Duration::from_secs(20);

/// Ends and removes everything of the lab but the cache.
///
/// # Errors
/// When something stays; the message names it.
pub async fn down(options: &Options, progress: &Progress) -> Result<()> {
    let _lock = lock::take(options, progress)?;
    let hierarchies = Hierarchies::detect()?;
    // A damaged record costs only what it says about the host.
    let host = match State::find(options) {
        Ok(state) => state.map(|state| state.host),
        Err(error) => {
            progress.note(format!("{error:#}"));
            None
        }
    };
    let ended = hierarchies.kill("").await?;
    progress.note(format!("{ended} processes ended"));
    progress.step("mounts", unmount(&[&options.state, &options.run])).await?;
    progress.step("network", remove_network(host.as_ref())).await?;
    remove_cgroups(&hierarchies).await;
    progress.step("files", async { remove_files(options, host.as_ref()) }).await?;
    progress.step("look for what is left", verify(&hierarchies)).await
}

/// Names go before links: a namespace without processes and without a name takes its end of a link along.
async fn remove_network(host: Option<&Host>) -> Result<()> {
    for name in net::namespaces().into_iter().filter(|name| net::is_ours(name)) {
        net::delete_namespace(&name).await?;
    }
    net::remove_links().await?;
    net::remove_firewall_rules().await?;
    let made_mount = host.is_some_and(|host| !host.had_namespace_mount);
    if made_mount && net::namespaces().is_empty() && net::namespace_mount_exists() {
        run("umount", &[net::NAMESPACE_DIRECTORY]).await?;
    }
    Ok(())
}

fn remove_files(options: &Options, host: Option<&Host>) -> Result<()> {
    if let Some(host) = host {
        for directory in host.made_directories.iter().rev() {
            // Whoever else began to use it keeps it.
            let _ = fs::remove_dir(directory);
        }
        sysctl::restore(&host.sysctls);
    }
    // The record goes last: a `down` that is killed before can still put the host back.
    remove_tree(&options.run)?;
    remove_all_but_record(&options.state)?;
    remove_tree(&options.state)
}

async fn verify(hierarchies: &Hierarchies) -> Result<()> {
    let began = Instant::now();
    loop {
        let left = Inventory::take(hierarchies).await?.ours();
        if left.is_empty() {
            return Ok(());
        }
        if began.elapsed() > SETTLE_LIMIT {
            bail!("something of the lab is still there; run `lab down` again:\n{left}");
        }
        remove_cgroups(hierarchies).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Removes the lab's cgroups. One whose processes just died is busy for a moment.
async fn remove_cgroups(hierarchies: &Hierarchies) {
    for _ in 0..20 {
        hierarchies.remove("");
        if hierarchies.directories("").is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Unmounts everything at or below the directories, deepest first. Nodes mount in namespaces of their own; what
/// is found here was made by another version of the lab or by hand.
async fn unmount(roots: &[&PathBuf]) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("/proc is not mounted")?;
    for point in mounts_below(&table, roots) {
        run("umount", &["--lazy", &point]).await?;
    }
    Ok(())
}

fn mounts_below(table: &str, roots: &[&PathBuf]) -> Vec<String> {
    let mut points: Vec<String> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| roots.iter().any(|root| Path::new(point).starts_with(root)))
        .map(str::to_owned)
        .collect();
    // Later mounts lie on or below earlier ones.
    points.reverse();
    points
}

fn remove_all_but_record(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&path)?;
        } else if name != RECORD {
            fs::remove_file(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
        }
    }
    Ok(())
}

fn remove_tree(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn mounts_are_found_below_the_labs_directories_only_deepest_first() {
        let table = "\
1 0 0:1 / / rw - ext4 x rw
2 1 0:2 / /srv/lab/a/n1 rw - tmpfs x rw
3 2 0:3 / /srv/lab/a/n1/pods/x rw - tmpfs x rw
4 1 0:4 / /srv/labour rw - tmpfs x rw
";
        let found = mounts_below(table, &[&PathBuf::from("/srv/lab")]);
        assert_eq!(found, ["/srv/lab/a/n1/pods/x", "/srv/lab/a/n1"]);
    }
}
