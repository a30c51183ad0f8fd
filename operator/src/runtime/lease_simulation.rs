//! Several candidates, one lease, and everything that can go wrong between them, over
//! many seeds. Runs the code of [`super::lease`] as it is.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::clock::BootInstant;
use super::lease::{Candidate, Decision, Record, Timing};

/// Step of the simulation.
const TICK_MS: u64 = 50;

/// The API server: one object, each write a new version.
#[derive(Default)]
struct Server {
    version: u64,
    record: Option<Record>,
}

impl Server {
    fn write(&mut self, write: &Write) -> Written {
        let expected = write.expected.as_deref();
        if expected != self.record.as_ref().map(|r| r.version.as_str()) {
            return Err(self.record.clone());
        }
        self.version += 1;
        let record = Record { version: self.version.to_string(), ..write.record.clone() };
        self.record = Some(record.clone());
        Ok(record)
    }
}

#[derive(Clone)]
struct Write {
    expected: Option<String>,
    record: Record,
    sent_at: BootInstant,
}

/// A message on its way: when it arrives at the server, and when its answer comes back.
struct Flight {
    arrives: u64,
    write: Write,
    /// `None` until it has arrived; then the answer and when it is back, if it is not lost.
    answer: Option<(Written, Option<u64>)>,
}

/// What a write left, or what was there instead of what it expected.
type Written = Result<Record, Option<Record>>;

/// One process: its clock runs at its own rate from its own zero.
struct Process {
    candidate: Candidate,
    rate: f64,
    offset: u64,
    paused_until: u64,
    cut_until: u64,
    flight: Option<Flight>,
    next_try: u64,
    /// What the watch will show, and when.
    shown: Vec<(u64, Option<Record>)>,
    dead: bool,
    /// Effects sent: arrival at the server and term.
    effects: Vec<(u64, u64)>,
}

struct Faults {
    /// Chance of losing a message, one way.
    loss: f64,
    /// Chance a tick that a process stops for up to 40 s.
    pause: f64,
    /// Chance a tick that a process is cut off from the lease, but not from what its effects
    /// go to, for up to 40 s.
    cut: f64,
    /// Clocks run at 1 ± this.
    skew: f64,
    /// Longest way of a message about the lease.
    way_ms: u64,
    /// Longest way of an effect. A process gives an effect up when its term ends, so one
    /// that it sent arrives at most this much later.
    effect_way_ms: u64,
    /// Stop the leader for good at this time.
    stop_leader_at: Option<u64>,
}

/// What a run showed.
#[derive(Debug, Default)]
struct Outcome {
    /// Ticks at which two processes believed they held a term.
    overlaps: u64,
    /// Effects that arrived after one of a later term.
    stale: u64,
    /// Terms begun.
    terms: u64,
    /// From the stop of the leader to the next term.
    followed_after_ms: Option<u64>,
    /// Ticks without a leader.
    leaderless: u64,
}

impl Process {
    fn new(index: usize, timing: Timing, faults: &Faults, rng: &mut StdRng) -> Self {
        Self {
            candidate: Candidate::new(format!("p{index}"), timing),
            rate: 1.0 + faults.skew * (2.0 * rng.random::<f64>() - 1.0),
            offset: rng.random_range(0..1_000_000),
            paused_until: 0,
            cut_until: 0,
            flight: None,
            next_try: 0,
            shown: Vec::new(),
            dead: false,
            effects: Vec::new(),
        }
    }

    fn now(&self, time: u64) -> BootInstant {
        BootInstant::at(Duration::from_secs_f64((self.offset as f64 + time as f64 * self.rate) / 1000.0))
    }

    /// Holds in its own eyes, whether or not it is running to see it.
    fn believes(&self, time: u64) -> bool {
        !self.dead && self.candidate.held(self.now(time)).is_some()
    }

