//! The pooler hands nobody another client's rows.

use anyhow::{Result, bail, ensure};
use lyceum_kit::pooler::probe::{self, Plan};
use lyceum_scenarios::progress::say;
use lyceum_scenarios::sql::way_in;
use lyceum_scenarios::stage::Stage;

/// More clients than server connections, so that they take turns on them.
const CLIENTS: usize = 64;

/// Through the real pooler with the project's settings no row is another client's; with the banned
/// setting some are, which shows that the probe would see them.
pub(crate) async fn no_foreign_rows(stage: &Stage<'_>) -> Result<()> {
    let formation = stage.standing().await?;
    let connections = formation.get().await?.spec.pooler.server_connections;
    ensure!(
        (CLIENTS as i64) > i64::from(connections),
        "{CLIENTS} clients never wait for one of {connections} server connections"
    );
    let (settings, _forward) = way_in(&formation, "discovery").await?;

    let executions = stage.cluster.proof.of(100_000, 1_000_000);
    let report = probe::run(&settings, Plan { clients: CLIENTS, executions, named: true }).await?;
    say(format!(
        "{} executions, {} foreign rows, {} errors",
        report.executions, report.foreign, report.errors
    ));
    probe::judge(&report)?;
    ensure!(report.executions >= executions, "only {} executions were made", report.executions);

    let control = probe::run(&settings, Plan { clients: CLIENTS, executions: 5_000, named: false }).await?;
    say(format!("control: {} of {} rows were foreign", control.foreign, control.executions));
    if control.foreign == 0 {
        bail!("the banned setting showed no foreign row: the probe proves nothing");
    }
    Ok(())
}
