//! The I/O around [`Candidate`]: reads, watches and writes one Lease.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::Leadership;
use crate::runtime::clients::Clients;
use crate::runtime::clock::BootInstant;
use crate::runtime::error::chain;
use crate::runtime::lease::{Candidate, Decision, Record, Timing};
use crate::runtime::metrics::Metrics;

/// Longest wait for one answer about the lease: three tries fit into the renew deadline.
const CALL_DEADLINE: Duration = Duration::from_secs(3);
/// Pause of a leader after a failed try.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Duration written at a release: the shortest there is.
const RELEASED_SECONDS: i32 = 1;
/// A standby asks by itself if the watch said nothing for so long: twice what a leader
/// needs to renew, and a tenth of a request a second on a quiet cluster.
const QUIET_LIMIT: Duration = Duration::from_secs(10);
/// Bound of a watch call: a connection that died silently is noticed 5 s later.
const WATCH_SECONDS: u32 = 55;

/// Where the lease is and who asks for it.
#[derive(Clone, Debug)]
pub struct LeaseName {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Identity of this process, unique to it.
    pub identity: String,
}

/// How an orderly election ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The lease was held and is free now.
    Released,
    /// It was not held.
    Standby,
}

/// Why an election ended the process.
#[derive(Debug, thiserror::Error)]
pub enum ElectionError {
    /// Another process holds the lease, someone removed it, or it was not renewed in time.
    #[error("the lease {0} is lost")]
    Lost(String),
    /// No thread for the watchdog.
    #[error("the lease watchdog could not be started: {0}")]
    Watchdog(#[from] std::io::Error),
}

/// Takes part in the election for one lease, on behalf of one [`Leadership`].
pub struct Elector {
    api: Api<Lease>,
    watch_api: Api<Lease>,
    at: LeaseName,
    timing: Timing,
    candidate: Candidate,
    /// Last object seen: a write keeps labels and whatever else others put on it.
    lease: Option<Lease>,
    leadership: Leadership,
    metrics: Metrics,
}

type Events = BoxStream<'static, watcher::Result<Event<Lease>>>;

impl Elector {
    /// An elector that fills `leadership`.
    pub fn new(clients: &Clients, at: LeaseName, leadership: Leadership, metrics: Metrics) -> Self {
        let timing = Timing::DEFAULT;
        Self {
            api: Api::namespaced(clients.lease.clone(), &at.namespace),
            watch_api: Api::namespaced(clients.reads.clone(), &at.namespace),
            candidate: Candidate::new(&at.identity, timing),
            at,
            timing,
            lease: None,
            leadership,
            metrics,
        }
    }

    /// Waits for the lease, keeps it, and gives it up when `stop` is cancelled.
    ///
    /// # Errors
    /// The lease was held and is lost: the process has to end.
    pub async fn run(mut self, stop: CancellationToken) -> Result<Ended, ElectionError> {
        let won = tokio::select! {
            () = stop.cancelled() => false,
            () = self.campaign() => true,
        };
        if !won {
            return Ok(Ended::Standby);
        }
        self.leadership.start_watchdog(&self.metrics)?;
        let term = self.candidate.record().map(|r| r.transitions);
        tracing::info!(identity = self.at.identity, term, "this process leads");
        self.keep(&stop).await?;
        self.release().await;
        Ok(Ended::Released)
    }

    /// Until the lease is ours.
    async fn campaign(&mut self) {
        let filter = watcher::Config::default()
            .fields(&format!("metadata.name={}", self.at.name))
            .timeout(WATCH_SECONDS);
        let mut events: Events = watcher(self.watch_api.clone(), filter).default_backoff().boxed();
        let mut listed_any = false;
        loop {
            let now = BootInstant::now();
            let pause = match self.candidate.decide(now) {
                None => QUIET_LIMIT,
                Some(Decision::Wait(until)) => until.until(now).min(QUIET_LIMIT),
                Some(decision) => {
                    if self.write(decision).await && self.is_held() {
                        return;
                    }
                    self.timing.retry_period
                }
            };
            tokio::select! {
                // A watcher does not end.
                Some(event) = events.next() => match event {
                    Ok(event) => self.take_in(event, &mut listed_any),
                    Err(error) => tracing::debug!(%error, "watch of the lease"),
                },
                () = tokio::time::sleep(pause) => {
                    if self.leadership.since_contact().is_none_or(|since| since >= QUIET_LIMIT) {
                        self.refresh().await;
                    }
                }
            }
        }
    }

    fn take_in(&mut self, event: Event<Lease>, listed_any: &mut bool) {
        self.leadership.contacted();
        match event {
            Event::Init => *listed_any = false,
            Event::InitApply(lease) => {
                *listed_any = true;
                self.saw(Some(lease));
            }
            Event::Apply(lease) => self.saw(Some(lease)),
            Event::InitDone if *listed_any => {}
            Event::InitDone | Event::Delete(_) => self.saw(None),
        }
    }

