//! The lease as the rest of the process sees it: may I act, and until when.

mod elector;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

pub use elector::{ElectionError, Elector, Ended, LeaseName};

use super::clock::BootInstant;
use super::lease::Held;
use super::metrics::Metrics;

/// How often the watchdog looks at the clock.
const WATCHDOG_PERIOD: Duration = Duration::from_millis(100);

/// This process's right to act. Cheap to clone; all clones are the same right.
#[derive(Clone, Debug)]
pub struct Leadership {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// End of the term in nanoseconds since boot; 0 before the first term.
    until: AtomicU64,
    /// Number of the term. There is one in a process's life at most: losing it ends the process.
    term: AtomicU64,
    resigned: AtomicBool,
    contact: AtomicU64,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Standby,
    Leading,
    Lost,
}

/// A term under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Its number: grows by one with each change of leader.
    pub number: u64,
    /// Its end unless the lease is renewed.
    pub until: BootInstant,
}

/// This process may not act (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LostLeadership {
    /// It never was the leader.
    #[error("this process does not hold the lease")]
    NotHeld,
    /// The lease was not renewed in time; another process may hold it by now.
    #[error("the lease was not renewed in time; another process may lead by now")]
    Expired,
    /// It gave the lease up, or is about to.
    #[error("this process is giving up the lease")]
    Resigned,
}

impl Default for Leadership {
    fn default() -> Self {
        Self::new()
    }
}

