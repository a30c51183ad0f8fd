//! Connections to the API server, one for each way of waiting.

use std::time::Duration;

use kube::{Client, Config};

/// Three clients, so that a slow list never stands before a lease renewal.
///
/// kube's own retries are off on all of them: they go on for minutes (15 times, any
/// Retry-After obeyed), past our deadlines and without asking the lease again. What
/// fails comes back through a backoff that is ours.
#[derive(Clone)]
pub struct Clients {
    /// Gets and updates of the lease.
    pub lease: Client,
    /// Everything that changes something.
    pub effects: Client,
    /// Lists and watches; a watch is quiet for as long as it likes.
    pub reads: Client,
}

impl Clients {
    /// Clients after `config`.
    ///
    /// # Errors
    /// The configuration holds certificates or proxies that cannot be used.
    pub fn new(config: &Config) -> kube::Result<Self> {
        Ok(Self {
            lease: client(config, Duration::from_secs(2), Some(Duration::from_secs(5)))?,
            effects: client(config, Duration::from_secs(5), Some(Duration::from_secs(10)))?,
            reads: client(config, Duration::from_secs(5), None)?,
        })
    }
}

fn client(config: &Config, connect: Duration, answer: Option<Duration>) -> kube::Result<Client> {
    let mut config = config.clone();
    config.default_retry = false;
    config.connect_timeout = Some(connect);
    config.read_timeout = answer;
    config.write_timeout = Some(answer.unwrap_or(Duration::from_secs(10)));
    // Else the time a pooled connection idled counts as waiting for an answer.
    config.reset_reader_on_write = answer.is_some();
    Client::try_from(config)
}
