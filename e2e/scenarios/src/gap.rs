//! How long writes fail when something dies, as a client sees it.
//!
//! The method is CloudNativePG's row gap, taken at the client: rows are written one after the
//! other as fast as they are acknowledged, and the longest time between two acknowledgements is
//! the gap. Every row that was acknowledged must be there afterwards.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use tokio::task::JoinHandle;

use crate::formation::{Formation, pod_is_ready};
use crate::operator::{Processes, Signal, restarts};
use crate::progress::say;
use crate::sql::Session;
use crate::wait::{Look, not_yet, wait_until};

/// A row of group S, one shard each: what any service write looks like.
const WRITE: &str = "INSERT INTO studying.students \
    (student_id, display_name, locale, state, acquisition, version, created_at, updated_at) \
    VALUES ($1, 'writer', 'en', 'active', '{}', 1, now(), now())";

/// Service that owns the table.
const ROLE: &str = "learning";

/// A write that is not answered by then is given up, and so is its connection: a service would.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two tries to connect.
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// First number of a writer's rows: far above any student of the data set.
pub const FIRST_ROW: i64 = 4_000_000_000_000;

/// Acknowledged rows, in order.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged {
    /// Number of each row and when its acknowledgement came.
    pub rows: Vec<(i64, Instant)>,
    /// Errors between them, each with the number of the row that met it.
    pub errors: Vec<(i64, String)>,
}

impl Acknowledged {
    /// Longest time between two acknowledgements.
    pub fn longest_gap(&self) -> Duration {
        self.rows
            .windows(2)
            .filter_map(|pair| match pair {
                [(_, before), (_, after)] => Some(after.duration_since(*before)),
                _ => None,
            })
            .max()
            .unwrap_or_default()
    }

    /// Rows that were acknowledged but are not among `present`: lost.
    pub fn lost(&self, present: &BTreeSet<i64>) -> Vec<i64> {
        self.rows.iter().map(|(row, _)| *row).filter(|row| !present.contains(row)).collect()
    }
}

/// How a database pod is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// The pod is deleted without grace: another takes its place, on the same volume.
    PodDeleted,
    /// Its processes get SIGKILL and no time to say goodbye: the container is started again. Lab only.
    ProcessesKilled,
}

/// Longest until a pod is back in its group.
const BACK_WITHIN: Duration = Duration::from_secs(180);

/// Writes, deals `pod` the blow, waits until it is back and the formation Ready, writes on, and hands back
/// what was acknowledged.
pub async fn writes_through(formation: &Formation, pod: &Pod, blow: Blow) -> Result<Acknowledged> {
    let (name, before) = (pod.name_any(), restarts(pod));
    let writer = Writer::start(formation);
    writer.wait_for(50, Duration::from_secs(30)).await?;
    match blow {
        Blow::PodDeleted => {
            formation.pods().delete(&name, &DeleteParams::default().grace_period(0)).await?;
        }
        Blow::ProcessesKilled => Processes::of_pod(pod)?.signal(Signal::Kill)?,
    }
    say(format!("{name}: {blow:?}"));
    wait_until(&format!("pod {name} is back"), BACK_WITHIN, async || {
        match formation.pods().get_opt(&name).await? {
            Some(now) if now.uid() == pod.uid() && restarts(&now) == before => {
                not_yet("nothing has happened to it")
            }
            Some(now) if pod_is_ready(&now) => Ok(Look::Done(())),
            Some(_) => not_yet("it is not ready"),
            None => not_yet("it is not there"),
        }
    })
    .await?;
    formation.wait_ready(BACK_WITHIN).await?;
    writer.wait_for(50, Duration::from_secs(60)).await?;
    writer.finish().await
}

/// Writes row after row until told to stop.
pub struct Writer {
    formation: Formation,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    task: JoinHandle<Acknowledged>,
}

impl Writer {
    /// Starts writing, through the pooler as a service does.
    pub fn start(formation: &Formation) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn(write(formation.clone(), stop.clone(), acknowledged.clone()));
        Self { formation: formation.clone(), stop, acknowledged, task }
    }

    /// Waits until `more` further rows are acknowledged.
    pub async fn wait_for(&self, more: usize, timeout: Duration) -> Result<()> {
        let before = self.acknowledged.load(Ordering::Relaxed);
        wait_until(&format!("{more} more rows are written"), timeout, async || {
            let written = self.acknowledged.load(Ordering::Relaxed) - before;
            if written >= more { Ok(Look::Done(())) } else { not_yet(format!("{written} are")) }
        })
        .await
    }

    /// Stops, checks that every acknowledged row is there, takes the rows away again, and hands back
    /// what was acknowledged.
    pub async fn finish(self) -> Result<Acknowledged> {
        self.stop.store(true, Ordering::Relaxed);
        let acknowledged = self.task.await?;
        let rows = format!("studying.students WHERE student_id >= {FIRST_ROW}");
        let present = self.formation.psql(0, &format!("SELECT student_id FROM {rows}")).await?;
        let present = present.lines().filter_map(|line| line.parse().ok()).collect();
        let lost = acknowledged.lost(&present);
        if !lost.is_empty() {
            bail!("{} acknowledged rows are gone, the first is {:?}", lost.len(), lost.first());
        }
        self.formation.psql(0, &format!("DELETE FROM {rows}")).await?;
        say(format!(
            "{} rows acknowledged, none lost, {} errors, longest gap {:.2} s",
            acknowledged.rows.len(),
            acknowledged.errors.len(),
            acknowledged.longest_gap().as_secs_f64()
        ));
        Ok(acknowledged)
    }
}

async fn write(formation: Formation, stop: Arc<AtomicBool>, count: Arc<AtomicUsize>) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    let mut row = FIRST_ROW;
    let mut session: Option<Session> = None;
    while !stop.load(Ordering::Relaxed) {
        let attempt = async {
            let mut open = match session.take() {
                Some(open) => open,
                None => Session::open(&formation, ROLE).await?,
            };
            open.write(WRITE, row).await?;
            Ok::<_, anyhow::Error>(open)
        };
        match tokio::time::timeout(PATIENCE, attempt).await {
            Ok(Ok(open)) => {
                session = Some(open);
                acknowledged.rows.push((row, Instant::now()));
                count.fetch_add(1, Ordering::Relaxed);
            }
            // The session was dropped inside the attempt: whatever state it was in, it is not used again.
            Ok(Err(error)) => {
                acknowledged.errors.push((row, format!("{error:#}")));
                tokio::time::sleep(BETWEEN_TRIES).await;
            }
            Err(_) => acknowledged.errors.push((row, format!("no answer within {} s", PATIENCE.as_secs()))),
        }
        // Never the same number twice: a write that was not acknowledged may have happened.
        row += 1;
    }
    acknowledged
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_gap_is_the_longest_silence_and_a_lost_row_is_an_acknowledged_one() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let acknowledged = Acknowledged {
            rows: vec![(1, at(0)), (2, at(20)), (4, at(3020)), (5, at(3040))],
            errors: vec![],
        };
        assert_eq!(acknowledged.longest_gap(), Duration::from_secs(3));
        assert_eq!(acknowledged.lost(&[1, 2, 3, 5].into()), [4]);
    }
}