    fn step(&mut self, time: u64, timing: Timing, faults: &Faults, rng: &mut StdRng) {
        let now = self.now(time);
        let ready = |at: &u64| *at <= time;
        if let Some(Flight { answer: Some((_, back)), .. }) = &self.flight {
            // An answer that is lost looks like a time-out of 3 s.
            if back.as_ref().is_some_and(ready) || (back.is_none() && self.next_try <= time) {
                self.answered(now, rng, time);
            }
        }
        while let Some(at) = self.shown.iter().position(|(at, _)| ready(at)) {
            let (_, record) = self.shown.remove(at);
            // A leader does not follow the watch.
            if self.candidate.held(now).is_none() {
                self.candidate.saw(record, now);
            }
        }
        if self.candidate.has_expired(now) {
            self.dead = true; // fail-stop
            return;
        }
        if let Some(held) = self.candidate.held(now)
            && rng.random_bool(0.2)
        {
            self.effects.push((time + rng.random_range(0..faults.effect_way_ms), held.term));
        }
        if rng.random_bool(faults.cut) {
            self.cut_until = time + rng.random_range(0..40_000);
        }
        if self.flight.is_some() || time < self.next_try {
            return;
        }
        let Some(decision) = self.candidate.decide(now) else { return };
        if let Some(write) = self.write(decision, timing, now) {
            let lost = self.cut_until > time || rng.random_bool(faults.loss);
            let arrives = if lost { u64::MAX } else { time + rng.random_range(0..faults.way_ms) };
            self.flight = Some(Flight { arrives, write, answer: lost.then_some((Err(None), None)) });
            self.next_try = time + 3_000;
        }
    }

    fn answered(&mut self, now: BootInstant, rng: &mut StdRng, time: u64) {
        let Some(flight) = self.flight.take() else { return };
        let Some((result, back)) = flight.answer else { return };
        self.next_try = time + 500;
        match (result, back) {
            (Ok(record), Some(_)) => {
                self.candidate.wrote(record, flight.write.sent_at, now);
                self.next_try = time + 2_000;
            }
            (Err(record), Some(_)) => self.candidate.saw(record, now),
            (_, None) => self.next_try = time + rng.random_range(0..500),
        }
    }

    fn write(&self, decision: Decision, timing: Timing, sent_at: BootInstant) -> Option<Write> {
        let (expected, transitions) = match decision {
            Decision::Wait(_) => return None,
            Decision::Create => (None, 1),
            Decision::Acquire { version, term } | Decision::Renew { version, term } => (Some(version), term),
        };
        let holder = Some(self.candidate.me().to_owned());
        let record = Record { holder, duration: timing.lease_duration, transitions, version: String::new() };
        Some(Write { expected, record, sent_at })
    }
}

fn run(seed: u64, timing: Timing, faults: &Faults, seconds: u64) -> Outcome {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut server = Server::default();
    let mut processes: Vec<Process> =
        (0..2).map(|index| Process::new(index, timing, faults, &mut rng)).collect();
    let mut outcome = Outcome::default();
    for process in &mut processes {
        process.shown.push((rng.random_range(0..faults.way_ms), None));
    }
    let (mut born, mut newest_effect, mut stopped_term) = (2, 0, 0);
    for time in (0..seconds * 1000).step_by(usize::try_from(TICK_MS).unwrap()) {
        for index in 0..processes.len() {
            let process = &mut processes[index];
            if let Some(flight) = &mut process.flight
                && flight.arrives <= time
                && flight.answer.is_none()
            {
                let result = server.write(&flight.write);
                let lost = process.cut_until > time || rng.random_bool(faults.loss);
                let back = (!lost).then(|| time + rng.random_range(0..faults.way_ms));
                let written = result.as_ref().ok().cloned();
                flight.answer = Some((result, back));
                if let Some(record) = written {
                    for process in &mut processes {
                        // A watch that is cut catches up afterwards.
                        let shown = time.max(process.cut_until) + rng.random_range(0..faults.way_ms);
                        process.shown.push((shown, Some(record.clone())));
                    }
                }
            }
        }
        if faults.stop_leader_at == Some(time) {
            let leader = processes.iter_mut().find(|p| p.believes(time)).unwrap();
            leader.paused_until = u64::MAX;
            stopped_term = leader.candidate.held(leader.now(time)).unwrap().term;
        }
        for process in &mut processes {
            if process.paused_until > time {
                continue;
            }
            if rng.random_bool(faults.pause) {
                process.paused_until = time + rng.random_range(0..40_000);
                continue;
            }
            process.step(time, timing, faults, &mut rng);
            if process.dead {
                // A new container in its place, under a new identity.
                let effects = std::mem::take(&mut process.effects);
                *process = Process::new(born, timing, faults, &mut rng);
                process.effects = effects;
                process.shown = vec![(time + 1_000, server.record.clone())];
                born += 1;
            }
        }
        let mut arrived: Vec<(u64, u64)> = processes
            .iter_mut()
            .flat_map(|p| p.effects.extract_if(.., |(at, _)| *at <= time).collect::<Vec<_>>())
            .collect();
        arrived.sort_unstable();
        for (_, term) in arrived {
            outcome.stale += u64::from(term < newest_effect);
            newest_effect = newest_effect.max(term);
        }
        let believers = processes.iter().filter(|p| p.believes(time)).count();
        outcome.overlaps += u64::from(believers > 1);
        outcome.leaderless += u64::from(believers == 0);
        let newest = processes.iter().filter_map(|p| p.candidate.held(p.now(time))).map(|h| h.term).max();
        if let Some(stop) = faults.stop_leader_at.filter(|stop| time >= *stop)
            && newest.is_some_and(|term| term > stopped_term)
        {
            outcome.followed_after_ms.get_or_insert(time - stop);
        }
    }
    outcome.terms = server.record.map_or(0, |r| r.transitions);
    outcome
}

