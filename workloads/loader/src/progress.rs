//! How far a load is: a bar on a terminal, now and then a line elsewhere.

use std::{
    io::IsTerminal,
    sync::Mutex,
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

const LINE_EVERY: Duration = Duration::from_secs(5);

/// How far a load is.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

struct State {
    started: Instant,
    said: Instant,
    batches: usize,
    all: usize,
    rows: i64,
}

impl Progress {
    /// For a number of batches.
    pub(crate) fn new(batches: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(u64::try_from(batches).unwrap_or(u64::MAX));
            // The template is a constant; were it wrong, the plain bar would do.
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} batches, {msg}, {eta} left");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let now = Instant::now();
        Self { bar, state: Mutex::new(State { started: now, said: now, batches: 0, all: batches, rows: 0 }) }
    }

    /// One batch more.
    pub(crate) fn add(&self, rows: i64) {
        let Ok(mut state) = self.state.lock() else { return };
        state.batches += 1;
        state.rows += rows;
        match &self.bar {
            Some(bar) => {
                bar.set_message(state.rate());
                bar.inc(1);
            }
            None if state.said.elapsed() >= LINE_EVERY => {
                state.said = Instant::now();
                tracing::info!("{} of {} batches, {}", state.batches, state.all, state.rate());
            }
            None => {}
        }
    }

    /// The end.
    pub(crate) fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if let Ok(state) = self.state.lock() {
            tracing::info!("{} batches copied, {}", state.batches, state.rate());
        }
    }
}

impl State {
    fn rate(&self) -> String {
        let rows = u64::try_from(self.rows).unwrap_or(0);
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        format!("{} rows, {}/s", HumanCount(rows), HumanCount((rows as f64 / seconds) as u64))
    }
}
