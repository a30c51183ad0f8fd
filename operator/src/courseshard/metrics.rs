//! Numbers of formations that are too lively for a status.

use lyceum_crds::course_shard::{
    CourseShardStatus,
    conditions::{self, READY},
    names::Component,
};
use prometheus::{IntGaugeVec, Opts, Registry};

use super::observed::{MemberSeen, Observed};
use crate::runtime::Key;

/// Gauges by formation.
pub(super) struct FormationMetrics {
    lag: IntGaugeVec,
    ready: IntGaugeVec,
    certificate: IntGaugeVec,
}

impl FormationMetrics {
    /// # Errors
    /// A metric of one of these names is registered already.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let lag = IntGaugeVec::new(
            Opts::new("lyceum_courseshard_replica_lag_bytes", "WAL bytes a replica misses of its primary's."),
            &["namespace", "name", "pod"],
        )?;
        let ready = IntGaugeVec::new(
            Opts::new("lyceum_courseshard_ready", "1 while the condition Ready is True, else 0."),
            &["namespace", "name"],
        )?;
        let certificate = IntGaugeVec::new(
            Opts::new(
                "lyceum_courseshard_certificate_end_seconds",
                "When the server certificate ends, in Unix time.",
            ),
            &["namespace", "name"],
        )?;
        registry.register(Box::new(certificate.clone()))?;
        registry.register(Box::new(lag.clone()))?;
        registry.register(Box::new(ready.clone()))?;
        Ok(Self { lag, ready, certificate })
    }

    /// Takes over what was observed and is reported.
    pub(super) fn observe(&self, key: &Key, observed: &Observed, status: &CourseShardStatus) {
        let labels = [key.namespace.as_str(), key.name.as_str()];
        let ready =
            conditions::find(&status.conditions, READY).is_some_and(|condition| condition.status == "True");
        self.ready.with_label_values(&labels).set(ready.into());
        if let Some(end) = observed.secrets.values().find_map(|secret| secret.not_after) {
            self.certificate.with_label_values(&labels).set(end.as_second());
        }
        for pod in observed.pods.iter().filter(|pod| pod.component == Component::Database) {
            let position = |member: &MemberSeen| member.position;
            let primary = observed
                .pods
                .iter()
                .filter(|other| other.component == Component::Database && other.group == pod.group)
                .filter_map(|other| other.member.as_ref().filter(|member| member.leader))
                .find_map(position);
            let replica = pod.member.as_ref().filter(|member| !member.leader).and_then(position);
            if let (Some(primary), Some(replica)) = (primary, replica) {
                let labels = [key.namespace.as_str(), key.name.as_str(), pod.name.as_str()];
                self.lag.with_label_values(&labels).set(primary.saturating_sub(replica).max(0));
            }
        }
    }

    /// Drops the series of an object that is gone.
    pub(super) fn forget(&self, key: &Key) {
        // Any of them may never have been there.
        self.certificate.remove_label_values(&[key.namespace.as_str(), key.name.as_str()]).ok();
        self.ready.remove_label_values(&[key.namespace.as_str(), key.name.as_str()]).ok();
        for family in prometheus::core::Collector::collect(&self.lag) {
            for metric in family.get_metric() {
                let label = |name: &str| {
                    metric
                        .get_label()
                        .iter()
                        .find(|l| l.name() == name)
                        .map(|l| l.value().to_owned())
                        .unwrap_or_default()
                };
                if label("namespace") == key.namespace && label("name") == key.name {
                    let pod = label("pod");
                    self.lag
                        .remove_label_values(&[key.namespace.as_str(), key.name.as_str(), pod.as_str()])
                        .ok();
                }
            }
        }
    }
}