const CALM: Faults = Faults {
    loss: 0.0,
    pause: 0.0,
    cut: 0.0,
    skew: 0.01,
    way_ms: 100,
    effect_way_ms: 100,
    stop_leader_at: None,
};
/// Everything at once, clocks that differ by up to a fifth.
const STORM: Faults =
    Faults { loss: 0.1, pause: 0.003, cut: 0.002, skew: 0.1, way_ms: 2_000, effect_way_ms: 2_000, ..CALM };
/// The quickest successor and the slowest effects that the margin of 5 s allows for.
const SLOW_EFFECTS: Faults =
    Faults { pause: 0.003, cut: 0.002, skew: 0.01, way_ms: 100, effect_way_ms: 4_700, ..CALM };

#[test]
fn two_terms_are_never_valid_at_once_and_no_effect_of_an_old_one_comes_late() {
    for faults in [&STORM, &SLOW_EFFECTS] {
        let mut terms = 0;
        for seed in 0..200 {
            let outcome = run(seed, Timing::DEFAULT, faults, 600);
            assert_eq!((outcome.overlaps, outcome.stale), (0, 0), "seed {seed}: {outcome:?}");
            terms += outcome.terms;
        }
        assert!(terms > 1_000, "too few hand-overs ({terms}) to have proved anything");
    }
}

#[test]
fn the_simulation_finds_a_deadline_that_is_too_long() {
    let careless = Timing { renew_deadline: Duration::from_secs(20), ..Timing::DEFAULT };
    let found = (0..400).any(|seed| run(seed, careless, &STORM, 600).overlaps > 0);
    assert!(found, "a deadline past the lease's end went unnoticed");
}

#[test]
fn the_simulation_finds_effects_that_come_late_when_there_is_no_margin() {
    let tight = Timing { renew_deadline: Duration::from_secs(13), ..Timing::DEFAULT };
    let found = (0..200).any(|seed| run(seed, tight, &SLOW_EFFECTS, 600).stale > 0);
    assert!(found, "an effect that came after one of the next term went unnoticed");
}

#[test]
fn on_a_calm_day_one_process_leads_all_the_time() {
    for seed in 0..20 {
        let outcome = run(seed, Timing::DEFAULT, &CALM, 600);
        assert_eq!(outcome.terms, 1, "seed {seed}: {outcome:?}");
        assert!(outcome.leaderless * TICK_MS <= 1_500, "seed {seed}: {outcome:?}");
    }
}

#[test]
fn a_leader_that_stops_for_good_is_followed_within_the_lease_and_a_few_messages() {
    // The lease by the slower clock, then the ways of the renewal, of its showing and of
    // the acquisition there and back.
    let bound = 15_152 + 4 * CALM.way_ms + 2 * TICK_MS;
    for seed in 0..100 {
        let stop = 60_000 + seed * TICK_MS;
        let outcome = run(seed, Timing::DEFAULT, &Faults { stop_leader_at: Some(stop), ..CALM }, 120);
        let after = outcome.followed_after_ms.expect("nobody followed");
        assert!((12_000..=bound).contains(&after), "seed {seed}: {outcome:?}");
    }
}
