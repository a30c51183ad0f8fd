//! `kubectl lyceum psql`: inside the primary's pod over its Unix socket, or through the
//! pooler the way a service connects.

mod pooler;

use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use clap::Args;
use lyceum_crds::CourseShard;
use lyceum_crds::course_shard::NodeRole;
use lyceum_crds::course_shard::names::{DATABASE, POSTGRES_CONTAINER, SOCKET_DIR, SUPERUSER};

use crate::Connection;
use crate::cluster::Cluster;

/// Options of `psql`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// CourseShard to connect to.
    pub(crate) name: String,
    /// Group to connect to: 0 is the coordinator, the others are workers.
    #[arg(long, default_value_t = 0, conflicts_with = "pooler")]
    pub(crate) group: i32,
    /// Role to act as: SET ROLE on the socket, the service that logs in through the pooler.
    #[arg(long)]
    pub(crate) role: Option<String>,
    /// Connect through the pooler as the service --role does (needs psql on this machine).
    #[arg(long, requires = "role")]
    pub(crate) pooler: bool,
    /// Arguments for psql, such as `-- -c 'select 1'`.
    #[arg(last = true)]
    pub(crate) arguments: Vec<String>,
}

pub(crate) async fn run(connection: &Connection, options: &Options) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(connection).await?;
    let shard = cluster.shard(&options.name).await?;
    if options.pooler {
        let role = options.role.as_deref().unwrap_or_default();
        return pooler::run(&cluster, &shard, role, &options.arguments).await;
    }
    let pod = primary(&shard, options.group)?;
    let psql = over_socket(options.role.as_deref())?;
    let terminal = std::io::stdin().is_terminal();
    let mut command = Command::new("kubectl");
    command.args(exec(connection, &cluster.namespace, &pod, terminal)).args(psql).args(&options.arguments);
    // Replaces this process, so that signals and the exit code are kubectl's own.
    Err(command.exec()).context("can't run kubectl: is it on PATH?")
}

/// The pod that status names as the group's primary.
fn primary(shard: &CourseShard, group: i32) -> anyhow::Result<String> {
    let last = shard.spec.workers.count;
    if !(0..=last).contains(&group) {
        bail!("there is no group {group}: choose one from 0 to {last}");
    }
    let nodes = shard.status.as_ref().map(|status| status.nodes.as_slice()).unwrap_or_default();
    match nodes.iter().find(|node| node.group == group && node.role == NodeRole::Primary) {
        Some(node) => Ok(node.name.clone()),
        None => bail!("group {group} has no primary now: `kubectl lyceum explain` says why"),
    }
}

/// Arguments of kubectl, up to and including `--`.
fn exec(connection: &Connection, namespace: &str, pod: &str, terminal: bool) -> Vec<String> {
    let mut arguments = Vec::new();
    if let Some(kubeconfig) = &connection.kubeconfig {
        arguments.extend(["--kubeconfig".to_owned(), kubeconfig.display().to_string()]);
    }
    if let Some(context) = &connection.context {
        arguments.extend(["--context".to_owned(), context.clone()]);
    }
    arguments.extend(["--namespace", namespace, "exec", "--stdin"].map(str::to_owned));
    // psql edits lines and pages only on a terminal, and kubectl complains without one.
    if terminal {
        arguments.push("--tty".to_owned());
    }
    arguments.extend([pod, "--container", POSTGRES_CONTAINER, "--"].map(str::to_owned));
    arguments
}

/// psql's command line inside the pod. The socket needs no password.
fn over_socket(role: Option<&str>) -> anyhow::Result<Vec<String>> {
    let mut arguments = Vec::new();
    if let Some(role) = role {
        if !role.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            bail!("--role {role}: a role's name has only a-z, 0-9 and '_'");
        }
        arguments.extend(["env".to_owned(), format!("PGOPTIONS=-c role={role}")]);
    }
    let psql = ["psql", "--host", SOCKET_DIR, "--username", SUPERUSER, "--dbname", DATABASE];
    arguments.extend(psql.map(str::to_owned));
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::explain::fixtures::{new, ready};

    #[test]
    fn the_primary_is_the_one_of_the_group_asked_for() {
        assert_eq!(primary(&ready(), 0).unwrap(), "school-g0-0");
        assert_eq!(primary(&ready(), 1).unwrap(), "school-g1-0");
        assert_eq!(
            primary(&ready(), 2).unwrap_err().to_string(),
            "there is no group 2: choose one from 0 to 1"
        );
        assert!(primary(&new(), 0).unwrap_err().to_string().contains("has no primary now"));
    }

    #[test]
    fn kubectl_gets_the_same_cluster_and_a_terminal_only_from_one() {
        let connection = Connection { context: Some("lab".into()), ..Connection::default() };
        let line = exec(&connection, "lyceum", "school-g0-0", true).join(" ");
        assert_eq!(
            line,
            "--context lab --namespace lyceum exec --stdin --tty school-g0-0 --container postgres --"
        );
        assert!(!exec(&connection, "lyceum", "school-g0-0", false).contains(&"--tty".to_owned()));
    }

    #[test]
    fn a_role_can_not_smuggle_options() {
        assert_eq!(over_socket(Some("learning")).unwrap()[..2], ["env", "PGOPTIONS=-c role=learning"]);
        assert!(over_socket(Some("x -c fsync=off")).is_err());
    }
}