    /// Renews until `stop`.
    async fn keep(&mut self, stop: &CancellationToken) -> Result<(), ElectionError> {
        let mut pause = self.timing.retry_period;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            let now = BootInstant::now();
            let renewed = match self.candidate.decide(now) {
                // A term that has run out is never taken up again: others may have begun
                // one since, and ended it.
                Some(decision @ Decision::Renew { .. }) if !self.candidate.has_expired(now) => {
                    self.write(decision).await
                }
                _ => false,
            };
            if !self.is_held() {
                self.leadership.lose();
                self.metrics.leading(None);
                return Err(ElectionError::Lost(format!("{}/{}", self.at.namespace, self.at.name)));
            }
            pause = if renewed { self.timing.retry_period } else { RETRY_PAUSE };
        }
    }

    /// Gives the lease up, so that the next leader need not wait for its end. Once: if it
    /// fails, the lease ends by itself.
    async fn release(&mut self) {
        self.leadership.resign();
        self.metrics.leading(None);
        let Some(version) = self.candidate.record().map(|r| r.version.clone()) else { return };
        let mut lease = self.next_lease(Some(version));
        if let Some(spec) = lease.spec.as_mut() {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(RELEASED_SECONDS);
        }
        let params = PostParams::default();
        let replaced = self.api.replace(&self.at.name, &params, &lease);
        match tokio::time::timeout(CALL_DEADLINE, replaced).await {
            Ok(Ok(_)) => tracing::info!("lease released"),
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), "lease not released; it ends by itself");
            }
            Err(_) => tracing::warn!("lease not released in time; it ends by itself"),
        }
    }

    /// Carries a decision out. Whether it succeeded; if not, the lease has been read again.
    async fn write(&mut self, decision: Decision) -> bool {
        let sent_at = BootInstant::now();
        let params = PostParams::default();
        let written = match decision {
            Decision::Wait(_) => return false,
            Decision::Create => {
                let lease = self.next_lease(None);
                tokio::time::timeout(CALL_DEADLINE, self.api.create(&params, &lease)).await
            }
            Decision::Acquire { version, term } => {
                let mut lease = self.next_lease(Some(version));
                if let Some(spec) = lease.spec.as_mut() {
                    spec.lease_transitions = Some(i32::try_from(term).unwrap_or(i32::MAX));
                    spec.acquire_time = spec.renew_time.clone();
                }
                let replace = self.api.replace(&self.at.name, &params, &lease);
                tokio::time::timeout(CALL_DEADLINE, replace).await
            }
            Decision::Renew { version, .. } => {
                let lease = self.next_lease(Some(version));
                let replace = self.api.replace(&self.at.name, &params, &lease);
                tokio::time::timeout(CALL_DEADLINE, replace).await
            }
        };
        match written {
            Ok(Ok(lease)) => {
                self.leadership.contacted();
                self.candidate.wrote(record(&lease), sent_at, BootInstant::now());
                self.lease = Some(lease);
                self.publish();
                true
            }
            // Someone else wrote, or an earlier write of ours did get through.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 || status.code == 404 => {
                self.refresh().await;
                false
            }
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), "lease not written");
                false
            }
            Err(_) => {
                tracing::warn!(after_s = CALL_DEADLINE.as_secs(), "no answer about the lease");
                false
            }
        }
    }

    async fn refresh(&mut self) {
        match tokio::time::timeout(CALL_DEADLINE, self.api.get_opt(&self.at.name)).await {
            Ok(Ok(lease)) => {
                self.leadership.contacted();
                self.saw(lease);
            }
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "lease not read"),
            Err(_) => tracing::warn!(after_s = CALL_DEADLINE.as_secs(), "no answer about the lease"),
        }
    }

    fn saw(&mut self, lease: Option<Lease>) {
        self.candidate.saw(lease.as_ref().map(record), BootInstant::now());
        self.lease = lease;
    }

    fn is_held(&self) -> bool {
        self.candidate.held(BootInstant::now()).is_some()
    }

    fn publish(&self) {
        if let Some(held) = self.candidate.held(BootInstant::now()) {
            self.leadership.hold(held);
            self.metrics.leading(Some(held.term));
        }
    }

    /// The lease as this process would have it next; the times are for people only.
    fn next_lease(&self, version: Option<String>) -> Lease {
        let mut lease = match (&self.lease, &version) {
            (Some(lease), Some(_)) => lease.clone(),
            _ => Lease::default(),
        };
        lease.metadata.name = Some(self.at.name.clone());
        lease.metadata.namespace = Some(self.at.namespace.clone());
        lease.metadata.resource_version = version;
        lease.metadata.managed_fields = None;
        let now = MicroTime(Timestamp::now());
        let old = lease.spec.take().unwrap_or_default();
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.at.identity.clone()),
            lease_duration_seconds: i32::try_from(self.timing.lease_duration.as_secs()).ok(),
            lease_transitions: Some(old.lease_transitions.unwrap_or(1)),
            acquire_time: Some(old.acquire_time.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            ..LeaseSpec::default()
        });
        lease
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
    Record {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: Duration::from_secs(seconds),
        transitions: spec.lease_transitions.and_then(|t| u64::try_from(t).ok()).unwrap_or(0),
        version: lease.resource_version().unwrap_or_default(),
    }
}
