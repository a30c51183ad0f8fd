//! `/metrics`, `/healthz`, `/readyz`.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::metrics::Metrics;
use super::watch::Watches;
use super::{Leadership, LostLeadership};

/// A standby that heard nothing about the lease for so long is not ready: it could not
/// take over. Longer than a lease, during which a dead leader is silent too.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// What the endpoints tell about.
#[derive(Clone)]
pub struct Probes {
    /// Leader or standby.
    pub leadership: Leadership,
    /// Whether the caches are complete.
    pub watches: Watches,
    /// Numbers.
    pub metrics: Metrics,
}

/// Answers until the process ends.
///
/// # Errors
/// The socket failed.
pub async fn serve(listener: TcpListener, probes: Probes) -> std::io::Result<()> {
    axum::serve(listener, router(probes)).await
}

fn router(probes: Probes) -> Router {
    Router::new()
        // Says only that the event loop turns. What else could fail (the API server, a
        // database) would not be cured by a restart.
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(probes)
}

async fn readyz(State(probes): State<Probes>) -> (StatusCode, String) {
    let synced = probes.watches.are_synced();
    match readiness(probes.leadership.check().map(drop), synced, probes.leadership.since_contact()) {
        Ok(text) => (StatusCode::OK, format!("{text}\n")),
        Err(text) => (StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n")),
    }
}

fn readiness(
    leading: Result<(), LostLeadership>,
    synced: bool,
    since_contact: Option<Duration>,
) -> Result<&'static str, &'static str> {
    match (leading, since_contact) {
        (Ok(()), _) if synced => Ok("leader: caches are complete"),
        (Ok(()), _) => Err("leader: caches are being filled"),
        (Err(LostLeadership::NotHeld), Some(since)) if since < SILENCE_LIMIT => {
            Ok("standby: the lease can be read")
        }
        (Err(LostLeadership::NotHeld), _) => Err("standby: nothing heard about the lease"),
        (Err(LostLeadership::Expired), _) => Err("the lease is lost; this process is ending"),
        (Err(LostLeadership::Resigned), _) => Err("this process is ending"),
    }
}

async fn metrics(State(probes): State<Probes>) -> Response {
    match probes.metrics.render() {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_about_what_this_process_is_for() {
        let recently = Some(Duration::from_secs(3));
        let long_ago = Some(Duration::from_secs(31));
        assert!(readiness(Ok(()), true, recently).is_ok());
        assert!(readiness(Ok(()), false, recently).is_err());
        assert!(readiness(Err(LostLeadership::NotHeld), false, recently).is_ok());
        assert!(readiness(Err(LostLeadership::NotHeld), false, long_ago).is_err());
        assert!(readiness(Err(LostLeadership::NotHeld), false, None).is_err());
        assert!(readiness(Err(LostLeadership::Expired), true, recently).is_err());
        assert!(readiness(Err(LostLeadership::Resigned), true, recently).is_err());
    }
}
