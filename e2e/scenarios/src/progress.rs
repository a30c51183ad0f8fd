//! What a run prints while it goes on: seconds since the scenario began, then what happens.

use std::fmt::Display;
use std::sync::Mutex;
use std::time::{Duration, Instant};

static STARTED: Mutex<Option<Instant>> = Mutex::new(None);

/// Starts the clock that [`say`] prints.
pub fn begin() {
    if let Ok(mut started) = STARTED.lock() {
        *started = Some(Instant::now());
    }
}

/// Prints one line of progress. Standard error, so that the harness's own lines stay machine-readable.
pub fn say(what: impl Display) {
    let since = STARTED.lock().ok().and_then(|started| *started).map_or(Duration::ZERO, |s| s.elapsed());
    eprintln!("    {:>6.1} s  {what}", since.as_secs_f64());
}
