//! Who leads, decided without any clock but one's own.
//!
//! A lease record is never judged by the times written in it (clocks differ), only by
//! how long this process has *seen it unchanged*. The argument that two terms never
//! overlap:
//!
//! 1. A holder counts its term from just before it *sent* its last successful renewal,
//!    and for `renew_deadline` only.
//! 2. A candidate starts counting when it *sees* a renewal, which is after it was sent,
//!    and waits for `lease_duration`.
//! 3. It then takes over by an update that names the very version it saw. If the holder
//!    renewed in between, the update fails and the counting starts again.
//!
//! So a new term begins at least `lease_duration - renew_deadline` (5 s) after the old
//! one ended; in these 5 s arrives what the old holder had sent. That also leaves room
//! for clocks that run up to a third too fast or too slow.
//!
//! **Architecture invariant:** no I/O and no clock in here. `lease_simulation` runs this
//! code under pauses, lost messages and clocks of different speed.

use std::time::Duration;

use super::clock::BootInstant;

/// The three times of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a candidate must have seen a record unchanged before it takes over.
    pub lease_duration: Duration,
    /// How long a holder acts on after it sent its last successful renewal.
    pub renew_deadline: Duration,
    /// Time between renewals.
    pub retry_period: Duration,
}

impl Timing {
    /// 15, 10 and 2 s, as kube-controller-manager and CloudNativePG have them.
    pub const DEFAULT: Self = Self {
        lease_duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
    };
}

/// What a Lease says, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Holder; `None` after a release.
    pub holder: Option<String>,
    /// What the holder promised not to outstay.
    pub duration: Duration,
    /// Number of the term: grows by one with each change of holder.
    pub transitions: u64,
    /// Version of the object; every write makes a new one.
    pub version: String,
}

/// A record, or that there is none, and since when this process has seen it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The record.
    pub record: Option<Record>,
    /// First time that exactly this was seen.
    pub since: BootInstant,
}

/// What to do about a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is no lease: create it, as term 1.
    Create,
    /// Take it over, on condition that it still has this version.
    Acquire {
        /// Version to replace.
        version: String,
        /// Number of the new term.
        term: u64,
    },
    /// It is ours: renew it, on condition that it still has this version.
    Renew {
        /// Version to replace.
        version: String,
        /// Number of the term, unchanged.
        term: u64,
    },
    /// Someone else's; nothing can change before this unless its record does.
    Wait(BootInstant),
}

/// Decides from what was observed.
///
/// `me` must be unique to this process, not to its pod: a restarted container is someone else.
pub fn evaluate_lease(observed: &Observed, now: BootInstant, me: &str, timing: Timing) -> Decision {
    let Some(record) = &observed.record else { return Decision::Create };
    let term = record.transitions.saturating_add(1);
    match record.holder.as_deref() {
        Some(holder) if holder == me => {
            Decision::Renew { version: record.version.clone(), term: record.transitions }
        }
        None | Some("") => Decision::Acquire { version: record.version.clone(), term },
        Some(_) => {
            // A holder that promised longer is given longer; one that promised less does
            // not shorten what we wait.
            let free = observed.since + record.duration.max(timing.lease_duration);
            if now >= free {
                Decision::Acquire { version: record.version.clone(), term }
            } else {
                Decision::Wait(free)
            }
        }
    }
}

/// A right to act, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Number of the term.
    pub term: u64,
    /// Not at or after this.
    pub until: BootInstant,
}

/// One process's part in the election, without its I/O.
#[derive(Clone, Debug)]
pub struct Candidate {
    me: String,
    timing: Timing,
    observed: Option<Observed>,
    held: Option<Held>,
    /// A record was seen before the lease was found missing: until when its holder may
    /// believe in it.
    mourning: Option<BootInstant>,
}

impl Candidate {
    /// A candidate that has seen nothing yet.
    pub fn new(me: impl Into<String>, timing: Timing) -> Self {
        Self { me: me.into(), timing, observed: None, held: None, mourning: None }
    }

    /// The lease was read (or shown by a watch) as `record`.
    pub fn saw(&mut self, record: Option<Record>, now: BootInstant) {
        let old = self.observed.take();
        let unchanged = old.as_ref().is_some_and(|old| old.record == record);
        if record.is_some() {
            self.mourning = None;
        } else if let Some(Observed { record: Some(lost), .. }) = &old {
            // Deleted by hand under a holder that does not know yet.
            self.mourning = Some(now + lost.duration.max(self.timing.lease_duration));
        }
        if record.as_ref().is_none_or(|r| r.holder.as_deref() != Some(&self.me)) {
            self.held = None;
        }
        self.observed = match old {
            Some(old) if unchanged => Some(old),
            _ => Some(Observed { record, since: now }),
        };
    }

    /// What to do now; `None` until the lease has been read once.
    pub fn decide(&self, now: BootInstant) -> Option<Decision> {
        let observed = self.observed.as_ref()?;
        match (evaluate_lease(observed, now, &self.me, self.timing), self.mourning) {
            (Decision::Create, Some(free)) if now < free => Some(Decision::Wait(free)),
            (decision, _) => Some(decision),
        }
    }