impl Leadership {
    /// A right that is not held yet; an [`Elector`] fills it.
    pub fn new() -> Self {
        let inner = Inner {
            until: AtomicU64::new(0),
            term: AtomicU64::new(0),
            resigned: AtomicBool::new(false),
            contact: AtomicU64::new(0),
            state: watch::Sender::new(State::Standby),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The term, if this process may act right now. Asked before every effect; costs a
    /// clock reading.
    ///
    /// # Errors
    /// Why it may not. After a stop (SIGSTOP, a suspended machine, a starved executor) the
    /// answer is an error even before anyone has noticed the loss.
    pub fn check(&self) -> Result<Term, LostLeadership> {
        self.check_at(BootInstant::now())
    }

    /// The term, while it lasts: whether what is under way may go on. Unlike
    /// [`Self::check`], this allows for finishing after a resignation.
    pub fn check_under_way(&self) -> Result<Term, LostLeadership> {
        self.term_at(BootInstant::now())
    }

    fn check_at(&self, now: BootInstant) -> Result<Term, LostLeadership> {
        if self.inner.resigned.load(Ordering::Acquire) {
            return Err(LostLeadership::Resigned);
        }
        self.term_at(now)
    }

    fn term_at(&self, now: BootInstant) -> Result<Term, LostLeadership> {
        match self.inner.until.load(Ordering::Acquire) {
            0 => Err(LostLeadership::NotHeld),
            until if now < BootInstant::from_nanos(until) => {
                let number = self.inner.term.load(Ordering::Acquire);
                Ok(Term { number, until: BootInstant::from_nanos(until) })
            }
            _ => Err(LostLeadership::Expired),
        }
    }

    /// Returns once this process leads; at once if it does.
    pub async fn gained(&self) {
        self.reached(State::Leading).await;
    }

    /// Returns once this process has lost the lease. Not on a resignation.
    pub async fn lost(&self) {
        self.reached(State::Lost).await;
    }

    async fn reached(&self, state: State) {
        let mut states = self.inner.state.subscribe();
        // The sender lives in `self`: this cannot fail while we wait.
        states.wait_for(|s| *s == state).await.ok();
    }

    /// Refuses every effect from here on, but for those under way. For an orderly end.
    pub fn resign(&self) {
        self.inner.resigned.store(true, Ordering::Release);
    }

    /// Time since the API server last answered about the lease; `None` before the first answer.
    pub fn since_contact(&self) -> Option<Duration> {
        match self.inner.contact.load(Ordering::Acquire) {
            0 => None,
            at => Some(BootInstant::now().since(BootInstant::from_nanos(at))),
        }
    }

    fn contacted(&self) {
        self.inner.contact.store(BootInstant::now().as_nanos().max(1), Ordering::Release);
    }

    /// Begins or prolongs the term.
    pub(in crate::runtime) fn hold(&self, held: Held) {
        self.inner.term.store(held.term, Ordering::Release);
        self.inner.until.store(held.until.as_nanos().max(1), Ordering::Release);
        self.inner.state.send_if_modified(|state| {
            let first = *state == State::Standby;
            if first {
                *state = State::Leading;
            }
            first
        });
    }

    fn lose(&self) {
        // A time long past: Expired, not NotHeld.
        self.inner.until.store(1, Ordering::Release);
        self.inner.state.send_replace(State::Lost);
    }

    /// Ends the process when the term has run out, whatever the async executor is doing.
    ///
    /// [`Self::check`] alone keeps new effects from starting. A request that was handed to
    /// a connection just before the process was stopped would still be sent when it goes
    /// on; this thread is there to be faster than that.
    fn start_watchdog(&self, metrics: &Metrics) -> std::io::Result<()> {
        let (leadership, metrics) = (self.clone(), metrics.clone());
        let watch = move || {
            loop {
                match leadership.check_under_way() {
                    Ok(term) => {
                        let left = term.until.until(BootInstant::now());
                        std::thread::sleep(left.min(WATCHDOG_PERIOD));
                    }
                    Err(reason) => {
                        leadership.lose();
                        metrics.leading(None);
                        fail_stop(reason);
                    }
                }
            }
        };
        std::thread::Builder::new().name("lease-watchdog".into()).spawn(watch).map(drop)
    }
}

/// Leaves without unwinding: no destructor may get the chance to act on a lease that is lost.
#[allow(clippy::disallowed_methods)]
fn fail_stop(reason: LostLeadership) -> ! {
    tracing::error!(%reason, "the lease is lost: this process ends now");
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn at(seconds: u64) -> BootInstant {
        BootInstant::at(Duration::from_secs(seconds))
    }

    #[test]
    fn effects_are_refused_before_the_first_term_after_the_last_and_while_resigning() {
        let leadership = Leadership::new();
        assert_eq!(leadership.check_at(at(1)), Err(LostLeadership::NotHeld));
        leadership.hold(Held { term: 3, until: at(20) });
        assert_eq!(leadership.check_at(at(19)), Ok(Term { number: 3, until: at(20) }));
        assert_eq!(leadership.check_at(at(20)), Err(LostLeadership::Expired));
        leadership.hold(Held { term: 3, until: at(30) });
        assert!(leadership.check_at(at(20)).is_ok());
        leadership.clone().resign();
        assert_eq!(leadership.check_at(at(20)), Err(LostLeadership::Resigned));
        assert!(leadership.term_at(at(20)).is_ok(), "what is under way may finish");
        assert_eq!(leadership.term_at(at(30)), Err(LostLeadership::Expired));
    }

    #[tokio::test]
    async fn those_who_wait_for_the_term_and_for_its_loss_are_woken() {
        let leadership = Leadership::new();
        let (waiting, losing) = (leadership.clone(), leadership.clone());
        let limit = Duration::from_secs(5);
        let gained = tokio::spawn(tokio::time::timeout(limit, async move { waiting.gained().await }));
        let lost = tokio::spawn(tokio::time::timeout(limit, async move { losing.lost().await }));
        leadership.hold(Held { term: 1, until: BootInstant::now() + Duration::from_secs(10) });
        gained.await.unwrap().unwrap();
        assert!(!lost.is_finished());
        leadership.lose();
        lost.await.unwrap().unwrap();
        assert_eq!(leadership.check(), Err(LostLeadership::Expired));
    }
}
