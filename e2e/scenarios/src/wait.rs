//! Waiting with a reason: a time-out says what it waited for and what it last saw.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::progress::say;

/// What one look has shown.
#[derive(Debug, PartialEq, Eq)]
pub enum Look<T> {
    /// It is there.
    Done(T),
    /// It is not, and this is why.
    NotYet(String),
}

/// Shorthand for [`Look::NotYet`].
pub fn not_yet<T>(why: impl Into<String>) -> Result<Look<T>> {
    Ok(Look::NotYet(why.into()))
}

/// Time between two looks. Short against everything that is measured in seconds here.
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);

/// Time between two progress lines of one wait.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Looks until it is done, and says so with the time it took.
///
/// An error of `look` counts as "not yet": an API server that is being restarted must not
/// end a scenario that waits for it to come back. It is in the message when time runs out.
pub async fn wait_until<T>(
    what: &str,
    timeout: Duration,
    mut look: impl AsyncFnMut() -> Result<Look<T>>,
) -> Result<T> {
    let started = Instant::now();
    let mut last_line = started;
    loop {
        let why = match look().await {
            Ok(Look::Done(value)) => {
                say(format!("{what}: yes, after {:.1} s", started.elapsed().as_secs_f64()));
                return Ok(value);
            }
            Ok(Look::NotYet(why)) => why,
            Err(error) => format!("{error:#}"),
        };
        if started.elapsed() >= timeout {
            return Err(anyhow!("waited {} s for: {what}. Last seen: {why}", timeout.as_secs()));
        }
        if last_line.elapsed() >= BETWEEN_LINES {
            say(format!("{what}: not yet ({why})"));
            last_line = Instant::now();
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[tokio::test]
    async fn a_wait_that_runs_out_names_what_it_waited_for_and_what_it_saw() {
        let error =
            wait_until::<()>("the moon", Duration::ZERO, async || not_yet("clouds")).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the moon") && text.contains("clouds"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_is_looked_past_until_it_is_gone() {
        let mut looks = 0;
        let value = wait_until("third time lucky", Duration::from_secs(5), async || {
            looks += 1;
            if looks < 3 { Err(anyhow!("connection refused")) } else { Ok(Look::Done(looks)) }
        })
        .await
        .unwrap();
        assert_eq!(value, 3);
    }
}