    /// A write of this process, sent at `sent_at`, succeeded and left `record`.
    pub fn wrote(&mut self, record: Record, sent_at: BootInstant, now: BootInstant) {
        let term = record.transitions;
        let mine = record.holder.as_deref() == Some(&self.me);
        self.saw(Some(record), now);
        self.held = mine.then_some(Held { term, until: sent_at + self.timing.renew_deadline });
    }

    /// The right to act, while it lasts.
    pub fn held(&self, now: BootInstant) -> Option<Held> {
        self.held.filter(|held| now < held.until)
    }

    /// Whether this process once held the lease and holds it no more.
    pub fn has_expired(&self, now: BootInstant) -> bool {
        self.held.is_some_and(|held| now >= held.until)
    }

    /// Who this is.
    pub fn me(&self) -> &str {
        &self.me
    }

    /// The record last seen.
    pub fn record(&self) -> Option<&Record> {
        self.observed.as_ref()?.record.as_ref()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    const T: Timing = Timing::DEFAULT;

    fn at(seconds: f64) -> BootInstant {
        BootInstant::at(Duration::from_secs_f64(seconds))
    }

    fn record(holder: Option<&str>, version: &str) -> Record {
        Record {
            holder: holder.map(str::to_owned),
            duration: T.lease_duration,
            transitions: 7,
            version: version.into(),
        }
    }

    #[test]
    fn decision_table() {
        let acquire = || Decision::Acquire { version: "v".into(), term: 8 };
        let of_60_s = Record { duration: Duration::from_secs(60), ..record(Some("b"), "v") };
        let of_1_s = Record { duration: Duration::from_secs(1), ..record(Some("b"), "v") };
        let table = [
            ("no lease", None, 0.0, Decision::Create),
            ("released", Some(record(None, "v")), 0.0, acquire()),
            ("released, written as an empty string", Some(record(Some(""), "v")), 0.0, acquire()),
            ("mine", Some(record(Some("a"), "v")), 99.0, Decision::Renew { version: "v".into(), term: 7 }),
            ("theirs, just seen", Some(record(Some("b"), "v")), 0.0, Decision::Wait(at(15.0))),
            ("theirs, nearly expired", Some(record(Some("b"), "v")), 14.9, Decision::Wait(at(15.0))),
            ("theirs, expired", Some(record(Some("b"), "v")), 15.0, acquire()),
            ("theirs, promised for longer", Some(of_60_s.clone()), 59.9, Decision::Wait(at(60.0))),
            ("theirs, longer and over", Some(of_60_s), 60.0, acquire()),
            ("theirs, promised for less", Some(of_1_s), 14.0, Decision::Wait(at(15.0))),
        ];
        for (case, record, now, expected) in table {
            let observed = Observed { record, since: at(0.0) };
            assert_eq!(evaluate_lease(&observed, at(now), "a", T), expected, "{case}");
        }
    }

    #[test]
    fn a_term_counts_from_the_sending_of_a_renewal_not_from_its_answer() {
        let mut candidate = Candidate::new("a", T);
        candidate.wrote(record(Some("a"), "1"), at(100.0), at(103.0));
        assert!(candidate.held(at(109.9)).is_some());
        assert!(candidate.held(at(110.0)).is_none());
        assert!(candidate.has_expired(at(110.0)));
    }

    #[test]
    fn seeing_the_same_version_again_does_not_start_the_wait_anew() {
        let mut candidate = Candidate::new("a", T);
        candidate.saw(Some(record(Some("b"), "1")), at(0.0));
        candidate.saw(Some(record(Some("b"), "1")), at(14.0));
        assert_eq!(candidate.decide(at(14.0)), Some(Decision::Wait(at(15.0))));
        candidate.saw(Some(record(Some("b"), "2")), at(14.5));
        assert_eq!(candidate.decide(at(15.0)), Some(Decision::Wait(at(29.5))));
    }

    #[test]
    fn a_lease_deleted_under_its_holder_is_not_recreated_before_the_holder_gives_up() {
        let mut candidate = Candidate::new("a", T);
        candidate.saw(Some(record(Some("b"), "1")), at(0.0));
        candidate.saw(None, at(3.0));
        assert_eq!(candidate.decide(at(17.9)), Some(Decision::Wait(at(18.0))));
        assert_eq!(candidate.decide(at(18.0)), Some(Decision::Create));
    }

    #[test]
    fn a_holder_that_sees_another_in_its_place_stops_at_once() {
        let mut candidate = Candidate::new("a", T);
        candidate.wrote(record(Some("a"), "1"), at(0.0), at(0.1));
        candidate.saw(Some(record(Some("b"), "2")), at(1.0));
        assert!(candidate.held(at(1.0)).is_none());
        let mut deleted = Candidate::new("a", T);
        deleted.wrote(record(Some("a"), "1"), at(0.0), at(0.1));
        deleted.saw(None, at(1.0));
        assert!(deleted.held(at(1.0)).is_none());
    }

    #[test]
    fn nothing_is_decided_before_the_lease_was_read() {
        assert_eq!(Candidate::new("a", T).decide(at(99.0)), None);
    }
}
